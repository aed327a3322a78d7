"""A check leaves what is alive as it was, prints nothing, and makes a verdict of what fails."""

import io
import random
import re
import sys

import numpy as np
import pytest
from live_things import Softmax, example, written

from compare import assert_gradients, check_gradients
from scratch.errors import UsageError


@pytest.fixture
def right():
    return example("loss_and_grads")


# nothing is left behind


def test_an_object_is_left_as_it_was(right, capsys):
    def spoil(own):
        own.params["W"] += 1e-3
        own.params["extra"] = 1
        own.steps = getattr(own, "steps", 0) + 1
        own.rng.standard_normal(3)
        print("spoiled")
        print("loudly", file=sys.stderr)

    net = Softmax(spoil=spoil)
    net.rng = np.random.default_rng(5)
    weights, before = net.params["W"], net.params["W"].copy()
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    state, other = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    report = check_gradients(net)
    assert net.params["W"] is weights and np.array_equal(weights, before)
    assert net.params.keys() == {"W", "b"} and not hasattr(net, "steps")
    assert net.rng.standard_normal() == np.random.default_rng(5).standard_normal()
    assert np.array_equal(np.random.get_state()[1], state) and random.getstate() == other  # noqa: NPY002
    out, err = capsys.readouterr()
    assert out == err == "" and "spoiled\nloudly\n" in report.document()["printed"]


CARELESS = """
import numpy as np
rng = np.random.default_rng(1)
CALLS, SEEN, SCALE, GONE = 0, [], np.ones(2), "here"
ORDER = {"a": 1, "c": 2}
class Net:
    best = None
    def __init__(self, input_size=6, hidden_size=5, output_size=4):
        self.params = {"W": rng.standard_normal((input_size, output_size))}
    def loss(self, X, y=None, reg=0.0):
        global CALLS, NEW
        CALLS, NEW = CALLS + 1, True
        SEEN.append(len(X))
        SCALE[0] += 1
        Net.best = Net.total = CALLS
        Net.loss.calls = CALLS
        ORDER["b"] = ORDER.pop("a", 0)
        global GONE
        GONE = None
        del GONE
        other.params["W"] = self.params["W"]
        other.count += 1
        z = X @ self.params["W"]
        if y is None:
            return z
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[range(len(X)), y]).mean() + reg * (self.params["W"] ** 2).sum() / 2
        p[range(len(X)), y] -= 1
        return loss, {"W": X.T @ p / len(X) + reg * self.params["W"]}
other = Net()
other.count = 0
"""


def test_globals_and_class_attributes_are_put_back(tmp_path):
    module = written(tmp_path, CARELESS)
    other, weights = module.other, module.other.params["W"]
    before, state = weights.copy(), module.rng.bit_generator.state
    for thing in (module.Net, module.Net(), module):
        state = module.rng.bit_generator.state
        assert check_gradients(thing).verdict == "agree"
        assert module.CALLS == 0 and module.SEEN == [] and module.SCALE.tolist() == [1, 1]
        assert not hasattr(module, "NEW") and module.Net.best is None and not hasattr(module.Net, "total")
        assert not hasattr(module.Net.loss, "calls") and module.rng.bit_generator.state == state
        assert module.other is other and other.params["W"] is weights and np.array_equal(weights, before)
        assert (
            other.count == 0 and list(module.ORDER.items()) == [("a", 1), ("c", 2)] and module.GONE == "here"
        )


def test_large_data_are_not_copied(tmp_path, monkeypatch):
    from compare import live_copy

    module = written(tmp_path, CARELESS)
    monkeypatch.setattr(live_copy, "LARGE", 8)
    assert check_gradients(module.Net) and module.CALLS == 0 and module.SCALE[0] > 1


def test_an_interrupt_passes_and_everything_is_put_back(right):
    def stop(own):
        raise KeyboardInterrupt

    np.random.seed(3)  # noqa: NPY002
    state, stdout = np.random.get_state()[1].copy(), sys.stdout  # noqa: NPY002
    with pytest.raises(KeyboardInterrupt):
        check_gradients(Softmax(spoil=stop))
    assert np.array_equal(np.random.get_state()[1], state) and sys.stdout is stdout  # noqa: NPY002


def test_an_object_that_cannot_be_copied_is_refused():
    net = Softmax()
    net.file = io.TextIOWrapper(io.BytesIO())
    with pytest.raises(UsageError, match=r"this Softmax cannot be copied .*; give the class, or a function"):
        check_gradients(net)


def test_an_object_of_a_module_that_cannot_be_copied_is_named(tmp_path):
    module = written(tmp_path, CARELESS + "other.file = open(__file__)\n")
    with module.other.file:
        (subject,) = check_gradients(module).subjects
    assert subject.target == "Net" and subject.notes == ["other cannot be copied, and is not checked."]


def test_warnings_and_floating_point_errors_of_the_checked_code_do_not_get_out():
    def warn(own):
        import warnings

        warnings.warn("old", DeprecationWarning, stacklevel=1)
        np.log(np.zeros(1))

    with np.errstate(all="raise"):
        assert check_gradients(Softmax(spoil=warn))


def test_what_prints_without_end_is_cut():
    report = check_gradients(Softmax(spoil=lambda own: print("x" * 3000)))
    printed = report.document()["printed"]
    assert len(printed) < 11_000 and "only the first 10,000 characters are kept" in printed
    assert check_gradients(Softmax(spoil=lambda own: sys.stdout.buffer.write(b"x")))


# code that fails


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("own.missing", r"AttributeError: 'Softmax' object has no attribute 'missing'"),
        ("raise SystemExit(3)", r"ends the program .*; take that call out"),
        ("raise MemoryError", r"needs more memory than there is, .*; have it need less"),
        ("spoil(own)", r"RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_code_that_fails_is_an_error_that_says_where(tmp_path, line, sentence):
    module = written(tmp_path, f"def spoil(own):\n    {line}\n")
    report = check_gradients(Softmax(spoil=module.spoil))
    assert report.verdict == "error" and not report.ok
    assert re.search(sentence, report.subjects[0].error)
    assert f"in spoil, line 2 of mine.py (`{line}`)" in report.subjects[0].error
    with pytest.raises(AssertionError, match=rf"(?s)^error: .*{sentence}"):
        assert_gradients(Softmax(spoil=module.spoil))


def test_a_constructor_that_fails_is_an_error(tmp_path):
    module = written(
        tmp_path,
        "class Net:\n    def __init__(self, input_size, hidden_size, output_size):\n        1 / 0\n"
        "    def loss(self, X, y=None):\n        pass\n",
    )
    report = check_gradients(module.Net)
    assert report.verdict == "error"
    assert "in Net.__init__, line 3 of mine.py (`1 / 0`): ZeroDivisionError" in report.subjects[0].error


def test_none_for_a_result_is_an_error_with_a_sentence(right):
    class Forgot(right.TwoLayerNet):
        def loss(self, X, y=None, reg=0.0):
            super().loss(X, y, reg)

    report = check_gradients(Forgot)
    assert report.verdict == "error" and "is the return missing?" in report.subjects[0].error


def test_a_fault_of_ours_is_no_verdict(monkeypatch):
    monkeypatch.setattr("compare.live.examine", lambda subject: 1)
    with pytest.raises(AttributeError):
        check_gradients(Softmax)
