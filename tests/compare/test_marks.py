"""Marks of many files: a row each in the order given, whatever a file does; nothing lost or left running."""

import argparse
import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from compare import cli
from compare.diagnosis.hypothesis import Finding
from compare.submission import marks
from compare.submission.judge import Checked
from compare.submission.request import Answer, Request
from compare.tolerance import judge
from compare.verdict import Quantity
from scratch.errors import UsageError

ROOT = Path(__file__).parents[2]
TANH = """\
import numpy as np

def tanh_forward(x):
    y = np.tanh(x)
    return y, y

def tanh_backward(dout, y):
    return dout * (1 - y * y)
"""
COLUMNS = ["file", "verdict", "first_wrong", "cause", "points", "of", "tensors", "seconds", "message"]
RIGHT, WRONG = judge(np.ones(2), np.ones(2), 0.0, "float64"), judge(np.ones(2), np.zeros(2), 0.0, "float64")
NOTHING = judge(np.zeros(2), np.zeros(2), 0.0, "float64")


def checked(name="Net", style="loss-and-grads", *found, **tensors):
    """A subject with these judgements."""
    one = Checked(name, "float64", ("numeric",), style=style, diagnosis=list(found))
    one.quantities = [Quantity(n, "gradient", "numeric", j) for n, j in tensors.items()]
    return one


MASK = Finding("relu-mask-missing", "W1", "The mask is missing.", ("W1", "b1"))


def test_a_wrong_file_has_its_first_wrong_tensor_its_cause_and_its_points():
    wrong = checked("Net", "loss-and-grads", MASK, W2=RIGHT, b2=RIGHT, W1=WRONG, b1=WRONG)
    row = marks.row(Answer("a.py", [wrong]), 3, 1.234)
    assert row == marks.Row(
        "a.py", "disagree", "W1", "relu-mask-missing", 2, 4, "W2 1; b2 1; W1 0; b1 0", 1.23,
        "W1: The mask is missing.",
    )  # fmt: skip


def test_lower_hint_levels_say_less():
    answer = Answer("a.py", [checked("Net", "", MASK, W1=WRONG, b1=WRONG)])
    rows = [marks.row(answer, level) for level in (1, 2)]
    assert [row.first_wrong for row in rows] == ["W1", "W1"]
    assert [row.cause for row in rows] == ["", "the derivative of an activation"]
    assert [row.message for row in rows] == ["", ""]


def test_several_subjects_share_a_row_and_names_tell_them_apart():
    loss = Finding("sign", "loss/x", "The sign is wrong.", ("loss/x",))
    right, wrong = checked("affine", **{"affine/w": RIGHT}), checked("loss", "", loss, **{"loss/x": WRONG})
    row = marks.row(Answer("a.py", [right, wrong]))
    assert (row.first_wrong, row.points, row.of) == ("loss/x", 1, 2)
    assert row.tensors == "affine/w 1; loss/x 0"
    both = marks.row(Answer("a.py", [checked("A", W=RIGHT), checked("B", "", MASK, W1=WRONG)]))
    assert both.tensors == "A: W 1; B: W1 0" and both.first_wrong == "B: W1"


def test_a_tensor_that_a_finding_accuses_or_that_nobody_could_judge_gets_no_point():
    stale = Finding("stale-activations", "W1", "Something is kept.", ("W1",))
    row = marks.row(Answer("a.py", [checked("Net", "", stale, W2=RIGHT, W1=RIGHT, b1=NOTHING)]))
    assert (row.verdict, row.points, row.tensors) == ("disagree", 1, "W2 1; W1 0; b1 0")
    assert "b1 could not be judged." in row.message


def test_conventions_stand_in_the_message_and_cost_nothing():
    one = checked("Net", W=RIGHT)
    one.conventions = ["The loss is a sum."]
    row = marks.row(Answer("a.py", [one]), 1)
    assert (row.verdict, row.points, row.message) == ("agree-up-to-convention", 1, "The loss is a sum.")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\n-", "＝"])
def test_no_cell_is_a_formula(start):
    row = marks.Row(f"{start}1+1.py", "error", message=f"{start}cmd|' /C calc'!A0")
    (cells,) = list(csv.reader(io.StringIO(marks.table([row]).decode())))[1:]
    assert cells[0] == f"'{start}1+1.py" and cells[-1].startswith(f"'{start}cmd")
    assert cells[4] == "0" and not any(cell.startswith(tuple("=+-@")) for cell in cells)


def test_messages_are_one_line_and_any_name_can_be_written():
    row = marks.row(Answer("näme\udcff.py", [checked("Net", "", Finding("sign", "W", "a\nb\tc"), W=WRONG)]))
    assert row.message == "W: a b c"
    assert "näme\\udcff.py" in marks.table([row]).decode("utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Submissions of all kinds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_right.py").write_text(TANH)
    (tmp_path / "b_wrong.py").write_text(TANH.replace("y * y", "y"))
    (tmp_path / "c_hangs.py").write_text("while True:\n    pass\n")
    (tmp_path / "d_crashes.py").write_text("import os\nos.abort()\n")
    (tmp_path / "e_empty.py").write_text("x = 1\n")
    (tmp_path / "=f.py").write_text("print 'two'\n")
    return tmp_path


def written():
    return list(csv.DictReader(io.StringIO(Path("marks.csv").read_text("utf-8"), newline="")))


