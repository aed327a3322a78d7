"""Both references agree with the hand-written gradients in float64: loss, every value, every gradient."""

import numpy as np
import pytest

from frameworks.keras_tf.learner import KerasLearner
from frameworks.pytorch.learner import Entry, TorchLearner
from scratch import initializers
from scratch.learner import Architecture, NumpyLearner

LEARNERS = {"torch": TorchLearner, "keras": KerasLearner}
ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "maxout")
TOLERANCE = 1e-12  # of the tensor's largest value


def assert_close(a, b, name, tolerance=TOLERANCE):
    assert a.shape == b.shape, name
    worst, largest = np.abs(a - b).max(), np.abs(b).max()
    assert worst <= tolerance * largest, f"{name}: {worst:.1e} apart, largest {largest:.1e}"


def assert_same_pass(ours, theirs, tolerance=TOLERANCE):
    assert abs(ours.loss - theirs.loss) <= tolerance * abs(ours.loss)
    assert list(ours.values) == list(theirs.values)
    assert list(ours.gradients) == list(theirs.gradients)
    for name, value in ours.values.items():
        assert_close(theirs.values[name], value, name, tolerance)
    for name, value in ours.gradients.items():
        assert_close(theirs.gradients[name], value, f"d {name}", tolerance)


def scene(architecture, examples=3, seed=0, dtype=np.float64):
    """scratch's learner with random weights, and (x, t, masks)."""
    rng = np.random.default_rng(seed)
    network = architecture.network(dtype)
    network.load(initializers.draw(network.shapes, "he_normal", rng, bias=0.1))
    shape = architecture.sizes[:1] if architecture.kind == "mlp" else architecture.image
    x = rng.random((examples, *shape))
    t = rng.integers(0, architecture.sizes[-1], examples)
    return NumpyLearner(network), (x, t, network.draw_masks(examples, rng))


def check(architecture, frameworks=LEARNERS, **options):
    ours, arguments = scene(architecture, **options)
    watched = ours.watch(*arguments)
    for framework in frameworks:
        theirs = LEARNERS[framework](architecture, dtype="float64")
        theirs.load(ours.weights())
        assert_same_pass(watched, theirs.watch(*arguments))
        loss, gradients = theirs.loss_and_grads(*arguments)
        assert loss == pytest.approx(watched.loss, rel=1e-13)
        for name, gradient in gradients.items():
            assert_close(gradient, watched.gradients[name], name)
        assert_close(theirs.logits(arguments[0]), ours.logits(arguments[0]), "logits")


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4), (6, 5, 4)], ids=lambda hidden: f"{len(hidden)}hidden")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_mlp_agrees(hidden, activation, output):
    weights, biases = {"l1": 2**-7, "l2": 2**-5}, {"l1": 2**-8, "l2": 2**-6, "penalize_biases": True}
    for dropout, penalty in ((0.0, {}), (0.4, weights), (0.4, biases)):
        check(Architecture("mlp", (7, *hidden, 3), (), (), 0, activation, output, dropout, **penalty))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "image, filters, kernel, examples",
    [
        ((9, 6, 2), (3, 5), 3, 4),
        ((4, 11, 3), (2, 4), 2, 1),
        ((5, 8, 1), (4, 3), 1, 2),
        ((7, 4, 2), (3, 2), 6, 2),
    ],
)
def test_small_dcn_agrees(activation, image, filters, kernel, examples):
    dcn = Architecture("dcn", (6, 4), image, filters, kernel, activation, dropout=0.5, l1=2**-8, l2=2**-6)
    check(dcn, examples=examples)


def test_full_dcn_agrees():
    check(Architecture("dcn", (1024, 10), dropout=0.5), examples=2)


@pytest.mark.parametrize("framework", LEARNERS)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "maxout"])
@pytest.mark.parametrize("level, bias", [(0.0, 0.125), (0.5, 0.125), (0.0, 0.0)])
def test_ties_go_to_the_first(framework, activation, level, bias):
    """Constant images tie in every pooling window, equal pieces in every maxout unit, zeros at every kink.

    Weights are small multiples of 1/8: every sum is exact in whatever order, so the ties are exact too.
    """
    dcn = Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3, activation)
    ours, (x, t, _) = scene(dcn)
    rng = np.random.default_rng(1)
    weights = {name: rng.integers(-8, 9, w.shape) / 8 for name, w in ours.weights().items()}
    for name, w in weights.items():
        if name.endswith("/b"):
            w[...] = bias
        elif activation == "maxout" and not name.startswith("fc2"):
            w[..., 1::2] = w[..., 0::2]
    ours.load(weights)
    theirs = LEARNERS[framework](dcn, dtype="float64")
    theirs.load(weights)
    x = np.full_like(x, level)
    watched = ours.watch(x, t)
    if bias:
        assert np.abs(watched.gradients["conv1/b"]).max() > 0
    assert_same_pass(watched, theirs.watch(x, t))


