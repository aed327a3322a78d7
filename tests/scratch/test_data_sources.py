"""Where MNIST and Fashion-MNIST are found, and what each wrong or missing copy leads to."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from scratch import data, data_sources, idx
from scratch.errors import DataError, MissingError

RNG = np.random.default_rng(0)
SMALL = {  # two tiny sets of the same shapes, in place of the published ones
    name: (
        RNG.integers(0, 256, (12, 28, 28), np.uint8),
        RNG.integers(0, 10, 12, np.uint8),
        RNG.integers(0, 256, (5, 28, 28), np.uint8),
        RNG.integers(0, 10, 5, np.uint8),
    )
    for name in idx.SETS
}
PUBLISHED = dict(idx.SETS)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Nothing outside tmp_path is searched or written, and the two tiny sets are the known ones."""
    for variable in ("GRADPARITY_DATA", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRADPARITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data_sources, "SYSTEM", str(tmp_path / "system"))
    monkeypatch.chdir(tmp_path)
    for name, arrays in SMALL.items():
        parts = [
            idx.Part(part.name, array.shape, hashlib.sha256(idx.pack(array)).hexdigest())
            for part, array in zip(PUBLISHED[name], arrays, strict=True)
        ]
        monkeypatch.setitem(idx.SETS, name, tuple(parts))


def write(folder, name="mnist", compress=False, dotted=False, leave_out=()):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in zip(idx.SETS[name], SMALL[name], strict=True):
        if part.name not in leave_out:
            file = part.name.replace("-idx", ".idx") if dotted else part.name
            raw = idx.pack(array)
            (folder / (file + ".gz" * compress)).write_bytes(gzip.compress(raw) if compress else raw)
    return folder


def write_npz(path, name="mnist"):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **dict(zip(idx.NPZ_FIELDS, SMALL[name], strict=True)))


def load(name="mnist", data_dir=None):
    return data.load(name, (8, 4, 5), data_dir, download=False)


def assert_is(dataset, name="mnist"):
    """The stated order: validation first, train after it, test from the test file."""
    x, t, x_test, t_test = SMALL[name]
    for examples, images, labels in [
        (dataset.validation, x[:4], t[:4]),
        (dataset.train, x[4:], t[4:]),
        (dataset.test, x_test, t_test),
    ]:
        np.testing.assert_array_equal(examples.x[..., 0], images.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(examples.t, labels)


FOLDERS = {
    "mnist": ["", "mnist", "MNIST", "MNIST/raw", "raw"],
    "fashion-mnist": ["", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw", "raw"],
}


@pytest.mark.parametrize("name, folder", [(name, f) for name, folders in FOLDERS.items() for f in folders])
@pytest.mark.parametrize("compress", [False, True])
def test_every_layout_is_found(tmp_path, monkeypatch, name, folder, compress):
    where = write(tmp_path / "mine" / folder, name, compress)
    given = load(name, tmp_path / "mine")
    assert_is(given, name)
    assert given.source == str(where)
    with pytest.raises(MissingError):
        load(name)
    monkeypatch.setenv("GRADPARITY_DATA", str(tmp_path / "mine"))
    assert_is(load(name), name)


@pytest.mark.parametrize("compress", [False, True])
def test_the_old_spelling_with_a_dot(tmp_path, compress):
    assert_is(load(data_dir=write(tmp_path / "old", compress=compress, dotted=True)))


PLACES = {
    "mnist": ["cache/MNIST/raw", "data/MNIST/raw", "home/data/MNIST/raw", "home/datasets/mnist"],
    "fashion-mnist": [
        "data/FashionMNIST/raw",
        "home/.keras/datasets/fashion-mnist",
        "system/fashion-mnist",  # Debian's package
    ],
}


@pytest.mark.parametrize("name, place", [(name, p) for name, places in PLACES.items() for p in places])
def test_usual_places_are_searched(tmp_path, name, place):
    write(tmp_path / place, name, compress=True)
    dataset = load(name)
    assert_is(dataset, name)
    assert dataset.source.endswith(place)


def test_kerass_npz_by_place_folder_and_name(tmp_path):
    path = tmp_path / "home" / ".keras" / "datasets" / "mnist.npz"
    write_npz(path)
    for data_dir in (None, path, path.parent):
        dataset = load(data_dir=data_dir)
        assert_is(dataset)
        assert dataset.source == str(path)
    with pytest.raises(idx.OtherSet, match=r"is mnist's train-images.*ask for --data mnist"):
        load("fashion-mnist", path)


def test_a_given_folder_comes_before_all_others_and_alone(tmp_path, monkeypatch):
    write(tmp_path / "data")
    write(tmp_path / "own")
    monkeypatch.setenv("GRADPARITY_DATA", "own")
    assert load().source == "own"
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"--data-dir empty should hold mnist .* holds no complete copy;"):
        load(data_dir="empty")
    with pytest.raises(MissingError, match=r"--data-dir nowhere .* does not exist"):
        data.load("mnist", (8, 4, 5), "nowhere")  # download allowed, but not when a folder was named


def test_not_found_names_the_places(tmp_path):
    with pytest.raises(MissingError) as error:
        load()
    for part in ("data", str(tmp_path / "cache"), "--data-dir", "--data mnist-5k"):
        assert part in str(error.value)


def test_an_incomplete_copy_is_no_copy(tmp_path):
    lost = "t10k-labels-idx1-ubyte"
    write(tmp_path / "data" / "mnist", leave_out=[lost])
    with pytest.raises(MissingError, match=f"data/mnist lacks {lost}"):
        load()
    with pytest.raises(MissingError, match=f"holds no complete copy; data/mnist lacks {lost}; name"):
        load(data_dir="data")
    write(tmp_path / "home" / "data" / "mnist")
    assert_is(load())


@pytest.mark.parametrize("data_dir", [None, "data"])
def test_a_damaged_copy_is_refused_not_passed_over(tmp_path, data_dir):
    folder = write(tmp_path / "data" / "mnist", compress=True)
    write(tmp_path / "home" / "data" / "mnist")  # a good one further on
    file = folder / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"data/mnist/t10k-images-idx3-ubyte.gz should hold mnist's"):
        load(data_dir=data_dir)


