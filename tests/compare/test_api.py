"""check_gradients and assert_gradients: what is alive is judged in this process."""

import functools
import json
import re
import types
from pathlib import Path

import numpy as np
import pytest
from live_things import EXAMPLES, Softmax, example, written

from compare import assert_gradients, check_gradients, cli, live_report
from scratch.errors import UsageError


@pytest.fixture
def right():
    return example("loss_and_grads")


@pytest.fixture
def broken():
    return example("loss_and_grads_broken")


@pytest.fixture
def layers():
    return example("layer_functions")


# what comes out


def test_a_right_class_agrees(right):
    report = check_gradients(right.TwoLayerNet)
    assert report.verdict == "agree" and report.ok and report and report.diagnosis == []
    assert [s.target for s in report.subjects] == ["TwoLayerNet"]
    assert assert_gradients(right.TwoLayerNet).verdict == "agree"


def test_a_broken_class_disagrees_and_says_why(broken):
    report = check_gradients(broken.TwoLayerNet)
    assert report.verdict == "disagree" and not report.ok and not report
    assert (report.diagnosis[0].cause, report.diagnosis[0].tensor) == ("relu-mask-of-gradient", "W1")
    assert repr(report) == "<Report: disagree: W1 of TwoLayerNet in loss_and_grads_broken.py>"


def test_text_and_document_are_those_of_the_command(broken, capsys):
    path = str(EXAMPLES / "loss_and_grads_broken.py")
    report = check_gradients(broken, framework="numeric")  # torch may be loaded by another test
    assert cli.main(["check", path, "--framework", "numeric"]) == 1
    printed = capsys.readouterr().out
    assert str(report) == "\n".join(line.rstrip() for line in printed.strip("\n").split("\n"))
    assert cli.main(["check", path, "--framework", "numeric", "--json"]) == 1
    theirs, mine = json.loads(capsys.readouterr().out), report.document()
    assert mine["targets"] == theirs["targets"] and mine["diagnosis"] == theirs["diagnosis"]
    assert theirs.keys() - mine.keys() == {"command"} and mine["file"] == "loss_and_grads_broken.py"


def test_the_document_is_a_copy(right):
    report = check_gradients(right.TwoLayerNet)
    report.document()["verdict"] = "spoiled"
    assert report.document()["verdict"] == "agree"


# what can be checked


def test_an_object_keeps_the_sizes_that_it_has(right):
    seen = set()

    class Net(right.TwoLayerNet):
        def loss(self, X, y=None, reg=0.0):
            seen.add((X.shape[1], self.params["W1"].shape, self.params["W2"].shape))
            return super().loss(X, y, reg)

    assert check_gradients(Net(9, 7, 2)).verdict == "agree"
    assert seen == {(9, (9, 7), (7, 2))}
    with pytest.raises(UsageError, match="an object is checked with the sizes that it has"):
        check_gradients(Net(9, 7, 2), sizes=(3, 2))


def test_a_class_takes_the_sizes_that_are_given(right):
    seen = set()

    class Net(right.TwoLayerNet):
        def __init__(self, input_size, hidden_size, output_size):
            seen.add((input_size, hidden_size, output_size))
            super().__init__(input_size, hidden_size, output_size)

    assert check_gradients(Net, sizes=(8, 3, np.int64(2)))
    assert seen <= {(8, 3, 2), (5, 5, 5)} and (8, 3, 2) in seen


def test_an_object_of_one_unit_and_an_object_of_one_layer_have_sizes_too():
    assert [s.verdict for s in check_gradients([Softmax(4, 3), Softmax(1, 2)]).subjects] == ["agree"] * 2


def test_an_object_of_every_style_is_checked_as_it_is():
    network = example("network").Network([4, 3, 2])
    assert check_gradients(network, style="network").verdict == "agree"
    modules = example("modules")
    report = check_gradients(modules.Linear(7, 3))
    assert report.verdict == "agree" and [s.target for s in report.subjects] == ["Linear()"]
    assert {q.name for q in report.subjects[0].quantities} == {"Linear/W", "Linear/b", "Linear/x"}
    model = check_gradients(modules.make_model(9, 8, 3))
    assert model.verdict == "agree" and {q.name for q in model.subjects[0].quantities} >= {"L1/W", "L2/b"}


