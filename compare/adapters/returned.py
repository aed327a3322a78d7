"""Which of the arrays that a backward function returns is the gradient of what: read off their shapes.

People return (nabla_b, nabla_w) or (nabla_w, nabla_b), dW1, dW2, db1, db2 in any order, dicts, pairs.
Shapes that are all distinct leave no choice; what was learned from them holds for every later call.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Path = tuple[Any, ...]
BEFORE = ("d", "g", "grad", "grads", "gradient", "gradients", "nabla", "delta", "dl", "dj", "gradof")
BEHIND = ("grad", "grads", "gradient", "gradients", "nabla", "delta")


class Returned:
    """Learns at the first call where each gradient stands, and finds it there afterwards.

    promised: the names by which the file's own code unpacks it, if it does; direct: that code takes lists in
    the order of the layers. broken: the shapes say another order; these promises count.
    """

    def __init__(self, promised: Sequence[str] | None = None, direct: bool = False) -> None:
        self.places: dict[str, Path] = {}
        self.promised, self.direct, self.broken = promised, direct, False

    def learn(self, result: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
        """Whether every tensor has a place, half of them at least by shape alone; else nothing is kept."""
        found = dict(leaves(result))
        if len(found) > len(shapes):
            found = {path: leaf for path, leaf in found.items() if not _is_loss(leaf)}
        places: dict[str, Path] = {}
        free = dict(found)
        for fits in (_exactly, _as_vector):
            for name, shape in shapes.items():
                if name in places:
                    continue
                if (path := next((p for p, leaf in free.items() if fits(leaf, shape)), None)) is not None:
                    places[name] = path
                    del free[path]
        known = len(places)
        for guess in (_neighbour, _transposed, _in_turn):
            for name in shapes:
                if name not in places and (path := guess(name, shapes, places, free)) is not None:
                    places[name] = path
                    del free[path]
        good = 2 * known >= len(shapes) and len(places) == len(shapes)
        if good and (other := self._as_promised(result, places)) is not None:
            places, self.broken = other, True
        if good and self.direct and (other := _in_order(places)) is not None:
            places, self.broken = other, True
        self.places = places if good else {}
        return good

    def _as_promised(self, result: Any, places: dict[str, Path]) -> dict[str, Path] | None:
        """Places by the promised names, where those by the shapes break the promise."""
        if self.promised is None or not isinstance(result, list | tuple) or len(result) != len(self.promised):
            return None
        if all(len(path) == 1 for path in places.values()):  # dW1, dW2, db1, db2
            named = {p: i for p in places for i, name in enumerate(self.promised) if is_gradient_of(name, p)}
            if len(named) == len(places) == len(set(named.values())):
                other: dict[str, Path] = {p: (i,) for p, i in named.items()}
                return other if other != places else None
        kinds = [_letter(name) for name in self.promised]
        if sorted(filter(None, kinds)) == ["b", "w"] and len({path[0] for path in places.values()}) == 2:
            own = {name: _letter(_kind(name)) for name in places}
            if all(letter and kinds[places[name][0]] not in (None, letter) for name, letter in own.items()):
                return {name: (kinds.index(own[name]), *path[1:]) for name, path in places.items()}
        return None

    def read(self, result: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array | None]:
        """The gradient of each tensor; None where nothing stands in its place."""
        claims: dict[str, Array | None] = {}
        for name, shape in shapes.items():
            leaf = _at(result, self.places[name]) if name in self.places else None
            claims[name] = None if leaf is None else shaped(leaf, shape)
        return claims


def shaped(leaf: Any, shape: tuple[int, ...]) -> Array:
    """(D,) for (1, D) and the reverse, which `b -= g` takes without complaint; anything else as it is."""
    a = np.array(leaf)
    if a.shape != shape and a.size == np.prod(shape, dtype=int) and _bare(a.shape) == _bare(shape):
        return a.reshape(shape)
    return a


def leaves(result: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every array, number and None in nested tuples, lists and dicts, with the way to it."""
    if isinstance(result, dict):
        for key, value in result.items():
            yield from leaves(value, (*path, key))
    elif isinstance(result, list | tuple) or (isinstance(result, np.ndarray) and result.dtype == object):
        for key, value in enumerate(result):
            yield from leaves(value, (*path, key))
    elif result is None or np.asarray(result).dtype.kind in "biufc":
        yield path, result


