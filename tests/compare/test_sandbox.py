"""Whatever a user's file does, it ends in time, a sentence names the line, and nothing is left running."""

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from compare.submission import progress, sandbox

STAND_IN = (str(Path(__file__).with_name("stand_in.py")),)
GIB = 1 << 30


@pytest.fixture
def user(tmp_path):
    """The user's folder, with a file of this text, `hw.py` by default."""

    def write(text, name="hw.py"):
        path = tmp_path / "user" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


def run(path, wanted=None, seconds=20.0, memory=GIB, **more):
    job = {"path": str(path), "object": wanted, "style": None, "options": {}}
    return sandbox.run(job, seconds, memory, worker=STAND_IN, **more)


def processes(word):
    """Numbers of the processes that have a word in their environment or command line."""
    found = set()
    for file in (*Path("/proc").glob("[0-9]*/environ"), *Path("/proc").glob("[0-9]*/cmdline")):
        try:
            if word.encode() in file.read_bytes():
                found.add(int(file.parent.name))
        except OSError:
            pass
    return found - {os.getpid()}


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """No process of a test outlives it, nor the folder it worked in, nor a file of ours in the user's."""
    word = f"MARK_OF_{os.getpid()}_{time.monotonic_ns()}"
    monkeypatch.setenv("MARK", word)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    assert processes(word) == set()
    assert list(temporary.iterdir()) == []
    assert not list(tmp_path.rglob("__pycache__")) and not list(tmp_path.rglob("*.txt"))


