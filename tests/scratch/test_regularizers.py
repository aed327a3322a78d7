"""Penalties: value by hand, gradient by complex step, and which parameters they reach."""

import numpy as np
import pytest

from scratch import numeric
from scratch.regularizers import Penalty

W, B = np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([-4.0, 5.0])
PARAMS = {"fc1/W": W, "fc1/b": B}


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (Penalty(), 0),
        (Penalty(l1=0.5), 0.5 * 6),
        (Penalty(l2=0.5), 0.25 * 14),
        (Penalty(0.1, 0.5), 0.6 + 3.5),
        (Penalty(0.1, 0.5, biases=True), 0.1 * 15 + 0.25 * 55),
    ],
)
def test_value(penalty, value):
    assert penalty.value(PARAMS) == pytest.approx(value, rel=1e-15)


def test_covers():
    assert not any(Penalty(biases=True).covers(name) for name in PARAMS)
    for penalty in (Penalty(l1=1), Penalty(l2=1)):
        assert penalty.covers("fc1/W") and penalty.covers("conv2/W") and not penalty.covers("fc1/b")
    assert Penalty(l2=1, biases=True).covers("fc1/b")


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_gradient(l1, l2):
    penalty = Penalty(l1, l2, biases=True)
    for name, p in PARAMS.items():
        estimate = numeric.gradient(lambda q, name=name: penalty.value({name: q}), p)
        np.testing.assert_allclose(penalty.gradient(p), estimate.value, rtol=1e-15)
        blind = numeric.gradient(lambda q, name=name: penalty.value({name: q}), p, "richardson")
        smooth = p != 0
        np.testing.assert_allclose(penalty.gradient(p)[smooth], blind.value[smooth], rtol=1e-10)


def test_the_derivative_of_a_weight_of_zero_is_zero():
    assert Penalty(l1=1.0).gradient(W)[1, 0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_is_kept(dtype):
    penalty = Penalty(0.1, 0.2)
    w = W.astype(dtype)
    assert penalty.gradient(w).dtype == penalty.value({"fc1/W": w}).dtype == dtype
