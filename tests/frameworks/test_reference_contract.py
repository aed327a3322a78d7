"""The references are strict in names and shapes, and independent of the code that they are compared with."""

import inspect

import numpy as np
import pytest

import scratch.layers
import scratch.network
import scratch.ops
import scratch.optimizers
import scratch.regularizers
from frameworks import checks
from frameworks.keras_tf.learner import KerasLearner
from frameworks.pytorch.learner import TorchLearner
from scratch.errors import UsageError
from scratch.learner import Architecture

LEARNERS = {"torch": TorchLearner, "keras": KerasLearner}
MLP = Architecture("mlp", (4, 5, 3), dropout=0.5)
DCN = Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3, dropout=0.5)
both = pytest.mark.parametrize("framework", LEARNERS)


@both
@pytest.mark.parametrize("architecture", [MLP, DCN], ids=["mlp", "dcn"])
def test_names_and_shapes_are_the_contract(framework, architecture):
    learner = LEARNERS[framework](architecture)
    assert learner.framework == framework
    shapes = architecture.network().shapes
    assert {name: w.shape for name, w in learner.weights().items()} == shapes
    assert list(learner.weights()) == list(shapes)
    if framework == "torch":
        entries = {entry.name for entry in learner.table.values()}
        assert entries == {name for name, _ in learner.model.named_parameters()}


@both
@pytest.mark.parametrize("fault", ["missing", "extra", "misshaped", "transposed"])
def test_loading_is_strict(framework, fault):
    learner = LEARNERS[framework](DCN, "adam", dtype="float64")
    for load, good in (
        (learner.load, learner.weights()),
        (learner.load_optimizer_state, learner.optimizer_state()),
        (learner.apply, learner.weights()),
    ):
        before, state = learner.weights(), learner.optimizer_state()
        bad = {name: a + 1 for name, a in good.items()}
        name = next(name for name in bad if name.startswith("fc1/W"))
        if fault == "missing":
            del bad[name]
        elif fault == "extra":
            bad["fc9/W"] = np.zeros(3)
        else:
            bad[name] = bad[name].T if fault == "transposed" else bad[name].ravel()
        with pytest.raises(UsageError, match="fc9/W" if fault == "extra" else name):
            load(bad)
        for key, w in (learner.weights() | learner.optimizer_state()).items():
            np.testing.assert_array_equal(w, (before | state)[key])


@both
@pytest.mark.parametrize(
    "change",
    [
        {"kind": "rnn"},
        {"sizes": (4,)},
        {"sizes": (4, 0, 3)},
        {"activation": "swish"},
        {"output": "linear"},
        {"dropout": 1.0},
        {"kind": "dcn", "sizes": (6, 5, 4)},
        {"kind": "dcn", "sizes": (6, 4), "image": (3, 9, 1)},
        {"kind": "dcn", "sizes": (6, 4), "kernel": 0},
    ],
    ids=str,
)
def test_impossible_architectures(framework, change):
    with pytest.raises(UsageError):
        LEARNERS[framework](Architecture(**{"kind": "mlp", "sizes": (4, 5, 3)} | change))


@both
def test_unknown_requests(framework):
    make = LEARNERS[framework]
    for options in (
        {"optimizer": "lion"},
        {"dtype": "float16"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adam", "rho": 0.9},
        {"optimizer": "adam", "lr": 0.1},
    ):
        with pytest.raises(UsageError):
            make(MLP, **options)


@both
def test_unfit_data(framework):
    learner = LEARNERS[framework](MLP, dtype="float64")
    x, t, mask = np.ones((2, 4)), np.array([0, 2]), np.ones((2, 5), bool)
    learner.watch(x, t, {"fc2/input": mask})
    for wrong in (
        (np.ones((2, 5)), t),
        (x, np.array([0, 3])),
        (x, np.array([-1, 0])),
        (x, np.array([0.0, 1.0])),
        (x, np.array([0, 1, 2])),
        (x, t, {"fc1/input": np.ones((2, 4), bool)}),
        (x, t, {"fc2/input": mask[:1]}),
    ):
        for method in (learner.watch, learner.loss_and_grads, learner.step):
            with pytest.raises(UsageError):
                method(*wrong)


@both
def test_native_dropout_still_drops(framework):
    """Without our masks the models are a native user's: random in training, silent in evaluation."""
    learner, x = LEARNERS[framework](MLP, dtype="float64"), np.ones((64, 4))
    weights = {name: np.ones_like(w) for name, w in learner.weights().items()}
    learner.load(weights)
    if framework == "torch":
        learner.model.train()
        trained = learner.logits(x)
        learner.model.eval()
    else:
        trained = np.array(learner.model(x, training=True))
    assert len(np.unique(learner.logits(x))) == 1 < len(np.unique(trained))


@pytest.fixture
def scratch_is_gone(monkeypatch):
    """Everything in scratch that computes raises."""

    def gone(*_, **__):
        raise AssertionError("a reference used the code that it is compared with")

    for module in (scratch.ops, scratch.layers, scratch.optimizers, scratch.regularizers):
        for name, thing in inspect.getmembers(module, callable):
            if getattr(thing, "__module__", None) == module.__name__:
                if inspect.isclass(thing):
                    monkeypatch.setattr(thing, "__init__", gone)
                monkeypatch.setattr(module, name, gone)
    monkeypatch.setattr(scratch.network.Network, "__init__", gone)


@both
@pytest.mark.parametrize("architecture", [MLP, DCN], ids=["mlp", "dcn"])
def test_references_do_not_lean_on_scratch(framework, architecture, scratch_is_gone):
    with pytest.raises(AssertionError, match="compared with"):
        architecture.network()
    learner = LEARNERS[framework](architecture, "adamw", dtype="float64")
    x = np.random.default_rng(0).random((2, *(architecture.sizes[:1] if architecture is MLP else DCN.image)))
    t, masks = np.array([0, 2]), {"fc2/input": np.ones((2, architecture.sizes[-2]), bool)}
    learner.load(learner.weights())
    learner.logits(x)
    learner.apply(learner.loss_and_grads(x, t, masks)[1])
    learner.step(x, t, masks)
    learner.load_optimizer_state(learner.optimizer_state())
    assert np.isfinite(learner.watch(x, t, masks).loss)


def test_snap():
    assert checks.snap(0.9) == 0.8999999761581421
