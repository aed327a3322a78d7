"""What rounding really does stays below the analysis; the analysis is not so loose that it hides faults."""

import copy

import numpy as np
import pytest

from compare.case import Case, draw
from compare.noise import Analysis, maxout_pieces, pool_pieces, pool_unpieces
from compare.parity import compare_case
from compare.structure import gradient_order, value_order
from compare.tolerance import UNIT, rms
from scratch import data, ops
from scratch.learner import Architecture, NumpyLearner

DIGITS = data.load("mnist-5k", dtype=np.float64).train
N = 10
PLAIN = [
    Architecture(kind="mlp", sizes=(49, 16, 8, 10), activation=name, l1=1e-3, l2=1e-2)
    for name in ("relu", "leaky_relu", "tanh", "sigmoid", "maxout")
] + [
    Architecture(kind="mlp", sizes=(49, 16, 10), output="sigmoid", dropout=0.3, penalize_biases=True, l2=0.1),
    Architecture(kind="dcn", image=(10, 8, 1), filters=(3, 4), kernel=3, sizes=(12, 10)),
    Architecture(kind="dcn", image=(9, 7, 1), filters=(2, 3), kernel=4, sizes=(6, 10), activation="maxout"),
]
each = pytest.mark.parametrize("architecture", PLAIN, ids=lambda a: f"{a.kind}-{a.activation}-{a.output}")


def digits(shape):
    """Ten digits, thinned out to images of this shape, as `draw` wants them."""
    rows, columns = (np.linspace(0, 27, size).astype(int) for size in shape[:2])

    def batch(rng):
        chosen = rng.choice(len(DIGITS), N, replace=False)
        return DIGITS.x[chosen][:, rows][:, :, columns], DIGITS.t[chosen]

    return batch


def drawn(architecture, seed=0):
    shape = architecture.image if architecture.kind == "dcn" else (7, 7, 1)
    return draw(architecture, digits(shape), "he_normal", 0.1, seed, 0)


def scratch(case, dtype):
    learner = NumpyLearner(case.architecture.network(np.dtype(dtype)))
    learner.load(case.weights)
    return learner.watch(case.x, case.t, case.masks)


def analysis(case, propagate=True):
    """In units of the roundoff."""
    seen = scratch(case, "float64")
    return Analysis(case.architecture, case.weights, seen, case.t, case.masks, propagate)


def shares(a, b, allowed, dtype):
    """The largest part of the allowed noise that is used, by tensor."""
    for kind, order in (("values", value_order), ("gradients", gradient_order)):
        for name in order(allowed.architecture):
            moved = np.abs(getattr(a, kind)[name].astype(np.float64) - getattr(b, kind)[name])
            limit = UNIT[dtype] * getattr(allowed, kind)[name]
            assert limit.shape == moved.shape
            yield f"{kind} {name}", np.where(moved > 0, moved / np.maximum(limit, 1e-300), 0).max()


@each
@pytest.mark.parametrize("seed", range(3))
def test_float32_stays_below(architecture, seed):
    case = drawn(architecture, seed)
    found = dict(shares(scratch(case, "float32"), scratch(case, "float64"), analysis(case), "float32"))
    assert max(found.values()) <= 1, found
    assert max(found.values()) > 1e-3  # there was something to bound


@each
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_frameworks_stay_below_in_float64(architecture, framework, referees):
    case = drawn(architecture)
    learner = referees.learner(framework, architecture, "float64")
    learner.load(case.weights)
    theirs = learner.watch(case.x, case.t, case.masks)
    mine, allowed = scratch(case, "float64"), analysis(case)
    found = dict(shares(mine, theirs, allowed, "float64"))
    assert max(found.values()) <= 1, found
    assert abs(mine.loss - theirs.loss) <= UNIT["float64"] * allowed.loss


@each
def test_float64_noise_is_a_billionth_of_plain_tensors(architecture):
    case = drawn(architecture)
    seen, allowed = scratch(case, "float64"), analysis(case)
    for kind in ("values", "gradients"):
        for name, limit in getattr(allowed, kind).items():
            assert UNIT["float64"] * np.median(limit) < 1e-9 * rms(getattr(seen, kind)[name]), name
    assert UNIT["float64"] * allowed.loss < 1e-12 * seen.loss


