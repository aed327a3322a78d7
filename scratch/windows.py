"""Padding and sliding windows: the geometry that convolution and pooling share."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from scratch.errors import UsageError

PADDINGS = ("SAME", "VALID")


def pad_amounts(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after one axis. SAME gives ceil(size/stride) outputs, the extra zero goes last.

    Source: TensorFlow's definition of SAME, which for stride 1 is also PyTorch's.
    """
    if padding not in PADDINGS:
        raise UsageError(f"padding must be SAME or VALID, but {padding!r} came.")
    if stride < 1:
        raise UsageError(f"stride must be at least 1, but {stride} came.")
    if padding == "SAME":
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        return total // 2, total - total // 2
    if size < window:
        raise UsageError(
            f"VALID padding needs an input of at least {window} pixels, but {size} came; use SAME."
        )
    return 0, 0


def pad(x: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], value: float = 0.0) -> np.ndarray:
    """x (N, H, W, C) with `value` around each image; x itself where there is nothing to add."""
    if rows == columns == (0, 0):
        return x
    n, h, w, c = x.shape
    out = np.full((n, h + sum(rows), w + sum(columns), c), value, x.dtype)
    out[:, rows[0] : rows[0] + h, columns[0] : columns[0] + w] = x
    return out


def crop(x: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """The inverse of `pad`: a view without the border."""
    return x[:, rows[0] : x.shape[1] - rows[1], columns[0] : x.shape[2] - columns[1]]


def windows(x: np.ndarray, height: int, width: int, stride: int) -> np.ndarray:
    """A view (N, H', W', height, width, C) of every window of a padded x (N, H, W, C)."""
    view = sliding_window_view(x, (height, width), axis=(1, 2))  # (N, H-, W-, C, height, width)
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
