"""The verdict on one tensor: what is wrong is found, what rounding does is not, what says nothing says so."""

import numpy as np
import pytest

from compare.tolerance import UNIT, judge, judge_directions, judge_loss, rms

DTYPES = ("float64", "float32")
both = pytest.mark.parametrize("dtype", DTYPES)


def tensor(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape or (20, 30))


def changed(a, index, value):
    a = a.copy()
    a[index] = value
    return a


@both
def test_equal_tensors_agree(dtype):
    judgement = judge(tensor(), tensor(), 0.0, dtype)
    assert (judgement.verdict, judgement.error, judgement.ratio) == ("agree", 0.0, 0.0)
    assert judgement.max_abs == np.abs(tensor()).max()


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["mine", "theirs", "both"])
def test_what_is_not_finite_disagrees_wherever_it_stands(dtype, bad, side):
    right, wrong = tensor(), changed(tensor(), (3, 4), bad)
    pair = {"mine": (wrong, right), "theirs": (right, wrong), "both": (wrong, wrong)}[side]
    judgement = judge(*pair, 1e9, dtype)
    assert (judgement.verdict, judgement.worst_index) == ("disagree", (3, 4))
    assert judgement.error == np.inf
    assert judgement.ratio > 1


@both
@pytest.mark.parametrize("shape", [(30, 20), (20,), (20, 30, 1), (1, 30), (0,), ()])
def test_another_shape_disagrees_even_where_it_broadcasts(dtype, shape):
    judgement = judge(np.zeros(shape), np.zeros((20, 30)), 1.0, dtype)
    assert (judgement.verdict, judgement.worst_index) == ("disagree", None)


@both
@pytest.mark.parametrize("noise", [0.0, 1e-20])
def test_zeros_on_both_sides_are_untested(dtype, noise):
    assert judge(np.zeros((4, 5)), np.zeros((4, 5)), noise, dtype).verdict == "untested"


@both
def test_below_a_hundred_times_the_noise_is_untested(dtype):
    a, weight = tensor(), 1.0 if dtype == "float64" else 0.25
    floor = rms(a) / weight / 100
    assert judge(a, a, 1.01 * floor, dtype).verdict == "untested"
    assert judge(a, a, 0.99 * floor, dtype).verdict == "agree"


@both
def test_beyond_the_noise_is_wrong_even_where_agreement_would_say_nothing(dtype):
    a = 1e-15 * tensor()
    assert judge(a, a, 1e-15, dtype).verdict == "untested"
    assert judge(100 * a, a, 1e-15, dtype).verdict == "disagree"


@both
@pytest.mark.parametrize(
    "bug",
    [lambda a: -a, lambda a: 0 * a, lambda a: 2 * a, lambda a: a * (1 + 1e-6), lambda a: a[::-1]],
    ids=["sign", "zero", "twice", "1e-6", "reversed"],
)
def test_bugs_disagree_at_any_scale(dtype, bug):
    for scale in (1e-12, 1.0, 1e12):
        a = scale * tensor()
        assert judge(bug(a), a, scale * UNIT[dtype], dtype).verdict == "disagree"


@both
def test_something_where_nothing_should_be_disagrees(dtype):
    assert judge(1e-30 * tensor(), np.zeros((20, 30)), 0.0, dtype).verdict == "disagree"


@both
@pytest.mark.parametrize("seed", range(3))
def test_rounding_agrees(dtype, seed):
    a = tensor(seed=seed)
    rounded = a * (1 + UNIT[dtype] * tensor(seed=seed + 100))
    assert judge(rounded, a, 0.0, dtype).verdict == "agree"


def test_one_wrong_entry_of_a_million_is_found():
    a = tensor(100, 100, 100)
    wrong = changed(a, (12, 34, 56), a[12, 34, 56] + 1e-10)
    judgement = judge(wrong, a, 1e-15, "float64")
    assert (judgement.verdict, judgement.worst_index) == ("disagree", (12, 34, 56))
    assert judgement.mine == wrong[12, 34, 56] and judgement.theirs == a[12, 34, 56]
    assert judgement.error == pytest.approx(1e-10) and judgement.allowed == pytest.approx(1e-11, rel=0.01)


def test_the_worst_entry_is_the_one_furthest_above_its_own_noise():
    a, noise = np.ones(4), np.array([1e-3, 1e-15, 1e-15, 1e-15])
    judgement = judge(np.array([1 + 1e-4, 1, 1 + 1e-9, 1]), a, noise, "float64")
    assert (judgement.verdict, judgement.worst_index) == ("disagree", (2,))


