"""Which frameworks check_gradients asks: those that are loaded, or named; it loads none by itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from live_things import EXAMPLES, example

import compare
from compare import api, check_gradients
from scratch.errors import MissingError


@pytest.fixture
def right():
    return example("loss_and_grads")


def test_frameworks_are_asked_for_by_name_or_because_they_are_loaded(right, referees, monkeypatch):
    assert check_gradients(right.TwoLayerNet).subjects[0].referees == ("numeric", "torch", "keras", "scratch")
    only = check_gradients(right.TwoLayerNet, framework="numeric").subjects[0]
    assert only.referees == ("numeric", "scratch")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert api._frameworks(None) == ("keras",)
    monkeypatch.setattr("keras.config.backend", lambda: "jax")
    assert api._frameworks(None) == ()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="the package torch is not installed"):
        check_gradients(right.TwoLayerNet, framework="torch")


def test_the_modes_of_torch_make_no_difference(right, referees):
    import torch

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            return 3 * grad * ctx.saved_tensors[0] ** 2

    for mode in (torch.no_grad(), torch.inference_mode(), torch.device("meta")):
        with mode:
            assert "torch" in check_gradients(right.TwoLayerNet, framework="torch").subjects[0].referees
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert check_gradients(Cube).verdict == "agree"


PROGRAM = """
import sys
import compare
before = set(sys.modules)
assert "numpy" not in before and {"check_gradients", "assert_gradients", "Report"} <= set(dir(compare))
from compare import check_gradients, assert_gradients
sys.path.insert(0, sys.argv[1])
import loss_and_grads
report = check_gradients(loss_and_grads.TwoLayerNet)
assert report.subjects[0].referees == ("numeric", "scratch")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_neither_the_import_nor_a_check_loads_a_framework():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(EXAMPLES)],
        cwd=Path(compare.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    heavy = {
        "torch",
        "tensorflow",
        "keras",
        "matplotlib",
        "sklearn",
        "scipy",
        "pandas",
        "jinja2",
        "IPython",
        "pytest",
    }
    assert "numpy" in loaded and not loaded & heavy


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="module 'compare' has no attribute 'check_gradient'"):
        compare.check_gradient  # noqa: B018
