"""The referee is itself refereed: known derivatives, honest errors, clear refusals."""

import functools
import warnings

import numpy as np
import pytest

from scratch import numeric, ops
from scratch.errors import UsageError

every_method = pytest.mark.parametrize("method", numeric.METHODS)
ACCURACY = {"central": 1e-8, "richardson": 1e-11, "complex": 1e-14}

A = np.random.default_rng(0).normal(size=(3, 4))


def smooth(x):
    return (np.exp(A * x / 3) + np.sin(x) ** 3).sum() / 5


def slope_of_smooth(x):
    return (A / 3 * np.exp(A * x / 3) + 3 * np.sin(x) ** 2 * np.cos(x)) / 5


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(3, 4)) * 2


@every_method
def test_gradient_of_a_known_function(method, x):
    estimate = numeric.gradient(smooth, x, method)
    assert estimate.value.shape == estimate.error.shape == estimate.kinks.shape == x.shape
    assert estimate.kinks.dtype == bool and not estimate.kinks.any()
    wrong = np.abs(estimate.value - slope_of_smooth(x))
    assert wrong.max() < ACCURACY[method]
    assert (wrong <= 3 * estimate.error).all(), "the error estimate should be honest"
    assert estimate.error.max() < 30 * ACCURACY[method], "and not timid"


@every_method
def test_directional_is_the_gradient_along_v(method, x):
    for v in numeric.random_directions(x.shape, 3, np.random.default_rng(2)):
        estimate = numeric.directional(smooth, x, 1e-3 * v, method)
        along = 1e-3 * (slope_of_smooth(x) * v).sum()
        assert np.shape(estimate.value) == np.shape(estimate.error) == np.shape(estimate.kinks) == ()
        assert abs(estimate.value - along) <= 3 * estimate.error
        assert estimate.error < 1e-7 * 1e-3


@every_method
def test_error_knows_strong_curvature(method):
    """A third derivative of 27000: truncation, not rounding, is what goes wrong in central differences."""
    x = np.random.default_rng(5).normal(size=20)
    estimate = numeric.gradient(lambda p: np.sin(30 * p).sum(), x, method)
    wrong = np.abs(estimate.value - 30 * np.cos(30 * x))
    assert (wrong <= 3 * estimate.error).all()
    assert wrong.max() < {"central": 1e-5, "richardson": 1e-8, "complex": 1e-13}[method]


@every_method
@pytest.mark.parametrize("length", [1e-7, 1e7])
def test_the_length_of_a_direction_does_not_matter(method, length, x):
    v = length * np.sign(A)
    along = (slope_of_smooth(x) * v).sum()
    estimate = numeric.directional(smooth, x, v, method)
    assert abs(estimate.value - along) < 10 * ACCURACY[method] * length
    assert abs(estimate.value - along) <= 3 * estimate.error < 1e-5 * length


def test_a_linear_function_has_no_truncation():
    """The step that is divided by is the one that float64 made of x + h and x - h."""
    x = np.array([1 / 3, 1000 / 7])
    for method in numeric.METHODS:
        np.testing.assert_allclose(
            numeric.gradient(lambda p: p[0] + 0 * p[1], x, method).value, [1, 0], rtol=1e-15
        )


def test_error_of_a_coordinate_knows_the_others():
    """What cancelled in a tiny derivative was of the size of the large ones."""
    x = np.array([1.0, 1.0])
    estimate = numeric.gradient(lambda p: 1e6 * p[0] ** 2 - 1e6 + 1e-9 * p[1], x)
    assert estimate.error.min() > 1e-10


@every_method
def test_x_may_be_the_very_array_that_f_writes_to(method, x):
    """As with a network's flat vector, which f fills with what it is asked about."""
    start, exact = x.copy(), slope_of_smooth(x)

    def f(p):
        if np.iscomplexobj(p):
            return smooth(p)
        x[...] = p
        return smooth(x)

    np.testing.assert_allclose(numeric.gradient(f, x, method).value, exact, atol=1e-7)
    x[...] = start
    v = np.sign(start)
    assert numeric.directional(f, x, v, method).value == pytest.approx((exact * v).sum(), rel=1e-6)