def test_images_and_labels_swapped(tmp_path):
    folder = write(tmp_path / "data")
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    raw = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(raw)
    with pytest.raises(DataError, match="are images and labels swapped"):
        load(data_dir=folder)


def test_training_and_test_swapped(tmp_path):
    folder = write(tmp_path / "data")
    (folder / "train-images-idx3-ubyte").write_bytes((folder / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(DataError, match="12 x 28 x 28 pixels, but it announces 5 x 28 x 28 pixels"):
        load(data_dir=folder)


def test_mnist_under_a_fashion_name(tmp_path):
    write(tmp_path / "data" / "fashion-mnist", "mnist")
    with pytest.raises(DataError, match=r"should hold fashion-mnist's .* but it is mnist's train-images"):
        load("fashion-mnist")
    with pytest.raises(DataError, match="it is mnist's"):
        load("fashion-mnist", "data")


def test_another_set_in_an_unnamed_folder_is_an_error_only_where_pointed_at(tmp_path):
    write(tmp_path / "data", "mnist")
    with pytest.raises(DataError, match="it is mnist's"):
        load("fashion-mnist", "data")
    with pytest.raises(MissingError):
        load("fashion-mnist")
    write(tmp_path / "system" / "fashion-mnist", "fashion-mnist")
    assert_is(load("fashion-mnist"), "fashion-mnist")


def test_a_file_that_is_no_copy(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(MissingError, match=r"notes.txt should hold mnist .* but it is a single file"):
        load(data_dir="notes.txt")
    (tmp_path / "notes.npz").write_text("hello")
    with pytest.raises(DataError, match=r"notes.npz should hold mnist as Keras .* but it is not an npz"):
        load(data_dir="notes.npz")


@pytest.mark.parametrize("closed", ["mine/mnist/train-images-idx3-ubyte", "mine/mnist", "mine"])
def test_no_permission(tmp_path, closed):
    write(tmp_path / "mine" / "mnist")
    (tmp_path / closed).chmod(0)
    tmp_path.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # nobody: root may read everything
    try:
        with pytest.raises(
            DataError, match=f"{closed}/? should hold mnist.* may not be read by this user; change"
        ):
            load(data_dir="mine")
        if closed != "mine/mnist/train-images-idx3-ubyte":  # nobody pointed at the folder: look elsewhere
            with pytest.raises(MissingError):
                load()
    finally:
        if root:
            os.seteuid(0)
        (tmp_path / closed).chmod(0o755)


# --- the catalogue -----------------------------------------------------------------------------------------


def entries(data_dir=None):
    return {entry.name: entry for entry in data.catalogue(data_dir)}


def test_catalogue_of_an_empty_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(data_sources, "fetch", lambda name: pytest.fail("the catalogue must not download"))
    found = entries()
    assert tuple(found) == data.NAMES
    for name in ("mnist", "fashion-mnist"):
        assert found[name].verdict == "not found" and found[name].found == ""
        assert str(tmp_path / "cache") in found[name].looked
    assert found["mnist-5k"].verdict == "verified"
    assert found["moons"].found.startswith("generated") and found["iris"].found.startswith("bundled")
    assert all(entry.split == data.DEFAULT_SPLITS[name] and entry.sizes for name, entry in found.items())
    assert not (tmp_path / "cache").exists() and not (tmp_path / "home").exists(), "nothing was written"


def test_catalogue_tells_good_from_damaged(tmp_path):
    write(tmp_path / "mine" / "mnist", "mnist")
    folder = write(tmp_path / "mine" / "fashion-mnist", "fashion-mnist", compress=True)
    found = entries("mine")
    assert found["mnist"].verdict == found["fashion-mnist"].verdict == "verified"
    assert found["mnist"].found == os.path.join("mine", "mnist") and found["mnist"].looked == ("mine",)
    assert found["iris"].looked == ("scikit-learn",)

    labels = folder / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-9])
    damaged = entries("mine")["fashion-mnist"]
    assert damaged.verdict.startswith("unreadable: ") and damaged.found.endswith(labels.name)
    labels.write_bytes(gzip.compress(idx.pack(SMALL["fashion-mnist"][1][::-1])))
    damaged = entries("mine")["fashion-mnist"]
    assert damaged.verdict.startswith("mismatch: ") and "sha256" in damaged.verdict
    assert entries("mine")["mnist"].verdict == "verified"
