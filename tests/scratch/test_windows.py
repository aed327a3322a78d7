"""The geometry of windows: TensorFlow's SAME, views without copies."""

import numpy as np
import pytest
import slow_definitions as slow

from scratch import windows
from scratch.errors import UsageError


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("padding", windows.PADDINGS)
def test_number_and_place_of_windows(stride, padding):
    for size in range(1, 9):
        for window in range(1, 7):
            if padding == "VALID" and size < window:
                continue
            before, after = windows.pad_amounts(size, window, stride, padding)
            outputs, start = slow.geometry(size, window, stride, padding)
            assert 0 <= before <= after <= before + 1 and start == -before
            assert (size + before + after - window) // stride + 1 == outputs


def test_known_amounts():
    assert windows.pad_amounts(28, 5, 1, "SAME") == (2, 2)
    assert windows.pad_amounts(28, 2, 1, "SAME") == (0, 1)  # the extra zero goes last
    assert windows.pad_amounts(28, 3, 2, "SAME") == (0, 1)
    assert windows.pad_amounts(27, 3, 2, "SAME") == (1, 1)
    assert windows.pad_amounts(28, 2, 2, "VALID") == (0, 0)


def test_pad_and_crop():
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    assert windows.pad(x, (0, 0), (0, 0)) is x
    padded = windows.pad(x, (1, 2), (0, 3), value=-1)
    assert padded.shape == (1, 5, 6, 4) and (padded == -1).sum() == padded.size - x.size
    np.testing.assert_array_equal(windows.crop(padded, (1, 2), (0, 3)), x)
    assert windows.pad(x.astype(np.float32), (1, 0), (0, 0), -np.inf).dtype == np.float32


def test_windows_are_a_view():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    view = windows.windows(x, 2, 3, 2)
    assert view.shape == (2, 2, 2, 2, 3, 3) and np.shares_memory(view, x)
    for n, i, j, p, q, c in np.ndindex(view.shape):
        assert view[n, i, j, p, q, c] == x[n, 2 * i + p, 2 * j + q, c]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((5, 3, 1, "FULL"), "'FULL'"),
        ((5, 3, 0, "SAME"), "stride"),
        ((2, 3, 1, "VALID"), "use SAME"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(UsageError, match=words):
        windows.pad_amounts(*arguments)
