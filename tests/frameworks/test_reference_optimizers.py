"""scratch's two dialects follow torch.optim and keras.optimizers, step by step and out of a saved state."""

import numpy as np
import pytest

from frameworks.keras_tf.learner import KerasLearner
from frameworks.pytorch.learner import TorchLearner
from scratch import initializers, optimizers
from scratch.learner import Architecture, NumpyLearner

LEARNERS = {"torch": TorchLearner, "keras": KerasLearner}
MLP = Architecture("mlp", (4, 5, 3))
CHANGED = {
    "sgd": {"learning_rate": 0.07},
    "momentum": {"learning_rate": 0.07, "momentum": 0.7},
    "nesterov": {"momentum": 0.7},
    "adagrad": {"learning_rate": 0.02, "epsilon": 1e-3},
    "rmsprop": {"rho": 0.8, "epsilon": 1e-3},
    "adadelta": {"learning_rate": 0.5, "rho": 0.8, "epsilon": 1e-4},
    "adam": {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    "adamw": {"beta_2": 0.95, "weight_decay": 0.1},
}

every_optimizer = pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
both = pytest.mark.parametrize("framework", LEARNERS)


def pair(framework, name, architecture=MLP, **hyperparameters):
    """scratch's learner in the framework's dialect and the framework's own, with the same weights."""
    network = architecture.network(np.float64)
    network.load(initializers.draw(network.shapes, "xavier_uniform", np.random.default_rng(0), 0.1))
    ours = NumpyLearner(network, optimizers.make(name, framework, **hyperparameters))
    theirs = LEARNERS[framework](architecture, name, dtype="float64", **hyperparameters)
    theirs.load(ours.weights())
    return ours, theirs


def random_gradients(learner, rng):
    return {name: rng.normal(size=w.shape) for name, w in learner.weights().items()}


def assert_same_move(ours, theirs, start):
    """The moved distance agrees to 1e-12, as far as a weight's own rounding lets one see."""
    for name, w in ours.weights().items():
        move, rounding = np.abs(w - start[name]).max(), 8 * np.finfo(float).eps * np.abs(start[name]).max()
        assert move > 0
        assert np.abs(theirs.weights()[name] - w).max() <= 1e-12 * move + rounding, name


@both
@every_optimizer
@pytest.mark.parametrize("options", ["defaults", "changed", "weight decay"])
def test_five_steps_with_a_new_rate_in_the_middle(framework, name, options):
    given = {"defaults": {}, "changed": CHANGED[name], "weight decay": {"weight_decay": 0.05}}[options]
    ours, theirs = pair(framework, name, **given)
    assert ours.learning_rate == theirs.learning_rate
    start, rng = ours.weights(), np.random.default_rng(1)
    for step in range(5):
        if step == 2:
            ours.learning_rate = theirs.learning_rate = 0.3 * ours.learning_rate
            assert ours.learning_rate == theirs.learning_rate
        gradients = random_gradients(ours, rng)
        ours.apply(gradients)
        theirs.apply(gradients)
        assert_same_move(ours, theirs, start)


@both
@every_optimizer
def test_state_moves_between_backends_in_the_middle_of_a_run(framework, name):
    ours, theirs = pair(framework, name, **CHANGED[name])
    rng = np.random.default_rng(2)
    for source, target in ((ours, theirs), (theirs, ours)):
        for _ in range(3):
            source.apply(random_gradients(source, rng))
        target.load(source.weights())
        target.load_optimizer_state(source.optimizer_state())
        state = target.optimizer_state()
        assert state.keys() == source.optimizer_state().keys()
        for slot, value in source.optimizer_state().items():
            np.testing.assert_array_equal(value, state[slot], slot)
        start = source.weights()
        for _ in range(2):
            gradients = random_gradients(source, rng)
            source.apply(gradients)
            target.apply(gradients)
            assert_same_move(source, target, start)


@both
@every_optimizer
def test_fresh_state(framework, name):
    ours, theirs = pair(framework, name)
    mine, other = ours.optimizer_state(), theirs.optimizer_state()
    assert mine.keys() == other.keys()
    for slot, value in mine.items():
        np.testing.assert_array_equal(value, other[slot], slot)
    theirs.load_optimizer_state(mine)
    start, gradients = ours.weights(), random_gradients(ours, np.random.default_rng(3))
    ours.apply(gradients)
    theirs.apply(gradients)
    assert_same_move(ours, theirs, start)


@both
@pytest.mark.parametrize("kind", ["mlp", "dcn"])
def test_training_steps(framework, kind):
    """Other masks, no masks and another batch size in turn: nothing of an earlier step may stick."""
    architecture = {
        "mlp": Architecture("mlp", (4, 6, 5, 3), dropout=0.5, l2=2**-6),
        "dcn": Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3, dropout=0.5),
    }[kind]
    ours, theirs = pair(framework, "momentum", architecture)
    start, rng = ours.weights(), np.random.default_rng(4)
    shape = architecture.sizes[:1] if kind == "mlp" else architecture.image
    for examples, dropped in ((5, True), (5, True), (5, False), (2, True), (3, False), (1, True)):
        x, t = rng.random((examples, *shape)), rng.integers(0, 3, examples)
        masks = ours.network.draw_masks(examples, rng) if dropped else None
        assert theirs.step(x, t, masks)[0] == pytest.approx(ours.step(x, t, masks)[0], rel=1e-12)
        assert_same_move(ours, theirs, start)
    np.testing.assert_allclose(theirs.logits(x), ours.logits(x), rtol=1e-11)
    assert theirs.optimizer_state()["step"] == 6
    theirs.learning_rate = ours.learning_rate = 0.5  # a traced step must see it
    theirs.step(x, t, masks)
    ours.step(x, t, masks)
    assert_same_move(ours, theirs, start)
