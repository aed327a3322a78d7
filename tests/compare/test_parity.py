"""The harness on real digits: correct code agrees whatever is chosen, a fault is named where it arises."""

import dataclasses

import numpy as np
import pytest

from compare import parity
from compare.case import Case, draw
from compare.check import Options, check
from compare.mutants import catalogue
from compare.parity import DRAWS, check_network, compare_case
from compare.planting import planted
from compare.referees import Referees
from compare.structure import gradient_order, value_order
from compare.verdict import overall
from scratch import data, layers, models, ops, optimizers
from scratch.errors import UsageError
from scratch.layers import ACTIVATIONS
from scratch.learner import Architecture

DIGITS = data.load("mnist-5k", dtype=np.float64).train
SMALL = Architecture(kind="dcn", image=(9, 6, 1), filters=(3, 4), kernel=3, sizes=(7, 10))
MLP = Architecture(kind="mlp", sizes=(36, 8, 6, 10))


def digits(shape, n):
    """Real digits, black borders and all, thinned out to images of this shape."""
    rows, columns = (np.linspace(0, 27, size).astype(int) for size in shape[:2])

    def batch(rng):
        chosen = rng.choice(len(DIGITS), n, replace=False)
        x = DIGITS.x[chosen][:, rows][:, :, columns]
        return np.concatenate([np.roll(x, c, axis=1) for c in range(shape[2])], axis=3), DIGITS.t[chosen]

    return batch


def drawn(architecture, n=6, init="he_normal", bias=0.1, seed=0, attempt=0):
    shape = architecture.image if architecture.kind == "dcn" else (6, 6, 1)
    case = draw(architecture, digits(shape, n), init, bias, seed, attempt)
    return dataclasses.replace(case, key=("test_parity", *case.key, n))


def checked(architecture, referees, dtypes=parity.DTYPES, **options):
    def again(attempt):
        return drawn(architecture, attempt=attempt, **options)

    return check_network(architecture.kind, again, referees, dtypes)


def exact(architecture, referees, **options):
    """The result in float64 of one draw."""
    (result,) = compare_case(architecture.kind, drawn(architecture, **options), referees, ("float64",))
    return result


def assert_agrees(results):
    for result in results:
        assert result.verdict == "agree", (result.first_divergence, result.loss, result.reason)


@pytest.fixture
def fresh():
    """Referees that know nothing yet, for tests that spoil a forward pass: arithmetic goes through it."""
    return Referees(("torch", "keras", "numeric"))


def with_forward(monkeypatch, name, forward):
    """scratch's operation with another forward pass: forward(y, first argument)."""
    right = getattr(ops, name)

    def wrong(*args, **options):
        y, backward = right(*args, **options)
        return forward(y, args[0]), backward

    monkeypatch.setattr(ops, name, wrong)


COMBINATIONS = [
    (activation, output, hidden, *penalty)
    for hidden, (activation, output, penalty) in enumerate(
        [
            ("relu", "softmax", (0.0, 0.0, False)),
            ("tanh", "sigmoid", (1e-3, 0.0, False)),
            ("sigmoid", "softmax", (0.0, 1e-2, True)),
            ("leaky_relu", "sigmoid", (1e-3, 1e-2, True)),
            ("maxout", "softmax", (1e-3, 1e-2, False)),
            ("relu", "sigmoid", (0.0, 1e-2, True)),
        ]
    )
]
COMBINATIONS += [(activation, "softmax", 2, 1e-3, 1e-2, True) for activation in sorted(ACTIVATIONS)]
COMBINATIONS += [(activation, "sigmoid", 1, 0.0, 0.0, False) for activation in sorted(ACTIVATIONS)]


@pytest.mark.parametrize(("activation", "output", "hidden", "l1", "l2", "biases"), COMBINATIONS)
def test_mlps_agree(activation, output, hidden, l1, l2, biases, referees):
    architecture = Architecture(
        kind="mlp",
        sizes=(36, *(9, 8, 7, 6, 5)[:hidden], 10),
        activation=activation,
        output=output,
        l1=l1,
        l2=l2,
        penalize_biases=biases,
    )
    assert_agrees(checked(architecture, referees, n=12))


DCNS = {
    "plain": SMALL,
    "maxout": dataclasses.replace(SMALL, activation="maxout"),
    "tanh and sigmoid": dataclasses.replace(SMALL, activation="tanh", output="sigmoid"),
    "dropout and penalty": dataclasses.replace(SMALL, dropout=0.5, l1=1e-3, l2=1e-2, penalize_biases=True),
    "all distinct": Architecture(
        kind="dcn", image=(11, 14, 2), filters=(3, 5), kernel=4, sizes=(8, 10), activation="leaky_relu"
    ),
    "wide": Architecture(kind="dcn", image=(5, 12, 3), filters=(2, 3), kernel=5, sizes=(6, 10)),
}