@every_method
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e9])
def test_large_coordinates(method, scale):
    """Steps grow with |x|: at 1e9 a step of 6e-6 would be all rounding."""
    x = np.array([1.3, -0.7]) * scale
    estimate = numeric.gradient(lambda p: np.cos(p / scale).sum() * scale, x, method)
    wrong = np.abs(estimate.value + np.sin(x / scale))
    assert wrong.max() < ACCURACY[method]
    assert (wrong <= 3 * estimate.error).all()


@every_method
def test_error_is_honest_for_many_functions(method):
    """Nine in ten coordinates within the estimate, every one within three times it."""
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(30):
        a, b, c = rng.normal(size=(3, 4))
        x = rng.normal(size=4)

        def f(p, a=a, b=b, c=c):
            return (a * np.tanh(b * p)).sum() + (c * p).sum() ** 2

        estimate = numeric.gradient(f, x, method)
        exact = a * b / np.cosh(b * x) ** 2 + 2 * (c @ x) * c
        ratios.append(np.abs(estimate.value - exact) / estimate.error)
    assert np.max(ratios) < 3
    assert np.mean(np.array(ratios) < 1) > 0.9


def test_coordinates_are_flat_indices(x):
    chosen = [7, 0, 11]
    estimate = numeric.gradient(smooth, x, coordinates=chosen)
    np.testing.assert_allclose(estimate.value, slope_of_smooth(x).ravel()[chosen], rtol=1e-13)
    assert numeric.gradient(smooth, x, coordinates=[]).value.shape == (0,)
    for outside in ([12], [-1]):
        with pytest.raises(UsageError, match=r"0 ... 11"):
            numeric.gradient(smooth, x, coordinates=outside)


@every_method
@pytest.mark.parametrize("shape", [(), (1,), (2, 0), (2, 1, 3)])
def test_any_shape(method, shape):
    x = np.full(shape, 0.5)
    estimate = numeric.gradient(lambda p: (p * p).sum() + 1, x, method)
    assert estimate.value.shape == shape
    np.testing.assert_allclose(estimate.value, 2 * x, rtol=1e-9)


@every_method
def test_x_is_safe_and_need_not_be_contiguous(method, x):
    def vandal(p):
        value = smooth(p)
        p[...] = np.nan
        return value

    kept = x.copy()
    for view in (x, x.copy(order="F"), np.repeat(x, 2, axis=0)[::2]):
        estimate = numeric.gradient(vandal, view, method)
        np.testing.assert_allclose(estimate.value, slope_of_smooth(x), rtol=1e-6)
    numeric.directional(vandal, x, np.ones_like(x), method)
    numeric.taylor_slope(vandal, x, slope_of_smooth(x), np.ones_like(x))
    np.testing.assert_array_equal(x, kept)


@every_method
def test_a_buffer_of_decisions_may_be_reused(method):
    """f may overwrite one mask at every call: the referee keeps its own copy."""
    buffer = np.empty(2, bool)

    def f(x):
        buffer[...] = x.real > 0
        return (x * buffer).sum(), buffer

    estimate = numeric.gradient(f, np.array([1e-9, 1.0]), method)
    np.testing.assert_array_equal(estimate.kinks, [method != "complex", False])


# Kinks.


def rectified(x):
    return (x * (x.real > 0)).sum(), x.real > 0


@pytest.mark.parametrize("method", ["central", "richardson"])
def test_kinks_are_marked(method):
    x = np.array([-2.0, -1e-7, 0.0, 1e-7, 3.0])
    estimate = numeric.gradient(rectified, x, method)
    np.testing.assert_array_equal(estimate.kinks, [False, True, True, True, False])
    np.testing.assert_allclose(estimate.value[[0, 4]], [0, 1], atol=1e-9)
    v = np.array([1.0, 0, 0, 0, 1])
    assert not numeric.directional(rectified, x, v, method).kinks
    assert numeric.directional(rectified, x, np.ones(5), method).kinks