# (code, object, kind, line, function, what the sentence must say)
FAULTS = {
    "crash": (
        "def f():\n    return 1 / 0\n",
        "f",
        "exception",
        2,
        "f",
        "ZeroDivisionError (division by zero)",
    ),
    "crash at import": ("x = 1\n1 / 0\n", None, "load-exception", 2, "<module>", "stops while it is loaded"),
    "segfault": (
        "import ctypes\ndef f():\n    ctypes.string_at(0)\n",
        "f",
        "crash",
        3,
        "f",
        "segmentation fault",
    ),
    "segfault at import": (
        "import ctypes\nctypes.string_at(0)\n",
        None,
        "crash",
        2,
        "<module>",
        "crashes Python",
    ),
    "abort": ("import os\ndef f():\n    os.abort()\n", "f", "crash", 3, "f", "(abort)"),
    "exit": ("def f():\n    exit()\n", "f", "exit", 2, "f", "in f, line 2 (`exit()`)"),
    "exit at import": ("x = 1\nexit()\n", None, "load-exit", 2, "<module>", "`exit()`"),
    "sys.exit": ("import sys\ndef f():\n    sys.exit(0)\n", "f", "exit", 3, "f", "take that call out"),
    "sys.exit at import": (
        "import sys\nsys.exit(0)\n",
        None,
        "load-exit",
        2,
        "<module>",
        "take that call out",
    ),
    "os._exit": ("import os\ndef f():\n    os._exit(0)\n", "f", "exit", 3, "f", "`os._exit(0)`"),
    "os._exit at import": ("import os\nos._exit(0)\n", None, "exit", 2, "<module>", "`os._exit(0)`"),
    "exit of C": ("import ctypes\ndef f():\n    ctypes.CDLL(None)._exit(0)\n", "f", "exit", 0, "", "code 0"),
    "interrupt": ("def f():\n    raise KeyboardInterrupt\n", "f", "exception", 2, "f", "KeyboardInterrupt"),
    "killed": (
        "import os\ndef f():\n    os.kill(os.getpid(), 9)\n",
        "f",
        "memory",
        0,
        "",
        "killed by the system",
    ),
    "recursion": ("def f():\n    return f()\n", "f", "exception", 2, "f", "RecursionError"),
    "deep": (
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\n"
        "def f():\n    return repr(A())\n",
        "f",
        "crash",
        4,
        "__repr__",
        "nested too deeply",
    ),
    "memory": (
        "import numpy as np\ndef f():\n    return np.ones(int(1e11 / 8))\n",
        "f",
        "memory",
        3,
        "f",
        "more memory than the 1 GiB",
    ),
    "memory at import": (
        "import numpy as np\nx = np.ones(int(1e11 / 8))\n",
        None,
        "memory",
        2,
        "<module>",
        "x = np",
    ),
    "growing list": (
        "def f():\n    kept = []\n    while True:\n        kept.append('x' * 100_000)\n",
        "f",
        "memory",
        4,
        "f",
        "kept.append",
    ),
    "helper missing": (
        "import numpy\nimport utils\n",
        None,
        "load-import",
        2,
        "<module>",
        "put utils.py beside",
    ),
    "package missing": ("import cupy\n", None, "load-import", 1, "<module>", "pip install cupy"),
    "Python 2": ("x = 1\nprint 'x'\n", None, "load-python2", 2, "", "written for Python 2"),
    "not there": ("", "missing", "internal", 0, "", "AttributeError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_with_their_line(user, fault):
    code, wanted, kind, line, function, said = FAULTS[fault]
    path = user(code)
    result = run(path, wanted)
    found = result.failure
    assert result.evidence is None and (found.kind, found.line, found.function) == (kind, line, function)
    assert said in found.sentence and "hw.py" in found.sentence and found.sentence.endswith(".")
    assert found.file == (str(path) if line else "") and "\n" not in found.sentence
    assert [file.name for file in path.parent.iterdir()] == ["hw.py"]
    assert fault == "not there" or "compare" not in result.printed  # no traceback of ours


def test_memory_in_small_pieces_at_the_top_of_the_file(user):
    """So little is left that Python makes no traceback; the watching thread has seen the line."""
    found = run(user("kept = []\nwhile True: kept.append([])\n"), memory=GIB // 2).failure
    assert (found.kind, found.line) == ("memory", 2)


@pytest.mark.parametrize(
    ("code", "wanted", "said"),
    [
        (
            "x = 1\nwhile True:\n    x += 1\n",
            None,
            "while it is loaded; put what a check does not need below",
        ),
        ("def f():\n    while True: pass\n", "f", "in f, line 2 (`while True: pass`), during 'f: loss'"),
        (
            "import time\nclass A:\n    @staticmethod\n    def f():\n        time.sleep(99)\nf = A.f\n",
            "f",
            "sleep",
        ),
        ("def f():\n    while True: print('x' * 1000)\n", "f", "line 2"),
        ("import utils\n", None, "line 2 of utils.py"),
        (
            "import signal, faulthandler\nfaulthandler.cancel_dump_traceback_later()\nwhile True: pass\n",
            None,
            "1 s",
        ),
        (
            "while True:\n    try:\n        while True: pass\n    except: pass\n",
            None,
            "1 s",
        ),
    ],
    ids=["at import", "in a call", "asleep", "printing", "in a helper", "stubborn", "catching all"],
)
def test_an_endless_loop_ends_with_the_line(user, monkeypatch, code, wanted, said):
    monkeypatch.setattr(sandbox, "GRACE", 0.5)
    user("\nwhile True: pass\n", "utils.py")
    path, started = user(code), time.monotonic()
    result = run(path, wanted, seconds=1.0)
    assert time.monotonic() - started < 6
    found = result.failure
    assert found.kind == "hang" and "did not finish within 1 s" in found.sentence and said in found.sentence
    assert "--timeout" in found.sentence and (found.line > 1 or "cancel" in code)
    assert len(result.printed) < 11_000


def test_a_start_that_takes_too_long_is_not_blamed_on_the_file(user, monkeypatch):
    monkeypatch.setattr(sandbox, "STARTUP", 0.3)
    slow = ("-c", "import time; time.sleep(60)")
    result = sandbox.run({"path": str(user("x = 1\n"))}, 5.0, GIB, worker=slow)
    assert result.failure.kind == "start" and "within 0.3 s" in result.failure.sentence


def test_the_time_of_the_start_does_not_count(user):
    slow = f"import time; time.sleep(1.5); exec(open({STAND_IN[0]!r}).read())"
    result = sandbox.run({"path": str(user("x = 1\n")), "object": None}, 1.0, GIB, worker=("-c", slow))
    assert result.failure is None


def test_evidence_comes_back_and_none_is_a_result(user):
    path = user("import numpy as np\ndef f():\n    return np.arange(3.0)\ndef g():\n    pass\n")
    (found,) = run(path, "f").evidence
    np.testing.assert_array_equal(found.trials[0].claims["w"], [0.0, 1.0, 2.0])
    (found,) = run(path, "g").evidence
    assert found.trials[0].claims == {"w": None}


def test_a_notebook_and_its_notes(user):
    sources = [
        "%matplotlib inline\nx = open('no')",
        "def f():\n    return None",
        "f() + 1",
        "def g():\n    1 / 0",
    ]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    path = user(json.dumps({"cells": cells, "metadata": {}}), "hw.ipynb")
    result = run(path, "f")
    assert result.failure is None and len(result.notes) == 1 and "line 2 of cell 1" in result.notes[0]
    found = run(path, "g").failure
    assert "in g, line 2 of cell 4 (`1 / 0`)" in found.sentence and found.file == str(path)


def test_main_is_not_run_and_prints_are_captured(user):
    path = user(
        """
        import sys, os
        print("read", sys.argv, __name__)
        print("é", file=sys.stderr)
        os.write(1, b"raw\\xff")
        os.system("echo from a shell")
        assert sys.stdin.read() == ""
        if __name__ == "__main__":
            print("trained")
        """
    )
    result = run(path)
    assert result.failure is None
    assert result.printed == f"read ['{path}'] hw\né\nraw\ufffdfrom a shell\n"


def test_of_long_prints_the_beginning_is_kept(user):
    result = run(user("for i in range(3000): print(i, 'is printed')\n"))
    assert result.printed.startswith("0 is printed\n1 is") and len(result.printed) < 10_100
    assert result.printed.endswith("[cut here: only the first 10,000 characters are kept]\n")


def test_prints_before_a_crash_are_kept(user):
    assert run(user("import os\nprint('before')\nos._exit(1)\n")).printed == "before\n"


def test_files_named_like_ours_do_not_collide(user):
    names = ("compare", "scratch", "frameworks", "utils", "evidence", "progress")
    for name in names:
        user(f"name = {name!r}\n", f"{name}.py")
    path = user(f"import {', '.join(names)}\ndef f():\n    return [{names[0]}.name] and None\n")
    assert run(path, "f").failure is None
    assert run(path.with_name("compare.py")).evidence[0].name == "compare"
    assert run(user("import scratch\n1 / 0\n", "scratch.py")).failure.line == 2


def test_data_beside_the_file_are_found_and_nothing_is_written_there(user):
    user("1,2\n", "data.csv")
    path = user("import utils\nassert open('data.csv').read() == '1,2\\n'\n")
    user("import os\nassert os.getcwd() == os.path.dirname(os.path.abspath(__file__))\n", "utils.py")
    before = {file.name: file.stat().st_mtime_ns for file in path.parent.iterdir()}
    assert run(path).failure is None
    assert {file.name: file.stat().st_mtime_ns for file in path.parent.iterdir()} == before


def test_a_users_pythonpath_is_no_surprise(user, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = user("import numpy, os\nassert 'PYTHONPATH' not in os.environ\nx = numpy.ones(1)\n")
    assert run(path).failure is None


def test_plots_do_not_block(user):
    path = user(
        """
        import matplotlib
        matplotlib.use("TkAgg")
        import matplotlib.pyplot as plt
        plt.plot([1, 2])
        plt.show(block=True)
        assert matplotlib.get_backend().lower() == "agg"
        """
    )
    assert run(path).failure is None


CHILD = [sys.executable, "-c", "import time; time.sleep(300)"]
CHILDREN = {
    "child": f"subprocess.Popen({CHILD})",
    "in a session of its own": f"subprocess.Popen({CHILD}, start_new_session=True)",
    "thread": "threading.Thread(target=time.sleep, args=(300,)).start()",
    "fork that sleeps": "os.fork() or time.sleep(300)",
    "pool": "multiprocessing.Pool(2)",
    "atexit": "atexit.register(time.sleep, 300)",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_what_the_code_has_started_ends_with_it(user, child):
    modules = "import atexit, multiprocessing, os, subprocess, threading, time\n"
    started = time.monotonic()
    result = run(user(f"{modules}kept = {CHILDREN[child]}\ndef f():\n    pass\n"), "f")
    assert result.failure is None and time.monotonic() - started < 8


def test_a_fork_that_lives_on_does_not_speak_for_the_file(user):
    path = user(
        "import os, sys\nif os.fork() == 0:\n    sys.exit('in the child')\nos.wait()\ndef f():\n    pass\n"
    )
    assert run(path, "f").failure is None


def test_children_of_a_hung_file_end_too(user):
    path = user(f"import subprocess\nsubprocess.Popen({CHILD}, start_new_session=True)\nwhile True: pass\n")
    assert run(path, seconds=1.0).failure.line == 3


def test_start_lets_other_things_be_done_meanwhile(user):
    with sandbox.start({"path": str(user("def f(): pass\n")), "object": "f"}, 9.0, GIB, STAND_IN) as running:
        seen = []
        while running.stage != progress.DONE:
            time.sleep(0.01)
        result = running.result(seen.append)
    assert result.evidence and running.result() is result


def test_look_sees_the_stages(user):
    seen = []
    path = user("import time\ntime.sleep(0.3)\ndef f(): time.sleep(0.3)\n")
    assert run(path, "f", look=seen.append).failure is None
    assert list(dict.fromkeys(filter(None, seen)))[:2] == [progress.LOADING, "f: loss"]


@pytest.mark.parametrize("how", ["stop", "context", "forgotten", "interrupted"])
def test_whoever_does_not_wait_leaves_nothing_running(user, how):
    running = sandbox.start({"path": str(user("while True: pass\n"))}, 60.0, GIB, STAND_IN)
    while not running.stage:
        time.sleep(0.01)
    if how == "stop":
        running.stop()
    elif how == "context":
        with pytest.raises(ValueError, match="amid"), running:
            raise ValueError("amid")
    elif how == "forgotten":
        del running
        gc.collect()
    else:

        def interrupt(stage):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            running.result(interrupt)


PARENT = """
import sys, time
from compare.submission import sandbox
running = sandbox.start({"path": sys.argv[1]}, 60.0, 1 << 30, (sys.argv[2],))
while not running.stage:
    time.sleep(0.01)
print("begun", flush=True)
running.result()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_parent_that_is_ended_leaves_nothing_running(user, number):
    path = user(f"import subprocess\nsubprocess.Popen({CHILD})\nwhile True: pass\n")
    command = [sys.executable, "-c", PARENT, str(path), *STAND_IN]
    environment = os.environ | {"TMPDIR": str(path.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout.readline() == b"begun\n"
        parent.send_signal(number)
        parent.communicate(timeout=20)
    end = time.monotonic() + 10
    while processes(os.environ["MARK"]) and time.monotonic() < end:
        time.sleep(0.05)
    for folder in path.parent.glob("gradparity-*"):  # who is killed cannot tidy up
        assert number != signal.SIGINT
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_limits_leave_room_for_the_frameworks(user):
    """RLIMIT_DATA binds what NumPy allocates; RLIMIT_AS would have to be three times this for torch alone."""
    code = "import torch\nx = torch.ones(3, requires_grad=True)\nx.sum().backward()\n"
    path = user(code + "def f(): torch.ones(10**11)\n")
    assert run(path, "f").failure.kind == "memory"


def test_the_real_worker_and_collect():
    """The whole way with an example of ours, several at a time as for a class of students."""
    examples = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("layer_functions*.py"))
    jobs = [{"path": str(path), "object": None, "style": None, "options": {}} for path in examples]
    running = [sandbox.start(job, 30.0, GIB) for job in jobs]
    for result in [one.result() for one in running]:
        assert result.failure is None and result.evidence and result.printed == ""


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_a_limit_beyond_all_clocks(user, seconds):
    assert run(user("x = 1\n"), seconds=seconds).failure is None


def test_a_rare_signal_has_a_sentence_too(user):
    found = run(user("import os\nos.kill(os.getpid(), 40)\n")).failure
    assert found.kind == "crash" and "signal 40" in found.sentence
