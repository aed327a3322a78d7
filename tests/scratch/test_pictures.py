"""Weights and examples as pictures."""

import numpy as np

from scratch import pictures


def test_kernels_are_red_white_and_blue():
    weights = np.zeros((2, 3, 1, 4))
    weights[0, 0, 0, 0], weights[1, 2, 0, 0], weights[0, 1, 0, 0] = 2.0, -1.0, np.nan
    sheet = pictures.kernels(weights)
    factor = pictures.SIDE // (2 * 4)
    assert sheet[0, 0].tolist() == [1, 0, 0] and sheet[0, factor].tolist() == [1, 1, 1]
    assert sheet[factor, 2 * factor].tolist() == [0.5, 0.5, 1]  # half as far below zero
    assert pictures.kernels(np.zeros((5, 5, 1, 32))).shape == pictures.kernels(np.ones((5, 5, 1, 32))).shape
    colours = pictures.kernels(np.ones((2, 2, 3, 1)))
    assert colours[0, 0].tolist() == [1, 1, 1] and pictures.kernels(-np.ones((2, 2, 3, 1)))[0, 0, 0] == 0
    assert pictures.kernels(np.ones((3, 3, 32, 64))).shape == pictures.kernels(np.ones((3, 3, 1, 64))).shape


def test_mistakes_show_the_wrong_ones():
    x = np.zeros((6, 28, 28, 1))
    x[4] = 1.0
    t = np.arange(6)
    found = t.copy()
    found[4] = 7
    sheet = pictures.mistakes(x, t, found)
    body = sheet[pictures.CAPTION : pictures.CAPTION + 56, 4:60]
    assert body.min() == 1.0  # the fifth example, all white
    found[:] = (t + 1) % 6
    first = pictures.mistakes(x, t, found)[pictures.CAPTION : pictures.CAPTION + 56, 4:60]
    assert first.max() == 0.0  # the first, all black
    under = sheet[pictures.CAPTION + 56 : 2 * pictures.CAPTION + 56, :64]
    np.testing.assert_array_equal(under, pictures.caption("4 read as 7", 64))
