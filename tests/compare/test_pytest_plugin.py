"""The pytest plugin in a project that is not ours: its fixture, its message, and names that are ours too."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SETTINGS = "[pytest]\npythonpath = .\nfilterwarnings = error\n"
TESTS = """
import sys

import broken
import net
import pytest


def test_nothing_of_gradparity_is_loaded_before_it_is_asked_for():
    assert "gradparity.pytest_plugin" in sys.modules
    assert not {"compare.api", "scratch.errors", "rich", "torch", "tensorflow"} & set(sys.modules)

def test_right(check_gradients):
    report = check_gradients(net)
    assert report.verdict == "agree" and report.ok and report

def test_wrong(check_gradients):
    check_gradients(broken.TwoLayerNet)

def test_wrong_object():
    from gradparity import assert_gradients

    assert_gradients(broken.TwoLayerNet(4, 5, 3), framework="numeric")

def test_wrong_report():
    from gradparity import check_gradients

    assert check_gradients(broken)

def test_nothing_to_check(check_gradients):
    with pytest.raises(ValueError, match="sys has no hand-written gradient"):
        check_gradients(sys)
"""
FROM_COMPARE = """
def test_the_other_name(check_gradients):
    from compare import assert_gradients
    import gradparity

    assert isinstance(check_gradients(net), type(assert_gradients(net)))
    with pytest.raises(AssertionError, match="disagree: W1 of TwoLayerNet in broken.py"):
        assert_gradients(broken)
"""
NAMESAKES = """
import compare
import scratch


def test_ones_own_files_are_found():
    assert compare.mine() == 1 and scratch.VALUE == 2
    assert not [name for name in sys.modules if name.startswith(("compare.", "scratch."))]

def test_a_report_goes_on_working_beside_them(check_gradients):
    report = check_gradients(net)
    assert "agree" in str(report) and "<table" in report._repr_html_()
    assert report.document()["verdict"] == "agree" and "agree" in repr(report)
    import compare as again
    assert again is compare and compare.mine() == 1 and sys.modules["scratch"] is scratch

def test_ones_own_compare_can_be_checked(check_gradients):
    assert [s.target for s in check_gradients(compare).subjects] == ["square"]
    with pytest.raises(AssertionError, match="disagree: cube/x of cube in scratch.py") as caught:
        check_gradients(scratch)
    assert "Where: cube_backward, scratch.py line 7." in str(caught.value)

def test_twice_is_the_same_code(check_gradients):
    assert type(check_gradients(net)) is type(check_gradients(compare))

def test_a_framework_can_be_asked(check_gradients):
    assert "torch" in check_gradients(net, framework="torch").subjects[0].referees
"""
COMPARE = """
def mine():
    return 1

def square_forward(x):
    return x**2, x

def square_backward(dout, cache):
    return 2 * dout * cache
"""
SCRATCH = """
VALUE = 2

def cube_forward(x):
    return x**3, x

def cube_backward(dout, cache):
    return 2 * dout * cache**2