@each
def test_a_single_stage_adds_less_than_the_network_so_far(architecture):
    case = drawn(architecture)
    alone, so_far = analysis(case, propagate=False), analysis(case)
    for kind in ("values", "gradients"):
        for name, limit in getattr(alone, kind).items():
            assert (limit <= getattr(so_far, kind)[name] * (1 + 1e-12)).all(), name
    last = value_order(architecture)[-2]
    assert (alone.values[last] < so_far.values[last]).all()


def sure(margin, output="softmax", seed=0):
    """Every row right, and sure of it by at least `margin` logits."""
    architecture = Architecture(kind="mlp", sizes=(49, 12, 10), output=output)
    case = drawn(architecture, seed)
    network = architecture.network(np.float64)
    network.load(case.weights)
    ordered = np.sort(network.forward(case.x), axis=1)
    weights = copy.deepcopy(case.weights)
    factor = margin / (ordered[:, -1] - ordered[:, -2]).min()
    for name in ("fc2/W", "fc2/b"):
        weights[name] = (weights[name] * factor).astype(np.float32).astype(np.float64)
    network.load(weights)
    t = network.forward(case.x).argmax(axis=1)
    return Case(architecture, weights, case.x, t, {}, key=("sure", margin, output, seed))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [14, 20, 40])
def test_saturated_rows_blame_nobody(margin, seed, referees):
    for result in compare_case("mlp", sure(margin, seed=seed), referees):
        assert result.verdict != "disagree", result.first_divergence


@pytest.mark.parametrize("margin", [40, 80, 700])
def test_what_is_below_the_floor_is_untested(margin, referees):
    for result in compare_case("mlp", sure(margin), referees):
        verdicts = {q.name: q.verdict for q in result.quantities if q.kind == "gradient"}
        assert set(verdicts.values()) == {"untested"}, verdicts
        assert result.verdict == "untested" and "fc1/W" in result.reason


def test_a_wrong_sign_above_the_floor_is_still_found(referees, monkeypatch):
    case, correct = sure(14), ops.softmax_cross_entropy

    def wrong(z, t):
        y, backward = correct(z, t)
        return y, lambda dy=1: (-backward(dy)[0],)

    monkeypatch.setattr(ops, "softmax_cross_entropy", wrong)
    assert compare_case("mlp", case, referees, ("float64",))[0].first_divergence.name == "fc2/net_input"


def test_balanced_batch_with_zero_logits_leaves_the_bias_untested(referees):
    rng = np.random.default_rng(0)
    architecture = Architecture(kind="mlp", sizes=(6, 10))
    weights = {"fc1/W": np.zeros((6, 10)), "fc1/b": np.zeros(10)}
    x = rng.normal(size=(30, 6)).astype(np.float32).astype(np.float64)
    case = Case(architecture, weights, x, np.arange(30) % 10, {}, key=("balanced",))
    for result in compare_case("mlp", case, referees):
        verdicts = {(q.name, q.kind): q.verdict for q in result.quantities if q.referee == "torch"}
        assert result.verdict == "untested" and result.reason == "nothing to judge in fc1/b"
        assert verdicts["fc1/b", "gradient"] == "untested"
        assert verdicts["fc1/W", "gradient"] == "agree"
        assert verdicts["fc1/net_input", "value"] == "untested"


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2), (3, 2, 3, 1)])
def test_pooling_windows_there_and_back(shape):
    x = np.random.default_rng(0).normal(size=shape)
    pieces = pool_pieces(x)
    assert pieces.shape == (shape[0], shape[1] // 2, shape[2] // 2, shape[3], 4)
    assert pieces[0, 0, 0, 0].tolist() == [x[0, 0, 0, 0], x[0, 0, 1, 0], x[0, 1, 0, 0], x[0, 1, 1, 0]]
    back = pool_unpieces(pieces, shape)
    height, width = shape[1] // 2 * 2, shape[2] // 2 * 2
    assert (back[:, :height, :width] == x[:, :height, :width]).all()
    assert not back[:, height:].any() and not back[:, :, width:].any()


def test_maxout_pieces_stand_next_to_each_other():
    assert maxout_pieces(np.arange(6).reshape(1, 6)).tolist() == [[[0, 1], [2, 3], [4, 5]]]
