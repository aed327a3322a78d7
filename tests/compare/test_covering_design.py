"""Every pair of choices in some run: activation, initialisation, optimizer, framework and network."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest
from board import reader

from compare import train
from scratch.initializers import INITIALIZERS
from scratch.layers import ACTIVATIONS
from scratch.optimizers import OPTIMIZERS
from scratch.rundir import RunDirectory

FACTORS = {
    "activation": tuple(ACTIVATIONS),
    "init": tuple(INITIALIZERS),
    "optimizer": tuple(OPTIMIZERS),
    "framework": train.FRAMEWORKS,
    "model": ("mlp", "dcn"),
}
LR = {"adadelta": 1.0, "adagrad": 0.01, "rmsprop": 1e-3, "adam": 1e-3, "adamw": 1e-3}  # of the others 0.1
STEPS = 20


def pairs(run):
    return set(itertools.combinations(enumerate(run), 2))


def design():
    """Runs, one after the other the one with the most new pairs; of equals, of the rarest choices."""
    everything = [(run, pairs(run)) for run in itertools.product(*FACTORS.values())]
    missing = set().union(*(found for _, found in everything))
    chosen, share = [], {(i, level): 0.0 for i, levels in enumerate(FACTORS.values()) for level in levels}
    while missing:
        run, found = max(
            everything, key=lambda r: (len(r[1] & missing), -sum(share[c] for c in enumerate(r[0])))
        )
        chosen.append(dict(zip(FACTORS, run, strict=True)))
        missing -= found
        for choice, levels in zip(enumerate(run), FACTORS.values(), strict=True):
            share[choice] += len(levels)
    return chosen


def test_the_design_covers_all_pairs():
    runs = design()
    assert len(FACTORS["activation"]) == 5 and len(FACTORS["init"]) >= 10 and len(FACTORS["optimizer"]) == 8
    for one, other in itertools.combinations(FACTORS, 2):
        expected = set(itertools.product(FACTORS[one], FACTORS[other]))
        assert {(run[one], run[other]) for run in runs} == expected, (one, other)
    least = len(FACTORS["init"]) * len(FACTORS["optimizer"])
    assert least <= len(runs) <= 1.15 * least  # of 2,400 possible ones
    shares = [Counter(run[factor] for run in runs).values() for factor in ("framework", "model")]
    assert all(max(share) <= 1.2 * min(share) for share in shares)
    counts = (f"{n} {choice}" for f in FACTORS for choice, n in Counter(run[f] for run in runs).items())
    print(f"{len(runs)} runs: {', '.join(counts)}")


PROGRAM = """
import json, sys, time, traceback, warnings
from compare import train
from scratch.health import TrainingFailed
folder, runs = sys.argv[1], json.load(sys.stdin)
ends = []
for number, options in enumerate(runs):
    began, warned = time.perf_counter(), []
    options["hidden"], options["split"] = tuple(options["hidden"]), tuple(options["split"])
    def look(seen):
        if seen.warning:
            warned.append(seen.warning)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            end = {"summary": train.start(train.Options(**options), folder, f"run{number}", look)}
        except TrainingFailed as error:
            end = {"failed": str(error), "step": error.step, "layer": error.layer}
        except BaseException as error:
            end = {"crashed": traceback.format_exc()}
    found = sorted({f"{w.category.__name__}: {w.message}" for w in caught})
    ends.append(end | {"warned": warned, "caught": found, "seconds": time.perf_counter() - began})
print(json.dumps(ends))
"""


def options(run):
    more = {"steps": STEPS, "batch_size": 10, "data": "mnist-5k", "split": (200, 50, 50)}
    more |= {"log_every": 10, "eval_every": 10, "checkpoint_every": 10, "lr": LR.get(run["optimizer"], 0.1)}
    own = {"hidden": (32,), "dropout": 0.5} if run["model"] == "dcn" else {"hidden": (32, 16)}
    return run | more | own


@pytest.mark.slow
@pytest.mark.parametrize("framework", train.FRAMEWORKS)
def test_every_pair_of_choices_trains_or_says_why_not(framework, tmp_path):
    runs, began = [run for run in design() if run["framework"] == framework], time.monotonic()
    command = [sys.executable, "-c", PROGRAM, tmp_path]
    chosen = json.dumps([options(run) for run in runs])
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}  # two threads on a busy machine are ten times as slow
    done = subprocess.run(command, input=chosen, capture_output=True, text=True, timeout=900, env=quiet)
    assert done.returncode == 0 and not done.stderr, done.stderr
    ends = json.loads(done.stdout)
    failed = []
    with reader() as read:
        for number, (run, end) in enumerate(zip(runs, ends, strict=True)):
            what, folder = " ".join(run.values()), RunDirectory.view(tmp_path / f"run{number}")
            assert "crashed" not in end, f"{what}: {end}"
            state, rows = folder.status()["state"], folder.metrics()
            events = read("run", folder.path)
            assert [row["step"] for row in rows] == [step for step, _ in events["scalars"]["train/loss"]]
            if "failed" in end:
                failed.append(f"{what}: {end['failed']}")
                step, layer = end["step"], end["layer"]
                assert re.match(rf"training stopped at step {step}: {layer}/\w+ is ", end["failed"]), what
                assert state == "failed" and folder.status()["reason"] == end["failed"], what
                assert 1 < step <= STEPS and len(rows) == step, what
                continue
            assert state == "finished" and len(rows) == STEPS, what
            assert all(math.isfinite(row["train_loss"]) for row in rows), what
            assert all(
                math.isfinite(rows[-1][f"{part}_loss"]) for part in ("train_eval", "validation", "test")
            )
            first = "conv1" if run["model"] == "dcn" else "fc1"
            for tag in ("W", "b", "net_input", "activation", "W_gradient", "net_input_gradient"):
                assert [step for step, _ in events["histograms"][f"{first}/{tag}"]] == [10, 20], (what, tag)
            assert {f"{first}/W/kernels", "misclassified"} <= set(events["images"]), what
            if run["init"] == "zeros" and run["model"] == "mlp" and run["activation"] != "sigmoid":
                assert any("weights are 0" in warning for warning in end["warned"]), what
    print(
        f"{framework}: {len(runs)} runs in {time.monotonic() - began:.0f} s; {len(failed)} diverged",
        *failed,
        sep="\n",
    )
    for run, end in zip(runs, ends, strict=True):
        print(
            " ".join(run.values()),
            {k: end[k] for k in ("warned", "caught") if end[k]},
            f"{end['seconds']:.1f} s",
        )
    assert len(failed) < len(runs) / 4