def test_modules_keep_their_options(tmp_path):
    module = written(
        tmp_path,
        """
import numpy as np
class Scale:
    def __init__(self, factor=1.0):
        self.factor = factor
    def forward(self, x):
        return self.factor * x
    def backward(self, x, grad):
        return grad
""",
    )
    assert check_gradients(module.Scale(1.0))
    assert not check_gradients(module.Scale(3.0))


def test_a_function_stands_for_its_pair(layers):
    for function in (layers.affine_forward, layers.affine_backward):
        report = check_gradients(function)
        assert report.verdict == "agree" and [s.target for s in report.subjects] == ["affine"]


def test_a_function_that_makes_an_object_is_asked_for_one(right):
    def make():
        return right.TwoLayerNet(6, 5, 3)

    report = check_gradients(make)
    assert report.verdict == "agree" and [s.target for s in report.subjects] == ["make"]


def test_a_pair_counts_as_given_whatever_is_beside_it(layers):
    def halved(dout, cache):
        return [g / 2 for g in layers.affine_backward(dout, cache)]

    assert check_gradients((layers.affine_forward, layers.affine_backward))
    report = check_gradients((layers.affine_forward, halved))
    assert report.verdict == "disagree" and report.diagnosis[0].cause == "constant-factor"


def test_a_pair_may_be_methods_or_lambdas():
    class Tanh:
        def forward(self, x):
            return np.tanh(x), x

        def turn_back(self, dout, cache):
            return dout * (1 - np.tanh(cache) ** 2)

    own = Tanh()
    assert check_gradients((own.forward, own.turn_back))
    assert check_gradients((lambda x: (np.tanh(x), x), lambda dout, cache: dout / np.cosh(cache) ** 2))
    assert not check_gradients((lambda x: (np.tanh(x), x), lambda dout, cache: dout))


def test_a_function_and_its_gradient_are_a_pair():
    def f(x, W):
        return np.tanh(x @ W).sum()

    def turn(x, W):
        dz = 1 - np.tanh(x @ W) ** 2
        return dz @ W.T, x.T @ dz

    report = check_gradients((f, turn))
    assert report.verdict == "agree" and {q.name for q in report.subjects[0].quantities} == {"x", "W"}
    assert not check_gradients((f, lambda x, W: (turn(x, W)[0], 0 * W)))
    scaled = functools.partial(lambda a, x: a * np.sum(x**2), 2), functools.partial(lambda a, x: 2 * a * x, 2)
    assert check_gradients(scaled)


def test_functions_that_compose_modules_are_a_pair(tmp_path):
    source = (EXAMPLES / "modules.py").read_text()
    module = written(tmp_path, source)
    assert {s.style for s in check_gradients((module.forward_pass, module.backward_pass)).subjects} == {
        "modules"
    }
    spoiled = written(
        tmp_path, source.replace('backward(values["d"], grad)', 'backward(values["h"], grad)'), "spoiled"
    )
    assert check_gradients((spoiled.forward_pass, spoiled.backward_pass)).verdict == "disagree"


def test_a_module_and_globals_are_checked_whole(layers):
    report = check_gradients(layers)
    assert {"affine", "relu", "dropout", "batchnorm", "softmax_loss"} <= {s.target for s in report.subjects}
    again = check_gradients(vars(layers))
    assert report.document()["targets"] == again.document()["targets"]
    assert again.document()["file"] == "layer_functions.py"


def test_a_list_and_a_dict_are_checked_one_by_one(layers, right):
    several = [layers.affine_forward, layers.affine_backward, layers.relu_forward, right.TwoLayerNet]
    assert [s.target for s in check_gradients(several).subjects] == ["affine", "relu", "TwoLayerNet"]
    named = {
        "small": right.TwoLayerNet(3, 4, 2),
        "mine_forward": layers.relu_forward,
        "mine_backward": layers.relu_backward,
    }
    assert [s.target for s in check_gradients(named).subjects] == ["small", "mine"]


