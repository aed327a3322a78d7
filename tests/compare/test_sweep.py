"""Sweeps of real processes: stopped, killed, crashed, called again, and what they leave behind."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from board import reader

from compare import cli, grid, sweep, train
from compare.sweep import Sweep
from scratch import checkpoint
from scratch.errors import MissingError, UsageError
from scratch.rundir import RunDirectory

ROOT = Path(__file__).parents[2]
SHORT = {
    "hidden": [(12,)],
    "dropout": [0.3],
    "split": [(600, 100, 100)],
    "steps": [30],
    "log_every": [10],
    "eval_every": [15],
    "checkpoint_every": [10],
}
FLAGS = "--hidden 12 --dropout 0.3 --split 600,100,100 --log-every 10 --eval-every 15 --checkpoint-every 10"
# a second or two, so that a signal comes in time
LONG = {"steps": 1500, "log_every": 500, "eval_every": 500, "checkpoint_every": 100}
LONG_FLAGS = "--hidden 12 --dropout 0.3 --split 600,100,100 " + " ".join(
    f"--{name.replace('_', '-')} {value}" for name, value in LONG.items()
)


def points(**values):
    return grid.points(SHORT | values)


def long_points(**values):
    return points(**{name: [value] for name, value in LONG.items()} | values)


def states(swept):
    return {run.point.name: run.state for run in swept.runs}


def files_of(path):
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}


def processes(folder):
    """Those whose command names the folder."""
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in found if int(pid) != os.getpid()]


def hparams(folder):
    """The statuses in each row of TensorBoard's HParams, which is a run."""
    with reader() as read:
        groups = read("logdir", folder)["groups"]
    return {group["name"]: [s.get("status", "unknown") for s in group["sessions"]] for group in groups}


def same_as_uninterrupted(point, folder, path):
    """The weights of the run are, bit for bit, those of the same settings trained in one go."""
    train.start(replace(point.options, threads=1), str(path), point.name)
    expected = checkpoint.load(path / point.name / "checkpoints").weights
    for name, value in checkpoint.load(folder / point.name / "checkpoints").weights.items():
        np.testing.assert_array_equal(value, expected[name])


