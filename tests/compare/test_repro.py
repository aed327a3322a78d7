"""The script of --repro: it shows the failure with NumPy alone, and a corrected file makes it pass."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compare import cli
from compare.adapters import transcript_state
from compare.submission import repro, repro_styles
from compare.submission.request import Request, check
from scratch.errors import UsageError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BROKEN = sorted(EXAMPLES.glob("*_broken.py"))
NUMBERS = re.compile(r"yours +(\S+)\n +(?:central difference|by the rule) +(\S+)\n +relative error +(\S+)")
TANH = """\
import numpy as np

def tanh_forward(x):
    y = np.tanh(x)
    return y, y

def tanh_backward(dout, y):
    return dout * (1 - y * y)
"""


def run(script, *arguments, cwd):
    """By a Python that finds NumPy and nothing of ours."""
    command = [sys.executable, "-I", "-W", "error", str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)
    return done.returncode, done.stdout, done.stderr


def logic(text):
    """Lines that are neither empty, nor a comment, a docstring, an import, or data in capitals."""
    counted = {n for n, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(text)):
        data = isinstance(node, ast.Assign) and re.fullmatch(r"\(?[A-Z, ]+\)?", ast.unparse(node.targets[0]))
        words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if data or words or isinstance(node, ast.Import | ast.ImportFrom):
            counted -= set(range(node.lineno, node.end_lineno + 1))
    return len(counted)


def asked(path, **options):
    return check(Request(str(path), options=options, script=True, seconds=30))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda path: path.stem.removesuffix("_broken"))
def test_every_style_has_a_script_that_fails_as_its_file_does_and_passes_when_it_is_corrected(
    tmp_path, broken
):
    file, script = tmp_path / "mine.py", tmp_path / "repro.py"
    shutil.copy(broken, file)
    answer = asked(file)
    assert repro.write(str(script), answer) == ""
    text = script.read_text()
    assert not re.search(r"^\s*(import|from) (compare|scratch|frameworks)", text, re.M) and logic(text) <= 40
    code, out, err = run(script, cwd=tmp_path)
    assert (code, err) == (1, ""), err
    yours, right, error = map(float, NUMBERS.search(out).groups())
    assert abs(yours - right) > 1e-3 * max(abs(yours), abs(right)) and error > 1e-3
    shutil.copy(broken.with_name(broken.name.replace("_broken", "")), file)
    code, out, err = run(script, cwd="/")
    assert (code, err) == (0, ""), out + err
    assert float(NUMBERS.search(out)[3]) < 1e-5


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    """A file with one wrong gradient, in the folder where we are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TANH.replace("y * y", "y"))
    return tmp_path


def test_the_command_writes_it_and_says_so_and_the_verdict_stands(wrong, capsys):
    command = ["check", "mine.py", "--framework", "numeric", "--repro", "repro.py"]
    assert cli.main(command) == 1
    assert "script: repro.py\n" in capsys.readouterr().err
    code, out, _ = run("repro.py", cwd=wrong)
    assert code == 1 and "mine.py: the gradient of tanh/x at (" in out
    assert cli.main(command) == 1  # its own script may be replaced
    (wrong / "mine.py").write_text(TANH)
    assert cli.main(command) == 0
    assert (
        "no script: nothing is wrong, so there is nothing that a script could show.\n"
        in capsys.readouterr().err
    )


def test_a_file_that_has_moved_is_named_on_the_command_line(wrong):
    assert repro.write("repro.py", asked("mine.py")) == ""
    (wrong / "elsewhere").mkdir()
    (wrong / "mine.py").rename(wrong / "elsewhere" / "yours.py")
    code, _, err = run("repro.py", cwd=wrong)
    assert code == 2 and err.endswith("mine.py is not there; name the file: python repro.py FILE.py\n")
    code, out, _ = run("repro.py", "elsewhere/yours.py", cwd=wrong)
    assert code == 1 and "yours.py: the gradient" in out