def test_sigmoid_outputs_take_target_rows():
    mlp = Architecture("mlp", (7, 5, 3), output="sigmoid")
    ours, (x, _, _) = scene(mlp)
    targets = np.random.default_rng(2).random((3, 3))
    for make in LEARNERS.values():
        theirs = make(mlp, dtype="float64")
        theirs.load(ours.weights())
        assert_same_pass(ours.watch(x, targets), theirs.watch(x, targets))


def test_references_round_penalties_alike():
    """0.01 is no float32: Keras rounds it, so PyTorch is given the rounded one."""
    mlp = Architecture("mlp", (7, 5, 3), l1=0.01, l2=0.03)
    ours, arguments = scene(mlp)
    passes = []
    for make in LEARNERS.values():
        theirs = make(mlp, dtype="float64")
        theirs.load(ours.weights())
        passes.append(theirs.watch(*arguments))
    assert_same_pass(*passes)


@pytest.mark.parametrize("framework", LEARNERS)
def test_saturated_logits(framework):
    mlp = Architecture("mlp", (2, 3))
    ours, _ = scene(mlp)
    ours.load({"fc1/W": np.array([[1e3, 0, -1e3], [0, 0, 0]]), "fc1/b": np.zeros(3)})
    theirs = LEARNERS[framework](mlp, dtype="float64")
    theirs.load(ours.weights())
    x, t = np.array([[1.0, 0.0], [-1.0, 2.0]]), np.array([1, 1])
    assert_same_pass(ours.watch(x, t), theirs.watch(x, t))


@pytest.mark.parametrize("framework", LEARNERS)
def test_float32_is_float32_throughout(framework):
    dcn = Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3, "tanh", dropout=0.5, l2=2**-6)
    ours, arguments = scene(dcn, dtype=np.float32)
    theirs = LEARNERS[framework](dcn)
    theirs.load(ours.weights())
    watched = theirs.watch(*arguments)
    arrays = [*watched.values.values(), *watched.gradients.values(), *theirs.weights().values()]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}
    assert_same_pass(ours.watch(*arguments), watched, 1e-5)


@pytest.mark.parametrize("framework", LEARNERS)
def test_arrays_are_contiguous_copies(framework):
    dcn = Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3, dropout=0.5)
    ours, arguments = scene(dcn)
    theirs = LEARNERS[framework](dcn, "adam", dtype="float64")
    theirs.load(ours.weights())
    before, watched = theirs.weights(), theirs.watch(*arguments)
    _, gradients = theirs.loss_and_grads(*arguments)
    state = {name: a for name, a in theirs.optimizer_state().items() if name != "step"}
    for arrays in (watched.values, watched.gradients, gradients, theirs.weights(), state):
        for name, a in arrays.items():
            assert a.flags.c_contiguous, name
            assert not any(np.may_share_memory(a, b) for key, b in arrays.items() if key != name), name
            a += 1
    for name, a in theirs.weights().items():
        np.testing.assert_array_equal(a, before[name])
    assert_same_pass(ours.watch(*arguments), theirs.watch(*arguments))


@pytest.mark.parametrize("framework", LEARNERS)
def test_awkward_arrays(framework):
    """Reversed, read-only and unsigned arrays are as good as any."""
    dcn = Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3)
    ours, (x, t, _) = scene(dcn)
    theirs = LEARNERS[framework](dcn, dtype="float64")
    theirs.load({name: w[::-1].copy()[::-1] for name, w in ours.weights().items()})
    x, t = x[::-1, ::-1], t.astype(np.uint8)
    x.flags.writeable = t.flags.writeable = False
    assert_same_pass(ours.watch(x, t), theirs.watch(x, t))


def test_a_round_trip_pins_no_layout():
    """fc1 copied without the reorder comes back exactly, and only values and gradients tell."""
    dcn = Architecture("dcn", (6, 4), (9, 6, 2), (3, 5), 3)
    ours, arguments = scene(dcn)
    wrong = TorchLearner(dcn, dtype="float64")
    wrong.table["fc1/W"] = Entry("fc1.weight", lambda w: w.T, lambda w: w.T)
    wrong.load(ours.weights())
    np.testing.assert_array_equal(wrong.weights()["fc1/W"], ours.weights()["fc1/W"])
    assert abs(wrong.watch(*arguments).loss - ours.watch(*arguments).loss) > 1e-3
