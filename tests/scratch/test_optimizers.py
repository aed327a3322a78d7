"""Update rules against scalar recurrences written out from the formulas, one number at a time."""

import math
from typing import ClassVar

import numpy as np
import pytest

from scratch import optimizers
from scratch.errors import UsageError
from scratch.optimizers import snap

DIALECTS = optimizers.DIALECTS
GRADIENTS = np.random.default_rng(0).normal(size=(9, 5)) * np.array([1e-3, 1, 1, 30, 0])
START = np.random.default_rng(1).normal(size=5)
RATES = [0.05, 0.05, 0.05, 0.01, 0.01, 0.2, 0.2, 0.2, 0.2]  # changes on purpose: torch and Keras part here


def sgd(keras, h):
    return lambda w, g, lr, s, t: w - lr * g


def momentum(keras, h, nesterov=False):
    def rule(w, g, lr, s, t):
        v = s.get("v", 0.0)
        if keras:
            v = h["momentum"] * v - lr * g
            s["v"] = v
            return w + (h["momentum"] * v - lr * g if nesterov else v)
        v = h["momentum"] * v + g
        s["v"] = v
        return w - lr * (g + h["momentum"] * v if nesterov else v)

    return rule


def adagrad(keras, h):
    def rule(w, g, lr, s, t):
        a = s["a"] = s.get("a", snap(0.1) if keras else 0.0) + g * g
        return w - lr * g / (math.sqrt(a + h["epsilon"]) if keras else math.sqrt(a) + h["epsilon"])

    return rule


def rmsprop(keras, h):
    def rule(w, g, lr, s, t):
        a = s["a"] = h["rho"] * s.get("a", 0.0) + (1 - h["rho"]) * g * g
        return w - lr * g / (math.sqrt(a + h["epsilon"]) if keras else math.sqrt(a) + h["epsilon"])

    return rule


def adadelta(keras, h):
    def rule(w, g, lr, s, t):
        a = s["a"] = h["rho"] * s.get("a", 0.0) + (1 - h["rho"]) * g * g
        d = g * math.sqrt(s.get("d", 0.0) + h["epsilon"]) / math.sqrt(a + h["epsilon"])
        s["d"] = h["rho"] * s.get("d", 0.0) + (1 - h["rho"]) * d * d
        return w - lr * d

    return rule


def adam(keras, h):
    def rule(w, g, lr, s, t):
        m = s["m"] = h["beta_1"] * s.get("m", 0.0) + (1 - h["beta_1"]) * g
        v = s["v"] = h["beta_2"] * s.get("v", 0.0) + (1 - h["beta_2"]) * g * g
        if keras:
            lr = lr * math.sqrt(1 - h["beta_2"] ** t) / (1 - h["beta_1"] ** t)
            return w - lr * m / (math.sqrt(v) + h["epsilon"])
        return w - lr * (m / (1 - h["beta_1"] ** t)) / (math.sqrt(v / (1 - h["beta_2"] ** t)) + h["epsilon"])

    return rule


RULES = {
    "sgd": (sgd, {}),
    "momentum": (momentum, {"momentum": 0.8}),
    "nesterov": (lambda keras, h: momentum(keras, h, nesterov=True), {"momentum": 0.8}),
    "adagrad": (adagrad, {"epsilon": 1e-3}),
    "rmsprop": (rmsprop, {"rho": 0.8, "epsilon": 1e-3}),
    "adadelta": (adadelta, {"rho": 0.8, "epsilon": 1e-3}),
    "adam": (adam, {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3}),
    "adamw": (adam, {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3}),
}
every_rule = pytest.mark.parametrize("name", RULES)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def by_hand(name, dialect, decay, start=START, gradients=GRADIENTS, rates=RATES):
    """Every coordinate on its own, in Python floats."""
    build, hyperparameters = RULES[name]
    keras, decay = dialect == "keras", snap(decay)
    rule = build(keras, {k: snap(v) for k, v in hyperparameters.items()})
    history = []
    for w, column in zip(map(float, start), gradients.T, strict=True):
        state, path = {}, []
        for t, (g, lr) in enumerate(zip(map(float, column), map(snap, rates), strict=True), start=1):
            if keras or name == "adamw":
                w = w - w * decay * lr
            else:
                g = g + decay * w
            w = rule(w, g, lr, state, t)
            path.append(w)
        history.append(path)
    return np.array(history).T


