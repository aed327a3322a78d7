"""Plots are drawn into memory: matplotlib stays with Agg whatever a user's file asks for; show returns.

MPLBACKEND alone is not enough: `matplotlib.use("TkAgg")` overrides it and opens a window, or fails for want
of a screen.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def disable() -> None:
    """Have matplotlib.use do nothing as soon as somebody imports it: here that would cost half a second."""
    sys.meta_path.insert(0, _Watch())


class _Watch(MetaPathFinder):
    """Finds matplotlib as all others do, once, and changes the module when it has been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "matplotlib":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            module.use = _ignore  # type: ignore[attr-defined]

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def _ignore(*arguments: Any, **options: Any) -> None:
    """Stands for matplotlib.use."""
