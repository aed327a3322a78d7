"""A case is drawn from its seed alone, in numbers that both precisions share."""

import numpy as np
import pytest

from compare.case import draw
from scratch.errors import UsageError
from scratch.learner import Architecture

MLP = Architecture(kind="mlp", sizes=(12, 5, 3), dropout=0.4)
DCN = Architecture(kind="dcn", image=(4, 4, 1), filters=(2, 3), kernel=2, sizes=(4, 3), dropout=0.4)
each = pytest.mark.parametrize("architecture", [MLP, DCN], ids=["mlp", "dcn"])


def batch(rng, n=4):
    shape = (3, 4, 1)
    return rng.random((n, *shape)), rng.integers(0, 3, n)


def images(rng, n=4):
    return rng.random((n, 4, 4, 1)), rng.integers(0, 3, n)


def drawn(architecture, init="he_normal", bias=0.0, seed=0, attempt=0, source=None):
    source = source or (images if architecture.kind == "dcn" else batch)
    return draw(architecture, source, init, bias, seed, attempt)


def arrays(case):
    return {"x": case.x, "t": case.t, **case.weights, **{f"mask {k}": m for k, m in case.masks.items()}}


@each
def test_the_same_seed_gives_the_same_case(architecture):
    a, b = arrays(drawn(architecture)), arrays(drawn(architecture))
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@each
@pytest.mark.parametrize("other", [{"seed": 1}, {"attempt": 1}])
def test_another_seed_or_attempt_gives_another(architecture, other):
    a, b = arrays(drawn(architecture)), arrays(drawn(architecture, **other))
    different = {name for name in a if not np.array_equal(a[name], b[name])}
    assert {"x", "fc1/W", "fc2/W", "mask fc2/input"} <= different
    assert drawn(architecture).key != drawn(architecture, **other).key


@each
def test_every_number_is_a_float32_in_float64(architecture):
    case = drawn(architecture, bias=0.1)
    for name, a in {"x": case.x, **case.weights}.items():
        assert a.dtype == np.float64 and np.array_equal(a, a.astype(np.float32)), name


def test_images_become_rows_for_the_mlp_alone():
    assert drawn(MLP).x.shape == (4, 12)
    assert drawn(DCN).x.shape == (4, 4, 4, 1)


def test_biases():
    """The MLP's are spread, for a bias of 0 would hide faults; the DCN's are constant."""
    assert np.unique(drawn(MLP, bias=0.5).weights["fc1/b"]).size == 5
    assert abs(np.mean([drawn(MLP, bias=0.5, seed=s).weights["fc1/b"] for s in range(50)]) - 0.5) < 0.05
    assert (drawn(DCN, bias=0.5).weights["conv1/b"] == 0.5).all()


@each
def test_masks_fit_and_are_not_all_one(architecture):
    (mask,) = drawn(
        architecture, source=lambda rng: [a.repeat(10, 0) for a in _one(architecture, rng)]
    ).masks.values()
    assert mask.dtype == bool and 0 < mask.mean() < 1


def _one(architecture, rng):
    return (images if architecture.kind == "dcn" else batch)(rng, 4)


@each
def test_leaving_out_examples(architecture):
    case = drawn(architecture)
    gone = np.array([False, True, False, True])
    less = case.without(gone)
    assert np.array_equal(less.x, case.x[::2]) and np.array_equal(less.t, case.t[::2])
    assert np.array_equal(less.masks["fc2/input"], case.masks["fc2/input"][::2])
    assert less.weights is case.weights
    keys = {case.key, less.key, case.without(~gone).key, case.without(gone[::-1] & gone[::-1]).key}
    assert len(keys) == 3


@pytest.mark.parametrize("other", [{"init": "lecun_normal"}, {"bias": 0.5}, {"seed": 1}, {"attempt": 1}])
def test_the_key_tells_cases_apart(other):
    assert drawn(MLP).key != drawn(MLP, **other).key


def test_the_key_tells_batches_apart():
    """What a referee computed for one key is used again, so other data must have another key."""
    assert drawn(MLP).key != drawn(MLP, source=lambda rng: batch(rng, 7)).key


def test_keys_can_be_kept():
    case = drawn(MLP)
    assert len({case.key, case.without(np.array([True, False, False, False])).key}) == 2


def test_unknown_initialiser():
    with pytest.raises(UsageError, match="init must be one of"):
        drawn(MLP, init="ones")


def test_printing_a_case_prints_no_arrays():
    assert "array" not in repr(drawn(MLP)) and len(repr(drawn(MLP))) < 1000
