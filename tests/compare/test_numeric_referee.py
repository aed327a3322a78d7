"""Derivatives by arithmetic alone: right for every name, and deaf to whatever backward says."""

import numpy as np
import pytest

from compare import numeric_referee
from compare.case import draw
from compare.mutants import catalogue
from compare.numeric_referee import DIRECTIONS, differentiate
from compare.planting import planted
from compare.referees import Referees
from compare.structure import gradient_order
from compare.tolerance import rms
from scratch import ops
from scratch.learner import Architecture, NumpyLearner

ARCHITECTURES = [
    Architecture(kind="mlp", sizes=(5, 4, 3), activation="tanh", l1=1e-2, l2=0.1, penalize_biases=True),
    Architecture(kind="mlp", sizes=(5, 4, 4, 3), dropout=0.4, output="sigmoid", l2=0.1),
    Architecture(kind="mlp", sizes=(6, 3), activation="maxout"),
    Architecture(kind="mlp", sizes=(5, 4, 3), activation="maxout", dropout=0.4),
    Architecture(kind="dcn", image=(5, 4, 2), filters=(2, 3), kernel=3, sizes=(4, 3), dropout=0.4),
]
each = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.kind}-{a.activation}")


def batch(shape, n=4):
    return lambda rng: (rng.normal(size=(n, *shape)), rng.integers(0, 3, n))


def drawn(architecture, seed=11):
    shape = architecture.image if architecture.kind == "dcn" else architecture.sizes[:1]
    return draw(architecture, batch(shape), "he_normal", 0.1, seed, 0)


def watched(learner, case):
    learner.load(case.weights)
    return learner.watch(case.x, case.t, case.masks)


def by_backward(architecture, who, case, referees):
    if who == "numpy":
        return watched(NumpyLearner(architecture.network(np.float64)), case)
    return watched(referees.learner(who, architecture, "float64"), case)


@each
@pytest.mark.parametrize("who", ["numpy", "torch"])
def test_whole(architecture, who, referees):
    case = drawn(architecture)
    loss, derivatives = differentiate(case)
    seen = by_backward(architecture, who, case, referees)
    assert loss == pytest.approx(seen.loss, rel=1e-13)
    assert set(derivatives) == set(gradient_order(architecture))
    for name, derivative in derivatives.items():
        gradient = seen.gradients[name]
        assert derivative.whole.shape == gradient.shape and gradient.any(), name
        assert np.abs(derivative.whole - gradient).max() <= 1e-12 * rms(gradient), name


@each
def test_along_directions(architecture, monkeypatch):
    monkeypatch.setattr(numeric_referee, "WHOLE", 0)
    case = drawn(architecture)
    seen = by_backward(architecture, "numpy", case, None)
    _, derivatives = differentiate(case)
    assert set(derivatives) == set(gradient_order(architecture))
    for name, derivative in derivatives.items():
        assert derivative.whole is None and len(derivative.directions) == DIRECTIONS
        for direction, slope in zip(derivative.directions, derivative.along, strict=True):
            exact = float((seen.gradients[name] * direction).sum())
            assert slope == pytest.approx(exact, rel=1e-12, abs=1e-12 * np.linalg.norm(seen.gradients[name]))
        first, second = (d.ravel() for d in derivative.directions)
        assert abs(first @ second) < np.linalg.norm(first) * np.linalg.norm(second)


@each
def test_it_never_calls_a_backward(architecture, monkeypatch):
    case = drawn(architecture)
    _, expected = differentiate(case)

    def deaf(operation):
        def forward_only(*args, **options):
            return operation(*args, **options)[0], refuse

        return forward_only

    def refuse(*_):
        raise AssertionError("a backward pass was asked for")

    for name in {mutant.operation for mutant in catalogue()} & set(vars(ops)):
        monkeypatch.setattr(ops, name, deaf(getattr(ops, name)))
    _, found = differentiate(case)
    for name, derivative in expected.items():
        assert np.array_equal(found[name].whole, derivative.whole), name


@pytest.mark.parametrize("known", [False, True], ids=["afresh", "kept"])
@pytest.mark.parametrize("bug", ["dense.w: sign", "relu.z: mask missing", "penalty.W: L2 term missing"])
def test_a_planted_bug_leaves_the_answer_alone(bug, known):
    architecture = Architecture(kind="mlp", sizes=(5, 4, 3), l2=0.1)
    case, referees = drawn(architecture), Referees(("numeric",))
    expected = differentiate(case)
    if known:
        referees.derivatives(case)
    (mutant,) = (m for m in catalogue() if m.name == bug)
    with planted(mutant):
        loss, found = referees.derivatives(case)
    assert loss == expected[0]
    for name, derivative in expected[1].items():
        assert np.array_equal(found[name].whole, derivative.whole), name


def test_weights_are_put_back_after_each_step():
    case = drawn(ARCHITECTURES[0])
    before = {name: w.copy() for name, w in case.weights.items()}
    differentiate(case)
    assert all(np.array_equal(case.weights[name], before[name]) for name in before)