def by_optimizer(name, dialect, decay, dtype=np.float64):
    optimizer = optimizers.make(name, dialect, weight_decay=decay, **RULES[name][1])
    w, history = START.astype(dtype), []
    for g, rate in zip(GRADIENTS.astype(dtype), RATES, strict=True):
        optimizer.learning_rate = rate
        kept = g.copy()
        optimizer.update(w, g)
        np.testing.assert_array_equal(g, kept)
        history.append(w.copy())
    assert w.dtype == dtype and optimizer.step == len(RATES)
    return np.array(history), optimizer


def test_every_optimizer_has_a_formula_here():
    assert RULES.keys() == optimizers.OPTIMIZERS.keys()


@every_rule
@every_dialect
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_against_scalar_recurrences(name, dialect, decay):
    mine, _ = by_optimizer(name, dialect, decay)
    np.testing.assert_allclose(mine, by_hand(name, dialect, decay), rtol=1e-13, atol=1e-15)


@every_rule
@every_dialect
def test_in_float32(name, dialect):
    mine, optimizer = by_optimizer(name, dialect, 0.1, np.float32)
    np.testing.assert_allclose(mine, by_hand(name, dialect, 0.1), rtol=1e-4, atol=1e-5)
    assert {slot.dtype for slot in optimizer.state.values()} <= {np.dtype(np.float32)}


class Watchful(np.ndarray):
    """Notes the dtype of every array and NumPy scalar that it meets; Python floats are harmless."""

    seen: ClassVar[set] = set()

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        Watchful.seen |= {a.dtype for a in inputs if hasattr(a, "dtype")}
        plain, target = (
            [np.asarray(a) if isinstance(a, Watchful) else a for a in group] for group in (inputs, out)
        )
        result = getattr(ufunc, method)(*plain, out=tuple(target) or None, **options)
        return out[0] if out else result.view(Watchful)


@every_rule
@every_dialect
def test_float32_is_computed_in_float32(name, dialect):
    """A stray np.float64 scalar would double the memory traffic and leave the reference's arithmetic."""
    optimizer = optimizers.make(name, dialect, weight_decay=0.1)
    w, g = (a.astype(np.float32).view(Watchful) for a in (START, GRADIENTS[0]))
    Watchful.seen.clear()
    for _ in range(2):
        optimizer.update(w, g)
    assert Watchful.seen == {np.dtype(np.float32)}


@every_rule
def test_the_dialects_differ_where_they_should(name):
    torch, keras = (by_optimizer(name, dialect, 0.0)[0] for dialect in DIALECTS)
    if name in ("sgd", "adadelta"):
        np.testing.assert_array_equal(torch, keras)
    elif name in ("momentum", "nesterov"):
        np.testing.assert_allclose(torch[:3], keras[:3], rtol=1e-14)  # one rate: the same path
        assert np.abs(torch[4:] - keras[4:]).max() > 1e-3
    else:
        assert np.abs(torch - keras).max() > 1e-6


@every_dialect
def test_weight_decay_couples_or_not(dialect):
    """Without a gradient, decoupled decay shrinks w by lr wd in every rule; coupled Adam steps by lr."""
    for name in RULES:
        optimizer = optimizers.make(name, dialect, learning_rate=0.5, weight_decay=0.25)
        w = np.array([2.0, -4.0])
        optimizer.update(w, np.zeros(2))
        if dialect == "keras" or name in ("adamw", "sgd", "momentum"):
            np.testing.assert_array_equal(w, [1.75, -3.5])
        elif name == "adam":
            np.testing.assert_allclose(w, [1.5, -3.5], rtol=1e-6)
        else:
            assert not np.allclose(w, [1.75, -3.5])