@pytest.mark.parametrize("name", DCNS)
def test_dcns_agree(name, referees):
    results = checked(DCNS[name], referees)
    assert_agrees(results)
    for result in results:
        assert set(result.loss) == set(referees.names)
        for referee in referees.names:
            names = {
                kind: [q.name for q in result.seen_by(referee).quantities if q.kind == kind]
                for kind in ("value", "gradient")
            }
            assert names["gradient"] == gradient_order(DCNS[name])
            assert names["value"] == ([] if referee == "numeric" else value_order(DCNS[name]))


@pytest.mark.parametrize("architecture", [MLP, SMALL], ids=["mlp", "dcn"])
def test_one_example_is_enough(architecture, referees):
    assert_agrees(checked(architecture, referees, n=1))


@pytest.mark.parametrize("seed", range(1, 6))
def test_seeds_agree_and_differ(seed, referees):
    results = checked(MLP, referees, seed=seed)
    assert_agrees(results)
    assert results[0].loss["torch"].mine != exact(MLP, referees, seed=0).loss["torch"].mine


@pytest.mark.parametrize("names", [("torch",), ("keras",), ("numeric",), ("keras", "numeric")], ids="+".join)
@pytest.mark.parametrize("architecture", [MLP, SMALL], ids=["mlp", "dcn"])
def test_any_referees_do(names, architecture, referees):
    results = checked(architecture, Referees(names))
    assert_agrees(results)
    assert all({q.referee for q in result.quantities} == set(names) for result in results)


@pytest.mark.parametrize("dtype", parity.DTYPES)
def test_one_precision_alone(dtype, referees):
    (result,) = checked(MLP, referees, dtypes=(dtype,))
    assert (result.dtype, result.verdict) == (dtype, "agree")


@pytest.mark.slow
def test_the_network_of_deep_mnist_agrees(referees):
    architecture = Architecture(kind="dcn", sizes=(1024, 10), dropout=0.5)
    assert_agrees(checked(architecture, referees, n=4, init="truncated_normal"))
    referees.forget()


# --- what is wrong is found, and named where it arises


def pooling_by_equality(monkeypatch):
    right = ops.max_pool2d

    def wrong(x, size=2, stride=None, padding="VALID"):
        y, _ = right(x, size, stride, padding)

        def backward(dy):
            h, w = y.shape[1] * 2, y.shape[2] * 2
            dx = np.zeros_like(x)
            large = [a.repeat(2, axis=1).repeat(2, axis=2) for a in (y, dy)]
            dx[:, :h, :w] = (x[:, :h, :w] == large[0]) * large[1]
            return (dx,)

        return y, backward

    monkeypatch.setattr(ops, "max_pool2d", wrong)


def constant_biases(noise):
    """A DCN of smooth activations on digits with black borders, or on noise: without ties."""
    architecture = dataclasses.replace(SMALL, image=(14, 14, 1), activation="tanh")
    case = drawn(architecture, n=4)
    if not noise:
        return case
    x = np.random.default_rng(0).random(case.x.shape).astype(np.float32).astype(np.float64)
    return dataclasses.replace(case, x=x, key=(*case.key, "noise"))


def test_pooling_by_equality_is_caught_on_black_borders(referees, monkeypatch):
    pooling_by_equality(monkeypatch)
    for result in compare_case("dcn", constant_biases(noise=False), referees):
        first = result.first_divergence
        assert (first.name, first.kind) in {
            ("conv1/activation", "gradient"),
            ("conv2/activation", "gradient"),
        }
        for referee in referees.names:
            assert result.seen_by(referee).verdict == "disagree"


def test_pooling_by_equality_passes_on_noise(referees, monkeypatch):
    """Which is why real digits are the default."""
    pooling_by_equality(monkeypatch)
    assert_agrees(compare_case("dcn", constant_biases(noise=True), referees))


FORWARD = {
    "relu": (MLP, lambda y, z: z * (z > 0.1), "fc1/activation"),
    "dense": (MLP, lambda y, x: y * (1 + 1e-9), "fc1/net_input"),
    "conv2d": (SMALL, lambda y, x: y[:, ::-1], "conv1/net_input"),
    "max_pool2d": (SMALL, lambda y, x: x[:, 1 : y.shape[1] * 2 : 2, 1 : y.shape[2] * 2 : 2], "conv1/pooled"),
    "flatten": (SMALL, lambda y, x: x.transpose(0, 3, 1, 2).reshape(len(x), -1), "fc1/input"),
    "dropout": (dataclasses.replace(MLP, dropout=0.5), lambda y, x: y / 2, "fc2/input"),
}


