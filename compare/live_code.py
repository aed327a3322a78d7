"""What Python knows of live code: its globals, its file, what of a module is the user's own."""

import functools
import inspect
import linecache
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

from compare.submission.culprit import is_users

SHOWN = 80  # characters of a line in a sentence
SHELL = re.compile(r"^(_+|_i{1,3}|_i?\d+|_[iod]h|In|Out)$")  # what IPython keeps beside the user's names
EVERYWHERE = Path(os.path.abspath(os.sep))


def globals_of(thing: Any) -> dict[str, Any]:
    """The globals of the code of a function, a class, or an object's class; {} where it has none."""
    if isinstance(thing, functools.partial):
        return globals_of(thing.func)
    if inspect.isroutine(thing):
        return getattr(inspect.unwrap(thing), "__globals__", {})
    kind = thing if inspect.isclass(thing) else type(thing)
    for function in _methods(kind):
        return function.__globals__
    return vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}


def owned(space: dict[str, Any]) -> dict[str, Any]:
    """The classes and functions that a module defines or takes from its folder, and objects made of them."""
    return {
        name: thing
        for name, thing in space.items()
        if isinstance(name, str)
        and not (name.startswith("__") or is_the_shells(name))
        and _is_own(thing, space)
    }


def is_written(kind: type) -> bool:
    """Whether a class was written by a user, wherever; not one of Python's or of an installed library's."""
    return any(_is_anybodys(function.__code__.co_filename) for function in _methods(kind)[:1])


def is_the_shells(name: str) -> bool:
    """Whether IPython has put a name beside the user's."""
    return SHELL.match(name) is not None


def title(space: dict[str, Any]) -> str:
    """What a module is called in a sentence: its file, or its name."""
    file = space.get("__file__")
    if isinstance(file, str):
        return os.path.basename(file)
    if space.get("__name__") == "__main__":
        return "this notebook" if _shell() is not None else "__main__"
    return str(space.get("__name__", "code without a module"))


def blame(error: BaseException) -> tuple[str, int, str] | None:
    """(file, line, function) of the last call in code that is neither ours nor installed."""
    found, trace = None, error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_anybodys(code.co_filename):
            found = code.co_filename, trace.tb_lineno, code.co_qualname
        trace = trace.tb_next
    return found


def place(file: str, line: int) -> str:
    """Such as "line 41 of net.py (`return x.mean()`)"."""
    shown = " ".join(linecache.getline(file, line).split())
    if len(shown) > SHOWN:
        shown = shown[: SHOWN - 3] + "..."
    return f"line {line} of {_file_name(file)}" + (f" (`{shown}`)" if shown else "")


def file_of(function: Any, otherwise: str) -> str:
    """The file of a function as a reader knows it: in a notebook, the cell."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    return otherwise if code is None else _file_name(code.co_filename)


def _is_own(thing: Any, space: dict[str, Any]) -> bool:
    if isinstance(thing, types.ModuleType):
        return False
    if isinstance(thing, list | tuple | dict):
        several = list(thing.values() if isinstance(thing, dict) else thing)
        return any(_is_own(one, space) for one in several[:100] if not isinstance(one, list | tuple | dict))
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return type(thing).__module__ not in ("builtins", "numpy") and _is_own(type(thing), space)
    name = getattr(thing, "__module__", None)
    if name is not None and name == space.get("__name__"):
        return True
    functions = [inspect.unwrap(thing)] if inspect.isroutine(thing) else _methods(thing)
    folder = os.path.dirname(os.path.abspath(space.get("__file__") or os.path.join(os.getcwd(), "x")))
    codes = [f.__code__ for f in functions if hasattr(f, "__code__")]
    return bool(codes) and is_users(os.path.abspath(codes[0].co_filename), Path(folder))


def _methods(kind: type) -> list[Any]:
    """The functions of a class, its own before those that it inherits."""
    found = []
    for base in kind.__mro__:
        for member in vars(base).values():
            function = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)))
            if inspect.isfunction(function):
                found.append(function)
    return found


def _is_anybodys(file: str) -> bool:
    """Whether a file of a traceback is the user's, be it a cell of a notebook or a string."""
    if file.startswith("<"):
        return not file.startswith(("<frozen", "<__array_function__"))
    return is_users(os.path.abspath(file), EVERYWHERE)


def _file_name(file: str) -> str:
    """A cell as IPython calls it, such as "cell In[5]"; else the name of the file without its folder."""
    shell = _shell()
    naming = getattr(getattr(shell, "compile", None), "format_code_name", None)
    if naming is not None and (names := naming(file)):
        return " ".join(names).lower().replace("in[", "In[")
    return os.path.basename(file)


def _shell() -> Any:
    """IPython, where this process is one."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