def described(result: Any) -> str:
    """What came, in words, for a message."""
    if result is None:
        return "None (is the return missing?)"
    shapes = [str(np.shape(leaf)) if leaf is not None else "None" for _, leaf in leaves(result)]
    kind = type(result).__name__
    return f"{kind} with arrays of shape {', '.join(shapes[:8])}" if shapes else kind


def _in_order(places: dict[str, Path]) -> dict[str, Path] | None:
    """Lists that are the wrong way round, turned to the order of the layers; None where there are none."""
    groups: dict[Path, list[str]] = {}
    for name, path in places.items():
        groups.setdefault((_kind(name), *path[:-1]), []).append(name)
    turned = dict(places)
    for names in groups.values():
        ends = [places[name][-1] for name in names]
        listed = "[" in names[0] and all(isinstance(end, int) for end in ends)
        if listed and len(ends) > 1 and ends == sorted(ends, reverse=True):
            turned |= {
                name: (*places[name][:-1], end) for name, end in zip(names, reversed(ends), strict=True)
            }
    return turned if turned != places else None


def _exactly(leaf: Any, shape: tuple[int, ...]) -> bool:
    return leaf is not None and np.shape(leaf) == shape


def _as_vector(leaf: Any, shape: tuple[int, ...]) -> bool:
    one, other = (tuple(n for n in s if n != 1) for s in (np.shape(leaf), shape))
    return leaf is not None and one == other and len(one) <= 1


def _neighbour(name: str, shapes: dict, places: dict[str, Path], free: dict[Path, Any]) -> Path | None:
    """The free place in the list in which the gradients of the same kind stand, in their order."""
    kind = _kind(name)
    alike = [n for n in shapes if _kind(n) == kind]
    lists = {places[n][:-1] for n in alike if n in places}
    if len(lists) != 1 or () in lists:
        return None
    (of,) = lists
    known = [(alike.index(n), places[n][-1]) for n in alike if n in places and isinstance(places[n][-1], int)]
    backwards = len(known) > 1 and (known[0][0] < known[-1][0]) != (known[0][1] < known[-1][1])
    if not known:
        return None
    at, place = known[0]
    step = alike.index(name) - at
    path = (*of, place + (-step if backwards else step))
    return path if path in free else None


def _transposed(name: str, shapes: dict, places: dict, free: dict[Path, Any]) -> Path | None:
    shape = shapes[name]
    return next((p for p, leaf in free.items() if leaf is not None and np.shape(leaf) == shape[::-1]), None)


def _in_turn(name: str, shapes: dict, places: dict, free: dict[Path, Any]) -> Path | None:
    """What is left for what is left: a matrix for a matrix first."""
    matrix = sum(n > 1 for n in shapes[name]) > 1
    fits = [p for p, leaf in free.items() if (sum(n > 1 for n in np.shape(leaf)) > 1) == matrix]
    left = [n for n in shapes if n not in places]
    return fits[0] if fits else next(iter(free), None) if len(free) == len(left) else None


def _kind(name: str) -> str:
    """`weights` of weights[1], `layers[].W` of layers[0].W, `W` of W1: parameters of one kind."""
    head, _, tail = name.partition("[")
    return head + tail.partition("]")[2] if tail else head.rstrip("0123456789_")


def is_gradient_of(name: str, parameter: str) -> bool:
    """Whether a variable of this name holds the gradient of a parameter, as dW1, grad_W1 or nabla_w do."""

    def plain(text: str) -> str:
        return text.replace("_", "").lower()

    short = re.sub(r"^weights?", "w", re.sub(r"^bias(es)?", "b", plain(parameter)))
    cores = {plain(parameter), plain(parameter).rstrip("s"), short}
    return any(
        plain(name) in (*(before + core for before in BEFORE), *(core + behind for behind in BEHIND))
        for core in cores
    )


def _letter(name: str) -> str | None:
    """`w` or `b` for names such as nabla_w, dbiases, grads_W."""
    match = re.search(r"(w|weights?|wt|b|bias|biases)s?$", re.sub(r"[\d_]+$", "", name), re.I)
    return match[1][0].lower() if match else None


def _is_loss(leaf: Any) -> bool:
    return leaf is not None and np.ndim(leaf) == 0


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without leading ones, which broadcasting adds."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _at(result: Any, path: Path) -> Any:
    for step in path:
        try:
            result = result[step]
        except (KeyError, IndexError, TypeError):
            return None
    return result
