"""A branch that rounding decides costs one example; a branch that is simply wrong costs the verdict."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from compare.branches import REACH, flips
from compare.case import Case
from compare.noise import Analysis
from compare.parity import compare_case
from compare.tolerance import UNIT
from scratch import ops
from scratch.learner import Architecture, NumpyLearner

U = UNIT["float64"]
MLP = {"kind": "mlp", "sizes": (6, 5, 3)}
DCN = {"kind": "dcn", "image": (6, 4, 1), "filters": (2, 3), "kernel": 3, "sizes": (4, 3)}
# architecture, the tensor that decides, two of its entries in example 2, what is decided
DECISIONS = {
    "relu": (Architecture(**MLP), "fc1/net_input", [(2, 1)], "fc1/activation"),
    "leaky": (Architecture(**MLP, activation="leaky_relu"), "fc1/net_input", [(2, 4)], "fc1/activation"),
    "maxout": (
        Architecture(**MLP, activation="maxout"),
        "fc1/net_input",
        [(2, 2), (2, 3)],
        "fc1/activation",
    ),
    "pool": (Architecture(**DCN), "conv1/activation", [(2, 2, 0, 1), (2, 3, 1, 1)], "conv1/pooled"),
    "relu of a conv": (Architecture(**DCN), "conv2/net_input", [(2, 1, 0, 1)], "conv2/activation"),
}
each = pytest.mark.parametrize("kind", DECISIONS)


def passes(architecture):
    """(oracle, analysis, U) of a small batch."""
    rng = np.random.default_rng(3)
    network = architecture.network(np.float64)
    weights = {name: rng.normal(size=shape) for name, shape in network.shapes.items()}
    learner = NumpyLearner(network)
    learner.load(weights)
    shape = architecture.image if architecture.kind == "dcn" else architecture.sizes[:1]
    x, t = rng.normal(size=(5, *shape)), rng.integers(0, 3, 5)
    seen = learner.watch(x, t)
    return seen, Analysis(architecture, weights, seen, t, {})


def flipped(kind, share):
    """(run, oracle, analysis) where one branch differs, by `share` of the margin that rounding may decide."""
    architecture, name, entries, _ = DECISIONS[kind]
    oracle, analysis = passes(architecture)
    run = copy.deepcopy(oracle)
    a, b = oracle.values[name], run.values[name]
    noise = U * analysis.values[name]
    if len(entries) == 1:
        (entry,) = entries
        a[entry], b[entry] = share * REACH * noise[entry], -1e-300
    else:
        first, second = entries
        a[first] = 9.0  # above all others in its window
        a[second] = 9.0 - share * REACH * (noise[first] + noise[second])
        b[first], b[second] = a[second], a[first]
    return run, oracle, analysis


@each
def test_the_same_branches_leave_out_nothing(kind):
    architecture = DECISIONS[kind][0]
    oracle, analysis = passes(architecture)
    out, clear = flips(architecture, copy.deepcopy(oracle), oracle, analysis, U)
    assert not out.any() and clear == {}


@each
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_flip_within_rounding_leaves_out_just_its_example(kind, share):
    out, clear = flips(DECISIONS[kind][0], *flipped(kind, share), U)
    assert out.tolist() == [False, False, True, False, False]
    assert clear == {}


@each
@pytest.mark.parametrize("share", [1.2, 1e6])
def test_a_flip_with_a_clear_margin_is_counted(kind, share):
    out, clear = flips(DECISIONS[kind][0], *flipped(kind, share), U)
    assert not out.any()
    assert clear == {DECISIONS[kind][3]: 1}


@each
def test_a_tie_is_no_flip(kind):
    """Equal candidates: the first wins on both sides."""
    run, oracle, analysis = flipped(kind, 0.0)
    architecture, name, entries, _ = DECISIONS[kind]
    for entry in entries:
        run.values[name][entry] = oracle.values[name][entry]
    out, clear = flips(architecture, run, oracle, analysis, U)
    assert not out.any() and clear == {}


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_or_misshaped_is_left_to_the_values(kind, bad):
    architecture, name, entries, _ = DECISIONS[kind]
    oracle, analysis = passes(architecture)
    run = copy.deepcopy(oracle)
    run.values[name][entries[0]] = bad
    assert flips(architecture, run, oracle, analysis, U)[1] == {}
    run.values[name] = run.values[name][:3]
    assert flips(architecture, run, oracle, analysis, U)[1] == {}


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_smooth_activations_have_no_branches(activation):
    architecture = Architecture(**MLP, activation=activation)
    oracle, analysis = passes(architecture)
    run = copy.deepcopy(oracle)
    run.values["fc1/net_input"] *= -1
    out, clear = flips(architecture, run, oracle, analysis, U)
    assert not out.any() and clear == {}


def near_zero(n, z, hidden=24):
    """A case whose first example gives the first unit the net input z; |x| |w| + |b| is about 2 there."""
    rng = np.random.default_rng(5)
    architecture = Architecture(kind="mlp", sizes=(8, hidden, 3))
    shapes = architecture.network().shapes
    weights = {
        name: rng.normal(size=shape).astype(np.float32).astype(np.float64) for name, shape in shapes.items()
    }
    weights["fc1/W"][:3, 0], weights["fc1/b"][0] = (1, -1, z), 0
    x = rng.normal(size=(n, 8)).astype(np.float32).astype(np.float64)
    x[0] = [1, 1, 1, 0, 0, 0, 0, 0]
    return Case(architecture, weights, x, rng.integers(0, 3, n), {}, key=("near zero", n, z, hidden))


def round_to(monkeypatch, value):
    """scratch's float32 rounds that net input to `value`."""
    right = ops.dense

    def rounded(x, w, b):
        y, backward = right(x, w, b)
        if x.dtype == np.float32 and x.shape[1] == 8:
            y[(x[:, :3] == 1).all(axis=1), 0] = value
        return y, backward

    monkeypatch.setattr(ops, "dense", rounded)