def started(command, folder, **kind):
    """`gradparity` in a process of its own, once a run of the sweep has saved something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compare.cli", *shlex.split(command), "--runs-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **kind,
    )
    while not list(folder.glob("*/*/checkpoints/*.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def test_a_crash_and_a_kill_cost_one_run_each_and_the_second_call_mends_what_it_can(tmp_path):
    asked = points(activation=["relu", "tanh"], optimizer=["sgd", "adam"], seed=[0, 1])
    asked[1] = replace(asked[1], options=replace(asked[1].options, lr=1e30))  # relu, sgd
    asked[2] = replace(asked[2], options=replace(asked[2].options, **LONG), steps=LONG["steps"])
    diverging, killed = asked[1].name, asked[2].name
    first = Sweep(asked, tmp_path, "all", jobs=2, threads=1)
    pids = []

    def kill(swept):
        process = next((p for run, p in swept._processes.items() if run.point.name == killed), None)
        if process and not pids and list(tmp_path.glob(f"all/{killed}/checkpoints/*.safetensors")):
            pids.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    first.go(kill)
    others = {name for name in states(first) if name not in (diverging, killed)}
    assert len(pids) == 1 and len(others) == 6
    assert states(first) == dict.fromkeys(others, "finished") | {diverging: "failed", killed: "interrupted"}
    reasons = {run.point.name: run.reason for run in first.runs if not run.finished}
    assert "SIGKILL" in reasons[killed] and "step 2: fc1/W is not finite" in reasons[diverging]
    assert not first.complete and not first.interrupted
    assert [run.metrics.evaluations[-1]["step"] for run in first.runs if run.point.name in others] == [30] * 6

    ended = {name: ["STATUS_SUCCESS"] for name in others} | {diverging: ["STATUS_FAILURE"]}
    assert hparams(tmp_path / "all") == ended | {killed: ["unknown"]}

    kept = {name: files_of(tmp_path / "all" / name) for name in others}
    second = Sweep(asked, tmp_path, "all", jobs=2, threads=2)
    second.go()
    assert states(second) == dict.fromkeys(others, "skipped") | {diverging: "failed", killed: "finished"}
    assert {name: files_of(tmp_path / "all" / name) for name in others} == kept
    same_as_uninterrupted(asked[2], tmp_path / "all", tmp_path / "apart")
    times = re.findall(r"^sweep: (\w+) after (\S+) s$", (tmp_path / f"all/{killed}.log").read_text(), re.M)
    assert [state for state, _ in times] == ["interrupted", "finished"]
    assert second.runs[2].seconds == pytest.approx(sum(float(took) for _, took in times), abs=0.02)
    assert hparams(tmp_path / "all") == ended | {killed: ["STATUS_SUCCESS"]}


def test_ctrl_c_saves_leaves_no_process_and_the_same_command_goes_on(tmp_path, capsys):
    command = f"sweep mlp {LONG_FLAGS} --seed 0,1,2 --jobs 2 --threads 1 --name s"
    process = started(command, tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert processes(tmp_path) == []
    assert err.splitlines()[-1] == "gradparity: interrupted; the same command goes on where it stopped."
    assert "not started: 1 of 3 runs" in out and "Traceback" not in err
    stopped = [RunDirectory.view(path.parent) for path in sorted(tmp_path.glob("s/*/config.json"))]
    assert {run.status()["state"] for run in stopped} == {"interrupted"}
    assert any(f"told to stop after step {run.status()['step']}" in out for run in stopped)
    assert any("stopped after step" in run.status()["reason"] for run in stopped)  # told, not killed

    again = [*shlex.split(command), "--runs-dir", str(tmp_path), "--json"]
    assert cli.main(again) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema"] == "gradparity/sweep/1" and "rank" in err
    assert [run["state"] for run in document["runs"]] == ["finished"] * 3
    assert [run["options"] for run in document["runs"]] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert Path(document["figure"]).read_bytes().startswith(b"\x89PNG")
    (row,) = document["ranking"]
    assert row["finished"] == 3 and row["rank"] == 1
    assert row["error"] == pytest.approx(np.mean([run["validation_error"] for run in document["runs"]]))
    for point in long_points(seed=[0, 1, 2])[:2]:
        same_as_uninterrupted(point, tmp_path / "s", tmp_path / "apart")


def test_a_call_with_nothing_to_do_starts_no_process(tmp_path, monkeypatch, capsys):
    command = shlex.split(f"sweep mlp {FLAGS} --steps 30 --seed 0,1 --runs-dir {tmp_path}")
    assert cli.main(command) == 0
    first = capsys.readouterr()
    assert re.search(r"^ +1 +2/2 .* ± \d", first.out, re.M)
    monkeypatch.setattr(sweep, "_process", lambda *_: pytest.fail("a process was started"))
    kept = files_of(tmp_path)
    assert cli.main(command) == 0
    second = capsys.readouterr()
    assert second.out == first.out and second.err.count("skipped") == 2
    now = files_of(tmp_path)
    assert {file for file in now if now[file] != kept.get(file)} == {tmp_path / "sweep-mlp" / "summary.png"}


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells the children")
def test_children_save_and_end_when_the_sweep_is_killed(tmp_path):
    process = started(f"sweep mlp {LONG_FLAGS} --steps 60000 --seed 0,1 --threads 1", tmp_path)
    process.kill()
    process.communicate()
    ends = time.monotonic() + 30
    while processes(tmp_path) and time.monotonic() < ends:
        time.sleep(0.05)
    assert processes(tmp_path) == []
    reasons = [json.loads(path.read_bytes())["reason"] for path in tmp_path.glob("*/*/status.json")]
    assert any(re.search(r"stopped after step \d+", reason) for reason in reasons)


def test_an_error_of_the_sweep_itself_leaves_no_process(tmp_path):
    swept = Sweep(long_points(seed=[0, 1], steps=[20_000]), tmp_path, jobs=2)

    def fail(swept):
        if len(processes(tmp_path)) == 2:
            raise RuntimeError("the table broke")

    with pytest.raises(RuntimeError, match="the table broke"):
        swept.go(fail)
    assert processes(tmp_path) == [] and not [run for run in swept.runs if run.on_disk()[0] == "finished"]


def deaf(arguments, threads, log):
    """A process that ignores SIGINT."""
    program = (
        f"import signal, time; signal.signal(2, 1); open({str(log)!r}, 'w').write('deaf'); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while not log.exists() or log.read_text() != "deaf":
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(("signals", "grace", "least", "most"), [(1, 0.5, 0.5, 5.0), (2, 30.0, 0.0, 5.0)])
def test_what_does_not_stop_is_killed_after_a_while_or_at_the_second_signal(
    signals, grace, least, most, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep, "_process", deaf)
    monkeypatch.setattr(sweep, "GRACE", grace)
    before = signal.getsignal(signal.SIGTERM)
    swept, sent = Sweep(points(seed=[0, 1, 2]), tmp_path, jobs=1), []

    def stop(swept):
        if len(sent) < signals:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    swept.go(stop)
    assert least <= time.monotonic() - sent[0] <= most
    assert list(states(swept).values()) == ["interrupted", "waiting", "waiting"] and swept.interrupted
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_dies_before_it_has_a_folder_is_failed_with_its_last_words(tmp_path, monkeypatch):
    seen = {}

    def popen(command, **kind):
        seen.update(kind, command=command)
        program = "print('gradparity: no room.'); raise SystemExit(3)"
        return original([sys.executable, "-c", program], stdout=kind["stdout"])

    original = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    swept = Sweep(points(), tmp_path, "s", threads=3)
    swept.go()
    assert [(run.state, run.reason) for run in swept.runs] == [("failed", "no room.")]
    assert {seen["env"][f"{library}_NUM_THREADS"] for library in ("OMP", "OPENBLAS", "MKL")} == {"3"}
    assert seen["env"]["PYTHONPATH"] == f"{ROOT}{os.pathsep}/elsewhere" and seen["start_new_session"]
    assert "--threads=3" in seen["command"]


def test_runs_find_the_package_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "compare.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    swept = Sweep(points(), "below", "s")
    swept.go()
    assert swept.complete, swept.runs[0].reason
    assert (tmp_path / "below" / "s" / swept.runs[0].point.name / "config.json").is_file()


def test_a_run_that_another_process_works_on_is_left_to_it(tmp_path):
    asked = points(seed=[0, 1])
    with RunDirectory.create(tmp_path / "s", {"model": "mlp"}, asked[0].name) as theirs:
        swept = Sweep(asked, tmp_path, "s")
        swept.go()
        assert list(states(swept).values()) == ["running", "finished"]
        assert swept.runs[0].reason == "another process works on it"
        assert not swept.complete and not swept.interrupted
        assert not swept.runs[0].log.exists() and not theirs.metrics()


def test_something_else_in_the_place_of_a_run_or_sweep_is_refused_before_anything_starts(tmp_path, capsys):
    asked = points(seed=[0, 1])
    (tmp_path / "s" / asked[1].name).mkdir(parents=True)
    with pytest.raises(UsageError, match="not a run directory"):
        Sweep(asked, tmp_path, "s")
    assert [path.name for path in (tmp_path / "s").iterdir()] == [asked[1].name]
    train.start(train.Options(**{k: v[0] for k, v in SHORT.items()}), str(tmp_path), "run")
    with pytest.raises(UsageError, match="is a run and cannot hold a sweep"):
        Sweep(asked, tmp_path, "run")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--activation relu,swish", "--activation must be one of"),
        ("--framework numpy,jax", "--framework must be one of"),
        ("--optimizer adam,lion", "--optimizer must be one of"),
        ("--init he_normal,ones", "init must be one of"),
        ("--schedule constant,cosine", "schedule must be one of"),
        ("--data mnist-5k,cifar", "cifar"),
        ("--output softmax,linear", "expected softmax, sigmoid"),
        ("--dtype float32,float16", "expected float32, float64"),
        ("--dialect torch,jax", "expected torch, keras"),
        ("--lr 0.1,fast", "expected numbers"),
        ("--lr 0.1,-1", "--lr must be"),
        ("--seed 0,1.5", "expected whole numbers"),
        ("--seed 0,,1", "expected whole numbers"),
        ("--activation relu,", "expected names"),
        ("--seed 0,1,0", "each value once, but '0' came twice"),
        ("--lr 0.1,1e-1", "each value once, but '1e-1' came twice"),
        ("--hidden 64,x/12", "expected sizes"),
        ("--hidden 64,32/64,32", "each value once"),
        ("--dropout 0.5,1.0", "--dropout must be"),
        ("--optimizer adam,momentum --momentum 0.9", "momentum"),
        ("--framework numpy,torch --dialect keras", "--dialect"),
        ("--batch-size 50,100000", "batch of 100000"),
        ("--steps 10,20", "--steps"),
        ("--steps 0", "--steps"),
        ("--jobs 0", "--jobs must be at least 1"),
        ("--threads 0", "--threads must be at least 1"),
        ("--name a/b", "plain folder name"),
        ("--name ''", "plain folder name"),
    ],
)
def test_what_makes_no_sweep_is_refused_and_leaves_no_folder(flags, sentence, tmp_path, capsys):
    command = f"sweep mlp {flags} --split 600,100,100 --runs-dir {tmp_path / 'runs'}"
    assert cli.main(shlex.split(command)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and sentence in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", ["--hidden 12,12", "--data mnist-5k,iris", "--hidden 12 --device cuda"])
def test_what_makes_no_dcn_is_refused_too(flags, tmp_path):
    flags += "" if "--data" in flags else " --data mnist-5k"
    assert cli.main(shlex.split(f"sweep dcn --runs-dir {tmp_path / 'runs'} --steps 1 {flags}")) == 2
    assert not list(tmp_path.iterdir())


def test_a_framework_that_is_missing_is_exit_3_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(grid.Referees, "installed", classmethod(lambda cls: ("numeric", "torch")))
    with pytest.raises(MissingError, match="keras"):
        points(framework=["torch", "keras"])


# The grid


def test_every_option_comes_back_from_the_flags_of_train():
    given = {
        "model": "dcn",
        "framework": "torch",
        "activation": "tanh",
        "init": "orthogonal",
        "optimizer": "momentum",
        "dialect": "torch",
        "lr": 1e-5,
        "momentum": 0.1 + 0.2,
        "weight_decay": 1e30,
        "l1": 1e-9,
        "l2": 0.25,
        "penalize_biases": True,
        "dropout": 0.0,
        "hidden": (64, 32),
        "output": "sigmoid",
        "batch_size": 7,
        "steps": 11,
        "epochs": 3,
        "schedule": "step",
        "schedule_factor": 0.3,
        "schedule_every": 4,
        "split": (600, 100, 0),
        "log_every": 5,
        "eval_every": 6,
        "checkpoint_every": 8,
        "seed": 9,
        "dtype": "float64",
        "threads": 2,
        "device": "auto",
        "data": "fashion-mnist",
        "data_dir": "-a folder",
    }
    assert set(given) == {field.name for field in fields(train.Options)}, "a new option: does argv know it?"
    plain = train.Options()
    assert [name for name, value in given.items() if value == getattr(plain, name)] == []
    for missing in ("steps", "epochs"):  # which exclude each other
        options = train.Options(**given | {missing: None})
        assert parsed(grid.argv(options)) == options
        assert parsed(grid.argv(replace(options, hidden=()))) == replace(options, hidden=())
    assert parsed(grid.argv(plain)) == plain
    assert parsed(grid.argv(plain.resolved())) == plain.resolved()


def parsed(flags):
    arguments = cli._parser().parse_args(["train", *flags])
    return train.Options(**{field.name: getattr(arguments, field.name) for field in fields(train.Options)})


def test_names_are_plain_distinct_and_the_same_in_every_call():
    values = {
        "framework": ["numpy", "torch"],
        "lr": [0.001, 1e30],
        "hidden": [(64, 32), (12,), ()],
        "seed": [0, 1],
    }
    found = points(**values)
    names = [point.name for point in found]
    assert len(set(names)) == len(names) == 24
    assert all(re.fullmatch(r"[a-z0-9.-]+-[0-9a-f]{6}", name) for name in names)
    assert names[0].startswith("numpy-lr0.001-hidden64x32-seed0-")
    assert names[-1].startswith("torch-lr1e30-hiddennone-seed1-")
    more = [point.name for point in points(**values | {"seed": [1, 2, 0]}, threads=[3])]
    assert set(names) < set(more) and len(more) == 36
    others = [point.name for point in points(**values, eval_every=[16])]
    assert not set(names) & set(others)
    assert [name[:-6] for name in others] == [name[:-6] for name in names]


def test_the_grid_is_the_product_with_what_varies_and_the_steps():
    found = points(optimizer=["sgd", "adam"], seed=[0, 1], steps=[None], epochs=[2], batch_size=[50])
    assert [point.varied for point in found] == [
        {"optimizer": o, "seed": s} for o in ("sgd", "adam") for s in (0, 1)
    ]
    assert [point.steps for point in found] == [24] * 4
    assert [point.options.lr for point in found] == [1e-3] * 4
    (one,) = points()
    assert one.varied == {} and re.fullmatch(r"mlp-[0-9a-f]{6}", one.name)


def test_the_command_takes_lists_where_it_says_so():
    lists = {
        "framework": "numpy,torch",
        "activation": "relu, tanh",
        "init": "zeros,normal",
        "output": "softmax,sigmoid",
        "optimizer": "sgd,adam",
        "dialect": "torch,keras",
        "lr": "1,2",
        "momentum": "1,2",
        "weight-decay": "1,2",
        "l1": "1,2",
        "l2": "1,2",
        "dropout": "0.1,0.2",
        "batch-size": "1,2",
        "schedule": "step,exponential",
        "schedule-factor": "1,2",
        "schedule-every": "1,2",
        "seed": "1,2",
        "dtype": "float32,float64",
        "data": "mnist,iris",
        "hidden": "64,32/none",
    }
    flags = [f"--{name}={text}" for name, text in lists.items()]
    arguments = cli._parser().parse_args(["sweep", "mlp", *flags])
    assert all(len(getattr(arguments, name.replace("-", "_"))) == 2 for name in lists)
    assert arguments.hidden == [(64, 32), ()] and arguments.activation == ["relu", "tanh"]
    plain, train_plain = (cli._parser().parse_args([command, "mlp"]) for command in ("sweep", "train"))
    for name in ("framework", "batch_size", "seed", "dtype", "lr", "eval_every", "split"):
        one = getattr(plain, name)
        assert (one[0] if isinstance(one, list) else one) == getattr(train_plain, name)


@pytest.mark.parametrize(
    ("cores", "runs", "asked", "expected"),
    [
        (16, 8, (None, None), (4, 4)),
        (2, 8, (None, None), (2, 1)),
        (16, 3, (None, None), (3, 5)),
        (16, 3, (8, None), (3, 5)),
        (2, 8, (4, None), (4, 1)),
        (16, 8, (None, 1), (4, 1)),
    ],
)
def test_jobs_and_threads(cores, runs, asked, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "cores", lambda: cores)
    swept = Sweep(points(seed=list(range(runs))), tmp_path, None, *asked)
    assert (swept.jobs, swept.threads) == expected


def test_metrics_are_read_as_they_grow(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = sweep.Metrics(path)
    metrics.read()
    assert metrics.last == {}
    rows = [{"step": step, "train_loss": 1.0 / step} for step in range(1, 6)]
    rows[2] |= {"train_eval_error": 0.5, "validation_error": 0.25}
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    for cut in range(len(text) + 1):  # a line may be caught half written
        path.write_text(text[:cut])
        metrics.read()
    assert metrics.last == rows[-1] and metrics.evaluations == [rows[2]]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows[:3]))  # resumed from step 3
    metrics.read()
    assert metrics.last == rows[2] and metrics.evaluations == [rows[2]]
