"""What the arguments of a function hold: shapes in symbols, sizes for them, and values that it can take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters.function_shapes import ANY, Dims, size_of, symbols_of
from compare.adapters.subject import draw

Array = np.ndarray
Sizes = dict[str, int]
POOLS = (
    (5, 4, 3, 6, 2, 7),
    (3, 4, 6, 5, 7, 2),
    (4, 6, 3, 2, 5, 8),
    (6, 3, 2, 5, 4, 8),
    (8, 4, 2, 6, 3, 5),
    (7, 3, 5, 2, 4, 6),
)
SMALL = frozenset("k K kernel width window s".split())
LONG = frozenset("T L len length steps".split())
SHAPES_OF_ANY = ((5, 4), (7,), (2, 3, 4), (1, 6))
NUMBERS = ("int", "number")  # what is given as a number of Python, not as an array
DISCRETE = ("labels", "pm1", "binary", "onehot", "mask", "int")


@dataclass
class Layout:
    """dims and domain of every argument that is given; documented: the author says the shapes."""

    dims: dict[str, Dims]
    domains: dict[str, str] = field(default_factory=dict)
    documented: bool = False

    def symbols(self) -> list[str]:
        return [*dict.fromkeys(s for dims in self.dims.values() if dims != ANY for s in symbols_of(dims))]

    def shape(self, name: str, sizes: Sizes) -> tuple[int, ...]:
        """Raises ValueError where a size comes out as 0 or less."""
        dims = self.dims[name]
        if dims == ANY:
            return SHAPES_OF_ANY[sizes.get("...", 0)]
        shape = tuple(size_of(dim, sizes) for dim in dims)
        if any(n < 1 for n in shape):
            raise ValueError(f"no shape: {shape}")
        return shape

    def with_domains(self, domains: Mapping[str, str]) -> "Layout":
        return Layout(self.dims, self.domains | dict(domains), self.documented)


def sizes_for(symbols: Sequence[str], pool: Sequence[int]) -> Sizes:
    """All distinct; a kernel small, a length long, as the first pool has it."""
    left = list(pool) + list(range(9, 9 + len(symbols)))
    sizes: Sizes = {}
    for symbol in symbols:
        pick = left[0]
        if pool == POOLS[0] and symbol in LONG:
            pick = max(n for n in left if n < 9)
        elif pool == POOLS[0] and symbol in SMALL:
            pick = min(left)
        left.remove(pick)
        sizes[symbol] = pick
    return sizes


def values(layout: Layout, sizes: Sizes, rng: np.random.Generator) -> dict[str, Any]:
    """One array for each argument, or a number for what is no array. Raises ValueError or KeyError where there is no such shape."""
    classes = _classes(layout, sizes)
    out: dict[str, Any] = {}
    for name in layout.dims:
        domain, shape = layout.domains.get(name, ""), layout.shape(name, sizes)
        if not shape and domain in NUMBERS:
            out[name] = 2 if domain == "int" else round(float(rng.uniform(0.5, 0.9)), 3)
        else:
            out[name] = np.asarray(_draw(domain, shape, classes, rng))
    return out


def _classes(layout: Layout, sizes: Sizes) -> int:
    """How many classes labels have: the columns of the first matrix of numbers."""
    for name in layout.dims:
        if layout.domains.get(name, "") not in DISCRETE and len(shape := layout.shape(name, sizes)) == 2:
            return shape[1]
    return 3


def _draw(domain: str, shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Array:
    match domain:
        case "positive":
            return _single(rng.uniform(0.5, 2.0, shape))
        case "unit":
            return _single(rng.uniform(0.1, 0.9, shape))
        case "above one":
            return _single(rng.uniform(1.2, 3.0, shape))
        case "small":
            return _single(rng.uniform(0.05, 0.3, shape))
        case "distribution":
            p = rng.uniform(0.2, 1.0, shape)
            return p / p.sum(axis=-1, keepdims=True) if shape else p
        case "symmetric":
            a = draw(rng, *shape)
            return (a + np.swapaxes(a, -1, -2)) / 2
        case "spd":
            a = draw(rng, *shape)
            return _single(a @ np.swapaxes(a, -1, -2) / shape[-1] + np.eye(shape[-1]))
        case "labels":
            return rng.integers(classes, size=shape)
        case "pm1":
            return _both(2.0 * rng.integers(2, size=shape) - 1, (-1.0, 1.0))
        case "binary":
            return _both(rng.integers(2, size=shape).astype(np.float64), (0.0, 1.0))
        case "onehot":
            return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])] if shape else np.array(1.0)
        case "mask":
            return rng.random(shape) < 0.6
        case "int":
            return np.full(shape, 2)
    a = np.asarray(draw(rng, *shape))
    if a.size > 1 and (a > 0).all() | (a < 0).all():
        a.flat[0] *= -1.0  # both signs, as much is decided at 0
    return a


def _both(a: Array, two: tuple[float, float]) -> Array:
    """With each of two values somewhere, where there is room for both."""
    if a.size > 1:
        a.flat[0], a.flat[-1] = two
    return a


def _single(a: Array) -> Array:
    """Numbers that float32 has too, so that code that computes in it sees the same."""
    return np.asarray(a, np.float32).astype(np.float64)
