"""What can go wrong: one sentence on stderr, nothing on stdout, and the exit code that says of which kind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from compare import cli, console, parity
from frameworks import guard
from scratch import idx, ops

ROOT = Path(__file__).parents[2]
QUICK = "--framework numeric --dtype float64 --hidden 5 --batch-size 4 --no-log"


@pytest.fixture
def fails(capsys):
    """Run a command that must fail in the documented way; gives its sentence."""

    def fails_(command: str, code: int) -> str:
        came = cli.main(shlex.split(command))
        out, err = capsys.readouterr()
        return sentence(came, out, err, code)

    return fails_


def sentence(came: int, out: str, err: str, code: int) -> str:
    assert (came, out) == (code, ""), err
    assert err.startswith("gradparity: ") and err.endswith(".\n") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err.removeprefix("gradparity: ").strip()


def process(code: str, command: str, cwd: Path = ROOT, **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own, after some lines of Python."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys\nfrom compare.cli import main\nsys.exit(main())",
            *shlex.split(command),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"} | environment,
    )


# 2: usage


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("frobnicate", "check"),
        ("check --frobnicate", "--frobnicate"),
        ("data --frobnicate", "--frobnicate"),
        ("data mnist", "mnist"),
        ("check perceptron", "mlp, dcn, ops"),
        ("check mlp --framework jax", "torch, keras, numeric"),
        ("check mlp --framework numeric,", "torch, keras, numeric"),
        ("check mlp --framework ''", "torch, keras, numeric"),
        ("check mlp --dtype float16", "float64"),
        ("check mlp --output linear", "softmax"),
        (f"check mlp {QUICK} --activation swish", "leaky_relu"),
        (f"check mlp {QUICK} --init ones", "he_normal"),
        (f"check mlp {QUICK} --optimizer lion", "adamw"),
        (f"check mlp {QUICK} --optimizer adam,lion", "adamw"),
        (f"check mlp {QUICK} --optimizer ''", "adamw"),
        (f"check mlp {QUICK} --optimizer adam,all", "all"),
        (f"check mlp {QUICK} --data mnist5k", "did you mean mnist-5k?"),
        (f"check mlp {QUICK} --data-dir .", "mnist-5k"),
        ("check mlp --hidden 0", "64,32"),
        ("check mlp --hidden x", "64,32"),
        ("check mlp --hidden ''", "64,32"),
        ("check mlp --hidden 5,,5", "64,32"),
        ("check mlp --hidden=-5", "64,32"),
        (f"check mlp {QUICK} --batch-size 0", "at least 1"),
        (f"check mlp {QUICK} --batch-size 1000000", "3000"),
        ("check mlp --batch-size many", "many"),
        (f"check mlp {QUICK} --steps 0", "at least 1"),
        (f"check mlp {QUICK} --dropout 1.5", "[0, 1)"),
        (f"check mlp {QUICK} --dropout=-0.1", "[0, 1)"),
        (f"check mlp {QUICK} --dropout nan", "[0, 1)"),
        (f"check mlp {QUICK} --l1=-0.1", "l1"),
        (f"check mlp {QUICK} --l2=-0.1", "l2"),
        (f"check mlp {QUICK} --l1 nan", "l1"),
        (f"check mlp {QUICK} --l2 inf", "l2"),
        (f"check mlp {QUICK} --seed -1", "seed"),
        ("check ops --framework numeric --seed -1", "seed"),
        ("check ops --framework numeric --data foo", "mnist-5k"),
        (f"check dcn {QUICK} --data iris", "needs images"),
        (f"check dcn {QUICK} --hidden 1,2", "one size"),
        (f"check dcn {QUICK} --hidden none", "one size"),
    ],
)
def test_usage_is_exit_2(fails, command, word):
    assert word in fails(command, 2)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing/report.html", "does not exist"),
        (".", "is a folder"),
        ("file/report.html", "is not a folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_any_work(fails, tmp_path, monkeypatch, name, why):
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr("compare.referees.Referees.__init__", lambda *_: pytest.fail("work was begun"))
    assert why in fails(f"check mlp {QUICK} --report {tmp_path / name}", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_usage_is_told_before_frameworks_are_loaded(fails, monkeypatch):
    """Ten seconds of imports, then a typing error: names at least are looked at first."""
    monkeypatch.setattr("compare.referees.Referees.__init__", lambda *_: pytest.fail("work was begun"))
    for wrong in ("--activation swish", "--optimizer lion", "--steps 0", "--batch-size 0"):
        fails(f"check mlp {wrong}", 2)


def test_another_keras_backend(fails, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    said = fails(f"check mlp {QUICK} --framework keras", 2)
    assert "'jax'" in said and "KERAS_BACKEND=tensorflow" in said


# 3: not here


@pytest.mark.parametrize(
    ("asked", "missing", "told"),
    [
        ("torch", "torch", "pip install 'gradparity[torch]'"),
        ("numeric,keras", "keras", "pip install 'gradparity[keras]'"),
        ("keras", "tensorflow", "pip install 'gradparity[keras]'"),
    ],
)
def test_a_framework_asked_for_and_missing(fails, monkeypatch, asked, missing, told):
    there = guard.installed
    monkeypatch.setattr(guard, "installed", lambda name: name != missing and there(name))
    said = fails(f"check mlp {QUICK} --framework {asked}", 3)
    assert f"the package {missing} is not installed" in said and told in said


def test_a_framework_that_python_cannot_find():
    end = process("import sys; sys.modules['torch'] = None", f"check mlp {QUICK} --framework torch")
    out, err = end.communicate()
    assert "pip install 'gradparity[torch]'" in sentence(end.returncode, out, err, 3)


def test_a_broken_framework(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: undefined symbol')\n")
    end = process("", f"check mlp {QUICK} --framework torch", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    out, err = end.communicate()
    assert "undefined symbol" in sentence(end.returncode, out, err, 3)


def test_a_data_set_that_cannot_be_had(tmp_path):
    """Nothing on disk, no network: a sentence with the way out."""
    folders = ("HOME", "XDG_CACHE_HOME", "GRADPARITY_CACHE", "GRADPARITY_DATA", "KERAS_HOME")
    nowhere = {folder: str(tmp_path / folder) for folder in folders}
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    end = process(
        "", f"check mlp {QUICK} --data mnist", tmp_path, **nowhere, **closed, no_proxy="", NO_PROXY=""
    )
    out, err = end.communicate(timeout=300)
    said = sentence(end.returncode, out, err, 3)
    assert "use --data mnist-5k, which works without network" in said and nowhere["GRADPARITY_DATA"] in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_data_folder_without_data(fails, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    said = fails(f"check mlp {QUICK} --data mnist --data-dir {tmp_path / folder}", 3)
    assert str(tmp_path / folder) in said and "train-images-idx3-ubyte" in said


def test_a_data_folder_that_lacks_one_file(fails, tmp_path):
    for part in idx.SETS["mnist"][:3]:
        (tmp_path / part.name).write_bytes(b"")
    assert "lacks t10k-labels-idx1-ubyte" in fails(f"check mlp {QUICK} --data mnist --data-dir {tmp_path}", 3)


# 4: a data file or the checked code is broken

IMAGES, LABELS = (idx.pack(np.zeros(shape, np.uint8)) for shape in ((60000, 28, 28), (60000,)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"abc", "no IDX magic number"),
        (b"\x1f\x8b broken", "could not be read"),
        (IMAGES[:1000], "ends after 1000 of 47040016 bytes"),
        (IMAGES + b"more", "goes on after its 47040016 bytes"),
        (IMAGES, "has sha256"),
        (LABELS, "are images and labels swapped?"),
        (idx.pack(np.zeros((2, 28, 28), np.uint8)), "announces 2 x 28 x 28"),
    ],
    ids=["empty", "text", "gzip", "truncated", "longer", "other bytes", "swapped", "small"],
)
def test_a_damaged_data_file(fails, tmp_path, content, told):
    for part in idx.SETS["mnist"]:
        (tmp_path / part.name).write_bytes(content)
    said = fails(f"check mlp {QUICK} --data mnist --data-dir {tmp_path}", 4)
    assert told in said and str(tmp_path / "train-images-idx3-ubyte") in said


def test_checked_code_that_crashes_is_named_with_file_and_line(fails, monkeypatch):
    def broken(x, w, b):
        return x @ w + b, lambda dy: 1 / 0

    monkeypatch.setattr(ops, "dense", broken)
    for target in ("mlp", "ops"):
        said = fails(f"check {target} {QUICK}", 4)
        line = broken.__code__.co_firstlineno + 1
        place = f"({os.path.relpath(__file__)}, line {line}, in <lambda>)"
        assert said == f"the checked code failed with ZeroDivisionError: division by zero {place}."


def test_the_selftest_refuses_code_that_is_wrong_already(fails, monkeypatch):
    dense = ops.dense

    def wrong(x, w, b):
        y, backward = dense(x, w, b)
        return y, lambda dy: tuple(2 * gradient for gradient in backward(dy))

    monkeypatch.setattr(ops, "dense", wrong)
    assert "before any bug is planted" in fails(f"check mlp {QUICK} --selftest", 4)


def not_finite(y):
    y = y.copy()
    y.flat[0] = np.nan
    return y


@pytest.mark.parametrize("target", ["mlp", "ops"])
@pytest.mark.parametrize(
    "wrong",
    [not_finite, lambda y: y[:, :-1], lambda y: y.astype("c8" if np.iscomplexobj(y) else "f4")],
    ids=["NaN", "shape", "precision"],
)
def test_a_wrong_forward_pass_is_never_the_users_usage(capsys, monkeypatch, target, wrong):
    """Exit 1 or 4: the command line was fine, the checked code is not. NaN and infinity always disagree."""
    dense = ops.dense

    def broken(x, w, b):
        y, backward = dense(x, w, b)
        return wrong(y), backward

    monkeypatch.setattr(ops, "dense", broken)
    code = cli.main(shlex.split(f"check {target} {QUICK}"))
    assert code in ((1,) if wrong is not_finite else (1, 4)), capsys.readouterr().err


def test_a_gradient_of_the_wrong_shape_is_no_agreement(capsys, monkeypatch):
    dense = ops.dense

    def broken(x, w, b):
        y, backward = dense(x, w, b)

        def wrong(dy):
            dx, dw, db = backward(dy)
            return dx, dw, db[None]

        return y, wrong

    monkeypatch.setattr(ops, "dense", broken)
    assert cli.main(shlex.split(f"check mlp {QUICK}")) in (1, 4)


# 130: interrupted


def test_interrupted_in_the_middle(fails, monkeypatch, tmp_path):
    monkeypatch.setattr(parity, "_judge_numerically", lambda *_: signal.raise_signal(signal.SIGINT))
    assert fails(f"check mlp {QUICK} --report {tmp_path}/report.html", 130).startswith("interrupted")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_while_the_report_is_written(capsys, monkeypatch, tmp_path):
    """The old report stays, whole; the table is out already."""
    report = tmp_path / "report.html"
    report.write_text("the old one")
    monkeypatch.setattr(os, "replace", lambda *_: signal.raise_signal(signal.SIGINT))
    assert cli.main(shlex.split(f"check mlp {QUICK} --report {report}")) == 130
    assert capsys.readouterr().err == "gradparity: interrupted; nothing was written.\n"
    assert [path.name for path in tmp_path.iterdir()] == [
        "report.html"
    ] and report.read_text() == "the old one"


# As soon as the module is about to be imported, leaves a mark and lets a signal come.
WAITS = """
import pathlib, sys, time
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            pathlib.Path({mark!r}).touch()
            time.sleep(60)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("framework", "module"),
    [("numeric", "compare.check"), ("torch", "torch.nn"), ("keras", "tensorflow.python")],
)
def test_interrupted_from_outside_while_importing(framework, module, tmp_path):
    mark = tmp_path / "waiting"
    code = WAITS.format(module=module, mark=str(mark))
    started = process(code, f"check mlp {QUICK} --framework {framework}")
    while not mark.exists() and started.poll() is None:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=120)
    assert sentence(started.returncode, out, err, 130) == "interrupted; nothing was written."


def test_progress_is_on_stderr_and_gone_in_the_end(monkeypatch, capsys):
    """A terminal is shown what is being done; what a program reads is not touched."""
    monkeypatch.setattr(console, "Console", partial(console.Console, force_terminal=True, width=80))
    assert cli.main(shlex.split(f"check mlp {QUICK} --json")) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"] == "agree"
    assert "loading numeric" in err and "mlp: passes" in err
