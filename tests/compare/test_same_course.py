"""The full DCN in all three backends from the same seed: the same loss at each of 200 steps."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from compare import train
from scratch.rundir import RunDirectory

STEPS = 200
COURSE = (
    f"dcn --dtype float64 --optimizer sgd --lr 0.01 --batch-size 50 --steps {STEPS} --data mnist-5k "
    "--split 4000,500,500 --log-every 100 --eval-every 200 --checkpoint-every 200 --threads 1"
)
ALLOWED = 1e-9  # relative


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The metrics of a run of each backend, in a process of its own."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for framework in train.FRAMEWORKS:
        command = [sys.executable, "-m", "compare.cli", "train", *COURSE.split(), "--framework", framework]
        command += ["--runs-dir", str(folder), "--name", framework, "--json"]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        found[framework] = RunDirectory.view(folder / framework).metrics()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(itertools.combinations(train.FRAMEWORKS, 2)), ids="-".join)
def test_the_full_dcn_takes_the_same_course(runs, pair):
    losses = [np.array([row["train_loss"] for row in runs[framework]]) for framework in pair]
    assert all(len(loss) == STEPS and np.isfinite(loss).all() for loss in losses)
    assert losses[0][-10:].mean() < losses[0][:10].mean() / 3  # it learns: the agreement is not of constants
    difference = np.abs(losses[0] - losses[1]) / np.minimum(*np.abs(losses))
    print(f"{' and '.join(pair)}: worst relative difference {difference.max():.1e} at step ", end="")
    print(f"{difference.argmax() + 1}; at step 1 {difference[0]:.1e}, at step {STEPS} {difference[-1]:.1e}")
    assert difference.max() <= ALLOWED
    assert difference.max() > 0  # they do compute by themselves
    for name in ("train_error", "learning_rate", "epoch"):
        assert [row[name] for row in runs[pair[0]]] == [row[name] for row in runs[pair[1]]], name


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train_eval", "validation", "test"])
def test_the_evaluations_are_the_same_too(runs, part):
    mine, *others = (rows[-1] for rows in runs.values())
    for other in others:
        assert other[f"{part}_loss"] == pytest.approx(mine[f"{part}_loss"], rel=ALLOWED)
        assert other[f"{part}_error"] == mine[f"{part}_error"]
