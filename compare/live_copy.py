"""A check leaves what is alive as it was: objects are copied, and what they cannot do without is put back."""

import copy
import inspect
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from compare.live_code import is_written
from scratch.errors import UsageError

LONG = 10_000  # entries of a list or dict that is not a network's, but data
LARGE = 64 << 20  # bytes of all arrays that are remembered


def copied(thing: Any) -> Any:
    """A deep copy; classes, functions and modules stay what they are. Raises UsageError where that fails."""
    memo: dict[int, Any] = {}
    try:
        if isinstance(thing, dict):
            return {name: _copied(one, memo) for name, one in thing.items()}
        if isinstance(thing, list):
            return [_copied(one, memo) for one in thing]
        return _copied(thing, memo)
    except Exception as error:
        kind = type(thing).__name__
        raise UsageError(
            f"a check works on copies, but this {kind} cannot be copied ({type(error).__name__}: {error}); "
            "give the class, or a function that makes such an object."
        ) from error


def is_copyable(thing: Any) -> bool:
    try:
        copied(thing)
    except UsageError:
        return False
    return True


@contextmanager
def kept(space: dict[str, Any], things: Iterable[Any]) -> Iterator[None]:
    """Globals and objects are afterwards what they were, down to the numbers in their arrays.

    space: globals, whose names are bound again. things: what is looked into. Large data are not.
    """
    undo = _Undo()
    undo.bindings(space)
    undo.remember(things)
    try:
        yield
    finally:
        undo.run()


class _Undo:
    """Steps that put things back, taken only where something has changed."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.seen: dict[int, Any] = {}
        self.room = LARGE

    def run(self) -> None:
        for step in self.steps:
            step()

    def bindings(self, space: dict[Any, Any], ordered: bool = False) -> None:
        before, missing = dict(space), object()

        def step() -> None:
            for name in [n for n in space if n not in before]:
                del space[name]
            for name, value in before.items():
                if space.get(name, missing) is not value:
                    space[name] = value
            if ordered and list(space) != list(before):
                space.clear()
                space.update(before)

        self.steps.append(step)

    def remember(self, things: Iterable[Any]) -> None:
        """All that can be reached from these by lists, dicts, and attributes of the user's objects."""
        waiting = list(things)
        while waiting:
            thing = waiting.pop()
            if id(thing) in self.seen or isinstance(thing, types.ModuleType):
                continue
            self.seen[id(thing)] = thing
            if isinstance(thing, np.ndarray):
                self._array(thing)
            elif isinstance(thing, np.random.Generator | np.random.RandomState):
                self._generator(thing)
            elif isinstance(thing, dict) and len(thing) < LONG:
                self.bindings(thing, ordered=True)
                waiting += thing.values()
            elif isinstance(thing, list) and len(thing) < LONG:
                self._list(thing)
                waiting += thing
            elif isinstance(thing, tuple) and len(thing) < LONG:
                waiting += thing
            elif inspect.isclass(thing):
                waiting += self._class(thing)
            elif (
                inspect.isfunction(thing)
                or isinstance(thing, types.SimpleNamespace)
                or is_written(type(thing))
            ):
                waiting.append(getattr(thing, "__dict__", None))

    def _array(self, thing: np.ndarray) -> None:
        self.room -= thing.nbytes
        if self.room < 0 or not thing.flags.writeable or thing.dtype.hasobject:
            return
        before = thing.copy()

        def step() -> None:
            if thing.shape != before.shape:
                thing.shape = before.shape
            if thing.tobytes() != before.tobytes():
                thing[...] = before

        self.steps.append(step)

    def _generator(self, thing: Any) -> None:
        if isinstance(thing, np.random.Generator):
            before = thing.bit_generator.state
            self.steps.append(lambda: setattr(thing.bit_generator, "state", before))
        else:
            state = thing.get_state()
            self.steps.append(lambda: thing.set_state(state))

    def _list(self, thing: list[Any]) -> None:
        before = list(thing)

        def step() -> None:
            if len(thing) != len(before) or any(a is not b for a, b in zip(thing, before, strict=True)):
                thing[:] = before

        self.steps.append(step)

    def _class(self, thing: type) -> list[Any]:
        """Attributes of a class; what lies in them."""
        before = {n: v for n, v in vars(thing).items() if not n.startswith("__")}

        def step() -> None:
            now = {n: v for n, v in vars(thing).items() if not n.startswith("__")}
            for name in now.keys() - before.keys():
                delattr(thing, name)
            for name, value in before.items():
                if now.get(name, before) is not value:
                    setattr(thing, name, value)

        self.steps.append(step)
        return [v for v in before.values() if inspect.isfunction(v) or not inspect.isroutine(v)]


def _copied(thing: Any, memo: dict[int, Any]) -> Any:
    return thing if isinstance(thing, types.ModuleType) else copy.deepcopy(thing, memo)