def test_a_shape_and_code_in_single_precision_and_a_helper_beside_the_file(wrong):
    (wrong / "helper.py").write_text("import numpy as np\nprint('hello')\nSINGLE = np.float32\n")
    text = TANH.replace("import numpy as np", "import numpy as np\nfrom helper import SINGLE\nprint('there')")
    text = text.replace("np.tanh(x)", "np.tanh(x.astype(SINGLE))").replace("y * y", "y")
    (wrong / "mine.py").write_text(text)
    assert repro.write("repro.py", asked("mine.py")) == ""
    code, out, err = run("repro.py", cwd=wrong)
    assert (code, err) == (1, "") and "allowed: 0.03" in out and "there" not in out
    (wrong / "mine.py").write_text(text.replace("(1 - y)", "(1 - y * y)"))
    assert run("repro.py", cwd=wrong)[0] == 0
    (wrong / "mine.py").write_text(TANH.replace("return dout * (1 - y * y)", "return (dout * (1 - y * y)).T"))
    assert repro.write("repro.py", asked("mine.py")) == ""
    code, _, err = run("repro.py", cwd=wrong)
    assert code == 1 and "tanh/x has the shape" in err and "but its gradient has" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TANH.replace("return dout * (1 - y * y)", "dout *= 1 - y * y\n    return dout"), "mutates-input"),
        ("import os\nos.abort()\n", "the code fails before a gradient"),
    ],
)
def test_what_no_script_can_show_is_said_in_one_sentence(wrong, text, words):
    (wrong / "mine.py").write_text(text)
    sentence = repro.write("repro.py", asked("mine.py"))
    assert words in sentence and sentence.endswith(".") and "\n" not in sentence
    assert not (wrong / "repro.py").exists()


def test_where_calls_have_no_words_the_reason_is_said(wrong):
    answer = asked("mine.py")
    facts = answer.subjects[0].evidence.facts
    facts["scripts"], facts["no_script"] = {}, "it is given a Tensor"
    sentence = repro.write("repro.py", answer)
    assert sentence.endswith("cannot be said in a script of NumPy alone: it is given a Tensor.")


def test_a_notebook_cannot_be_loaded(wrong):
    answer = asked("mine.py")
    answer.target = "mine.ipynb"
    assert "a script cannot load a notebook" in repro.write("repro.py", answer)


def test_a_script_that_does_not_show_the_failure_is_not_written(wrong, monkeypatch):
    answer = asked("mine.py")
    (wrong / "mine.py").write_text(TANH)  # corrected meanwhile
    assert "cannot be said" in repro.write("repro.py", answer) and not (wrong / "repro.py").exists()
    monkeypatch.setattr(repro, "SECONDS", 0.5)
    assert not repro._shows(repro.Script("import time\ntime.sleep(60)", 1.0, 2.0))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mine.py", "would replace the checked file"),
        ("./mine.py", "would replace the checked file"),
        ("other.py", "which is no such script"),
        ("repro.txt", "ends in .py"),
        ("missing/repro.py", "does not exist"),
    ],
)
def test_nothing_of_the_user_is_replaced(wrong, path, words, capsys):
    (wrong / "other.py").write_text("precious = 1\n")
    before = (wrong / "mine.py").read_text()
    assert cli.main(["check", "mine.py:tanh_forward", "--repro", path]) == 2
    assert words in capsys.readouterr().err
    assert (wrong / "other.py").read_text() == "precious = 1\n" and (wrong / "mine.py").read_text() == before


@pytest.mark.parametrize(
    "array",
    [
        np.array(0.1),
        np.array([1 / 3, -2.5e-17, 1e300]),
        np.arange(6).reshape(2, 3),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32),
        np.random.default_rng(0).standard_normal((30, 40)),
    ],
)
def test_literals_keep_every_digit(array):
    again = eval(repro_styles.literal(array, 4), {"np": np})
    assert again.shape == array.shape and again.dtype == array.dtype and np.array_equal(again, array)


def test_arrays_are_found_in_objects_by_their_identity():
    class Box:
        def __init__(self):
            self.params = {"W": np.ones(2), ("a", 1): [np.zeros(3)]}

    box = Box()
    places = dict(transcript_state.leaves(box, "box"))
    assert places["box.params['W']"] is box.params["W"]
    assert places["box.params[('a', 1)][0]"] is box.params["a", 1][0]


def test_usage_errors_are_of_their_own_kind(wrong):
    with pytest.raises(UsageError):
        repro.destination("mine.py", "mine.py")
