"""Which of the returned gradients belongs to which argument, for tuples, lists, dicts and single arrays."""

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compare.adapters.function_pairs import own_nodes, tree_of

Array = np.ndarray
Shapes = Mapping[str, tuple[int, ...]]
TARGET = re.compile(r"y|t|y_?true|y_?t|d|(\w+_)?(labels?|targets?|truth|true)|actual|expected|desired", re.I)
WRAPPED = "d_{}|d{}|grad_{}|g_{}|g{}|{}_grad|grad{}|D{}|nabla_{}|{}_bar|{}bar|dL_d{}|dLd{}|df_d{}|d_d{}|{}_gradient|delta_{}"


class Returned:
    """Learns at the first call what each returned part is the gradient of; `names` afterwards, in their order.

    slots: argument of each part, None for a part that belongs to none; by key for a dict.
    """

    def __init__(self, function: Any, text: str = "") -> None:
        self.function, self.text = function, text
        self.slots: dict[Any, str] = {}
        self.after_value = False  # whether the function's value comes first

    @property
    def names(self) -> list[str]:
        return [*dict.fromkeys(self.slots.values())]

    def learn(
        self,
        result: Any,
        shapes: Shapes,
        every: Sequence[str],
        fits: Callable[[str, Array], bool] | None = None,
    ) -> bool:
        """Whether every part has found its argument. shapes: of those that may be differentiated.

        every: all arguments in their order. fits: asked where names and shapes leave a choice.
        """
        self.slots = {}
        parts = self.parts(result, shapes)
        if isinstance(parts, dict):
            for key in parts:
                if (name := _argument(str(key), shapes)) is not None:
                    self.slots[key] = name
            return len(self.slots) == len(parts)
        names, count = list(shapes), len(parts)
        if count == len(every):
            self.slots = {i: n for i, n in enumerate(every) if n in shapes and parts[i] is not None}
            self.slots |= {i: n for i, n in enumerate(every) if n in shapes and _needs(n)}
        elif count == len(names):
            self.slots = dict(enumerate(names))
        elif count < len(names):
            self.slots = dict(enumerate(self._some(parts, shapes, fits)))
        else:
            self.slots = {i: n for i, n in enumerate(every) if n in shapes}
            return False
        return bool(self.slots)

    def read(self, result: Any, shapes: Shapes) -> dict[str, Array | None]:
        """The gradient of each argument; None where nothing stands in its place."""
        parts = self.parts(result, shapes)
        claims: dict[str, Array | None] = {}
        for key, name in self.slots.items():
            there = key in parts if isinstance(parts, dict) else key < len(parts)
            part = parts[key] if there else None
            claims[name] = None if part is None else _shaped(part, shapes[name])
        return claims

    def parts(self, result: Any, shapes: Shapes) -> Any:
        """A dict, or a list with one entry a gradient."""
        if dataclasses.is_dataclass(result) and not isinstance(result, type):
            result = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
        if hasattr(result, "_asdict"):
            result = tuple(result)
        if self.after_value and isinstance(result, tuple | list):
            result = result[1] if len(result) == 2 else result[1:]
        if isinstance(result, dict):
            return result
        if isinstance(result, tuple | list):
            numbers = all(np.ndim(part) == 0 and part is not None for part in result)
            vectors = [n for n, s in shapes.items() if s == (len(result),)]
            if numbers and vectors and (len(shapes) == 1 or len(result) != len(shapes)):
                return [np.array(result)]
            rows = (
                len(shapes) == 1
                and isinstance(result, list)
                and np.shape(result) == next(iter(shapes.values()))
            )
            return [np.array(result)] if rows else list(result)
        if isinstance(result, np.ndarray) and result.shape not in shapes.values() and len(shapes) > 1:
            if len(set(shapes.values())) == 1 and result.shape == (len(shapes), *next(iter(shapes.values()))):
                return list(result)
        return [result]

    def _some(self, parts: list[Any], shapes: Shapes, fits: Callable[[str, Array], bool] | None) -> list[str]:
        """The arguments of fewer gradients than arguments: by name, by what is written, by shape, by trying."""
        count = len(parts)
        said = [_argument(n, shapes) if n else None for n in returned_names(self.function)]
        if len(said) == count and None not in said and len(set(said)) == count:
            return [str(n) for n in said]
        if len(written := _written(self.text, shapes)) == count:
            return written
        chosen: list[str] = []
        for part in parts:
            free = [n for n in shapes if n not in chosen]
            alike = [n for n in free if part is not None and np.shape(part) == shapes[n]]
            alike = [n for n in alike if not TARGET.fullmatch(n)] or alike
            if len(alike) > 1 and fits is not None and not fits(alike[0], -np.asarray(part)):
                alike = [n for n in alike if fits(n, np.asarray(part))] or alike
            chosen.append((alike or free)[0])
        return chosen


def returned_names(function: Any) -> list[str]:
    """What the returned parts are called in the source; "" for an expression."""
    tree = tree_of(function)
    if tree is None:
        return []
    last = None
    for node in own_nodes(tree):
        if isinstance(node, ast.Return) and node.value is not None:
            last = node.value
    if last is None:
        return []
    elements = last.elts if isinstance(last, ast.Tuple | ast.List) else [last]
    return [e.id if isinstance(e, ast.Name) else "" for e in elements]


def _argument(name: str, shapes: Shapes) -> str | None:
    """The argument whose gradient is called so."""
    for wanted in (lambda a: a, str.lower):
        for argument in shapes:
            if wanted(name) == wanted(argument):
                return argument
            forms = [form.format(argument) for form in WRAPPED.split("|")]
            if wanted(name) in [wanted(form) for form in forms]:
                return argument
    return None


def _written(text: str, shapes: Shapes) -> list[str]:
    """The arguments that a text says the gradient is with respect to."""
    match = re.search(
        r"(?:with respect to|w\.?\s?r\.?\s?t\.?|in the direction of)(?P<rest>[^.\n]{0,60})", text
    )
    if match is None:
        return []
    return [n for n in re.findall(r"\w+", match["rest"]) if n in shapes]


def _needs(name: str) -> bool:
    """Whether None in the place of this argument's gradient is a gap: labels and indices have none."""
    return not re.fullmatch(
        r"y|t|y_?true|labels?|targets?|.*_(labels?|targets?|idx|ids?)|idx|index|indices|mask\w*|k|n", name
    )


def _shaped(part: Any, shape: tuple[int, ...]) -> Array:
    """As it is; a number in an array of one entry, or the reverse, is the same gradient."""
    a = np.asarray(part)
    if a.size == 1 and a.shape != shape and int(np.prod(shape)) == 1 and len(shape) <= 1 and a.ndim <= 1:
        return a.reshape(shape)
    return a
