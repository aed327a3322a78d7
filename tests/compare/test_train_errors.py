"""What goes wrong in `gradparity train`: one sentence, the right exit code, and a run that can go on."""

import itertools
import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from board import reader
from damage import flip, newer

from compare import cli, train
from scratch import checkpoint
from scratch.rundir import RunDirectory

STEPS = 60
COURSE = f"mlp --hidden 8 --dropout 0.3 --split 600,100,100 --steps {STEPS} --log-every 10 --eval-every 20"
COURSE += " --checkpoint-every 10"
OPTIONS = {"hidden": (8,), "dropout": 0.3, "split": (600, 100, 100), "steps": STEPS}
OPTIONS |= {"log_every": 10, "eval_every": 20, "checkpoint_every": 10}


@pytest.fixture
def run(capsys):
    """Run `train` with these words and paths: (exit code, stdout, stderr)."""

    def run_(*arguments):
        words = (part.split() if isinstance(part, str) else [str(part)] for part in arguments)
        code = cli.main(["train", *itertools.chain(*words)])
        return (code, *capsys.readouterr())

    return run_


def sentence(err):
    """The last line: what went wrong. Above it are evaluations at most."""
    *lines, last = err.splitlines()
    assert last.startswith("gradparity: ") and last.endswith("."), err
    assert all(line.startswith("step ") for line in lines), err
    return last


class Stop(Exception):
    pass


def stopped(folder, name="part", at=35, **options):
    """A run that broke off: its last checkpoints are of steps 20 and 30."""

    def look(seen):
        if seen.step == at:
            raise Stop

    with pytest.raises(Stop):
        train.start(train.Options(**OPTIONS | options), str(folder), name, look)
    return folder / name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run, never disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train.start(train.Options(**OPTIONS), str(folder), "run")
    return RunDirectory.view(folder / "run")


