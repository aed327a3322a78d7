"""Runs a user's file, a script or a notebook, and returns the module it makes.

A user's folder may hold a `compare.py` or `scratch.py`. Before the file runs, such names of ours are taken
out of sys.modules, so that its imports find its own files. What of ours is loaded by then goes on working,
provided that it imports nothing later: whoever calls `load` has all imports at the top of his modules.
"""

import importlib
import linecache
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from compare.submission import notebook
from compare.submission.complaints import OURS, complaint
from compare.submission.culprit import out_of_memory
from compare.submission.source import read


@dataclass
class Loaded:
    """module: after the file has run. lines: its text, cells in one. notes: what was passed over, and why."""

    module: ModuleType
    path: Path
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def load(path: str | Path) -> Loaded:
    """Run the file. Raises LoadFailure for whatever keeps it from running, MemoryError where that runs out.

    Its folder comes first in sys.path. Its module is registered under the file's stem, or as user_STEM where
    Python or somebody else has a module of that name; that is the __name__ its code sees, never __main__.
    """
    path = Path(path).resolve()
    text = read(path)
    folders, package = _package(path)
    notes = _make_way(folders)
    sys.path[:0] = folders
    importlib.invalidate_caches()
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names
    module = ModuleType(f"user_{path.stem}" if taken else path.stem)
    module.__file__, module.__package__ = str(path), package
    sys.modules[module.__name__] = module
    whole = "".join(text.lines)
    if "get_ipython" in whole:
        vars(module)["get_ipython"] = _Shell
    linecache.cache[str(path)] = (len(whole), None, text.lines, str(path))
    try:
        if path.suffix == ".ipynb":
            notes += notebook.run(path, text, vars(module))
        else:
            exec(compile(whole, str(path), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        if out_of_memory(error):
            raise
        raise complaint(error, path) from error
    return Loaded(module, path, notes, text.lines)


class _Shell:
    """Stands for IPython's get_ipython, which scripts exported from a notebook call."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None


def _package(path: Path) -> tuple[list[str], str]:
    """(folders for sys.path, name of the package); inside a package, `from .layers import *` is to work."""
    folder, names = path.parent, []
    while (folder / "__init__.py").exists() and folder.name.isidentifier():
        names.append(folder.name)
        folder = folder.parent
    return list(dict.fromkeys([str(path.parent), str(folder)])), ".".join(reversed(names))


def _make_way(folders: list[str]) -> list[str]:
    """Take out of sys.modules what is ours where a folder has that name; a note on what is Python's."""
    places = [Path(folder) for folder in folders]
    here = {n for n in OURS if any((place / f"{n}.py").exists() or (place / n).is_dir() for place in places)}
    for name in [name for name in sys.modules if name.partition(".")[0] in here]:
        del sys.modules[name]
    beside = {file.stem for file in places[0].glob("*.py")}
    return [
        f"{name}.py is not what `import {name}` finds here: Python's own {name} is loaded already."
        for name in sorted(beside & sys.stdlib_module_names & sys.modules.keys())
    ]
