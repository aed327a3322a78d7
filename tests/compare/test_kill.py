"""A run killed twenty times and taken up again each time ends, bit for bit, where an untouched one does."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from board import reader

from compare import train
from scratch import checkpoint
from scratch.rundir import RunDirectory

STEPS, EVERY, KILLS = 1500, 20, 20
COURSE = (  # so steep that the best validation error comes early, before most of the kills
    f"mlp --hidden 16 --dropout 0.3 --optimizer adam --lr 0.07 --seed 1 --split 600,100,100 --steps {STEPS} "
    f"--log-every 10 --eval-every {EVERY} --checkpoint-every {EVERY} --threads 1"
)
SPREAD = {"numpy": 0.3, "torch": 0.6, "keras": 4.0}  # seconds from the first event file to the random kills


def process(*arguments, code="from compare.cli import main"):
    command = [sys.executable, "-c", f"import sys\n{code}\nsys.exit(main())", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*arguments):
    with process(*arguments, "--json") as running:
        out, err = running.communicate(timeout=600)
    assert running.returncode == 0, err
    return json.loads(out)


def steps_of(folder, ending):
    names = os.listdir(folder) if folder.exists() else ()
    return [int(found[1]) for name in names if (found := re.fullmatch(rf"step-(\d+)\.{ending}", name))]


def kill(running, run, moment, rng, spread):
    """Kill a process that works on a run; moment: while it loads, after some steps or amid a checkpoint."""
    folder, logs = run / "checkpoints", len(list(run.glob("events*")))
    far = max(steps_of(folder, "safetensors"), default=0)
    target, limit = far + EVERY * rng.randrange(1, 3), far + STEPS // (KILLS + 5)
    if moment == "loading":
        end = time.monotonic() + rng.uniform(0.0, 0.8)
    else:
        while running.poll() is None and len(list(run.glob("events*"))) == logs:
            time.sleep(0.001)
        end = time.monotonic() + (rng.uniform(0.0, spread) if moment == "steps" else 300)
    while running.poll() is None and time.monotonic() < end:
        if (
            moment == "checkpoint"
            and max(steps_of(folder, r"(?:safetensors|json)\.tmp"), default=0) >= target
        ):
            time.sleep(rng.uniform(0.0, 0.001))
            break
        if max(steps_of(folder, "json"), default=0) >= limit:
            break  # or else the run would end before its last kill
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return running.returncode == -signal.SIGKILL


@pytest.fixture(scope="module", params=train.FRAMEWORKS)
def runs(request, tmp_path_factory):
    """(framework, folder): the run `whole`, and the run `part` that was killed again and again."""
    framework, folder = request.param, tmp_path_factory.mktemp(request.param)
    start = [*COURSE.split(), "--framework", framework, "--runs-dir", folder, "--name"]
    finish(*start, "whole")
    run, rng = folder / "part", random.Random(framework)
    moments = ["loading", *("steps", "checkpoint") * ((KILLS - 2) // 2), "loading"]
    assert len(moments) == KILLS
    killed = torn = 0
    for moment in moments:
        arguments = ("--resume", run) if run.exists() else (*start, run.name)
        with process(*arguments) as running:
            killed += kill(running, run, moment, rng, SPREAD[framework])
        if run.exists():
            assert RunDirectory.view(run).status()["state"] == "interrupted"
            torn += any((run / "checkpoints").glob("*.tmp"))
    reached = max(steps_of(run / "checkpoints", "json"))
    print(f"{framework}: {killed} kills, {torn} of them amid a checkpoint, up to step {reached} of {STEPS}")
    assert killed >= KILLS and torn >= 3 and 0 < reached < STEPS
    assert finish("--resume", run)["steps"] == STEPS
    return framework, folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_weights_optimizer_and_metrics_are_the_same_bit_for_bit(runs):
    whole, part = (RunDirectory.view(runs[1] / name) for name in ("whole", "part"))
    assert part.status()["state"] == whole.status()["state"] == "finished"
    rows = whole.metrics()
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert part.metrics() == rows
    assert (part.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    assert names(part.checkpoints) == names(whole.checkpoints)  # nothing half is left, and the best is kept
    for newest in (True, False):
        places = [run.checkpoints if newest else checkpoint.best(run.checkpoints) for run in (part, whole)]
        here, there = map(checkpoint.load, places)
        assert (here.step, here.notes) == (there.step, ())
        for mine, theirs in ((here.weights, there.weights), (here.optimizer_state, there.optimizer_state)):
            assert list(mine) == list(theirs) and len(mine) > 1
            for name, value in theirs.items():
                assert np.asarray(mine[name]).dtype == np.asarray(value).dtype
                assert np.asarray(mine[name]).tobytes() == np.asarray(value).tobytes(), name


@pytest.mark.slow
def test_tensorboard_sees_one_run_without_gaps_and_doubles(runs):
    """All that was logged after the checkpoint and before the kill is gone, all else is there, once."""
    with reader() as read:
        part, whole = (read("run", runs[1] / name) for name in ("part", "whole"))
    assert len(list((runs[1] / "part").glob("events*"))) > KILLS // 4
    assert [step for step, _ in part["scalars"]["train/loss"]] == list(range(1, STEPS + 1))
    for found in (part, whole):
        assert [step for step, _ in found["scalars"].pop("time/step_ms")] == list(range(1, STEPS + 1))
    for kind in ("tags", "scalars", "histograms", "images", "texts", "graph"):
        assert part[kind] == whole[kind], kind


AT_ITS_BIRTH = """
import os, signal
from compare import train
from compare.cli import main
def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
train.EventWriter = killed
"""


def test_a_run_killed_at_its_birth_is_shown_like_any_other(tmp_path):
    """Its folder is there, its first event file is not: the resumed run writes what the first should have."""
    course = "mlp --hidden 5 --steps 6 --log-every 3 --eval-every 6 --split 100,20,20 --runs-dir".split()
    finish(*course, tmp_path, "--name", "whole")
    with process(*course, tmp_path, "--name", "part", code=AT_ITS_BIRTH) as running:
        running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL and (tmp_path / "part" / "config.json").exists()
    finish("--resume", tmp_path / "part")
    with reader() as read:
        part, whole = (read("run", tmp_path / name) for name in ("part", "whole"))
        groups = read("logdir", tmp_path)["groups"]
    assert part["tags"] == whole["tags"]
    assert part["texts"].keys() == whole["texts"].keys() and part["graph"] == whole["graph"]
    assert {group["sessions"][0]["name"] for group in groups} == {"part", "whole"}