@pytest.mark.parametrize("name", FORWARD)
def test_a_wrong_forward_is_named_at_the_first_wrong_value(name, fresh, monkeypatch):
    architecture, forward, expected = FORWARD[name]
    with_forward(monkeypatch, name, forward)
    result = exact(architecture, fresh)
    first = result.first_divergence
    assert (result.verdict, first.name, first.kind, first.inherited) == ("disagree", expected, "value", False)
    wrong = [q.kind for q in result.quantities if q.verdict == "disagree"]
    assert "gradient" in wrong and wrong == sorted(wrong, reverse=True)  # values before gradients


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", parity.DTYPES)
def test_nan_in_the_forward_pass_is_named(bad, dtype, fresh, monkeypatch):
    def spoil(y, z):
        y = y.copy()
        if y.dtype == dtype and y.shape[1:] == (6,):
            y[0, 3] = bad
        return y

    with_forward(monkeypatch, "relu", spoil)
    results = compare_case("mlp", drawn(MLP), fresh)
    wrong = next(result for result in results if result.dtype == dtype)
    assert wrong.first_divergence.name == "fc2/activation"
    assert wrong.first_divergence.judgement.worst_index == (0, 3)
    assert np.isinf(wrong.loss["torch"].error) and wrong.loss["torch"].verdict == "disagree"


class Forgotten(layers.Layer):
    """A layer that hands on what it gets."""

    def op(self, x, mask):
        return x, lambda dy: (dy,)


def forget(monkeypatch, builder, gone):
    """models.mlp or models.dcn without the layers of these outputs."""
    right = getattr(models, builder)

    def wrong(*args, **options):
        network = right(*args, **options)
        network.layers = [layer for layer in network.layers if layer.output not in gone]
        return network

    monkeypatch.setattr(models, builder, wrong)