def test_several_decisions():
    def f(x):
        return np.abs(x).sum(), (x > 0, x.argmax())

    assert numeric.gradient(f, np.array([1.0, 1 + 1e-9]), "central").kinks.all()  # the argmax switches
    assert not numeric.gradient(f, np.array([1.0, 2]), "central").kinks.any()


def test_richardson_steps_short_of_a_kink():
    """A kink at 0.01 is within its widest steps, not within its narrowest."""
    estimate = numeric.gradient(
        lambda x: ((x**3 * (x.real > 0)).sum(), x.real > 0), np.array([0.01]), "richardson"
    )
    assert not estimate.kinks[0]
    assert estimate.value[0] == pytest.approx(3e-4, abs=1e-11)
    blind = numeric.gradient(lambda x: np.abs(x - 1).sum(), np.array([1.01]), "richardson")
    assert abs(blind.value[0] - 1) <= 3 * blind.error[0]


def test_the_complex_step_crosses_no_kink():
    estimate = numeric.gradient(rectified, np.array([-1e-7, 0.0, 1e-7]))
    np.testing.assert_array_equal(estimate.value, [0, 0, 1])  # at 0 the convention of f itself
    assert not estimate.kinks.any()


def test_a_tie_that_the_imaginary_part_breaks_is_a_kink():
    """np.maximum compares complex numbers by their imaginary parts where the real ones are equal."""

    def f(x):
        return (np.maximum(x, 0).sum(), np.maximum(x, 0) == x)

    assert numeric.gradient(f, np.array([0.0, -1.0])).kinks.tolist() == [False, False]

    def g(x):
        return (np.maximum(x, 1).sum(), x > 1)

    assert numeric.gradient(g, np.array([1.0, 2.0])).kinks.tolist() == [True, False]


# Functions that the complex step cannot referee.


def into_float(x):
    y = np.empty(x.shape)
    y[...] = x
    return (y * y).sum()


def rounded(x):
    return np.floor(x).sum() + (x * x).sum()


def half_dropped(x):
    return (x[0] * x[1] * np.abs(x[2])).sum()


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.abs(x).sum() + (x.real**2).sum(), "real number"),
        (lambda x: float((x * x).sum().real), "real number"),
        (into_float, "discards the imaginary part"),
        (lambda x: float((x * x).sum()), "complex"),
        (rounded, "complex"),
        (lambda x: (np.abs(x) ** 2).sum() + 0j, "drops the imaginary part"),
        (lambda x: (x.real**2).sum() + 0j * x[0], "drops the imaginary part"),
        (half_dropped, "drops the imaginary part"),
    ],
)
def test_functions_that_lose_the_imaginary_part_are_refused(f, words):
    x = np.array([1.5, -0.7, 2.2])
    with warnings.catch_warnings(), pytest.raises(UsageError, match=words) as refusal:
        warnings.simplefilter("ignore")  # NumPy's own warning is seen all the same
        numeric.gradient(f, x)
    assert "richardson" in str(refusal.value)
    with pytest.raises(UsageError, match=words):
        numeric.directional(f, x, np.array([0, 0, 1.0]))
    assert numeric.gradient(f, x, "richardson").value.shape == x.shape


def test_true_zeros_are_no_lost_imaginary_parts():
    """Dead units, constants and kinks have derivative 0 too, and are not to be refused."""
    x = np.array([-1.0, -2.0, 0.0])
    np.testing.assert_array_equal(numeric.gradient(lambda p: ops.relu(p)[0].sum(), x).value, 0)
    np.testing.assert_array_equal(numeric.gradient(lambda p: (0 * p).sum() + 3, x).value, 0)
    assert numeric.directional(lambda p: (p * p).sum(), np.zeros(3), np.ones(3)).value == 0
    assert numeric.directional(lambda p: p[0] - p[1], x, np.ones(3)).value == 0


# Refusals.


@every_method
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.complex128])
def test_only_float64_is_taken(method, dtype):
    with pytest.raises(UsageError, match="float64"):
        numeric.gradient(smooth, np.ones((3, 4), dtype), method)
    with pytest.raises(UsageError, match="float64"):
        numeric.directional(smooth, np.ones((3, 4), dtype), np.ones((3, 4)), method)


