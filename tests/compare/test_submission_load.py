"""A user's file becomes a module, or one sentence says why not, in which line, and what to do."""

import inspect
import json
import linecache
import sys

import pytest

from compare.submission import notebook
from compare.submission.load import load
from compare.submission.source import LoadFailure, place


@pytest.fixture(autouse=True)
def untouched():
    """What a load changes in this process, which is meant for one of its own."""
    path, modules, lines = list(sys.path), dict(sys.modules), dict(linecache.cache)
    yield
    sys.path[:] = path
    for old, new in ((modules, sys.modules), (lines, linecache.cache)):
        new.clear()
        new.update(old)


@pytest.fixture
def file(tmp_path):
    """Writes files into the user's folder, `hw.py` by default, and returns the last one's path."""

    def write(text, name="hw.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def cells(file):
    def write(*sources, kernel="python", **other):
        code = [{"cell_type": "code", "source": source, "outputs": []} for source in sources]
        text = {"cell_type": "markdown", "source": "# A title"}
        document = {"cells": [text, *code], "metadata": {"kernelspec": {"language": kernel}}, "nbformat": 4}
        return file(json.dumps(document | other), "hw.ipynb")

    return write


def failure(path):
    with pytest.raises(LoadFailure) as caught:
        load(path)
    said = caught.value.sentence
    assert said.endswith((".", ".`")) and "\n" not in said and "Traceback" not in said
    assert said == str(caught.value)
    return caught.value


def test_a_script_becomes_a_module_whose_sources_are_found(file):
    path = file(
        "import math\n\nclass Net:\n    def loss(self):\n        return math.pi\n\nx = Net().loss()\n"
    )
    loaded = load(path)
    assert loaded.module.x == pytest.approx(3.14159, abs=1e-5) and loaded.notes == []
    assert loaded.lines[2] == "class Net:\n" and loaded.path == path and sys.path[0] == str(path.parent)
    assert sys.modules["hw"] is loaded.module and loaded.module.Net.__module__ == "hw"
    assert inspect.getsourcelines(loaded.module.Net.loss) == (loaded.lines[3:5], 4)
    assert inspect.getsource(loaded.module.Net).startswith("class Net:")


def test_main_is_not_run_and_the_name_is_not_main(file):
    loaded = load(file("name = __name__\nif __name__ == '__main__':\n    raise ValueError\n"))
    assert loaded.module.name == "hw"


@pytest.mark.parametrize("name", ["random.py", "json.py", "__main__.py", "antigravity.py"])
def test_a_file_named_like_a_module_of_pythons_does_not_take_its_place(file, name):
    before = dict(sys.modules)
    loaded = load(file("x = 1\n", name))
    assert loaded.module.__name__ == "user_" + name.removesuffix(".py")
    assert {n: sys.modules.get(n) for n in before} == before


def test_files_beside_it_are_found_also_those_named_like_ours(file):
    import scratch

    for name in ("compare", "scratch", "frameworks", "utils"):
        file(f"name = 'the {name} of the user'\n", f"{name}.py")
    names = load(file("import compare, scratch, frameworks, utils\nfrom compare import name\n")).module
    for name in ("compare", "scratch", "frameworks", "utils"):
        assert getattr(names, name).name == f"the {name} of the user"
    assert scratch is not names.scratch and not any(name.startswith("compare.") for name in sys.modules)


def test_a_folder_named_like_ours_and_a_file_checked_that_is_named_like_ours(file):
    file("", "scratch/__init__.py")
    file("x = 2\n", "scratch/ops.py")
    loaded = load(file("from scratch.ops import x\n", "compare.py"))
    assert loaded.module.x == 2 and sys.modules["compare"] is loaded.module


def test_ours_stay_where_the_user_has_none_of_that_name(file):
    before = sys.modules["scratch.ops"]
    assert load(file("from scratch import ops\n")).module.ops is before


def test_relative_and_absolute_imports_inside_a_package(file):
    for name in ("course/__init__.py", "course/nets/__init__.py"):
        file("", name)
    file("def affine(): return 1\n", "course/layers.py")
    file("two = 2\n", "course/nets/beside.py")
    code = "from ..layers import affine\nfrom course.layers import affine as same\nfrom .beside import two\n"
    loaded = load(file(code, "course/nets/fc_net.py"))
    assert loaded.module.affine is loaded.module.same and loaded.module.two == 2


def test_the_note_on_a_file_hidden_by_pythons_own_module(file):
    file("x = 1\n", "json.py")
    assert load(file("import json\n")).notes == [
        "json.py is not what `import json` finds here: Python's own json is loaded already."
    ]


def test_a_script_exported_from_a_notebook(file):
    load(file("get_ipython().run_line_magic('matplotlib', 'inline')\nx = 1\n"))


def test_coding_line_byte_order_mark_and_line_ends(file):
    assert load(file("# coding: latin-1\nx = 'é'\n".encode("latin-1"))).module.x == "é"
    assert load(file("\ufeffx = 'é'\r\ny = 1\r\n", "marked.py")).lines[1] == "y = 1\n"
    assert load(file("x = 'é'\n" * 3, "plain.py")).module.x == "é"


# (code, kind, line, what the sentence must say)
FAULTS = {
    "open parenthesis": ("x = 1\ny = (2,\n", "load-syntax", 2, "never closed"),
    "indentation": ("def f():\nreturn 1\n", "load-syntax", 2, "indented block"),
    "print": ("x = 1\nprint 'loss', x\n", "load-python2", 2, "print(...)"),
    "bare print": ("def f(x):\n    if x: print x\n", "load-python2", 2, "print(...)"),
    "print to a file": ("import sys\nprint >>sys.stderr, 'x'\n", "load-python2", 2, "print(..., file=...)"),
    "except": ("try:\n    x = 1\nexcept ValueError, e:\n    pass\n", "load-python2", 3, "except X as e"),
    "raise": ("raise ValueError, 'no'\n", "load-python2", 1, "raise X"),
    "exec": ("exec 'x = 1'\n", "load-python2", 1, "exec(...)"),
    "unequal": ("x = 1 <> 2\n", "load-python2", 1, "!="),
    "backquotes": ("x = `1`\n", "load-python2", 1, "repr"),
    "long number": ("x = 10L\n", "load-python2", 1, "without an L"),
    "octal number": ("x = 0777\n", "load-python2", 1, "leading 0"),
    "xrange": ("for i in xrange(3): pass\n", "load-python2", 1, "xrange"),
    "cPickle": ("\nimport cPickle as pickle\n", "load-python2", 2, "pickle"),
    "backquotes in a comment": ("x = (  # `x`\n", "load-syntax", 1, "never closed"),
    "the word print": ("x = 'print this' +\n", "load-syntax", 1, "invalid syntax"),
    "helper missing": ("import os\nfrom utils import f\n", "load-import", 2, "put utils.py beside hw.py"),
    "package missing": ("import skimage.io\n", "load-import", 1, "pip install scikit-image"),
    "a compare missing": ("from compare import rel_error\n", "load-import", 1, "put compare.py beside hw.py"),
    "exit": ("x = 1\nexit()\n", "load-exit", 2, "take that call out"),
    "sys.exit": ("import sys\ndef f():\n    sys.exit(2)\nf()\n", "load-exit", 3, "`sys.exit(2)`"),
    "argparse": ("import argparse\nargparse.ArgumentParser().error('x')\n", "load-exit", 2, "__main__"),
    "exception": ("\nx = [0][1]\n", "load-exception", 2, "IndexError (list index out of range)"),
    "long exception": ("raise ValueError('a\\nb' * 999)\n", "load-exception", 1, "(a ba b"),
    "name missing in a module": ("from math import tau2\n", "load-exception", 1, "tau2"),
    "recursion": ("def f():\n    f()\nf()\n", "load-exception", 2, "RecursionError"),
    "interrupt": ("raise KeyboardInterrupt\n", "load-exception", 1, "KeyboardInterrupt"),
    "data missing": ("open('mnist.pkl')\n", "load-exception", 1, "FileNotFoundError"),
    "null bytes": (b"x = 1\0\n", "load-encoding", 0, "null bytes"),
    "UTF-16": ("x = 1\n".encode("utf-16"), "load-encoding", 0, "UTF-16"),
    "latin-1": (b"x = 1\ny = '\xe9'\n", "load-encoding", 2, "0xe9 in line 2"),
    "unknown coding": (b"# coding: klingon\n", "load-encoding", 1, "klingon"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_keeps_a_script_from_running(file, fault, capsys):
    code, kind, line, said = FAULTS[fault]
    path = file(code)
    found = failure(path)
    assert (found.kind, found.line) == (kind, line)
    assert said in found.sentence and "hw.py" in found.sentence
    if line:
        assert found.file == str(path) and f"line {line}" in found.sentence


def test_the_function_that_fails_is_named(file):
    found = failure(file("class A:\n    def f(self):\n        1 / 0\nA().f()\n"))
    assert (found.function, found.line) == ("A.f", 3) and "`1 / 0`" in found.sentence


def test_faults_in_a_helper_are_placed_there(file):
    helper = file("x = 1\n1 / 0\n", "utils.py")
    found = failure(file("import utils\n"))
    assert (found.file, found.line) == (str(helper), 2) and "line 2 of utils.py (`1 / 0`)" in found.sentence
    helper.write_text("\nprint 'x'\n")
    found = failure(file("import utils\n"))
    assert (found.kind, found.file, found.line) == ("load-python2", str(helper), 2)
    file("import layers\n", "deeper.py")
    assert "line 1 of deeper.py" in failure(file("\nimport deeper\n")).sentence


def test_a_helper_one_folder_up_is_found_and_told(file):
    file("", "utils.py")
    assert "lies in" in failure(file("import utils\n", "week1/hw.py")).sentence


def test_a_part_that_a_package_beside_it_lacks(file):
    file("", "course/__init__.py")
    assert "does not have" in failure(file("import course.layers\n")).sentence


@pytest.mark.parametrize("name", ["missing.py", "hw.txt", "", "missing/hw.ipynb"])
def test_no_such_file(tmp_path, name):
    (tmp_path / "hw.txt").write_text("x = 1\n")
    assert failure(tmp_path / name).kind == "load-file"


def test_a_folder_named_like_a_file(tmp_path):
    (tmp_path / "hw.py").mkdir()
    assert "is a folder" in failure(tmp_path / "hw.py").sentence


def test_memory_is_left_to_the_caller(file):
    with pytest.raises(MemoryError):
        load(file("raise MemoryError\n"))


def test_a_notebook_runs_what_defines_and_nothing_else(cells):
    loaded = load(
        cells(
            "%matplotlib inline\nimport math\n!pip install numpy \\\n   scipy\nx = math.tau",
            ["def f():\n", "    return x\n", "f?\n"],
            "for i in range(3):\n    f()\nprint(f())\nraise_me()\nwith open('x') as file:\n    pass",
            "%%bash\nrm -rf everything",
            "%%time\nclass Net:\n    '''%timeit is no magic here\n%nor here\n'''\n    size = f()",
            "try:\n    import torch_not_here\nexcept ImportError:\n    torch = None\nif True:\n    z = 3",
            "history = Net.train(5)",
            "# only a comment",
            "",
        )
    )
    module = loaded.module
    assert module.f() == module.Net.size == module.x and module.torch is None and module.z == 3
    assert not hasattr(module, "i") and not hasattr(module, "history") and module.__name__ == "hw"
    assert loaded.notes == [
        "cell 4 is left out: it is for %%bash, not Python.",
        "line 1 of cell 7 (`history = Net.train(5)`) is passed over: train trains.",
    ]
    for thing in (module.f, module.Net):
        source, line = inspect.getsourcelines(thing)
        assert loaded.lines[line - 1 : line - 1 + len(source)] == source
    assert inspect.getsource(module.f) == "def f():\n    return x\n"
    line = inspect.getsourcelines(module.Net)[1]
    assert place(loaded.path, line, loaded.path) == "line 2 of cell 5 (`class Net:`)"


def test_a_notebook_passes_over_what_fails_and_says_so(cells):
    loaded = load(
        cells(
            "import not_here\nx = open('mnist.pkl')\ny = 1",
            "class Net(not_here.Base):\n    pass\nz = exit()",
            "print 'Python 2'\nw = 1",
            "from __future__ import annotations",
            "def f(x: Undefined) -> int:\n    return 1",
        )
    )
    assert loaded.module.y == 1 and loaded.module.f(0) == 1 and not hasattr(loaded.module, "w")
    assert len(loaded.notes) == 5
    assert loaded.notes[0] == (
        "line 1 of cell 1 (`import not_here`) is passed over: "
        "ModuleNotFoundError (No module named 'not_here')."
    )
    for note, said in zip(
        loaded.notes[1:], ("FileNotFoundError", "NameError", "SystemExit", "not Python 3"), strict=True
    ):
        assert said in note and "cell" in note


def test_an_assignment_that_takes_too_long_is_passed_over(cells, monkeypatch):
    monkeypatch.setattr(notebook, "ONE", 0.2)
    stubborn = "    while True:\n        try:\n            while True: pass\n        except Exception: pass\n"
    loaded = load(cells("def slow():\n" + stubborn + "x = slow()\ny = 2\n"))
    assert loaded.module.y == 2 and not hasattr(loaded.module, "x")
    assert loaded.notes == ["line 6 of cell 1 (`x = slow()`) is passed over: it takes longer than 0.2 s."]


def test_a_cell_with_definitions_that_is_not_python_is_a_fault(cells):
    found = failure(cells("x = 1", "import math\ndef f(:\n    pass"))
    assert found.kind == "load-syntax" and "line 2 of cell 2 (`def f(:`)" in found.sentence
    found = failure(cells("def f():\n    print 'x'"))
    assert found.kind == "load-python2" and "line 2 of cell 1" in found.sentence


def test_a_notebook_as_they_were_before_2015(file):
    cell = {"cell_type": "code", "input": ["x = 1\n", "y = 2"], "outputs": []}
    document = {"worksheets": [{"cells": [cell]}], "nbformat": 3, "metadata": {}}
    assert load(file(json.dumps(document), "old.ipynb")).module.y == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}'])
def test_an_unreadable_notebook(file, text):
    assert failure(file(text, "hw.ipynb")).kind == "load-notebook"


def test_a_notebook_in_another_language(cells):
    assert "in julia" in failure(cells("x = 1", kernel="julia")).sentence