def same(path, whole):
    """Bit for bit."""
    here, there = (checkpoint.load(folder) for folder in (path / "checkpoints", whole.checkpoints))
    assert here.step == there.step == STEPS and here.notes == ()
    for mine, theirs in ((here.weights, there.weights), (here.optimizer_state, there.optimizer_state)):
        assert list(mine) == list(theirs)
        assert all(np.asarray(mine[n]).tobytes() == np.asarray(theirs[n]).tobytes() for n in theirs)
    assert (path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    assert RunDirectory.view(path).status()["state"] == "finished"


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# 4: the disk


@contextmanager
def disk(folder, *options):
    """A real file system of 2 MiB, to be filled or closed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_costs_no_checkpoint_and_the_run_goes_on_when_there_is_room(tmp_path, run, whole):
    """With room for so many KiB it is the folder, the events or a checkpoint that does not fit any more."""
    failed, reached = set(), set()
    for room in (8, 24, 120, 200, 280, 400):
        with disk(tmp_path / f"disk{room}") as folder:
            (folder / "ballast").write_bytes(bytes(1024 * (2048 - room)))
            code, out, err = run(COURSE, "--runs-dir", folder / "runs", "--name part")
            assert (code, out) == (4, ""), err
            said = sentence(err)
            assert "could not be written: the disk is full" in said
            failed.add(next(k for k in ("run directory", "event file", "checkpoint") if f"the {k}" in said))
            path = folder / "runs" / "part"
            (folder / "ballast").unlink()
            if not path.exists():
                assert not contents(folder), "a refused run leaves nothing"
                continue
            assert RunDirectory.view(path).status()["state"] in ("failed", "interrupted")
            assert not list(path.rglob("*.tmp")) and not list(folder.rglob(".*"))
            tensors = list((path / "checkpoints").glob("*.safetensors"))
            reached |= {checkpoint.load(file).step for file in tensors}  # each is intact
            code, out, err = run("--resume", path, "--json")
            assert code == 0 and json.loads(out)["steps"] == STEPS and "warning" not in err, err
            same(path, whole)
            shutil.copytree(path, tmp_path / f"run{room}")
    assert failed == {"run directory", "event file", "checkpoint"} and {10, 20, 30} <= reached
    with reader() as read:
        expected = read("run", whole.path)["scalars"]
        for path in tmp_path.glob("run*"):
            found = read("run", path)["scalars"]
            assert [step for step, _ in found.pop("time/step_ms")] == list(range(1, STEPS + 1))
            assert found == {tag: points for tag, points in expected.items() if tag != "time/step_ms"}


def test_a_folder_that_cannot_be_written(tmp_path, run):
    with disk(tmp_path / "disk") as folder:
        path = stopped(folder / "runs")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        before = contents(folder)
        for arguments in ((COURSE, "--runs-dir", folder / "runs", "--name new"), ("--resume", path)):
            code, out, err = run(*arguments, "--json")
            assert (code, out) == (4, "") and "the file system is read-only" in sentence(err)
        assert contents(folder) == before
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "runs"):
        code, out, err = run(COURSE, "--runs-dir", place)
        assert (code, out) == (4, "") and "a file stands where a folder is needed" in sentence(err)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "file"]


# Checkpoints that are damaged or do not belong there


DAMAGES = {
    "flipped": lambda tensors: flip(tensors),
    "halved": lambda tensors: tensors.with_suffix(".json").unlink(),
    "newer": lambda tensors: newer(tensors.with_suffix(".json")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path, run, whole, damage):
    path = stopped(tmp_path)
    DAMAGES[damage](path / "checkpoints" / "step-00000030.safetensors")
    code, out, err = run("--resume", path, "--json")
    assert code == 0 and json.loads(out)["steps"] == STEPS
    assert err.startswith("warning: Passed over a checkpoint: ") and "step-00000030" in err
    assert err.count("\n") == 1
    same(path, whole)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_without_any_intact_checkpoint_is_not_begun_anew_in_silence(tmp_path, run, damage):
    path = stopped(tmp_path)
    for tensors in (path / "checkpoints").glob("*.safetensors"):
        DAMAGES[damage](tensors)
    before, metrics = contents(path / "checkpoints"), (path / "metrics.jsonl").read_bytes()
    code, out, err = run("--resume", path, "--json")
    assert (code, out) == (2 if damage == "newer" else 4, ""), err
    assert f"no checkpoint in {path / 'checkpoints'} is intact" in sentence(err)
    assert contents(path / "checkpoints") == before and (path / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"hidden": (9,)}, "another network: fc1/W is (784, 9) there and (784, 8) here"),
        ({"activation": "tanh"}, "options.activation is 'tanh' there and 'relu' here"),
        ({"optimizer": "sgd"}, "another optimizer: "),
    ],
    ids=["sizes", "activation", "optimizer"],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, run, whole, other, told):
    path, foreign = stopped(tmp_path), stopped(tmp_path, "other", at=45, **other)
    copies = [
        Path(shutil.copy(file, path / "checkpoints")) for file in foreign.glob("checkpoints/step-*40.*")
    ]
    assert len(copies) == 2
    before, metrics = contents(path / "checkpoints"), (path / "metrics.jsonl").read_bytes()
    code, out, err = run("--resume", path, "--json")
    assert (code, out) == (2, ""), err
    assert told in (said := sentence(err)) and "step-00000040" in said
    assert contents(path / "checkpoints") == before and (path / "metrics.jsonl").read_bytes() == metrics
    for copy in copies:
        copy.unlink()
    assert run("--resume", path, "--json")[0] == 0
    same(path, whole)


# 2: nothing to resume


def test_a_folder_that_is_no_run(tmp_path, run):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes").write_text("mine")
    for name, told in (("none", "there is no run"), ("folder", "not a run"), ("folder/notes", "not a run")):
        code, out, err = run("--resume", tmp_path / name)
        assert (code, out) == (2, "") and told in sentence(err) and name in err
    assert list(contents(tmp_path).values()) == [b"mine"]