@every_method
def test_values_that_are_not_finite_or_no_scalar(method, x):
    with pytest.raises(UsageError, match="finite"):
        numeric.gradient(lambda p: smooth(p) * np.nan, x, method)
    with pytest.raises(UsageError, match="finite"):
        numeric.gradient(lambda p: smooth(p) if (p == x).all() else np.inf, x, method)
    with pytest.raises(UsageError, match=r"scalar.*\(3, 4\)"):
        numeric.gradient(lambda p: p, x, method)


@every_method
def test_a_complex_answer_to_a_real_question(method, x):
    """A network in complex128 answers with a zero imaginary part; anything else is a mistake."""
    estimate = numeric.gradient(lambda p: smooth(p) + 0j, x, method)
    np.testing.assert_allclose(estimate.value, slope_of_smooth(x), rtol=1e-6)
    with pytest.raises(UsageError, match="real for real x"):
        numeric.gradient(lambda p: smooth(p) + 1j, x, method)


def test_unknown_methods_and_unfit_directions(x):
    for call in (numeric.gradient, functools.partial(numeric.directional, v=x)):
        with pytest.raises(UsageError, match="central, richardson, complex"):
            call(smooth, x, method="forward")
    for v in (np.ones(12), np.zeros((3, 4)), np.full((3, 4), np.inf)):
        with pytest.raises(UsageError, match="direction"):
            numeric.directional(smooth, x, v)
        with pytest.raises(UsageError, match="direction"):
            numeric.taylor_slope(smooth, x, x, v)
    with pytest.raises(UsageError, match="g must have"):
        numeric.taylor_slope(smooth, x, x.T, x)


@every_method
def test_an_error_within_f_is_not_hidden(method, x):
    def broken(p):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        numeric.gradient(broken, x, method)


def test_warnings_of_f_are_left_alone(x):
    def warns(p):
        warnings.warn("mine", UserWarning, stacklevel=1)
        return smooth(p)

    with pytest.warns(UserWarning, match="mine"):
        numeric.directional(warns, x, x, "central")


# Directions and slopes.


def test_random_directions():
    def draw(seed):
        return list(numeric.random_directions((50, 40), 3, np.random.default_rng(seed)))

    first = draw(0)
    assert len(first) == 3 and all(v.shape == (50, 40) and v.dtype == np.float64 for v in first)
    assert all(abs(v.mean()) < 0.1 and abs(v.std() - 1) < 0.1 for v in first)
    np.testing.assert_array_equal(first, draw(0))
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first, draw(1))


def test_taylor_slope_tells_right_from_wrong(x):
    g = slope_of_smooth(x)
    for v in numeric.random_directions(x.shape, 5, np.random.default_rng(4)):
        assert numeric.taylor_slope(smooth, x, g, v) == pytest.approx(2, abs=0.1)
        for wrong in (0 * g, -g, 2 * g, g**2, g * (1 + 1e-3)):
            assert numeric.taylor_slope(smooth, x, wrong, v) == pytest.approx(1, abs=0.1)


def test_taylor_slope_sees_one_wrong_coordinate(x):
    g = slope_of_smooth(x)
    g[1, 2] *= -1
    v = next(numeric.random_directions(x.shape, 1, np.random.default_rng(0)))
    assert numeric.taylor_slope(smooth, x, g, v) < 1.5


def test_taylor_slope_of_a_linear_function(x):
    def f(p):
        return (A * p).sum() + 7

    assert numeric.taylor_slope(f, x, A, np.ones_like(x)) == np.inf
    assert numeric.taylor_slope(f, x, 1.01 * A, np.ones_like(x)) == pytest.approx(1)


def test_taylor_slope_works_where_the_complex_step_does_not(x):
    def f(p):
        return float((np.abs(p) ** 3).sum())

    assert numeric.taylor_slope(f, x, 3 * x * np.abs(x), x) == pytest.approx(2, abs=0.1)
