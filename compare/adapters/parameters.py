"""The parameters that an object keeps as attributes: W1, b1 ...; lists of arrays; or a list of layers.

Names are those by which the user would write them: `W1`, `weights[0]`, `layers[2].W`.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from compare.adapters import chains
from compare.adapters.returned import is_gradient_of

Array = np.ndarray
Path = tuple[Any, ...]  # attributes are text with a leading dot, keys are as they are
WEIGHT = re.compile(r"_?(w|ws|wt|wts|weights?_?t?|kernels?|thetas?|synapses?)", re.I)  # of a list's name
BIAS = re.compile(r"_?(b|bs|bias|biases|thresholds?)", re.I)
NUMBERED = re.compile(r"_?(w|b|weights?|bias|biases|theta)_?\d+", re.I)
NAMED = re.compile(r"_?(w|b|u|v|weights?|kernel|bias|biases|theta)(_?\d+|_\w+|[a-z]{0,3})", re.I)
OTHER = re.compile(
    r"start|init|old|prev|best|vel|mom|grad|nabla|copy|saved|cache|back|last|adam|delta|mean|var", re.I
)


@dataclass
class Parameters:
    """Where the parameters of a class's objects are: name -> path, in the order of the object.

    layers: how they are chained (see chains).
    """

    paths: dict[str, Path]
    layers: list[dict[str, Any]]

    @property
    def order(self) -> list[str]:
        return chains.backward_order(self.layers)

    def read(self, thing: Any) -> dict[str, Array]:
        return {name: np.asarray(_follow(thing, path)) for name, path in self.paths.items()}

    def load(self, home: "Home", values: dict[str, Array]) -> None:
        """In place where that keeps every digit, so that other names of the arrays stay what they are."""
        for name, value in values.items():
            path = self.paths[name]
            own = home.arrays.get(name)
            if (
                own is not None
                and own.dtype == value.dtype
                and own.shape == value.shape
                and own.flags.writeable
            ):
                own[...] = value
                if _follow(home.thing, path) is not own:
                    _put(home.thing, path, own)
            else:
                _put(home.thing, path, np.array(value))


@dataclass
class Home:
    """An object, and the arrays that it was made with: what else refers to them goes on seeing them.

    kept: what is found out about it once, for speed.
    """

    thing: Any
    arrays: dict[str, Array] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)


def find(thing: Any, inputs: int, outputs: int) -> Parameters | None:
    """The parameters that make a chain of layers from inputs to outputs; None where none do."""
    for paths in _candidates(thing):
        arrays = {name: np.zeros(np.shape(_follow(thing, path))) for name, path in paths.items()}
        if (layers := chains.layers_of(arrays, inputs, outputs)) is not None:
            return Parameters(paths, _told_by_columns(layers, arrays))
    return None


def _told_by_columns(layers: list[dict[str, Any]], arrays: dict[str, Array]) -> list[dict[str, Any]]:
    """Square weights may be either way round: biases that are columns say that they are (out, in)."""
    square = all(len(set(arrays[layer["W"]].shape)) == 1 for layer in layers)
    columns = all(layer["b"] and arrays[layer["b"]].shape[1:] == (1,) for layer in layers)
    return [layer | {"transposed": True} for layer in layers] if square and columns else layers


def home(thing: Any, parameters: Parameters) -> Home:
    """The object with the arrays it has now."""
    arrays = {name: _follow(thing, path) for name, path in parameters.paths.items()}
    return Home(thing, {name: a for name, a in arrays.items() if isinstance(a, np.ndarray)})


def sizes(thing: Any) -> tuple[int, ...] | None:
    """(inputs, hidden ..., outputs) of an object that is there already, if its weights leave no doubt."""
    for paths in _candidates(thing):
        arrays = {name: np.shape(_follow(thing, path)) for name, path in paths.items()}
        shapes = [s for s in arrays.values() if len(s) == 2 and 1 not in s]
        for one, other in ((0, 1), (1, 0)):
            if shapes and all(a[other] == b[one] for a, b in pairwise(shapes)):
                biases = [max(s) for s in arrays.values() if len(s) == 1 or 1 in s]
                if not biases or biases == [s[other] for s in shapes]:
                    return (shapes[0][one], *(s[other] for s in shapes))
    return None


def is_network(thing: Any) -> bool:
    """Whether it has lists of arrays that look like weights and biases."""
    return bool(_lists(thing))


def stored_gradients(thing: Any, parameters: Parameters) -> dict[str, Array | None]:
    """Gradients left in attributes beside the parameters: dW1, layer.dW, nabla_w[0]; {} if there are none."""
    found: dict[str, Array | None] = {}
    for name, path in parameters.paths.items():
        depth = max(i for i, step in enumerate(path) if _is_attribute(step))
        owner, attribute, rest = _follow(thing, path[:depth]), path[depth][1:], path[depth + 1 :]
        for other, value in _attributes(owner):
            if not is_gradient_of(other, attribute):
                continue
            try:
                leaf = _follow(value, rest)
            except (KeyError, IndexError, TypeError, AttributeError):
                continue
            if leaf is not None and np.asarray(leaf).dtype.kind in "fciu":
                found[name] = np.asarray(leaf)
                break
    return found


def _candidates(thing: Any) -> Iterator[dict[str, Path]]:
    """Sets of arrays that may be the parameters, the most explicit first."""
    if layers := _layers(thing):
        yield layers
    if lists := _lists(thing):
        yield lists
    named = _arrays(thing)
    for names in ([n for n in named if NUMBERED.fullmatch(n)], named):
        if names:
            yield {name: (f".{name}",) for name in names}
    if isinstance(params := getattr(thing, "params", None), dict):
        found = {f"{k}": (".params", k) for k, a in params.items() if _is_array(a)}
        if found:
            yield found


def _arrays(thing: Any) -> list[str]:
    return [n for n, a in _attributes(thing) if _is_array(a) and _is_parameter(n) and np.ndim(a) > 0]


def _lists(thing: Any) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for pattern in (WEIGHT, BIAS):
        for name, value in _attributes(thing):
            if not pattern.fullmatch(name):
                continue
            entries = {
                key: a for key, a in _items(value) if _is_array(a) and np.size(a) and np.ndim(a) in (1, 2)
            }
            if entries and (pattern is BIAS or any(np.ndim(a) == 2 for a in entries.values())):
                found |= {f"{name}[{key!r}]": (f".{name}", key) for key in entries}
                break
    return found


def _layers(thing: Any) -> dict[str, Path]:
    """Of a list of objects, or of objects that are attributes themselves."""
    found: dict[str, Path] = {}
    for name, value in _attributes(thing):
        for key, one in _items(value):
            if _is_object(one):
                for own in _arrays(one):
                    found[f"{name}[{key!r}].{own}"] = (f".{name}", key, f".{own}")
        if _is_object(value):
            found |= {f"{name}.{own}": (f".{name}", f".{own}") for own in _arrays(value)}
    return found


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [*value.items()]
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [*enumerate(value)]
    return []


def _attributes(thing: Any) -> list[tuple[str, Any]]:
    """Of the object itself; where it has no dict of them, of its slots."""
    own = getattr(thing, "__dict__", None)
    if own is None:
        own = {n: getattr(thing, n) for n in getattr(type(thing), "__slots__", ()) if hasattr(thing, n)}
    return [*own.items()]


def _is_parameter(name: str) -> bool:
    return bool(NAMED.fullmatch(name)) and not OTHER.search(name)


def _is_object(value: Any) -> bool:
    plain = isinstance(
        value, np.ndarray | np.generic | list | tuple | dict | str | int | float | type(None) | type
    )
    return not plain and hasattr(value, "__dict__") and not inspect.isroutine(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc" and value.ndim <= 2


def _is_attribute(step: Any) -> bool:
    return isinstance(step, str) and step.startswith(".")


def _follow(thing: Any, path: Path) -> Any:
    for step in path:
        thing = getattr(thing, step[1:]) if _is_attribute(step) else thing[step]
    return thing


def _put(thing: Any, path: Path, value: Array) -> None:
    *before, last = path
    owner = _follow(thing, tuple(before))
    if _is_attribute(last):
        setattr(owner, last[1:], value)
        return
    if isinstance(owner, tuple):  # of arrays, which nobody changes in place
        owner = list(owner)
        _put(thing, tuple(before), owner)  # type: ignore[arg-type]
    owner[last] = value
