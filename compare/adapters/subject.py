"""A subject: one thing in the user's code whose gradients are claimed, in a form that can be called."""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.submission.evidence import Source

Array = np.ndarray
Claims = dict[str, Array | None]


@dataclass
class Point:
    """Where a subject is called. inputs: what is differentiated; data: the rest; seed: of hidden randomness.

    build: what a new object needs beyond the defaults, such as sizes. Points of one size have one `build`.
    """

    label: str
    inputs: dict[str, Array]
    data: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def copy(self) -> "Point":
        """With arrays of its own, so that what the user's code changes does not matter."""
        own = {name: np.array(a) for name, a in self.inputs.items()}
        data = {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in self.data.items()}
        return Point(self.label, own, data, self.build, self.seed)


class Subject:
    """What an adapter makes of the user's code; subclasses, one an adapter, fill it in.

    style: the adapter's; kind: network or operation; name: the user's own; order: the tensors in backward
    order (set by `points` at the latest); description: see recognise (networks) and opmodels (operations).
    """

    style: str
    kind: str
    name: str
    order: list[str]
    description: dict[str, Any]
    namespaces: Sequence[dict[str, Any]] = ()  # the globals of the user's modules
    notes: Sequence[str] = ()  # what a reader should know of how it was called
    scale_is_convention: bool = False  # one factor N over every tensor is taught in this style
    takes: Sequence[
        str
    ] = ()  # names of the file's objects that it stands for: no other adapter looks at them
    scripted: bool = False  # its calls are to be written down, for a script that makes them again

    def points(self, rng: np.random.Generator) -> list[Point]:
        """The calls to make: the first two of one shape, then other batch sizes (one of 1), square shapes."""
        raise TypeError(f"{type(self).__name__} has no points.")

    def start(self, build: dict[str, Any]) -> Any:
        """A new state for calls: an object of the user's class, or whatever else the calls share."""
        return None

    def value(self, state: Any, point: Point) -> Any:
        """The scalar whose gradients are claimed: the user's own loss, or <dy, y>; inputs may be complex."""
        raise TypeError(f"{type(self).__name__} has no value.")

    def claims(self, state: Any, point: Point) -> tuple[Any, Claims]:
        """(the loss that comes with them, or None; the user's gradients), the forward pass called before."""
        raise TypeError(f"{type(self).__name__} has no claims.")

    def output(self, state: Any, point: Point) -> Array | None:
        """Scores, probabilities or y, where the code gives them."""
        return None

    def source(self, tensor: str) -> Any:
        """The user's function that makes this gradient."""
        return None

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        """Facts that only this adapter can find out, such as how often dropout keeps a unit."""
        return {}


@dataclass(frozen=True)
class Context:
    """What the user asked for: the module's public objects and the options of the command."""

    objects: dict[str, Any]
    wanted: str | None = None  # OBJECT of FILE.py:OBJECT
    folder: str = ""
    options: dict[str, Any] = field(default_factory=dict)  # activation, sizes, loss, l2, ...
    notes: list[str] = field(default_factory=list)

    def classes(self) -> dict[str, type]:
        return {name: o for name, o in self.chosen().items() if inspect.isclass(o)}

    def functions(self) -> dict[str, Callable]:
        return {name: o for name, o in self.chosen().items() if inspect.isfunction(o)}

    def instances(self) -> dict[str, Any]:
        """Objects that are neither classes, functions nor modules."""
        return {
            name: o
            for name, o in self.chosen().items()
            if not (inspect.isclass(o) or inspect.isroutine(o) or inspect.ismodule(o))
        }

    def chosen(self) -> dict[str, Any]:
        """All that may be judged: what was asked for, else everything."""
        return {self.wanted: self.objects[self.wanted]} if self.wanted else self.objects


def source_of(function: Any, text: str = "") -> Source | None:
    """File, first line and name of a function; None where Python does not know."""
    function = getattr(function, "__func__", function)
    try:
        lines, line = inspect.getsourcelines(function)
        file = os.path.basename(inspect.getsourcefile(function) or "")
    except (OSError, TypeError):
        return None
    own = (one.strip() for one in lines if one.lstrip().startswith(("def ", "class ")))  # behind decorators
    text = text or next(own, "")
    return Source(file, line, getattr(function, "__qualname__", str(function)), text)


def draw(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """N(0, scale^2) in float64, every number a float32, so that code in float32 sees the same."""
    return (scale * rng.standard_normal(shape)).astype(np.float32).astype(np.float64)


def positional(function: Callable) -> list[inspect.Parameter]:
    """The parameters that can be given by position, without self; [] where Python does not know them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in parameters if p.kind in kinds and p.name != "self"]
