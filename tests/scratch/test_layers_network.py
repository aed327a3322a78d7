"""Networks: names, views, masks, penalties, and every gradient against the complex step."""

import functools

import numpy as np
import pytest

from scratch import initializers, layers, models, numeric, ops
from scratch.errors import UsageError
from scratch.layers import ACTIVATIONS, Dense, Flatten
from scratch.network import Network, Watched
from scratch.regularizers import Penalty

DEEP = ((5, 3), (5, 4, 3), (5, 4, 6, 3), (5, 4, 3, 4, 3), (4, 5, 3, 4, 5, 2), (4, 3, 5, 4, 3, 4, 6))


def small_dcn(dtype=np.float64, **options):
    """All dimensions distinct: 5 x 9 images (an odd rest is left out), 2 channels, 3 and 4 filters."""
    return models.dcn((5, 9, 2), (3, 4), 3, 6, 5, dtype=dtype, **options)


def prepared(build, seed=0, n=4):
    """(network with random weights and biases, the same in complex128, x, t, masks)."""
    rng = np.random.default_rng(seed)
    network, twin = build(dtype=np.float64), build(dtype=np.complex128)
    network.load(initializers.draw(network.shapes, "he_normal", rng))
    network.flat += rng.normal(size=network.flat.size) * 0.1
    first = network.layers[0]
    x = rng.normal(size=(n, 5, 9, 2) if isinstance(first, layers.Conv2D) else (n, first.shapes["fc1/W"][0]))
    t = rng.integers(0, network.layers[-1].shapes[network.logits_name.replace("net_input", "b")][0], n)
    return network, twin, x, t, network.draw_masks(n, rng)


def check_gradient(build, seed=0, n=4):
    network, twin, x, t, masks = prepared(build, seed, n)

    def loss(flat):
        twin.flat[...] = flat
        return twin.loss(twin.forward(x, masks), t)

    estimate = numeric.gradient(loss, network.flat)
    value, _ = network.loss_and_grads(x, t, masks)
    assert value == pytest.approx(loss(network.flat).real, rel=1e-14)
    rms = np.sqrt(np.mean(estimate.value**2))
    assert rms > 1e-3
    np.testing.assert_allclose(network.flat_gradient, estimate.value, rtol=0, atol=1e-13 * rms)


def mlp(sizes, activation="tanh", output="softmax", dropout=0.0, penalty=None):
    return lambda dtype: models.mlp(sizes, activation, output, dropout, penalty, dtype)


@pytest.mark.parametrize("sizes", DEEP)
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_mlp_gradients_by_depth(sizes, output):
    check_gradient(mlp(sizes, output=output), seed=len(sizes))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_mlp_gradients_by_activation(activation, output, dropout):
    check_gradient(mlp((5, 4, 6, 3), activation, output, dropout), seed=3)


@pytest.mark.parametrize("l1", [0.0, 0.03])
@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("biases", [False, True])
def test_gradients_with_penalties(l1, l2, biases):
    penalty = Penalty(l1, l2, biases)
    check_gradient(mlp((5, 4, 3), "maxout", dropout=0.3, penalty=penalty), seed=4)
    check_gradient(lambda dtype: small_dcn(dtype, penalty=penalty))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dcn_gradients(activation):
    check_gradient(lambda dtype: small_dcn(dtype, activation=activation, dropout=0.5), seed=1, n=3)


def test_gradients_of_one_example():
    check_gradient(mlp((5, 4, 3), dropout=0.5), n=1)
    check_gradient(lambda dtype: small_dcn(dtype, output="sigmoid"), n=1)


def test_gradients_of_other_images():
    """H < W, H > W, an even kernel, one channel, one filter, the smallest image."""
    for number, arguments in enumerate(
        (((4, 4, 1), (1, 2), 2), ((9, 5, 1), (2, 3), 4), ((4, 8, 3), (2, 1), 5))
    ):
        image = arguments[0]
        network = models.dcn(*arguments, 5, 3, dtype=np.float64)
        twin = models.dcn(*arguments, 5, 3, dtype=np.complex128)
        rng = np.random.default_rng(number)
        network.flat[...] = rng.normal(size=network.flat.size) / 3
        x, t = rng.normal(size=(3, *image)), np.array([0, 2, 1])

        def loss(flat, twin=twin, x=x, t=t):
            twin.flat[...] = flat
            return twin.loss(twin.forward(x), t)

        network.loss_and_grads(x, t)
        estimate = numeric.gradient(loss, network.flat)
        np.testing.assert_allclose(network.flat_gradient, estimate.value, rtol=0, atol=1e-13)


