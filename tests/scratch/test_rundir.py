"""A run directory appears complete, has one owner, and says truly how far it came."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import scratch
from scratch import checkpoint, environment, files
from scratch.checkpoint import Checkpoint
from scratch.errors import DataError, GradparityError, UsageError
from scratch.rundir import RunDirectory

HOME = pathlib.Path(scratch.__file__).parent.parent
CONFIG = {"model": "dcn", "framework": "torch", "seed": 3, "lr": 1e-4, "hidden": (64, 32)}


def at(step):
    return Checkpoint(step, {"fc1/W": np.full(3, float(step))}, {"step": np.int64(step)}, {})


def read(path):
    """JSON as others read it: without NaN."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture
def run(tmp_path):
    with RunDirectory.create(tmp_path / "runs", CONFIG, "first") as made:
        yield made


def test_a_new_run_holds_all_its_files(tmp_path):
    data = {"source": "mnist-5k", "sha256": "00ff"}
    with RunDirectory.create(tmp_path / "new" / "runs", CONFIG, data=data) as run:
        assert sorted(os.listdir(run.path.parent)) == [run.path.name]
        assert run.path.name.endswith("-dcn-torch-seed3") and run.path.name.startswith("20")
        assert read(run.path / "config.json") == run.config == CONFIG | {"hidden": [64, 32]}
        assert run.checkpoints == run.path / "checkpoints" and run.checkpoints.is_dir()
        found = read(run.path / "environment.json")
        assert found["data"] == data and found["numpy"] == np.__version__ and found["cpus"] == os.cpu_count()
        assert found["python"] == sys.version.split()[0]
        assert run.metrics() == [] and run.notes == ()
        status = read(run.path / "status.json")
        assert status["state"] == "running" and status["step"] == 0 and status["created"].endswith("+00:00")


def test_names(tmp_path):
    runs = [RunDirectory.create(tmp_path, CONFIG) for _ in range(4)]
    assert len({run.path for run in runs}) == 4  # all within a second or two
    mine = RunDirectory.create(tmp_path, CONFIG, "mine")
    mine.log({"step": 1})
    with pytest.raises(UsageError, match="mine is there already; choose another name or resume it"):
        RunDirectory.create(tmp_path, CONFIG, "mine")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is there already"):
        RunDirectory.create(tmp_path, CONFIG, "file")
    assert mine.metrics() == [{"step": 1}]
    for bad in ("", "..", ".hidden", "a/b", "/absolute"):
        with pytest.raises(UsageError, match="plain folder name"):
            RunDirectory.create(tmp_path, CONFIG, bad)
    assert not list(tmp_path.glob(".*"))
    for run in (*runs, mine):
        run.close()


def test_a_file_is_replaced_and_not_overwritten(tmp_path):
    path = tmp_path / "status.json"
    files.write_atomically(path, b"old and long")
    with open(path, "rb") as reader:
        files.write_atomically(path, b"new")
        assert reader.read() == b"old and long" and path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["status.json"]


def test_metrics_are_appended(run):
    values = {
        "step": 2,
        "loss": np.float32(0.1),
        "nan": float("nan"),
        "more": {"inf": [np.inf, 1]},
        "text": "µ\n",
    }
    run.log({"step": 1, "loss": 0.5})
    run.log(values)
    expected = [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": float(np.float32(0.1)), "nan": None, "more": {"inf": [None, 1]}, "text": "µ\n"},
    ]
    assert run.metrics() == expected
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected and "NaN" not in "".join(lines)


def test_a_torn_last_line_is_left_out_and_removed(run):
    run.log({"step": 1})
    run.log({"step": 2, "loss": 0.25})
    run.close()
    file = run.path / "metrics.jsonl"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        file.write_bytes(whole[:length])
        assert RunDirectory.view(run.path).metrics() == [{"step": 1}], length
    file.write_bytes(whole[:first] + b"\0" * 40)
    with RunDirectory.open(run.path) as again:
        again.log({"step": 2})
        assert again.metrics() == [{"step": 1}, {"step": 2}]
    file.write_bytes(whole[:5] + b"\n" + whole)
    with pytest.raises(DataError, match=r"metrics\.jsonl is damaged in line 1"):
        again.metrics()
    with pytest.raises(DataError, match=r"metrics\.jsonl is damaged in line 1"):
        RunDirectory.open(run.path)
    file.write_bytes(whole)
    RunDirectory.open(run.path).close()  # the failed attempt gave its lock back