def test_many_files_are_rows_in_the_order_given(folder, capsys):
    given = ["e_empty.py", "c_hangs.py", "b_wrong.py", "missing.py", "a_right.py", "=f.py", "d_crashes.py"]
    command = ["check", *given, "--csv", "marks.csv", "--framework", "numeric", "--timeout", "4", "--json"]
    assert cli.main([*command, "--jobs", "4"]) == 0
    out, err = capsys.readouterr()
    assert err == "marks: marks.csv\n"
    document, rows = json.loads(out), written()
    assert document["schema"] == "gradparity/marks/1"
    assert [row["file"] for row in document["rows"]] == given
    assert list(rows[0]) == list(document["rows"][0]) == COLUMNS
    assert [row["file"].removeprefix("'") for row in rows] == given
    found = {row["file"]: row for row in document["rows"]}
    verdicts = [row["verdict"] for row in document["rows"]]
    assert verdicts == ["error", "error", "disagree", "error", "agree", "error", "error"]
    wrong = found["b_wrong.py"]
    assert (wrong["first_wrong"], wrong["cause"]) == ("tanh/x", "activation-derivative-wrong")
    assert (found["b_wrong.py"]["points"], found["b_wrong.py"]["of"]) == (0, 1)
    assert (found["a_right.py"]["points"], found["a_right.py"]["of"]) == (1, 1)
    for file, words in (
        ("e_empty.py", "has no hand-written gradient"),
        ("c_hangs.py", "did not finish within 4 s"),
        ("d_crashes.py", "crashes Python"),
        ("missing.py", "there is no file"),
        ("=f.py", "is written for Python 2"),
    ):
        assert words in found[file]["message"] and (found[file]["points"], found[file]["of"]) == (0, 0)
    assert 4 <= found["c_hangs.py"]["seconds"] < 20 and found["e_empty.py"]["seconds"] > 0
    assert sorted(p.name for p in folder.glob("marks*")) == ["marks.csv"]


def test_the_table_for_people_counts_verdicts_and_explains_errors(capsys):
    from compare import console

    rows = [marks.Row("a.py", "agree", points=3, of=3), marks.Row("b.py", "error", message="b.py hangs.")]
    marks.present([*rows, marks.Row("c.py", "agree", points=1, of=1)], console.stdout())
    out = capsys.readouterr().out
    assert "3/3" in out and "b.py: b.py hangs." in out and "3 files: 2 agree, 1 error" in out


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_done_when_a_signal_comes_is_kept_and_all_else_is_stopped(folder):
    (folder / "slow.py").write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('pids', 'a').write(f'{os.getpid()} {child.pid}\\n')\ntime.sleep(60)\n"
    )
    signals: list[int] = []

    def look(text):
        begun = (folder / "pids").exists() and (folder / "pids").read_text().count("\n") == 1
        if text.startswith("1 of 4") and begun:
            signals.append(signal.SIGINT)

    requests = [Request(name) for name in ("slow.py", "e_empty.py", "c_hangs.py", "a_right.py")]
    began = time.monotonic()
    rows = marks.check(requests, 2, 3, signals, look)
    assert [row.file for row in rows] == ["e_empty.py"] and time.monotonic() - began < 20
    pids = (folder / "pids").read_text().split()
    assert len(pids) == 2 and not any(is_running(pid) for pid in pids)


def test_ctrl_c_writes_the_rows_that_are_done_and_says_how_many(folder):
    (folder / "slow.py").write_text("open('begun', 'w')\nimport time\ntime.sleep(60)\n")
    command = "check e_empty.py slow.py a_right.py --csv marks.csv --framework numeric --jobs 1"
    process = subprocess.Popen(
        [sys.executable, "-m", "compare.cli", *shlex.split(command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (folder / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "e_empty.py" in out and "1 file: 1 error" in out
    assert err.endswith("gradparity: interrupted; 1 of 3 files were done; their rows are in marks.csv.\n")
    assert [row["file"] for row in written()] == ["e_empty.py"]
    assert sorted(p.name for p in folder.glob("marks*")) == ["marks.csv"]


def test_an_interrupt_before_the_first_row_leaves_the_old_table(folder, monkeypatch):
    (folder / "marks.csv").write_text("old")
    monkeypatch.setattr(marks, "check", lambda *_: [])
    with pytest.raises(KeyboardInterrupt, match="0 of 1 file were done; nothing was written"):
        marks.write("marks.csv", [Request("a_right.py")], options())
    assert (folder / "marks.csv").read_text() == "old"


def options(**changed):
    given = {"jobs": 1, "hint_level": 3, "json": False, "report": None, "repro": None}
    return argparse.Namespace(**given | changed)


@pytest.mark.parametrize(
    ("path", "changed", "words"),
    [
        (
            "a_right.py",
            {},
            "a name that ends in .csv",
        ),  # where `--csv submissions/*.py` is written
        ("missing/marks.csv", {}, "does not exist"),
        ("marks.csv", {"jobs": 0}, "--jobs must be at least 1"),
        ("marks.csv", {"report": "r.html"}, "--report is about one file"),
        ("marks.csv", {"repro": "r.py"}, "--repro is about one file"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(folder, monkeypatch, path, changed, words):
    monkeypatch.setattr(marks, "check", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(UsageError, match=words):
        marks.write(path, [Request("a_right.py")], options(**changed))


def test_a_failure_of_ours_is_a_row_too(folder, monkeypatch):
    from compare.submission import request as asking

    def fail(*_):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(asking, "judge", fail)
    (row,) = marks.check([Request("a_right.py")], 1, 3)
    assert row.verdict == "error"
    assert row.message == "gradparity itself failed with ZeroDivisionError: oh no; please report it."