def test_large_entries_do_not_hide_small_ones_of_their_own_noise_only():
    a = np.array([1e6, 1.0])
    assert judge(a + np.array([0, 1e-4]), a, 0.0, "float64").verdict == "disagree"
    assert judge(a + np.array([0, 1e-6]), a, 0.0, "float64").verdict == "agree"  # 1e-11 of rms


@pytest.mark.parametrize(("error", "verdict"), [(2.9, "agree"), (3.5, "disagree")])
def test_float32_may_lose_three_times_what_the_reference_loses(error, verdict):
    a = tensor()
    lost = 1e-5 * np.sign(tensor(seed=1))
    assert judge(a + error * lost, a, 0.0, "float32", reference_error=1e-5).verdict == verdict


@pytest.mark.parametrize(("units", "verdict"), [(3.9, "agree"), (4.1, "disagree")])
def test_float32_may_lose_four_roundings_in_any_case(units, verdict):
    a = np.sign(tensor())
    assert judge(a + units * 2.0**-24, a, 0.0, "float32").verdict == verdict


def test_float64_has_no_reference_error():
    a = tensor()
    assert judge(a + 1e-5, a, 0.0, "float64", reference_error=1.0).verdict == "disagree"


def test_scalars_are_judged_too():
    assert judge(np.float64(1.0), np.float64(1.0), 0.0, "float64").worst_index == ()
    assert judge(np.float64(1.1), np.float64(1.0), 0.0, "float64").verdict == "disagree"


def along(g, count=2):
    return [float((g * tensor(*g.shape, seed=10 + i)).sum()) for i in range(count)]


@both
@pytest.mark.parametrize(
    ("bug", "verdict"),
    [
        (lambda g: g, "agree"),
        (lambda g: -g, "disagree"),
        (lambda g: 0 * g, "disagree"),
        (lambda g: g * (1 + 1e-5), "disagree"),
        (lambda g: changed(g, (0, 0), 2.0), "disagree"),
        (lambda g: changed(g, (0, 0), np.nan), "disagree"),
    ],
    ids=["right", "sign", "zero", "1e-5", "one entry", "NaN"],
)
def test_directions(dtype, bug, verdict):
    g, noise = tensor(40, 50), np.full((40, 50), UNIT[dtype])
    judgement = judge_directions(along(bug(g)), along(g), noise, dtype)
    assert judgement.verdict == verdict
    assert judgement.worst_index is None


def test_directions_see_an_error_of_1e_10_in_float64():
    g = tensor(40, 50)
    for seed in range(10):
        wrong = g + 1e-9 * tensor(40, 50, seed=seed + 50)
        assert judge_directions(along(wrong), along(g), np.zeros(g.shape), "float64").verdict == "disagree"


@both
def test_directions_below_the_noise_are_untested(dtype):
    g = tensor(40, 50)
    assert judge_directions(along(g), along(g), np.full(g.shape, 0.1), dtype).verdict == "untested"
    zero = np.zeros((4, 5))
    assert judge_directions(along(zero), along(zero), zero, dtype).verdict == "untested"
    assert judge_directions(along(g), along(0 * g), 1e-9 * np.ones(g.shape), dtype).verdict == "disagree"


@both
def test_directions_allow_for_independent_rounding(dtype):
    g, noise = tensor(40, 50), np.full((40, 50), 16 * UNIT[dtype])
    for seed in range(20):
        rounded = g + UNIT[dtype] * tensor(40, 50, seed=seed + 50)
        assert judge_directions(along(rounded), along(g), noise, dtype).verdict == "agree"


@both
@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        (2.3, 2.3, "agree"),
        (2.3 * (1 + 1e-5), 2.3, "disagree"),
        (np.nan, 2.3, "disagree"),
        (2.3, np.nan, "disagree"),
        (np.nan, np.nan, "disagree"),
        (np.inf, np.inf, "disagree"),
        (0.0, 2.3, "disagree"),
    ],
)
def test_loss(dtype, mine, theirs, verdict):
    assert judge_loss(mine, theirs, 16 * UNIT[dtype], dtype).verdict == verdict


def test_loss_near_zero_is_judged_by_what_was_added_up():
    assert judge_loss(1e-17, 3e-17, 16 * UNIT["float64"] * 20, "float64").verdict == "agree"
    assert judge_loss(1e-17, 3e-17, 0.0, "float64").verdict == "disagree"


def test_float32_loss_may_lose_what_the_reference_loses():
    assert judge_loss(2.3 + 2.9e-4, 2.3, 0.0, "float32", reference_error=1e-4).verdict == "agree"
    assert judge_loss(2.3 + 3.1e-4, 2.3, 0.0, "float32", reference_error=1e-4).verdict == "disagree"


def test_rms():
    assert rms(np.array([3.0, -4.0])) == np.sqrt(12.5)
    assert rms(np.empty(0)) == 0