@pytest.mark.parametrize(
    ("architecture", "gone"),
    [
        (MLP, "fc1/activation"),
        (MLP, "fc2/activation"),
        (SMALL, "conv1/activation"),
        (SMALL, "conv2/activation"),
        (SMALL, "fc1/activation"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_a_forgotten_layer_is_named(architecture, gone, fresh, monkeypatch):
    case = drawn(architecture)
    forget(monkeypatch, architecture.kind, {gone})
    for result in compare_case(architecture.kind, case, fresh):
        first = result.first_divergence
        assert (result.verdict, first.kind, first.name) == ("disagree", "value", gone)


def test_a_forgotten_dropout_is_noticed(fresh, monkeypatch):
    """The masks must not come from the network that is checked: without the layer it draws none."""
    forget(monkeypatch, "mlp", {"fc2/input"})
    architecture = dataclasses.replace(MLP, dropout=0.5)
    try:
        result = exact(architecture, fresh, seed=7)
    except UsageError as error:
        assert "fc2/input" in str(error)
    else:
        assert result.verdict == "disagree" and result.first_divergence.name == "fc2/input"


def test_an_identity_in_place_of_a_layer_is_named(fresh, monkeypatch):
    right = models.dcn

    def wrong(*args, **options):
        network = right(*args, **options)
        number = next(i for i, layer in enumerate(network.layers) if layer.output == "conv2/activation")
        network.layers[number] = Forgotten("conv2/activation")
        return network

    monkeypatch.setattr(models, "dcn", wrong)
    first = exact(SMALL, fresh).first_divergence
    assert (first.kind, first.name, first.inherited) == ("value", "conv2/activation", False)


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_a_crash_inside_scratch_surfaces(place, fresh, monkeypatch):
    right = ops.relu

    def crash(*_):
        raise ZeroDivisionError("scratch is broken")

    monkeypatch.setattr(ops, "relu", crash if place == "forward" else lambda z: (right(z)[0], crash))
    with pytest.raises(ZeroDivisionError, match="scratch is broken"):
        checked(MLP, fresh)


def in_one_layer(monkeypatch, layer, which, bug):
    """A wrong gradient in one dense layer, told by its width; which: 0 for x, 1 for w, 2 for b."""
    right, width = ops.dense, {"fc1": 8, "fc2": 6, "fc3": 10}[layer]

    def wrong(x, w, b):
        y, backward = right(x, w, b)

        def wrong_backward(dy):
            found = list(backward(dy))
            if w.shape[1] == width:
                found[which] = bug(found[which])
            return tuple(found)

        return y, wrong_backward

    monkeypatch.setattr(ops, "dense", wrong)


@pytest.mark.parametrize(
    ("layer", "which", "first", "alone"),
    [
        ("fc3", 0, "fc3/input", {"fc3/input", "fc2/activation"}),
        ("fc2", 0, "fc2/input", {"fc2/input", "fc1/activation"}),
        ("fc3", 1, "fc3/W", {"fc3/W"}),
        ("fc2", 1, "fc2/W", {"fc2/W"}),
        ("fc1", 2, "fc1/b", {"fc1/b"}),
    ],
)
def test_the_bad_layer_is_told_from_those_that_inherit(layer, which, first, alone, referees, monkeypatch):
    in_one_layer(monkeypatch, layer, which, lambda g: 1.01 * g)
    result = exact(MLP, referees)
    by_torch = result.seen_by("torch")
    assert result.first_divergence.name == first
    wrong = {q.name for q in by_torch.quantities if q.verdict == "disagree"}
    at_fault = {q.name for q in by_torch.quantities if q.local and q.local.verdict == "disagree"}
    assert at_fault == alone <= wrong
    assert {q.name for q in by_torch.quantities if q.inherited} == wrong - alone
    if which == 0:
        assert "fc1/W" in wrong - alone
    for q in by_torch.quantities:
        assert (q.kind == "value") <= (q.verdict == "agree")


def test_a_correct_network_agrees_layer_by_layer(referees):
    for architecture in (*DCNS.values(), MLP, dataclasses.replace(MLP, dropout=0.3, l1=1e-3, l2=0.1)):
        result = exact(architecture, referees)
        for q in result.quantities:
            if q.referee == "numeric":
                assert q.local is None
            else:
                assert q.local is None or q.local.verdict != "disagree", q
        judged = {(q.kind, q.name) for q in result.quantities if q.local is not None}
        everything = {("value", name) for name in value_order(architecture)[1:]}
        everything |= {("gradient", name) for name in gradient_order(architecture)}
        assert judged == everything


def test_a_wrong_gradient_disagrees_with_every_referee(referees, monkeypatch):
    in_one_layer(monkeypatch, "fc2", 1, lambda g: g * (1 + 1e-6))
    result = exact(MLP, referees)
    for referee in referees.names:
        assert result.seen_by(referee).first_divergence.name == "fc2/W"
    assert all(j.verdict == "agree" for j in result.loss.values())


def test_directions_find_it_too(monkeypatch):
    monkeypatch.setattr("compare.numeric_referee.WHOLE", 0)
    referees = Referees(("numeric",))
    assert exact(MLP, referees).verdict == "agree"
    in_one_layer(monkeypatch, "fc2", 1, lambda g: g * (1 + 1e-6))
    first = exact(MLP, referees).first_divergence
    assert (first.name, first.judgement.worst_index) == ("fc2/W", None)


def test_a_missing_gradient_disagrees(referees, monkeypatch):
    right = layers.Dense.forward

    def wrong(self, x, mask=None):
        y, backward = right(self, x, mask)

        def without_bias(dy):
            dx, gradients = backward(dy)
            gradients.pop("fc2/b", None)
            return dx, gradients

        return y, without_bias

    monkeypatch.setattr(layers.Dense, "forward", wrong)
    result = exact(MLP, referees)
    for referee in referees.names:
        first = result.seen_by(referee).first_divergence
        assert (first.name, first.kind, first.judgement.error) == ("fc2/b", "gradient", np.inf)


def test_what_an_earlier_batch_leaves_behind_is_found(referees, monkeypatch):
    right, kept = ops.dense, {}

    def wrong(x, w, b):
        y, backward = right(x, w, b)
        first = kept.setdefault((x.shape, x.dtype), x)
        return y, lambda dy: (backward(dy)[0], first.T @ dy, backward(dy)[2])

    monkeypatch.setattr(ops, "dense", wrong)
    assert exact(MLP, referees).first_divergence.name == "fc3/W"


def test_a_loss_alone_can_be_wrong(fresh, monkeypatch):
    with_forward(monkeypatch, "softmax_cross_entropy", lambda y, z: y * (1 + 1e-9))
    result = exact(MLP, fresh)
    assert {name: j.verdict for name, j in result.loss.items()}["torch"] == "disagree"
    assert result.verdict == "disagree"


def test_the_tensors_of_a_quantity(referees, monkeypatch):
    in_one_layer(monkeypatch, "fc2", 1, lambda g: 2 * g)
    result = exact(MLP, referees)
    first = result.first_divergence
    mine, theirs = result.tensors(first)
    np.testing.assert_allclose(mine, 2 * theirs, rtol=1e-9)
    index = first.judgement.worst_index
    assert (mine[index], theirs[index]) == (first.judgement.mine, first.judgement.theirs)
    assert result.tensors(next(q for q in result.quantities if q.referee == "numeric")) is None


# --- drawing again


def test_zeros_are_drawn_again_and_then_called_untested(referees):
    for result in checked(MLP, referees, init="zeros", bias=0.0):
        assert (result.verdict, result.draws) == ("untested", DRAWS)
        assert "fc1/W" in result.reason and "nothing to judge" in result.reason


@pytest.mark.parametrize("dead", [1, 2, 3])
def test_dead_units_are_drawn_again(dead, referees):
    def again(attempt):
        case = drawn(MLP, attempt=attempt)
        if attempt < dead:
            case.weights["fc1/b"][:] = -50
            case = dataclasses.replace(case, key=(*case.key, "dead"))
        return case

    results = check_network("mlp", again, referees)
    assert_agrees(results)
    assert {result.draws for result in results} == {dead + 1}


def test_what_one_precision_leaves_untested_is_drawn_again(referees, monkeypatch):
    found = {
        False: compare_case("mlp", drawn(MLP), referees),
        True: checked(MLP, referees, init="zeros", bias=0),
    }
    monkeypatch.setattr(parity, "compare_case", lambda _, case, *__: [found[False][0], found[case < 1][1]])
    results = check_network("mlp", lambda attempt: attempt, referees)
    assert [(result.verdict, result.draws) for result in results] == [("agree", 2)] * 2


def test_a_disagreement_is_not_drawn_again(referees, monkeypatch):
    in_one_layer(monkeypatch, "fc2", 1, lambda g: -g)
    results = checked(MLP, referees)
    assert {(result.verdict, result.draws) for result in results} == {("disagree", 1)}


# --- independence


def refuse(*_, **__):
    raise AssertionError("the referee called scratch")


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("architecture", [MLP, DCNS["dropout and penalty"]], ids=["mlp", "dcn"])
def test_the_frameworks_call_nothing_of_scratch(framework, architecture, referees, monkeypatch):
    case = drawn(architecture, seed=99)
    expected = exact(architecture, referees, seed=99).tensors
    for name in {mutant.operation for mutant in catalogue()} & set(vars(ops)) | {"softmax"}:
        monkeypatch.setattr(ops, name, refuse)
    for rule in optimizers.OPTIMIZERS.values():
        monkeypatch.setattr(rule, "rule", refuse)
    for layer in (layers.Layer, layers.Dense, layers.Conv2D, layers.Dropout):
        monkeypatch.setattr(layer, "forward", refuse)
        monkeypatch.setattr(layer, "__init__", refuse)
    seen = Referees((framework,)).watch(framework, case, "float64")
    assert np.isfinite(seen.loss) and expected is not None
    assert set(seen.gradients) == set(gradient_order(architecture))
    with pytest.raises(AssertionError, match="called scratch"):
        architecture.network()


@pytest.mark.parametrize("warm", [False, True], ids=["afresh", "kept"])
def test_a_bug_shows_whether_or_not_the_referees_are_warm(warm):
    referees = Referees(("numeric",))
    if warm:
        assert exact(MLP, referees).verdict == "agree"
    (mutant,) = (m for m in catalogue() if m.name == "dense.w: sign")
    with planted(mutant):
        assert exact(MLP, referees).first_divergence.name == "fc3/W"
    assert exact(MLP, referees).verdict == "agree"


def test_two_checks_can_share_their_referees():
    """What is kept of the first must not be taken for the second, whose batch is another."""
    referees = Referees(("torch",))
    for size in (4, 6):
        options = Options(targets=("mlp",), hidden=(5,), optimizer="sgd", batch_size=size)
        assert overall(check(options, referees)) == "agree"


def test_a_case_can_be_made_by_hand(referees):
    rng = np.random.default_rng(0)
    architecture = Architecture(kind="mlp", sizes=(3, 2))
    case = Case(architecture, {"fc1/W": rng.normal(size=(3, 2)), "fc1/b": np.ones(2)}, rng.random((4, 3)),
                np.array([0, 1, 1, 0]), {}, key=("by hand",))  # fmt: skip
    assert overall(compare_case("mlp", case, referees, ("float64",))) == "agree"