def test_going_back_to_a_checkpoint(run):
    for step in range(1, 7):
        run.log({"step": step, "loss": 1 / step})
        if step % 2 == 0:
            run.save(at(step), best=step == 2)
    assert sorted(os.listdir(run.checkpoints))[0].startswith("step-00000002")
    before = (run.path / "metrics.jsonl").read_bytes().splitlines()
    run.close()
    with open(run.checkpoints / "step-00000006.safetensors", "ab") as file:
        file.write(b"!")
    with RunDirectory.open(run.path) as again:
        found = checkpoint.load(again.checkpoints)
        assert found.step == 4 and "step-00000006" in found.notes[0]
        again.rewind(found.step)
        assert (run.path / "metrics.jsonl").read_bytes().splitlines() == before[:4]
        assert checkpoint.load(again.checkpoints).notes == ()
        again.log({"step": 5})
        assert [record["step"] for record in again.metrics()] == [1, 2, 3, 4, 5]
        again.rewind(0)
        assert again.metrics() == [] and os.listdir(again.checkpoints) == []


def test_status(run):
    created = run.status()["created"]
    run.mark("running", 100)
    assert run.status()["step"] == 100
    run.mark("finished", 200, "all steps taken")
    status = run.status()
    assert status == read(run.path / "status.json")
    assert (status["state"], status["step"], status["reason"]) == ("finished", 200, "all steps taken")
    assert status["created"] == created and status["updated"] >= created
    with pytest.raises(UsageError, match="a run is running, finished"):
        run.mark("happy")


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt, "interrupted"), (ValueError, "failed"), (SystemExit, "interrupted")],
)
def test_an_error_is_noted(tmp_path, error, state):
    with pytest.raises(error), RunDirectory.create(tmp_path, CONFIG, "run") as run:
        run.mark("running", 7)
        raise error("why")
    status = RunDirectory.view(run.path).status()
    assert (status["state"], status["step"]) == (state, 7) and "why" in status["reason"]
    with pytest.raises(error), RunDirectory.open(run.path) as run:
        run.mark("finished", 8)
        raise error("too late to matter")
    assert RunDirectory.view(run.path).status()["state"] == "finished"


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(UsageError, match="there is no run"):
        RunDirectory.open(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("empty", "file"):
        with pytest.raises(UsageError, match=f"{name} is not a run directory"):
            RunDirectory.open(tmp_path / name)
    run = RunDirectory.create(tmp_path, CONFIG, "run")
    run.mark("finished", 10)
    run.close()
    with pytest.raises(UsageError, match="run is finished at step 10"):
        RunDirectory.open(run.path)
    with RunDirectory.open(run.path, finished=True) as again:
        assert again.status()["state"] == "running" and again.status()["step"] == 10
    for text in ("{", "[]", ""):
        (run.path / "config.json").write_text(text)
        with pytest.raises(DataError, match=r"config\.json is damaged"):
            RunDirectory.open(run.path, finished=True)


def test_a_lost_status_does_not_stop_a_run(run):
    run.close()
    for spoil in (lambda p: p.write_text("{"), lambda p: p.unlink()):
        spoil(run.path / "status.json")
        with RunDirectory.open(run.path) as again:
            assert again.status()["state"] == "running"


def test_a_run_has_one_owner(run):
    with pytest.raises(UsageError, match="another process is working on the run"):
        RunDirectory.open(run.path)
    seen = RunDirectory.view(run.path)  # readers are always welcome
    assert seen.status()["state"] == "running" and seen.config == run.config
    run.close()
    assert seen.status()["state"] == "interrupted"
    with RunDirectory.open(run.path):
        assert seen.status()["state"] == "running"


OWNER = """
import sys, time
from scratch.rundir import RunDirectory
run = RunDirectory.create(sys.argv[1], {}, "run")
step = 0
while True:
    step += 1
    run.log({"step": step, "text": "x" * 300})
    run.mark("running", step)
    if step == 20:
        print("on its way", flush=True)
"""


def test_a_killed_owner_leaves_a_run_that_goes_on(tmp_path):
    command = [sys.executable, "-c", OWNER, tmp_path]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline()
        with pytest.raises(UsageError, match="another process"):
            RunDirectory.open(tmp_path / "run")
        assert RunDirectory.view(tmp_path / "run").status()["state"] == "running"
        owner.send_signal(signal.SIGKILL)
    status = RunDirectory.view(tmp_path / "run").status()
    assert (status["state"], status["reason"]) == ("interrupted", "its process ended without a word")
    assert status["step"] >= 19
    with RunDirectory.open(tmp_path / "run") as run:
        steps = [record["step"] for record in run.metrics()]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) in (status["step"], status["step"] + 1)
        run.rewind(10)
        run.log({"step": 11})
        assert len(run.metrics()) == 11