# Hyperparameters.

DEFAULTS = {
    "torch": {
        "sgd": {"learning_rate": 1e-3},
        "momentum": {"learning_rate": 1e-3, "momentum": 0.9},
        "nesterov": {"learning_rate": 1e-3, "momentum": 0.9},
        "adagrad": {"learning_rate": 1e-2, "epsilon": 1e-10},
        "rmsprop": {"learning_rate": 1e-2, "rho": 0.99, "epsilon": 1e-8},
        "adadelta": {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6},
        "adam": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        "adamw": {
            "learning_rate": 1e-3,
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "weight_decay": 1e-2,
        },
    },
    "keras": {
        "sgd": {"learning_rate": 1e-2},
        "momentum": {"learning_rate": 1e-2, "momentum": 0.9},
        "nesterov": {"learning_rate": 1e-2, "momentum": 0.9},
        "adagrad": {"learning_rate": 1e-3, "epsilon": 1e-7},
        "rmsprop": {"learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-7},
        "adadelta": {"learning_rate": 1e-3, "rho": 0.95, "epsilon": 1e-7},
        "adam": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        "adamw": {
            "learning_rate": 1e-3,
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-7,
            "weight_decay": 4e-3,
        },
    },
}


@every_rule
@every_dialect
def test_defaults_are_those_of_the_framework_snapped_to_float32(name, dialect):
    wanted = {"weight_decay": 0.0} | DEFAULTS[dialect][name]
    optimizer = optimizers.make(name, dialect)
    assert optimizer.hyperparameters == {k: float(np.float32(v)) for k, v in wanted.items()}


def test_snapping():
    assert snap(0.9) == 0.8999999761581421 and snap(0.5) == 0.5 and type(snap(0.9)) is float
    optimizer = optimizers.make("momentum", momentum=0.7)
    assert optimizer.hyperparameters["momentum"] == float(np.float32(0.7))
    optimizer.learning_rate = 0.1
    assert optimizer.learning_rate == float(np.float32(0.1)) != 0.1


def test_instances_do_not_share():
    one, two = optimizers.make("adam"), optimizers.make("adam")
    one.learning_rate = 5.0
    one.update(np.ones(2), np.ones(2))
    assert two.learning_rate == snap(1e-3) and two.state == {} and two.step == 0
    assert optimizers.Adam.defaults["torch"]["learning_rate"] == 1e-3


@every_dialect
def test_state_continues_where_it_stopped(dialect):
    for name in RULES:
        whole = optimizers.make(name, dialect)
        w = START.copy()
        for g in GRADIENTS[:4]:
            whole.update(w, g)
        resumed = optimizers.make(name, dialect)
        resumed.state, resumed.step = {k: v.copy() for k, v in whole.state.items()}, whole.step
        other = w.copy()
        for g in GRADIENTS[4:]:
            whole.update(w, g)
            resumed.update(other, g)
        np.testing.assert_array_equal(w, other)


@every_rule
@every_dialect
def test_initial_state(name, dialect):
    optimizer = optimizers.make(name, dialect)
    state = optimizer.initial_state(START.astype(np.float32))
    assert tuple(state) == optimizer.slots
    start = snap(0.1) if (name, dialect) == ("adagrad", "keras") else 0
    for slot in state.values():
        assert slot.shape == START.shape and slot.dtype == np.float32 and (slot == np.float32(start)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: optimizers.make("lion"), "sgd, momentum.*'lion'"),
        (lambda: optimizers.make("adam", "jax"), "torch or keras.*'jax'"),
        (lambda: optimizers.make("sgd", momentum=0.9), "SGD takes weight_decay, learning_rate, but momentum"),
        (lambda: optimizers.make("adam", beta1=0.9), "Adam takes .*beta_1.*but beta1 came"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(UsageError, match=words):
        call()