def both(case, referees):
    return SimpleNamespace(**{r.dtype: r for r in compare_case("mlp", case, referees)})


def test_one_flip_of_twenty_is_left_out_and_counted(referees, monkeypatch):
    round_to(monkeypatch, -(2.0**-26))
    results = both(near_zero(20, 2.0**-26), referees)
    for result in (results.float64, results.float32):
        assert (result.verdict, result.dropped, result.examples) == ("agree", 1, 20)
        assert result.document()["examples_left_out"] == 1


def test_without_leaving_out_the_flip_would_be_blamed(referees, monkeypatch):
    round_to(monkeypatch, -(2.0**-26))
    monkeypatch.setattr("compare.branches.REACH", 0.0)
    assert both(near_zero(20, 2.0**-26), referees).float32.verdict == "disagree"


@pytest.mark.parametrize("n", [5, 2, 1])
def test_too_many_left_out_is_untested(n, referees, monkeypatch):
    round_to(monkeypatch, -(2.0**-26))
    result = both(near_zero(n, 2.0**-26), referees).float32
    assert result.verdict == "untested", result.first_divergence
    assert result.reason == f"rounding decided a branch in 1 of {n} examples"


def test_a_clear_flip_disagrees_though_the_values_agree(referees, monkeypatch):
    round_to(monkeypatch, -(2.0**-26))
    result = both(near_zero(60, 140 * 2.0**-24), referees).float32  # 64 u (|x| |w| + |b|) = 128 * 2^-24
    first = result.first_divergence
    assert (result.verdict, result.dropped) == ("disagree", 0)
    assert (first.name, first.note) == ("fc1/activation", "1 branches differ by more than rounding")


@pytest.mark.parametrize("n", [1, 2])
def test_small_batches_without_flips_agree(n, referees):
    results = both(near_zero(n, 0.5), referees)
    assert (results.float64.verdict, results.float64.dropped) == ("agree", 0)
    assert (results.float32.verdict, results.float32.dropped) == ("agree", 0)
