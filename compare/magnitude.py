"""Convolution and its two transposes as sums over the taps of the kernel: short, slow and independent.

The tolerances need |x| * |w| and the like; they are computed here, never by what is being checked.
"""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis for ceil(size / stride) outputs, the extra one last."""
    outputs = (size + stride - 1) // stride
    total = max(0, (outputs - 1) * stride + window - size)
    return total // 2, (total + 1) // 2


def _taps(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: str
) -> tuple[list[tuple[int, int]], Iterator[tuple[int, int, tuple[slice, ...]]]]:
    """(padding of the two axes, (k, l, the part of the padded image that tap k, l meets) ...)."""
    pads = [
        same_padding(size, window, stride) if padding == "SAME" else (0, 0)
        for size, window in zip(shape[1:3], kernel[:2], strict=True)
    ]
    spans = [
        (size + sum(p) - window) // stride * stride + 1
        for size, p, window in zip(shape[1:3], pads, kernel[:2], strict=True)
    ]
    taps = (
        (k, l, (slice(None), slice(k, k + spans[0], stride), slice(l, l + spans[1], stride)))
        for k in range(kernel[0])
        for l in range(kernel[1])
    )
    return pads, taps


def _padded(x: Array, pads: list[tuple[int, int]]) -> Array:
    return np.pad(x, [(0, 0), *pads, (0, 0)])


def conv(x: Array, w: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """x (N, H, W, C), w (K, L, C, F) -> (N, H', W', F)."""
    pads, taps = _taps(x.shape, w.shape, stride, padding)
    x = _padded(x, pads)
    return sum(x[part] @ w[k, l] for k, l, part in taps)


def conv_to_input(
    d: Array, w: Array, shape: tuple[int, ...], stride: int = 1, padding: str = "SAME"
) -> Array:
    """The transpose of `conv` in x: d (N, H', W', F), w -> the shape of x."""
    pads, taps = _taps(shape, w.shape, stride, padding)
    out = _padded(np.zeros(shape, d.dtype), pads)
    for k, l, part in taps:
        out[part] += d @ w[k, l].T
    (top, _), (left, _) = pads
    return out[:, top : top + shape[1], left : left + shape[2]]


def conv_to_kernel(
    x: Array, d: Array, shape: tuple[int, ...], stride: int = 1, padding: str = "SAME"
) -> Array:
    """The transpose of `conv` in w: x, d (N, H', W', F) -> the shape (K, L, C, F) of w."""
    pads, taps = _taps(x.shape, shape, stride, padding)
    x = _padded(x, pads)
    rows = d.reshape(-1, shape[3])
    out = np.zeros(shape, d.dtype)
    for k, l, part in taps:
        out[k, l] = x[part].reshape(-1, shape[2]).T @ rows
    return out