def test_watched_gradients_by_restarting_the_network():
    """dL/d of every inner array: `forward(start=...)` takes it from there."""
    for build in (mlp((5, 4, 6, 3), "sigmoid", dropout=0.3), lambda dtype: small_dcn(dtype)):
        network, twin, x, t, masks = prepared(build, seed=5)
        twin.flat[...] = network.flat
        watched = network.watch(x, t, masks)
        rng = np.random.default_rng(0)

        def tail(a, number, twin=twin, t=t, masks=masks):
            return twin.loss(twin.forward(a, masks, start=number), t)

        for number in range(len(network.layers) + 1):
            name = network.layers[number - 1].output if number else next(iter(watched.values))
            value, gradient = watched.values[name], watched.gradients[name]
            assert gradient.shape == value.shape
            v = rng.normal(size=value.shape)
            estimate = numeric.directional(functools.partial(tail, number=number), value, v)
            assert (gradient * v).sum() == pytest.approx(estimate.value, rel=1e-11, abs=1e-14), name


def test_the_right_gradient_passes_a_taylor_test_and_a_wrong_one_does_not():
    network, twin, x, t, _ = prepared(mlp((5, 8, 3), "sigmoid"), n=6)
    network.loss_and_grads(x, t)

    def loss(flat):
        twin.flat[...] = flat
        return twin.loss(twin.forward(x), t)

    for v in numeric.random_directions(network.flat.shape, 3, np.random.default_rng(1)):
        assert numeric.taylor_slope(loss, network.flat, network.flat_gradient, v) > 1.9
        assert numeric.taylor_slope(loss, network.flat, network.flat_gradient * 1.01, v) < 1.1


# Views.


def test_parameters_and_gradients_are_views_of_flat_vectors():
    network, _, x, t, _ = prepared(mlp((5, 4, 3)))
    assert list(network.params) == ["fc1/W", "fc1/b", "fc2/W", "fc2/b"]
    for views, flat in ((network.params, network.flat), (network.gradients, network.flat_gradient)):
        assert all(np.shares_memory(view, flat) for view in views.values())
        assert {name: view.shape for name, view in views.items()} == network.shapes
        flat[...] = np.arange(flat.size)
        joined = np.concatenate([view.ravel() for view in views.values()])
        np.testing.assert_array_equal(joined, np.arange(flat.size))  # in order, without gaps
    network.flat[...] = 0
    np.testing.assert_array_equal(network.forward(x), np.zeros((4, 3)))  # the layers see it too
    network.params["fc2/b"][...] = [1, 2, 3]
    np.testing.assert_array_equal(network.forward(x), np.tile([1, 2, 3], (4, 1)))
    network.loss_and_grads(x, t)
    assert network.gradients["fc2/b"] is network.loss_and_grads(x, t)[1]["fc2/b"]


def test_named_needs_no_copy():
    network = mlp((5, 4, 3))(np.float64)
    other = np.arange(float(network.flat.size))
    for name, view in network.named(other).items():
        assert np.shares_memory(view, other) and view.shape == network.shapes[name]


