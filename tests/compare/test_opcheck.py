"""Every operation by itself: right in both precisions against all referees, and wrong when made wrong."""

import numpy as np
import pytest

from compare import opcases, opcheck
from compare.mutants import _OPERATIONS as ARGUMENTS
from compare.opcheck import check_ops
from compare.planting import Mutant, planted
from compare.referees import Referees
from compare.verdict import overall
from scratch import ops

DTYPES = ("float64", "float32")
CASES = {case.label: case for case in opcases.cases(0)}
PLACES = [(operation, argument) for operation, arguments in ARGUMENTS.items() for argument in arguments]
BUGS = {
    "sign": lambda call, g: -g,
    "never computed": lambda call, g: 0 * g,
    "1e-6": lambda call, g: g * (1 + 1e-6),
}


@pytest.fixture(scope="module")
def found(referees):
    """What correct operations give, by precision; the references are kept for the tests that follow."""
    return {result.dtype: result for result in check_ops(referees, 0, DTYPES)}


def run(referees, dtypes=DTYPES):
    with np.errstate(all="ignore"):
        return check_ops(referees, 0, dtypes)


def test_labels_are_unique_and_every_operation_has_a_case():
    assert len(CASES) == len(opcases.cases(0))
    assert {case.op for case in CASES.values()} == set(ARGUMENTS)


def test_cases_are_what_they_say():
    assert CASES["conv2d stride 2"].options == {"stride": 2}
    shapes = {label: case.arrays for label, case in CASES.items()}
    assert shapes["dense square"]["x"].shape == shapes["dense square"]["w"].shape
    assert np.abs(shapes["softmax_cross_entropy logits of +-1000"]["z"]).max() > 900
    for case in CASES.values():
        for name, a in case.arrays.items():
            assert a.dtype == np.float64 and np.array_equal(a, a.astype(np.float32)), (case.label, name)


def test_another_seed_draws_other_numbers():
    for a, b in zip(opcases.cases(0), opcases.cases(1), strict=True):
        assert a.label == b.label
        assert any(not np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays), a.label


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", CASES)
def test_each_case_agrees_with_every_referee(label, dtype, found):
    rows = [q for q in found[dtype].quantities if q.name.rsplit("/", 1)[0] == label]
    names = {f"{label}/{argument}" for argument in CASES[label].arrays}
    for referee, expected in (
        ("torch", names | {f"{label}/y"}),
        ("keras", names | {f"{label}/y"}),
        ("numeric", names),
    ):
        own = [q for q in rows if q.referee == referee]
        assert {q.name for q in own} == expected and len(own) == len(expected)
        assert {q.verdict for q in own} <= {"agree", "untested"}, own
    assert any(q.verdict == "agree" for q in rows if q.kind == "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_left_untested(dtype, found):
    untested = [q.name for q in found[dtype].quantities if q.verdict == "untested"]
    assert (found[dtype].verdict, found[dtype].reason) == ("agree", "")
    assert len(untested) <= 0.02 * len(found[dtype].quantities), untested


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_seeds_agree(seed, referees):
    assert overall(check_ops(referees, seed, DTYPES)) == "agree"


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize(("operation", "argument"), PLACES, ids=".".join)
def test_a_wrong_gradient_is_named_by_each_referee(operation, argument, bug, referees, found):
    index = ARGUMENTS[operation].index(argument)
    mutant = Mutant(operation, argument, bug, lambda call: BUGS[bug](call, call.gradients[index]))
    with planted(mutant):
        results = {result.dtype: result for result in run(referees)}
    for referee in referees.names:
        first = results["float64"].seen_by(referee).first_divergence
        assert first.kind == "gradient"
        assert first.name.split("/")[0].split(" ")[0] == operation
        assert first.name.endswith(f"/{argument}")
    if bug != "1e-6":
        assert results["float32"].verdict == "disagree"


@pytest.mark.parametrize("operation", ARGUMENTS)
def test_a_wrong_forward_is_named_at_y(operation, referees, found, monkeypatch):
    right = getattr(ops, operation)

    def wrong(*args, **options):
        y, backward = right(*args, **options)
        return y * (1 + y.dtype.type(1e-4)), backward

    monkeypatch.setattr(ops, operation, wrong)
    for result in run(referees):
        first = result.first_divergence
        assert first.kind == "value" and first.name.endswith("/y")
        assert first.name.split("/")[0].split(" ")[0] == operation


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_never_passed_over(bad, referees, found, monkeypatch):
    right = ops.maxout

    def wrong(z, pieces=2):
        y, backward = right(z, pieces)
        return y, lambda dy: (np.full_like(backward(dy)[0], bad),)

    monkeypatch.setattr(ops, "maxout", wrong)
    for result in run(referees):
        assert result.first_divergence.name == "maxout/z"


def test_what_lingers_from_another_call_is_found(referees, found, monkeypatch):
    """A backward that reads what the latest forward left behind."""
    right, kept = ops.dense, {}

    def wrong(x, w, b):
        y, backward = right(x, w, b)
        kept[x.shape, x.dtype] = x

        def stale(dy):
            dx, _, db = backward(dy)
            return dx, kept[x.shape, x.dtype].T @ dy, db

        return y, stale

    monkeypatch.setattr(ops, "dense", wrong)
    for result in run(referees):
        assert result.first_divergence.name == "dense plain/w"


def test_a_crash_is_not_hidden(referees, found, monkeypatch):
    def crash(z):
        raise ZeroDivisionError("scratch is broken")

    monkeypatch.setattr(ops, "tanh", crash)
    with pytest.raises(ZeroDivisionError, match="scratch is broken"):
        run(referees)


def test_arithmetic_alone_suffices():
    (result,) = check_ops(Referees(("numeric",)), 0, ("float64",))
    assert result.verdict == "agree"
    assert {q.referee for q in result.quantities} == {"numeric"}


def test_what_no_referee_can_judge_is_said(referees, monkeypatch):
    zero = opcases.OpCase("relu of nothing", "relu", {"z": -np.ones((2, 3))})
    monkeypatch.setattr(opcheck, "cases", lambda seed: [zero])
    for result in check_ops(referees, 0, DTYPES):
        assert (result.verdict, result.reason) == ("untested", "nothing to judge in relu of nothing/z")