CREATIONS = """
import os, signal, sys
from pathlib import Path
from scratch import rundir
root, moment = Path(sys.argv[1]), 0
rundir.environment = dict
while True:
    if not (pid := os.fork()):
        count = 0
        def hook(event, arguments):
            global count
            if event in ("open", "os.rename", "os.mkdir") and str(root) in str(arguments[0]):
                count += 1
                if count > moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        rundir.RunDirectory.create(root, {"seed": moment}, f"run{moment}")
        os._exit(0)
    died = os.waitpid(pid, 0)[1] != 0
    path = root / f"run{moment}"
    if path.exists():
        with rundir.RunDirectory.open(path) as run:
            assert run.config == {"seed": moment} and (path / "environment.json").exists()
    else:
        assert died
        rundir.RunDirectory.create(root, {}, path.name).close()  # its name is still free
    if not died:
        break
    moment += 1
print(moment)
"""


def test_a_kill_leaves_all_of_a_new_run_or_nothing(tmp_path):
    command = [sys.executable, "-W", "error", "-c", CREATIONS, tmp_path / "runs"]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10  # moments at which it was killed


def test_a_full_disk(tmp_path, run, monkeypatch):
    run.log({"step": 1})
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}

    def full(path, data):
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        for attempt in (
            lambda: run.mark("running", 5),
            lambda: run.save(at(1)),
            lambda: run.rewind(0),
            lambda: RunDirectory.create(tmp_path / "runs", CONFIG, "second"),
        ):
            with pytest.raises(GradparityError, match="could not be written: the disk is full"):
                attempt()
        with pytest.raises(ValueError, match="the real reason"), run:
            raise ValueError("the real reason")
    assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before
    assert os.listdir(run.path.parent) == ["first"] and os.listdir(run.checkpoints) == []


def test_a_really_full_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    try:
        with RunDirectory.create(folder, CONFIG, "run") as run:
            logged = 0
            with pytest.raises(
                GradparityError, match=r"metrics\.jsonl could not be written: the disk is full"
            ):
                for step in range(1000):
                    run.log({"step": step, "text": "x" * 300})
                    logged += 1
            assert [record["step"] for record in run.metrics()] == list(range(logged)) and logged > 50
            assert (run.path / "metrics.jsonl").read_bytes().endswith(b"\n")
            with pytest.raises(GradparityError, match="the disk is full"):
                RunDirectory.create(folder, CONFIG, "second")
            assert os.listdir(folder) == ["run"]
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_root_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(GradparityError, match="a file stands where a folder is needed"):
        RunDirectory.create(tmp_path / "file", CONFIG)

    def closed(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "mkdir", closed)
    with pytest.raises(GradparityError, match="no permission to write there"):
        RunDirectory.create(tmp_path, CONFIG)


def test_a_changed_environment_is_noted(run, monkeypatch):
    run.close()
    with RunDirectory.open(run.path) as again:
        assert again.notes == ()
    monkeypatch.setattr("scratch.rundir.environment", lambda: environment.environment() | {"numpy": "1.0"})
    with RunDirectory.open(run.path) as again:
        assert again.notes == (f"numpy was {np.__version__} and is 1.0 now.",)
    with RunDirectory.open(run.path) as again:
        assert again.notes == ()
    found = read(run.path / "environment.json")
    assert (
        found["numpy"] == np.__version__ and [entry["numpy"] for entry in found["resumed"]][1:] == ["1.0"] * 2
    )
    (run.path / "environment.json").unlink()
    RunDirectory.open(run.path).close()


def test_git_revision(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", tmp_path, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert environment.git_revision(tmp_path) is None
    git("init")
    for folder in ("code", "installed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("1")
    assert environment.git_revision(tmp_path / "code") is None  # no commit yet
    git("add", "code")
    git("commit", "-m", "m")
    assert environment.git_revision(tmp_path / "installed") is None  # below a checkout, but not of it
    revision = git("rev-parse", "HEAD")
    assert environment.git_revision(tmp_path / "code") == revision
    (tmp_path / "code" / "a.py").write_text("2")
    assert environment.git_revision(tmp_path / "code") == revision + "+"
    monkeypatch.setenv("PATH", "")
    assert environment.git_revision(tmp_path / "code") is None
    assert environment.environment()["git"] is None


def test_loaded_frameworks_are_noted_and_none_is_loaded():
    program = (
        "import sys, types; sys.modules['keras'] = types.SimpleNamespace(__version__='9')\n"
        "sys.modules['triton'] = None\n"
        "from scratch.environment import environment; e = environment()\n"
        "assert e['keras'] == '9' and 'torch' not in e and 'tensorflow' not in e, e\n"
        "assert 'torch' not in sys.modules and e['threads']['OMP_NUM_THREADS'] == '2'"
    )
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=HOME, env=env, check=True, timeout=60)


def test_a_line_of_metrics_costs_little(run):
    start = time.perf_counter()
    for step in range(200):
        run.log({"step": step, "loss": 0.5, "error": 0.25})
    assert time.perf_counter() - start < 2  # about 30 us each
    assert len(run.metrics()) == 200
