"""A planted bug is there for the length of a `with`, and nowhere afterwards."""

import numpy as np
import pytest

from compare.mutants import catalogue
from compare.planting import Mutant, expected, planted
from scratch import ops, optimizers
from scratch.learner import Architecture
from scratch.regularizers import Penalty

CATALOGUE = catalogue()
OWNERS = [ops, Penalty, optimizers.Optimizer, *optimizers.OPTIMIZERS.values()]
each = pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)


def attributes():
    """Each owner's own attributes: one that is inherited must not become its own."""
    return [dict(vars(owner)) for owner in OWNERS]


def differing(before):
    return [name for old, new in zip(before, attributes(), strict=True) for name in old.keys() | new.keys()
            if old.get(name) is not new.get(name)]  # fmt: skip


def test_at_least_sixty_bugs_none_twice():
    names = [mutant.name for mutant in CATALOGUE]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_every_operation_rule_and_penalty_has_a_bug():
    operations = {mutant.operation for mutant in CATALOGUE}
    assert operations == {
        *("dense", "conv2d", "max_pool2d", "flatten", "sigmoid", "tanh", "relu", "leaky_relu", "maxout"),
        *("dropout", "softmax_cross_entropy", "sigmoid_cross_entropy", "penalty"),
        *optimizers.OPTIMIZERS,
    }


@each
def test_everything_is_as_it_was(mutant):
    before = attributes()
    with planted(mutant):
        assert len(differing(before)) == 1
    assert differing(before) == []


@each
def test_everything_is_as_it_was_after_an_exception(mutant):
    before = attributes()
    with pytest.raises(ZeroDivisionError), planted(mutant):
        raise ZeroDivisionError
    assert differing(before) == []


def test_what_a_class_inherits_it_inherits_again():
    right = optimizers.Momentum.rule
    assert "rule" not in vars(optimizers.Nesterov)
    with planted(Mutant("nesterov", "rule", "none", lambda *_, **__: None)):
        assert "rule" in vars(optimizers.Nesterov) and optimizers.Momentum.rule is right
    assert "rule" not in vars(optimizers.Nesterov) and optimizers.Nesterov.rule is right


def test_bugs_can_be_planted_on_top_of_each_other():
    before = attributes()
    with planted(CATALOGUE[0]), planted(CATALOGUE[1]):
        pass
    assert differing(before) == []


@pytest.mark.parametrize("argument", ["x", "w", "b"])
def test_one_gradient_is_wrong_the_others_and_y_are_not(argument):
    rng = np.random.default_rng(0)
    x, w, b, dy = (rng.normal(size=shape) for shape in ((4, 3), (3, 2), (2,), (4, 2)))
    y, backward = ops.dense(x, w, b)
    right = dict(zip("xwb", backward(dy), strict=True))
    with planted(Mutant("dense", argument, "zero", lambda call: 0 * right[argument])):
        wrong_y, wrong_backward = ops.dense(x, w, b)
        wrong = dict(zip("xwb", wrong_backward(dy), strict=True))
    assert np.array_equal(y, wrong_y)
    for name in "xwb":
        assert np.array_equal(wrong[name], 0 * right[name] if name == argument else right[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_gradient_has_the_right_dtype(dtype):
    with planted(Mutant("tanh", "z", "float64", lambda call: np.zeros(call.z.shape))):
        (dz,) = ops.tanh(np.ones((2, 3), dtype))[1](np.ones((2, 3), dtype))
    assert dz.dtype == dtype


def test_a_bug_sees_the_call_the_one_before_and_the_latest():
    seen = []

    def spy(call):
        seen.append((call.x[0, 0], call.before["x"][0, 0], call.latest["x"][0, 0], len(call.total)))
        return call.gradients[1]

    with planted(Mutant("dense", "w", "spy", spy)):
        calls = [ops.dense(np.full((2, 2), value), np.eye(2), np.zeros(2)) for value in (1.0, 2.0, 3.0)]
        for _, backward in calls[1:]:
            backward(np.ones((2, 2)))
    assert seen == [(2, 1, 3, 1), (3, 2, 3, 2)]


MLP = Architecture(kind="mlp", sizes=(5, 4, 3, 2), dropout=0.5)
DCN = Architecture(kind="dcn")


@pytest.mark.parametrize(
    ("operation", "argument", "target", "architecture", "tensor"),
    [
        ("dense", "w", "mlp", MLP, "fc3/W"),
        ("dense", "x", "mlp", MLP, "fc3/input"),
        ("relu", "z", "mlp", MLP, "fc2/net_input"),
        ("dropout", "x", "mlp", MLP, "fc2/activation"),
        ("softmax_cross_entropy", "z", "mlp", MLP, "fc3/net_input"),
        ("penalty", "b", "mlp", MLP, "fc3/b"),
        ("conv2d", "x", "dcn", DCN, "conv2/input"),
        ("conv2d", "b", "dcn", DCN, "conv2/b"),
        ("max_pool2d", "x", "dcn", DCN, "conv2/activation"),
        ("flatten", "x", "dcn", DCN, "conv2/pooled"),
        ("maxout", "z", "ops", None, "maxout ties/z"),
    ],
)
def test_what_names_a_bug(operation, argument, target, architecture, tensor):
    names = expected(Mutant(operation, argument, "bug", lambda _: None), target, architecture)
    assert names(tensor, "")
    for other in ("fc1/W", "fc1/net_input", "fc1/input", "dense plain/w", "maxout ties/y"):
        assert not names(other, "")


def test_a_rule_is_named_by_the_note():
    names = expected(Mutant("adam", "rule", "bug", lambda _: None), "mlp", MLP)
    assert names("fc1/W", "adam, step 2")
    assert not names("fc1/W", "adamw, step 2") and not names("fc1/W", "")