"""


@pytest.fixture
def project(tmp_path):
    """A foreign project: a right and a wrong network, and tests of them."""
    (tmp_path / "net.py").write_text((EXAMPLES / "loss_and_grads.py").read_text())
    (tmp_path / "broken.py").write_text((EXAMPLES / "loss_and_grads_broken.py").read_text())
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_net.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, *options: str, module: bool = True) -> tuple[dict[str, str], str]:
    """(outcome of each test, what pytest printed) of the project's suite, run from its folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON", "COV"))}
    command = [sys.executable, "-m", "pytest"] if module else [str(Path(sys.executable).with_name("pytest"))]
    end = subprocess.run(
        [*command, "-v", "-p", "no:cacheprovider", "--tb=short", *options],
        cwd=folder,
        env=clean | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    text = end.stdout + end.stderr
    assert end.returncode in (0, 1), text
    return dict(re.findall(r"::(\w+) (PASSED|FAILED|ERROR)", text)), text


def failure(text: str, test: str) -> str:
    """What pytest shows of one failed test."""
    return re.split(r"^_{3,}|^={3,}", text.partition(f"_ {test} _")[2], flags=re.M)[1]


def test_the_plugin_is_an_entry_point():
    (plugin,) = [e for e in entry_points(group="pytest11") if e.name == "gradparity"]
    assert plugin.value == "gradparity.pytest_plugin"  # not found? .venv/bin/pip install -e . --no-deps


def test_a_foreign_project_uses_it(project):
    (project / "tests" / "test_net.py").write_text(TESTS + FROM_COMPARE)
    outcomes, text = run(project)
    assert outcomes == {
        "test_nothing_of_gradparity_is_loaded_before_it_is_asked_for": "PASSED",
        "test_right": "PASSED",
        "test_wrong": "FAILED",
        "test_wrong_object": "FAILED",
        "test_wrong_report": "FAILED",
        "test_nothing_to_check": "PASSED",
        "test_the_other_name": "PASSED",
    }
    assert (
        "FAILED tests/test_net.py::test_wrong - AssertionError: disagree: W1 of TwoLayerNet in broken.py"
        in text
    )
    shown = [line.removeprefix("E").strip() for line in failure(text, "test_wrong").splitlines()]
    assert shown[1:4] == [
        "tests/test_net.py:18: in test_wrong",
        "check_gradients(broken.TwoLayerNet)",
        "AssertionError: disagree: W1 of TwoLayerNet in broken.py",
    ]  # and no line of ours
    assert any(
        re.match(r"First wrong tensor, going backward: W1: yours \S+, right \S+ at ", s) for s in shown
    )
    assert any(s.startswith("Why: W1: relu-mask-of-gradient. The mask is taken") for s in shown)
    assert (
        any(s.startswith("Evidence: ") for s in shown)
        and "Where: TwoLayerNet.loss, broken.py line 24." in shown
    )
    assert [s.split()[:2] for s in shown if re.match(r"[Wb]\d ", s)] == [
        ["W2", "agree"],
        ["b2", "agree"],
        ["W1", "disagree"],
        ["b1", "disagree"],
    ]
    assert "in assert_gradients" not in text and "in check\n" not in text
    assert "disagree: W1 of TwoLayerNet() in broken.py" in failure(text, "test_wrong_object")
    assert "assert <Report: disagree: W1 of TwoLayerNet in broken.py>" in failure(text, "test_wrong_report")
    assert "check_gradients" in run(project, "--fixtures")[1]


@pytest.mark.parametrize("module", [True, False], ids=["python -m pytest", "pytest"])
def test_a_project_keeps_its_own_compare_and_scratch(project, module):
    """`python -m pytest` puts the project's folder first, `pytest` loads the plugins before it does so."""
    (project / "compare.py").write_text(COMPARE)
    (project / "scratch.py").write_text(SCRATCH)
    (project / "tests" / "test_net.py").write_text(TESTS + NAMESAKES)
    outcomes, text = run(project, "-k", "not loaded_before", module=module)
    wrong = {name for name, outcome in outcomes.items() if outcome != "PASSED"}
    assert wrong == {"test_wrong", "test_wrong_object", "test_wrong_report"}, text
    assert len(outcomes) == 10 and "AssertionError: disagree: W1 of TwoLayerNet in broken.py" in text


@pytest.mark.parametrize("name", ["compare", "scratch", "frameworks"])
def test_a_file_that_is_never_imported_does_no_harm_either(project, name):
    """Nor one that cannot be imported, nor a folder without an __init__.py."""
    (project / f"{name}.py").write_text("raise RuntimeError('not to be imported')\n")
    if name == "compare":
        (project / "scratch").mkdir()
    outcomes, text = run(project, "-k", "test_right or test_wrong", "--maxfail=2")
    assert outcomes == {"test_right": "PASSED", "test_wrong": "FAILED", "test_wrong_object": "FAILED"}, text
    assert "not to be imported" not in text


def test_a_projects_own_fixture_of_this_name_is_its_own(project):
    (project / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef check_gradients():\n    return lambda thing: 'its own'\n"
    )
    (project / "tests" / "test_net.py").write_text(
        "def test_own(check_gradients):\n    assert check_gradients(1) == 'its own'\n"
    )
    assert run(project)[0] == {"test_own": "PASSED"}


def test_the_fixture_in_our_own_suite(check_gradients):
    class Net:
        def forward(self, x):
            return 2 * x

        def backward(self, x, grad):
            return 3 * grad

    with pytest.raises(AssertionError, match=r"disagree: Net/x of Net in test_pytest_plugin\.py"):
        check_gradients(Net)