def test_load_copies_and_is_strict():
    network, _, _, _, _ = prepared(mlp((5, 4, 3)))
    before = network.flat.copy()
    good = {name: np.full(shape, 2.0) for name, shape in network.shapes.items()}
    for bad, words in (
        ({k: v for k, v in good.items() if k != "fc2/b"}, "missing: fc2/b"),
        (good | {"fc3/W": np.zeros(1)}, "not known: fc3/W"),
        (good | {"fc1/W": good["fc1/W"].T}, r"fc1/W must have the shape \(5, 4\), but \(4, 5\)"),
        (good | {"fc2/b": np.zeros((3, 1))}, "fc2/b must have"),
        (good | {"fc2/b": np.float64(0)}, "fc2/b must have"),
        ({}, "missing: fc1/W, fc1/b"),
    ):
        with pytest.raises(UsageError, match=words):
            network.load(bad)
        np.testing.assert_array_equal(network.flat, before)
    network.load(dict(reversed(good.items())))
    np.testing.assert_array_equal(network.flat, 2)
    good["fc1/W"][...] = 7
    np.testing.assert_array_equal(network.flat, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_dtype_throughout(dtype):
    for network, shape in (
        (mlp((5, 4, 3), "maxout", "sigmoid", 0.2, Penalty(0.1, 0.1))(dtype), (4, 5)),
        (small_dcn(dtype, penalty=Penalty(0.1, 0.1, True)), (4, 5, 9, 2)),
    ):
        rng = np.random.default_rng(0)
        network.load(initializers.draw(network.shapes, "he_normal", rng, 0.1))
        x, t = rng.normal(size=shape).astype(dtype), np.array([0, 1, 2, 1])
        watched = network.watch(x, t, network.draw_masks(4, rng))
        assert isinstance(watched.loss, float)
        for arrays in (watched.values, watched.gradients, network.gradients):
            assert {a.dtype for a in arrays.values()} == {np.dtype(dtype)}
        assert network.predict(x).dtype == network.forward(x).dtype == dtype


# Names.


def test_watched_names_of_the_dcn():
    network, _, x, t, masks = prepared(lambda dtype: small_dcn(dtype))
    watched = network.watch(x, t, masks)
    assert isinstance(watched, Watched)
    forward = [
        *("conv1/input", "conv1/net_input", "conv1/activation", "conv1/pooled"),
        *("conv2/input", "conv2/net_input", "conv2/activation", "conv2/pooled"),
        *("fc1/input", "fc1/net_input", "fc1/activation", "fc2/input", "fc2/net_input", "fc2/activation"),
    ]
    assert list(watched.values) == forward
    assert list(watched.gradients) == [
        *("fc2/net_input", "fc2/W", "fc2/b", "fc2/input"),
        *("fc1/activation", "fc1/net_input", "fc1/W", "fc1/b", "fc1/input"),
        *("conv2/pooled", "conv2/activation", "conv2/net_input", "conv2/W", "conv2/b", "conv2/input"),
        *("conv1/pooled", "conv1/activation", "conv1/net_input", "conv1/W", "conv1/b", "conv1/input"),
    ]
    shapes = {name: value.shape for name, value in watched.values.items()}
    assert shapes["conv1/activation"] == (4, 5, 9, 3) and shapes["conv1/pooled"] == (4, 2, 4, 3)
    assert shapes["conv2/pooled"] == (4, 1, 2, 4) and shapes["fc1/input"] == (4, 8)
    np.testing.assert_array_equal(watched.values["conv1/input"], x)
    np.testing.assert_array_equal(
        watched.values["fc2/input"] != 0, masks["fc2/input"] & (watched.values["fc1/activation"] != 0)
    )
    np.testing.assert_array_equal(watched.values["fc2/net_input"], network.forward(x, masks))
    np.testing.assert_allclose(watched.values["fc2/activation"].sum(1), 1)
    np.testing.assert_array_equal(
        watched.values["fc2/activation"], network.probabilities(network.forward(x, masks))
    )


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_watched_names_of_an_mlp(dropout):
    network, _, x, t, masks = prepared(mlp((5, 4, 3), dropout=dropout))
    watched = network.watch(x, t, masks)
    names = ["fc1/input", "fc1/net_input", "fc1/activation", "fc2/input", "fc2/net_input", "fc2/activation"]
    assert list(watched.values) == names
    assert list(watched.gradients) == [
        *("fc2/net_input", "fc2/W", "fc2/b", "fc2/input"),
        *("fc1/activation", "fc1/net_input", "fc1/W", "fc1/b", "fc1/input"),
    ]


def test_what_was_watched_outlives_the_next_pass():
    network, _, x, t, masks = prepared(mlp((5, 4, 3), "relu"))
    watched = network.watch(x, t, masks)
    kept = {name: value.copy() for name, value in (watched.values | watched.gradients).items()}
    network.flat[...] = 1
    network.watch(2 * x, t, masks)
    for name, value in (watched.values | watched.gradients).items():
        np.testing.assert_array_equal(value, kept[name])


def test_gradients_do_not_pile_up():
    network, _, x, t, masks = prepared(mlp((5, 4, 3)))
    network.loss_and_grads(x, t, masks)
    first = network.flat_gradient.copy()
    network.loss_and_grads(x, t, masks)
    np.testing.assert_array_equal(network.flat_gradient, first)


def test_names_of_a_network_that_begins_by_flattening():
    """Images straight into a network of one's own: the input has a name, and no other is overwritten."""
    network = Network([Flatten("fc1"), Dense("fc1", 6, 3)], dtype=np.float64)
    network.flat[...] = np.random.default_rng(0).normal(size=network.flat.size)
    x, t = np.ones((2, 2, 3, 1)), np.array([0, 2])
    watched = network.watch(x, t)
    logits = network.forward(x)
    np.testing.assert_array_equal(watched.values["fc1/net_input"], logits)
    assert any(np.shape(value) == x.shape for value in watched.values.values())
    order = list(watched.values)
    assert order.index("fc1/input") < order.index("fc1/net_input")


# Dropout masks.


def test_draw_masks():
    network = models.mlp((7, 400, 300, 3), dropout=0.25)
    masks = network.draw_masks(50, np.random.default_rng(0))
    assert {name: mask.shape for name, mask in masks.items()} == {
        "fc2/input": (50, 400),
        "fc3/input": (50, 300),
    }
    for mask in masks.values():
        assert mask.dtype == bool and abs(mask.mean() - 0.75) < 0.02
    again = network.draw_masks(50, np.random.default_rng(0))
    assert all(np.array_equal(masks[name], again[name]) for name in masks)
    assert models.mlp((7, 4, 3)).draw_masks(50, np.random.default_rng(0)) == {}
    assert list(models.dcn().draw_masks(2, np.random.default_rng(0))) == ["fc2/input"]


def test_without_masks_dropout_is_off():
    network, _, x, t, masks = prepared(mlp((5, 40, 3), dropout=0.5))
    plain = mlp((5, 40, 3))(np.float64)
    plain.load(network.params)
    np.testing.assert_array_equal(network.forward(x), plain.forward(x))
    np.testing.assert_array_equal(network.predict(x), plain.predict(x))
    assert network.loss_and_grads(x, t)[0] == plain.loss_and_grads(x, t)[0]
    assert network.loss_and_grads(x, t, masks)[0] != plain.loss_and_grads(x, t)[0]


def test_a_mask_of_an_unknown_name_is_refused():
    """A misspelt mask would switch dropout off without a word."""
    network, _, x, t, masks = prepared(mlp((5, 4, 3), dropout=0.5))
    with pytest.raises(UsageError, match="mask"):
        network.loss_and_grads(x, t, {"fc2": masks["fc2/input"]})


# Values and errors.


def test_loss_adds_the_penalty_and_predict_sums_to_one():
    network, _, x, t, _ = prepared(mlp((5, 4, 3), penalty=Penalty(0.1, 0.4)))
    w = np.concatenate([network.params["fc1/W"].ravel(), network.params["fc2/W"].ravel()])
    data, _ = ops.softmax_cross_entropy(network.forward(x), t)
    wanted = data + 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum()
    assert network.loss(network.forward(x), t) == pytest.approx(wanted, rel=1e-14)
    assert network.loss_and_grads(x, t)[0] == pytest.approx(wanted, rel=1e-14)
    np.testing.assert_allclose(network.predict(x).sum(1), 1)
    sigmoid, _, x, _, _ = prepared(mlp((5, 4, 3), output="sigmoid"))
    np.testing.assert_allclose(sigmoid.predict(x), 1 / (1 + np.exp(-sigmoid.forward(x))), rtol=1e-14)


def test_dead_units_and_black_images_have_zero_gradients_without_warnings():
    network, _, x, t, _ = prepared(lambda dtype: small_dcn(dtype, dropout=0.0))
    network.params["fc1/b"][...] = -1e3
    watched = network.watch(x, t)
    assert not watched.gradients["conv1/W"].any() and watched.gradients["fc2/b"].any()
    watched = network.watch(0 * x, t)
    assert all(np.isfinite(g).all() for g in watched.gradients.values())
    assert not watched.gradients["conv1/W"].any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Network([Dense("fc1", 3, 2)], output="linear"), "softmax or sigmoid"),
        (lambda: layers.width(3, "swish"), "relu, tanh, sigmoid, leaky_relu, maxout"),
        (lambda: layers.Dropout("fc2", 1.0, 3), "rate"),
        (lambda: models.mlp((3, 2)).forward(np.zeros((1, 4), np.float32)), "dense expects"),
        (
            lambda: models.mlp((3, 2)).watch(np.zeros((2, 3), np.float32), np.array([0, 2])),
            "targets must lie",
        ),
        (lambda: small_dcn().forward(np.zeros((1, 2, 5, 9))), "channels-last"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(UsageError, match=words):
        call()


def test_width_and_bare_layers():
    assert layers.width(3, "relu") == 3 and layers.width(3, "maxout") == 6
    with pytest.raises(TypeError, match="Layer"):
        layers.Layer("x").forward(np.zeros(1))