def test_one_of_several_that_cannot_be_checked_is_not_passed_over(right):
    def helper(x):
        return x

    with pytest.raises(UsageError, match="helper has no hand-written gradient"):
        check_gradients([right.TwoLayerNet, helper])


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (3, "an object, a class, a function, .* expected, but int came"),
        (None, "but NoneType came"),
        (np.ones(3), "but ndarray came"),
        ("net.py", "files are checked by `gradparity check FILE.py`"),
        (Path("net.py"), "files are checked by `gradparity check FILE.py`"),
        ([], "this list is empty"),
        ([3], "but int came"),
        (int, "int has no hand-written gradient"),
        (np.dot, "dot has no hand-written gradient"),
        (json, "__init__.py has no hand-written gradient that gradparity knows how to call"),
        (types.SimpleNamespace(a=1), r"SimpleNamespace\(\) has no hand-written gradient"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_what_has_no_gradients_is_refused(thing, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_gradients(thing)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"style": "fancy"}, "style must be one of .*loss-and-grads.*, but 'fancy' came"),
        ({"style": "layer-functions"}, "no hand-written gradient of the style layer-functions"),
        ({"sizes": (6,)}, "sizes must be whole numbers"),
        ({"sizes": (6, 2.5)}, "sizes must be whole numbers"),
        ({"strict": "yes"}, "strict must be True, False or None"),
        ({"framework": "jax"}, "framework must be one of torch, keras, numeric"),
        ({"framework": ["torch"]}, "framework must be a string"),
    ],
)
def test_wrong_options_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_gradients(Softmax, **options)


def test_strict_is_passed_on(right):
    class Summed(right.TwoLayerNet):
        def loss(self, X, y=None, reg=0.0):
            out = super().loss(X, y, reg)
            return out if y is None else (out[0], {n: g * len(X) for n, g in out[1].items()})

    assert check_gradients(Summed).verdict == "disagree"
    assert check_gradients(Summed, strict=False).verdict == "agree-up-to-convention"
    assert check_gradients(Summed, strict=False).ok


# assert_gradients


def test_the_message_says_what_why_and_where(broken):
    with pytest.raises(AssertionError) as caught:
        assert_gradients(broken.TwoLayerNet)
    lines = str(caught.value).splitlines()
    assert lines[0] == "disagree: W1 of TwoLayerNet in loss_and_grads_broken.py"
    text = "\n".join(lines)
    assert re.search(
        r"First wrong tensor, going backward: W1: yours -?[\d.]+, right -?[\d.]+ at \(\d, \d\)", text
    )
    assert "Why: W1: relu-mask-of-gradient. The mask is taken from the gradient" in text
    assert "Evidence: predicts W1 and b1" in text
    assert re.search(r"Where: TwoLayerNet.loss, loss_and_grads_broken.py line \d+\.", text)
    assert lines[-5].split()[:2] == ["tensor", "verdict"] and lines[-2].split()[:2] == ["W1", "disagree"]
    assert len(lines) < 16


def test_a_message_on_many_tensors_stays_short(right):
    class Deep(Softmax):
        def __init__(self):
            super().__init__()
            self.params |= {f"u{i}": np.zeros(2 + i) for i in range(40)}

        def loss(self, X, y=None, reg=0.0):
            out = super().loss(X, y, reg)
            if y is None:
                return out
            more = {n: p for n, p in self.params.items() if n[0] == "u"}
            loss = out[0] + sum((p**2).sum() / 2 for p in more.values())
            return loss, out[1] | {n: p + (n == "u30") for n, p in more.items()}

    with pytest.raises(AssertionError) as caught:
        assert_gradients(Deep())
    table = str(caught.value).split("\n\n")[1].splitlines()
    assert len(table) == live_report.ROWS and table[-1] == "and 19 more tensors"
    assert any(line.split()[:2] == ["u30", "disagree"] for line in table)


def test_a_message_on_several_subjects_names_the_others(right, broken):
    with pytest.raises(AssertionError) as caught:
        assert_gradients(
            [right.TwoLayerNet(3, 4, 2), broken.TwoLayerNet(3, 4, 2), broken.TwoLayerNet(5, 4, 2)]
        )
    text = str(caught.value)
    assert "Besides it: TwoLayerNet() (disagree)." in text and text.endswith("Right: 1 other.")


def test_what_cannot_be_judged_is_not_right(tmp_path):
    module = written(
        tmp_path,
        "class Net:\n    def __init__(self, input_size=6, hidden_size=5, output_size=4):\n"
        "        import numpy as np\n        self.params = {'W': np.zeros((input_size, output_size))}\n"
        "    def loss(self, X, y=None, reg=0.0):\n        return 0.0, {'W': 0 * self.params['W']}\n",
    )
    assert check_gradients(module.Net).verdict == "untested"
    with pytest.raises(AssertionError, match=r"^untested: Net in mine\.py"):
        assert_gradients(module.Net)
