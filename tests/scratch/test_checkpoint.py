"""Checkpoints come back bit for bit, through readers that are not ours, after any kill and on bad disks."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from damage import flip, newer

import scratch
from frameworks import guard
from scratch import checkpoint, files, optimizers
from scratch.checkpoint import Checkpoint
from scratch.errors import DataError, GradparityError, UsageError
from scratch.learner import Architecture, NumpyLearner

INFO = {"optimizer": "adam", "architecture": {"kind": "mlp", "sizes": (4, 3)}, "seed": 7, "error": 0.25}


def make(step=1, seed=None, **info):
    """A checkpoint whose numbers follow from its step."""
    rng = np.random.default_rng(step if seed is None else seed)
    weights = {"fc1/W": rng.normal(size=(4, 3)), "fc1/b": rng.normal(size=3).astype(np.float32)}
    state = {"step": np.int64(step), "fc1/W/mean": rng.normal(size=(4, 3))}
    return Checkpoint(step, weights, state, INFO | info)


def same(came, expected):
    """Equal bit for bit, names in order."""
    for a, b in ((came.weights, expected.weights), (came.optimizer_state, expected.optimizer_state)):
        assert list(a) == list(b)
        for name in a:
            assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
            assert a[name].tobytes() == b[name].tobytes(), name
    assert came.step == expected.step and came.info == json.loads(json.dumps(expected.info))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def pairs(*steps):
    return sorted(f"step-{step:08d}.{end}" for step in steps for end in ("json", "safetensors"))


def awkward(dtype):
    """All that could be lost: signs of zero, NaN payloads, subnormals, memory order, scalars, emptiness."""
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).smallest_subnormal], dtype)
    bits = np.random.default_rng(0).integers(0, 256, 64 * special.itemsize, np.uint8).view(dtype)
    return {
        "special/W": special,
        "bits/W": bits,  # any NaN payload
        "fortran/W": np.asfortranarray(bits.reshape(8, 8)),
        "strided/W": bits.reshape(8, 8)[::-2, ::3],
        "image/W": bits.reshape(4, 2, 4, 2).transpose(3, 0, 2, 1),
        "foreign/W": special.astype(special.dtype.newbyteorder()),
        "empty/W": np.zeros((0, 3), dtype),
        "scalar/W": special[5],
        "0-d/W": np.array(special[1]),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_every_bit_comes_back(tmp_path, dtype):
    weights = awkward(dtype)
    saved = Checkpoint(3, weights, {"step": np.int64(2**60 + 1), "small": np.int32(-5)}, INFO)
    path = checkpoint.save(tmp_path / "new" / "folder", saved)
    native = {name: np.asarray(w).astype(dtype) for name, w in weights.items()}
    for came in (
        checkpoint.load(path),
        checkpoint.load(path.parent),
        checkpoint.load(path.with_suffix(".json")),
    ):
        same(came, Checkpoint(3, native, saved.optimizer_state, INFO))
        assert came.path == path and came.notes == () and not came.best
        assert int(came.optimizer_state["step"]) == 2**60 + 1


def test_other_readers_find_the_same(tmp_path):
    guard.load_torch()
    import safetensors.torch

    saved = make(5)
    path = checkpoint.save(tmp_path, saved)
    expected = saved.weights | saved.optimizer_state
    through_torch = safetensors.torch.load_file(path)
    for came in (safetensors.numpy.load_file(path), {n: t.numpy() for n, t in through_torch.items()}):
        assert came.keys() == expected.keys()
        for name, value in expected.items():
            assert came[name].shape == np.shape(value) and came[name].dtype == value.dtype
            assert came[name].tobytes() == value.tobytes()
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "np"}
    record = json.loads(path.with_suffix(".json").read_text())
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert record["sha256"] == digest
    assert record["step"] == 5 and record["info"]["seed"] == 7 and record["weights"] == ["fc1/W", "fc1/b"]


def test_a_learner_comes_back(tmp_path):
    architecture = Architecture("mlp", (4, 5, 3))
    learner = NumpyLearner(architecture.network(), optimizers.make("adam"))
    rng = np.random.default_rng(0)
    learner.step(rng.normal(size=(6, 4)), rng.integers(0, 3, 6))
    info = {
        "architecture": architecture,
        "error": np.float32(0.5),
        "best": float("inf"),
        "worst": float("nan"),
    }
    checkpoint.save(tmp_path, Checkpoint(1, learner.weights(), learner.optimizer_state(), info))
    came = checkpoint.load(tmp_path)
    assert came.info["architecture"]["sizes"] == [4, 5, 3]
    assert came.info["error"] == 0.5 and came.info["best"] == float("inf") and np.isnan(came.info["worst"])
    other = NumpyLearner(architecture.network(), optimizers.make("adam"))
    other.load(came.weights)
    other.load_optimizer_state(came.optimizer_state)
    for name, value in learner.optimizer_state().items():
        np.testing.assert_array_equal(other.optimizer_state()[name], value)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    left = {}
    for step in range(1, 8):
        checkpoint.save(tmp_path, make(step), best=step in (2, 4))
        left[step] = names(tmp_path)
    assert left[2] == pairs(1, 2) and left[3] == pairs(2, 3) and left[4] == pairs(3, 4)
    assert left[6] == pairs(4, 5, 6) and left[7] == pairs(4, 6, 7)
    assert checkpoint.load(tmp_path).path.name == "step-00000007.safetensors"
    assert checkpoint.best(tmp_path).name == "step-00000004.safetensors"
    same(checkpoint.load(checkpoint.best(tmp_path)), make(4))
    assert checkpoint.load(checkpoint.best(tmp_path)).best
    checkpoint.save(tmp_path, make(8), keep=3)
    assert names(tmp_path) == pairs(4, 6, 7, 8)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "mine.safetensors").touch()
    checkpoint.save(tmp_path, make(9), best=True, keep=1)
    assert names(tmp_path) == ["mine.safetensors", "notes.txt", *pairs(9)]


def test_a_step_saved_again(tmp_path):
    checkpoint.save(tmp_path, make(1), best=True)
    checkpoint.save(tmp_path, make(1, error=0.5))  # the same tensors stay the best
    assert checkpoint.best(tmp_path) and checkpoint.load(tmp_path).info["error"] == 0.5
    checkpoint.save(tmp_path, make(1, seed=9))
    assert checkpoint.best(tmp_path) is None
    same(checkpoint.load(tmp_path), make(1, seed=9))
    assert names(tmp_path) == pairs(1)


def test_going_back(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, make(step), keep=3)
    checkpoint.save(tmp_path, make(2, seed=9), keep=1)  # later steps are not its business
    assert names(tmp_path) == pairs(2, 3)
    checkpoint.drop_after(tmp_path, 2)
    assert names(tmp_path) == pairs(2)
    same(checkpoint.load(tmp_path), make(2, seed=9))


def test_nothing_there(tmp_path):
    assert checkpoint.best(tmp_path) is None and checkpoint.best(tmp_path / "no") is None
    for path in (tmp_path, tmp_path / "no", tmp_path / "step-00000001.safetensors"):
        with pytest.raises(UsageError, match="there is no checkpoint"):
            checkpoint.load(path)


DAMAGES = {
    "flipped bit": (lambda t, j: flip(t), DataError, "damaged.*SHA-256"),
    "flipped bit in the header": (lambda t, j: flip(t, 20), DataError, "damaged.*SHA-256"),
    "truncated": (lambda t, j: os.truncate(t, 100), DataError, "damaged.*SHA-256"),
    "empty": (lambda t, j: os.truncate(t, 0), DataError, "damaged.*SHA-256"),
    "no record": (lambda t, j: j.unlink(), DataError, "half a checkpoint.*json is missing"),
    "no tensors": (lambda t, j: t.unlink(), DataError, "half a checkpoint.*safetensors, are missing"),
    "torn record": (lambda t, j: os.truncate(j, 100), DataError, "not JSON"),
    "binary record": (lambda t, j: j.write_bytes(b"\xff\x00"), DataError, "not JSON"),
    "another record": (lambda t, j: j.write_text("[]"), DataError, "no record"),
    "edited record": (
        lambda t, j: j.write_text(j.read_text().replace('"seed": 7', '"seed": 8')),
        DataError,
        "text is not",
    ),
    "newer format": (lambda t, j: newer(j), UsageError, "newer gradparity.*upgrade"),
    "a folder": (lambda t, j: (t.unlink(), t.mkdir()), DataError, "half a checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_passed_over(tmp_path, damage):
    spoil, kind, sentence = DAMAGES[damage]
    checkpoint.save(tmp_path, make(1), best=True)
    path = checkpoint.save(tmp_path, make(2), best=True)
    spoil(path, path.with_suffix(".json"))
    if not path.is_dir():
        with pytest.raises(kind, match=sentence) as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value) and "step-00000002" in str(caught.value)
    came = checkpoint.load(tmp_path)
    same(came, make(1))
    (note,) = came.notes
    assert "step-00000002" in note
    assert checkpoint.best(tmp_path) == came.path
    first = tmp_path / "step-00000001.safetensors"
    flip(first)
    with pytest.raises(kind, match=f"no checkpoint in .* is intact.*{sentence}"):
        checkpoint.load(tmp_path)


def test_no_flipped_bit_of_the_record_passes(tmp_path):
    path = checkpoint.save(tmp_path, make(1))
    record = path.with_suffix(".json")
    text = record.read_bytes()
    for position in range(0, len(text), 3):
        record.write_bytes(text)
        flip(record, position)
        try:
            came = checkpoint.load(path)
        except GradparityError:
            continue
        same(came, make(1))  # only white space may have changed
        assert text[position : position + 1].isspace(), position


def test_foreign_tensors(tmp_path):
    safetensors.numpy.save_file({"weight": np.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"none of gradparity's: model\.json is missing"):
        checkpoint.load(tmp_path / "model.safetensors")
    checkpoint.save(tmp_path, make(1))
    assert checkpoint.load(tmp_path).notes == ()
    with pytest.raises(UsageError, match="safetensors cannot hold all of the dtypes complex128"):
        checkpoint.save(tmp_path, Checkpoint(2, {"fc1/W": np.ones(3, np.complex128)}, {}, {}))
    assert names(tmp_path) == ["model.safetensors", *pairs(1)]


@pytest.mark.parametrize("name", ["fc1/W", "fc1/b", "step", "fc1/W/mean"])
def test_what_does_not_fit_is_named(name):
    saved = make(4)
    checkpoint.check_fits(saved, saved.weights, saved.optimizer_state, **INFO, unknown="ignored")
    own = saved.weights if name in saved.weights else saved.optimizer_state
    kind = "network" if name in saved.weights else "optimizer"
    for changed, words in (
        ({k: v for k, v in own.items() if k != name}, r"\(.*\) there and missing here"),
        (own | {name: np.zeros((9, 9))}, r"\(.*\) there and \(9, 9\) here"),
        (own | {name + "2": np.zeros(())}, r"2 is missing there and \(\) here"),
    ):
        here = (changed, saved.optimizer_state) if kind == "network" else (saved.weights, changed)
        with pytest.raises(UsageError, match=f"step 4 is of another {kind}: {name}.*{words}"):
            checkpoint.check_fits(saved, *here)


def test_settings_that_do_not_fit_are_named(tmp_path):
    saved = checkpoint.load(checkpoint.save(tmp_path, make(4, architecture=Architecture(sizes=(4, 3)))))
    fit = saved.weights, saved.optimizer_state
    checkpoint.check_fits(saved, *fit, architecture=Architecture(sizes=(4, 3)), optimizer="adam")
    with pytest.raises(UsageError, match="optimizer is 'adam' there and 'sgd' here"):
        checkpoint.check_fits(saved, *fit, architecture=Architecture(sizes=(4, 3)), optimizer="sgd")
    with pytest.raises(UsageError, match=r"architecture\.activation is 'relu' there and 'tanh' here"):
        checkpoint.check_fits(saved, *fit, architecture=Architecture(sizes=(4, 3), activation="tanh"))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def big(step):
    return Checkpoint(step, {"fc1/W": np.full(12_500, float(step))}, {"step": np.int64(step)}, {})


def test_a_full_disk(small_disk):
    folder = small_disk / "checkpoints"
    checkpoint.save(folder, big(1))
    checkpoint.save(folder, big(2))  # 100 kB each
    for _ in range(2):
        with pytest.raises(GradparityError, match=r"disk is full.*before it are intact") as caught:
            checkpoint.save(folder, big(3))
        assert caught.value.exit_code == 4 and "step-00000003" in str(caught.value)
        assert names(folder) == pairs(1, 2)
        same(checkpoint.load(folder), big(2))
        same(checkpoint.load(folder / pairs(1)[1]), big(1))
    (folder / pairs(1)[1]).unlink()
    checkpoint.save(folder, big(3))  # there is room again
    assert names(folder) == pairs(2, 3)


def test_what_is_renamed_has_reached_the_disk(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, real=real: (calls.append(n), real(*a))[1])
    checkpoint.save(tmp_path, make(1))
    assert calls == ["fsync", "fsync", "replace", "replace", "fsync"]  # the last is the folder's


@pytest.mark.parametrize("failing", range(2))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_fails_at_either_file(tmp_path, monkeypatch, number, failing):
    checkpoint.save(tmp_path, make(1))
    write, count = files.write, iter(range(9))

    def broken(path, data):
        write(path, data[: len(data) // 2])
        if next(count) == failing:
            raise OSError(number, os.strerror(number))
        write(path, data)

    monkeypatch.setattr(files, "write", broken)
    with pytest.raises(GradparityError, match="could not be written") as caught:
        checkpoint.save(tmp_path, make(2))
    assert files.REASONS.get(number, "Input/output error") in str(caught.value)
    assert names(tmp_path) == pairs(1)
    same(checkpoint.load(tmp_path), make(1))


def test_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "checkpoints"):
        with pytest.raises(GradparityError, match="a file stands where a folder is needed"):
            checkpoint.save(folder, make(1))


def test_a_closed_folder():
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: nobody must be able to enter it
        folder = pathlib.Path(name)
        checkpoint.save(folder, make(1))
        folder.chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:  # root may write anywhere
                os.seteuid(65534)
            with pytest.raises(GradparityError, match="no permission to write there"):
                checkpoint.save(folder, make(2))
            same(checkpoint.load(folder), make(1))
        finally:
            os.seteuid(user)
            folder.chmod(0o700)
        assert names(folder) == pairs(1)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
import safetensors.numpy
from scratch import checkpoint
from scratch.checkpoint import Checkpoint

folder, EVENTS = Path(sys.argv[2]), ("open", "os.rename", "os.remove", "os.mkdir")

def make(step, shift=0):
    rng = np.random.default_rng(step)
    weights = {"fc1/W": rng.normal(size=20_000) + shift}
    return Checkpoint(step, weights, {"step": np.int64(step)}, {"of": step, "shift": shift})

def check(*allowed):
    came = checkpoint.load(folder)
    assert came.step == came.info["of"] == came.optimizer_state["step"], came
    assert came.info["shift"] in allowed
    np.testing.assert_array_equal(came.weights["fc1/W"], make(came.step, came.info["shift"]).weights["fc1/W"])
    return came

def child(run, dies_at=None):
    if pid := os.fork():
        return pid
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in EVENTS and str(folder) in str(arguments[0]):
            if count == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
    if dies_at is not None:
        sys.addaudithook(hook)
    try:
        run()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)

def killed(pid):
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0

def everywhere(before, step, shift):
    # kill at each operation on a file: every state that a kill can leave is looked at
    seen = []
    while True:
        for path in folder.iterdir():
            path.unlink()
        for number in before:
            checkpoint.save(folder, make(number), best=number == 1)
        died = killed(child(lambda: checkpoint.save(folder, make(step, shift)), len(seen)))
        came = check(0, shift)
        seen.append((came.step, (came.step, came.info["shift"]) == (step, shift)))
        assert came.notes == () and came.step >= max(before)
        if step not in before:
            assert checkpoint.load(checkpoint.best(folder)).step == 1
        checkpoint.save(folder, make(9))
        kept = {path.name for path in folder.iterdir()}
        assert not any(name.endswith("tmp") for name in kept), kept
        halves = [{n.split(".")[0] for n in kept if n.endswith(end)} for end in ("json", "safetensors")]
        assert halves[0] == halves[1], kept
        for stem in halves[0]:
            assert checkpoint.load(folder / f"{stem}.json").step == int(stem[5:])
        if not died:
            assert seen == sorted(seen) and {s for s, _ in seen} == {max(before), step}, seen
            assert {new for _, new in seen} == {False, True}, seen
            return len(seen)

folder.mkdir()
if sys.argv[1] == "everywhere":
    print(everywhere((1, 2, 3), 4, 0), everywhere((1,), 1, 0.5))
else:
    def forever(start):
        for step in range(start, start + 10**6):
            checkpoint.save(folder, make(step), best=step % 7 == 0)
    rng, steps, strays = random.Random(0), [0], 0
    checkpoint.save(folder, make(1))
    for _ in range(20):
        pid = child(lambda: forever(steps[-1] + 1))
        time.sleep(rng.uniform(0.01, 0.08))
        os.kill(pid, signal.SIGKILL)
        assert killed(pid)
        strays += any(folder.glob("*.tmp"))
        steps.append(check(0).step)
    assert steps == sorted(steps)
    print(steps[-1], strays)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
@pytest.mark.parametrize("moments", ["everywhere", "random"])
def test_sigkill(tmp_path, moments):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLS, moments, tmp_path / "checkpoints"],
        cwd=pathlib.Path(scratch.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    first, second = map(int, run.stdout.split())
    if moments == "everywhere":
        assert first > 12 and second > 8  # operations on files that a save is made of
    else:
        assert first > 20  # steps that were saved between the kills
