"""`from gradparity import check_gradients, assert_gradients`: works whatever a project calls its own files.

gradparity's packages are compare, scratch and frameworks, and so may be somebody's compare.py. Where that is
found under these names, ours are loaded apart from it: each keeps its own. `from compare import
check_gradients` is the same function, in a project that has no compare of its own.
One thing cannot be helped: where checked code imports such a name inside of a function, and only when it is
called, it gets ours during a check. At the top of a file it gets its own.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare.live_report import Report

__all__ = ["assert_gradients", "check_gradients"]

OURS = ("compare", "scratch", "frameworks")
# where the packages lie: above compare/plugin in a checkout, beside this one once it is installed
ROOT = next(p for p in Path(__file__).resolve().parents[1:3] if (p / "compare" / "__init__.py").exists())
_apart: dict[str, ModuleType] = {}  # ours, while somebody else has the names
_lock = threading.RLock()


def check_gradients(thing: Any, **options: Any) -> "Report":
    """The report on hand-written gradients; see compare.api.check_gradients for the options."""
    with _ours() as api:
        return api.check_gradients(thing, **options)


def assert_gradients(thing: Any, **options: Any) -> "Report":
    """Raises an AssertionError that says what is wrong and why, unless every gradient is right."""
    __tracebackhide__ = True
    with _ours() as api:
        return api.assert_gradients(thing, **options)


@contextmanager
def _ours() -> Iterator[Any]:
    """compare.api, with the three names standing for ours meanwhile."""
    with _lock:
        if all(_is_ours(name) for name in OURS):
            yield importlib.import_module("compare.api")
            return
        theirs = _taken_out()
        finder = _Finder()
        sys.meta_path.insert(0, finder)
        sys.modules.update(_apart)
        try:
            yield importlib.import_module("compare.api")
        finally:
            sys.meta_path.remove(finder)
            _apart.update(_taken_out())
            sys.modules.update(theirs)


def _is_ours(name: str) -> bool:
    """Whether `import name` gives ours: has given it, or will."""
    module = sys.modules.get(name)
    if module is not None:
        return _lies_here(name, getattr(module, "__file__", None))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # somebody else's that cannot be imported
        return False
    return spec is not None and _lies_here(name, spec.origin)


def _lies_here(name: str, file: str | None) -> bool:
    return file is not None and Path(file).resolve() == ROOT / name / "__init__.py"


def _taken_out() -> dict[str, ModuleType]:
    """All modules of the three names, no longer in sys.modules."""
    found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OURS}
    for name in found:
        del sys.modules[name]
    return found


class _Finder(MetaPathFinder):
    """Finds the three packages beside this one, whatever sys.path says."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in OURS:
            return None
        folder = ROOT / name
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
