"""`gradparity check FILE.py` as a user meets it: exit codes, one JSON document, hints that tell no more."""

import json
from pathlib import Path

import pytest

from compare import cli

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
RIGHT, WRONG = EXAMPLES / "loss_and_grads.py", EXAMPLES / "loss_and_grads_broken.py"


@pytest.fixture
def check(capfd):
    """check(arguments ...) -> (exit code, stdout, stderr), judged by arithmetic and scratch."""

    def run(*arguments):
        code = cli.main(["check", *map(str, arguments), "--framework", "numeric"])
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def user(tmp_path):
    """user(source) -> a file of the user's."""

    def write(source, name="net.py"):
        (tmp_path / name).write_text(source)
        return tmp_path / name

    return write


def test_right_and_wrong_code_end_with_0_and_1(check):
    code, out, _ = check(RIGHT)
    assert code == 0 and out.splitlines()[-1].startswith("agree: 4 tensors")
    code, out, _ = check(WRONG)
    assert code == 1 and out.splitlines()[-1] == "disagree: W1 of TwoLayerNet in loss_and_grads_broken.py"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.py"], "no file"),
        ([f"{RIGHT}:Nothing"], "has no 'Nothing'; it has TwoLayerNet"),
        ([RIGHT, "--style", "fancy"], "--style must be one of"),
        ([RIGHT, WRONG], "--csv"),
        ([RIGHT, "mlp"], "one at a time"),
        ([RIGHT, "--strict", "--lenient"], "exclude each other"),
        ([RIGHT, "--sizes", "6"], "whole numbers such as 6,5,4"),
        ([RIGHT, "--timeout", "0"], "--timeout must be above 0"),
        ([RIGHT, "--report", "nowhere/report.html"], "needs a folder"),
    ],
)
def test_usage_errors_are_one_sentence_and_exit_2(check, arguments, said):
    code, out, err = check(*arguments)
    assert (code, out) == (2, "") and said in err
    assert err.startswith("gradparity: ") and err.count("\n") == 1


def test_a_file_with_nothing_to_judge_says_so(check, user):
    code, _, err = check(user("def f(x):\n    return x\n"))
    assert code == 2 and "has no hand-written gradient" in err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nosuchhelper\n", "nosuchhelper"),
        ("print 'hello'\n", "Python 2"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("exit()\n", "ends itself"),
        ("while True:\n    pass\n", "line 1"),
    ],
)
def test_code_that_cannot_be_run_is_an_error_with_its_line(check, user, source, said):
    code, out, _ = check(user(source), "--timeout", "2")
    assert code == 4 and said in out and "Traceback" not in out
    assert out.splitlines()[-1].startswith("error: net.py")


def test_json_is_one_document_though_the_file_prints(check, user):
    code, out, _ = check(user("print('noise')\n" + WRONG.read_text()), "--json")
    found = json.loads(out)
    assert code == 1 and found["verdict"] == "disagree" and "noise" in found["printed"]
    (cause,) = {(d["target"], d["cause"], d["tensor"]) for d in found["diagnosis"]}
    assert cause == ("TwoLayerNet", "relu-mask-of-gradient", "W1")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_lower_hints_keep_the_cause_to_themselves(check, form):
    full = check(WRONG, *form)[1]
    assert "relu-mask-of-gradient" in full
    second = check(WRONG, "--hint-level", "2", *form)[1]
    assert "the derivative of an activation" in second and "relu-mask" not in second
    first = check(WRONG, "--hint-level", "1", *form)[1]
    assert "W1" in first and "activation" not in first.replace("relu-mask", "")
    values = [q["mine"] for t in json.loads(first)["targets"] for q in t["quantities"]] if form else []
    assert values == [None] * len(values) and ("3.472" in full) != bool(form) and "3.472" not in first


def test_one_factor_n_is_a_convention_where_it_is_taught(check):
    example = EXAMPLES / "three_layer.py"
    assert check(example)[0] == 0
    assert check(example, "--strict")[0] == 1


def test_the_styles_are_shown(check):
    code, out, _ = check("--styles")
    assert code == 0 and out.count("def ") >= 7
