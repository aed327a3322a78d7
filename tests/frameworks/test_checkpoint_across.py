"""A run that stops in one framework goes on in another, or in the same one bit for bit."""

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

import scratch
from compare.referees import build
from scratch import checkpoint, initializers, optimizers
from scratch.checkpoint import Checkpoint
from scratch.errors import UsageError
from scratch.learner import Architecture, NumpyLearner

# fc1 of the DCN is the layer whose rows PyTorch orders otherwise.
DCN = Architecture(
    "dcn", (6, 3), image=(8, 12, 2), filters=(3, 4), kernel=3, activation="tanh", dropout=0.5, l2=1e-3
)
STEPS = 4  # before the change, and as many after it


def learner(framework, name, dialect, dtype, architecture=DCN):
    """A new learner whose weights nothing but a checkpoint can have set right."""
    if framework == "numpy":
        return NumpyLearner(architecture.network(dtype), optimizers.make(name, dialect))
    return build(framework, architecture, dtype, name)


def start(owner):
    shapes = {key: w.shape for key, w in owner.weights().items()}
    owner.load(initializers.draw(shapes, "he_normal", np.random.default_rng(0), 0.1))
    return owner


def go(owner, steps):
    network = DCN.network()
    for step in steps:
        rng = np.random.default_rng(step)
        x, t = rng.normal(size=(5, *DCN.image)), rng.integers(0, 3, 5)
        owner.step(x, t, network.draw_masks(5, rng))
    return owner


def through_a_checkpoint(folder, source, target, info):
    """The target in the state of the source, by way of the disk."""
    checkpoint.save(folder, Checkpoint(STEPS, source.weights(), source.optimizer_state(), info))
    came = checkpoint.load(folder)
    checkpoint.check_fits(came, target.weights(), target.optimizer_state(), **info)
    target.load(came.weights)
    target.load_optimizer_state(came.optimizer_state)
    return target


@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop"])
@pytest.mark.parametrize(
    ("first", "second", "dialect"),
    [
        ("numpy", "torch", "torch"),
        ("torch", "numpy", "torch"),
        ("keras", "numpy", "keras"),
        ("numpy", "keras", "keras"),
    ],
)
def test_a_run_goes_on_elsewhere(tmp_path, referees, first, second, dialect, name):
    """Against one that NumPy did alone: float64, to 1e-10 of the way that each tensor went."""
    alone = start(learner("numpy", name, dialect, "float64"))
    origin = alone.weights()
    go(alone, range(2 * STEPS))
    source = go(start(learner(first, name, dialect, "float64")), range(STEPS))
    target = learner(second, name, dialect, "float64")
    info = {"optimizer": name, "dialect": dialect, "architecture": DCN, "dtype": "float64"}
    go(through_a_checkpoint(tmp_path, source, target, info), range(STEPS, 2 * STEPS))
    for came, expected in (
        (target.weights(), alone.weights()),
        (target.optimizer_state(), alone.optimizer_state()),
    ):
        assert came.keys() == expected.keys()
        for key, value in expected.items():
            scale = np.abs(value - origin[key]).max() if key in origin else np.abs(value).max()
            assert scale > 0
            assert np.abs(came[key] - value).max() <= 1e-10 * scale, key
    assert int(target.optimizer_state()["step"]) == 2 * STEPS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop"])
@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_the_same_backend_goes_on_bit_for_bit(tmp_path, referees, framework, name, dtype):
    whole = go(start(learner(framework, name, "torch", dtype)), range(2 * STEPS))
    source = go(start(learner(framework, name, "torch", dtype)), range(STEPS))
    target = learner(framework, name, "torch", dtype)
    go(through_a_checkpoint(tmp_path, source, target, {}), range(STEPS, 2 * STEPS))
    for came, expected in (
        (target.weights(), whole.weights()),
        (target.optimizer_state(), whole.optimizer_state()),
    ):
        for key, value in expected.items():
            assert came[key].dtype == value.dtype and came[key].tobytes() == value.tobytes(), key


def test_another_dialect_or_optimizer_is_refused(tmp_path, referees):
    source = go(start(learner("torch", "momentum", "torch", "float64")), range(2))
    info = {"optimizer": "momentum", "dialect": "torch"}
    checkpoint.save(tmp_path, Checkpoint(2, source.weights(), source.optimizer_state(), info))
    came = checkpoint.load(tmp_path)
    for framework, name, dialect, words in (
        ("keras", "momentum", "keras", "dialect is 'torch' there and 'keras' here"),
        ("torch", "nesterov", "torch", "optimizer is 'momentum' there and 'nesterov' here"),
        ("numpy", "adam", "torch", r"conv1/W/mean is missing there and \(3, 3, 2, 3\) here"),
        ("numpy", "sgd", "torch", "conv1/W/velocity is .* there and missing here"),
    ):
        other = learner(framework, name, dialect, "float64")
        with pytest.raises(UsageError, match=words):
            checkpoint.check_fits(
                came, other.weights(), other.optimizer_state(), optimizer=name, dialect=dialect
            )


RUN = """
import os, signal, sys
import numpy as np
from frameworks import guard
framework, folder, dies = sys.argv[1], sys.argv[2], int(sys.argv[3])
if framework == "torch":
    guard.load_torch().set_num_threads(2)
if framework == "keras":
    guard.load_keras()
    import tensorflow as tf
    tf.config.experimental.enable_op_determinism()
from compare.referees import build
from scratch import checkpoint, initializers, optimizers
from scratch.checkpoint import Checkpoint
from scratch.errors import UsageError
from scratch.learner import Architecture, NumpyLearner
dcn = Architecture("dcn", (64, 10), filters=(8, 16))
network = dcn.network("float32")
if framework == "numpy":
    learner = NumpyLearner(network, optimizers.make("adam"))
else:
    learner = build(framework, dcn, "float32", "adam")
learner.load(initializers.draw(network.shapes, "he_normal", np.random.default_rng(0), 0.1))
start = 0
try:
    came = checkpoint.load(folder)
    learner.load(came.weights)
    learner.load_optimizer_state(came.optimizer_state)
    start = came.step
except UsageError:
    pass
for step in range(start + 1, 9):
    rng = np.random.default_rng(step)
    learner.step(rng.random((50, 28, 28, 1)), rng.integers(0, 10, 50))
    checkpoint.save(folder, Checkpoint(step, learner.weights(), learner.optimizer_state(), {}))
    if step == dies:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run(framework, folder, dies=0):
    command = [sys.executable, "-c", RUN, framework, folder, str(dies)]
    home = pathlib.Path(scratch.__file__).parent.parent
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == (-signal.SIGKILL if dies else 0), done.stderr
    return checkpoint.load(folder)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
@pytest.mark.parametrize(
    "framework",
    ["numpy", pytest.param("torch", marks=pytest.mark.slow), pytest.param("keras", marks=pytest.mark.slow)],
)
def test_a_killed_process_goes_on_bit_for_bit(tmp_path, framework):
    """For Keras that is promised with TensorFlow's enable_op_determinism."""
    whole = run(framework, tmp_path / "whole")
    assert run(framework, tmp_path / "killed", dies=3).step == 3
    resumed = run(framework, tmp_path / "killed")
    assert whole.step == resumed.step == 8
    for a, b in ((resumed.weights, whole.weights), (resumed.optimizer_state, whole.optimizer_state)):
        for key, value in b.items():
            assert a[key].tobytes() == value.tobytes(), key
