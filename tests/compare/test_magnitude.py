"""The slow convolution and its transposes against scratch, torch and each other."""

import numpy as np
import pytest

from compare import magnitude
from compare.magnitude import conv, conv_to_input, conv_to_kernel, same_padding
from scratch import ops

SHAPES = [  # x, w
    ((2, 7, 6, 3), (3, 3, 3, 4)),
    ((1, 5, 8, 2), (4, 2, 2, 3)),
    ((3, 6, 6, 1), (1, 1, 1, 2)),
    ((2, 8, 5, 2), (5, 4, 2, 3)),
    ((2, 4, 7, 3), (2, 2, 3, 3)),
]
each = pytest.mark.parametrize(
    ("shapes", "stride", "padding"),
    [(shapes, stride, padding) for shapes in SHAPES for stride in (1, 2, 3) for padding in ("SAME", "VALID")],
    ids=str,
)


def drawn(shapes, options):
    rng = np.random.default_rng(1)
    x, w = (rng.normal(size=shape) for shape in shapes)
    return x, w, rng.normal(size=conv(x, w, **options).shape)


def ours(x, w, d, options):
    return (
        conv(x, w, **options),
        conv_to_input(d, w, x.shape, **options),
        conv_to_kernel(x, d, w.shape, **options),
    )


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(b).max())


@each
def test_against_scratch(shapes, stride, padding):
    options = {"stride": stride, "padding": padding}
    x, w, d = drawn(shapes, options)
    y, backward = ops.conv2d(x, w, np.zeros(w.shape[-1]), **options)
    for mine, theirs in zip(ours(x, w, d, options), (y, *backward(d)[:2]), strict=True):
        close(mine, theirs)


@each
def test_against_torch(shapes, stride, padding, referees):
    from frameworks.pytorch.ops import evaluate

    options = {"stride": stride, "padding": padding}
    x, w, d = drawn(shapes, options)
    y, gradients = evaluate("conv2d", {"x": x, "w": w, "b": np.zeros(w.shape[-1])}, options, d)
    for mine, theirs in zip(ours(x, w, d, options), (y, gradients["x"], gradients["w"]), strict=True):
        close(mine, theirs)


@each
def test_both_transposes_are_adjoint(shapes, stride, padding):
    options = {"stride": stride, "padding": padding}
    x, w, d = drawn(shapes, options)
    y, to_input, to_kernel = ours(x, w, d, options)
    expected = (y * d).sum()
    scale = 1e-13 * (np.abs(y) * np.abs(d)).sum()
    assert (x * to_input).sum() == pytest.approx(expected, abs=scale, rel=0)
    assert (w * to_kernel).sum() == pytest.approx(expected, abs=scale, rel=0)


def test_one_pixel_by_hand():
    x, w = np.array([1.0, 2, 3]).reshape(1, 1, 3, 1), np.array([1.0, 10]).reshape(1, 2, 1, 1)
    assert conv(x, w).ravel().tolist() == [21, 32, 3]  # the extra zero goes last
    assert conv(x, w, padding="VALID").ravel().tolist() == [21, 32]


@pytest.mark.parametrize(
    ("size", "window", "stride", "pads"),
    [(5, 3, 1, (1, 1)), (5, 4, 1, (1, 2)), (6, 3, 2, (0, 1)), (5, 1, 2, (0, 0)), (3, 5, 1, (2, 2))],
)
def test_padding(size, window, stride, pads):
    assert same_padding(size, window, stride) == pads


def test_nothing_of_scratch_is_called():
    assert not any(getattr(v, "__module__", "").startswith("scratch") for v in vars(magnitude).values())
