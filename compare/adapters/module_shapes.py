"""The shapes in which a module by itself is called: rows, columns, images; all-distinct, square, one example.

A module that is there already has the sizes it has, so its input is guessed from the shapes of its arrays.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters.module_build import IMAGES, SLIDING, D, M, Maker
from compare.adapters.module_ops import Known
from compare.adapters.module_slots import attributes
from compare.diagnosis.operation import Op, forward

Array = np.ndarray
FLAT = (  # label, examples, features in, features out
    ("a batch of 7", 7, D, M),
    ("another batch of 7", 7, D, M),
    ("one example", 1, D, M),
    ("a batch of 3", 3, D, M),
    ("square shapes", 5, 5, 5),
)
CONVOLUTION = (  # label, examples, channels, height, width, filters, size, stride, padding
    ("stride 1, padding 1", 2, 2, 4, 5, 3, 3, 1, 1),
    ("another batch", 2, 2, 4, 5, 3, 3, 1, 1),
    ("one example, no padding", 1, 2, 5, 4, 3, 3, 1, 0),
    ("stride 2, padding 1", 2, 2, 5, 7, 3, 3, 2, 1),
    ("square shapes", 3, 3, 3, 3, 3, 3, 1, 1),
)
POOLING = (
    ("windows of 2, stride 2", 2, 3, 4, 6, 3, 2, 2, 0),
    ("another batch", 2, 3, 4, 6, 3, 2, 2, 0),
    ("one example", 1, 2, 6, 4, 2, 2, 2, 0),
    ("overlapping windows", 2, 2, 5, 7, 2, 3, 2, 0),
    ("overlapping windows, stride 1", 2, 2, 4, 3, 2, 2, 1, 0),
)
EPSILONS = (1e-5, 1e-8, 1e-7, 1e-6, 1e-3, 1e-4, 1e-10, 1e-12, 0.0)


@dataclass
class Shape:
    """One way to call it; the numbers count the calls. features: of a module that has its size already."""

    layout: str
    features: int | None = None
    pooling: bool = False
    fixed: bool = False
    op: str = ""
    eps: float | None = None
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        plan = self._plan if self.images else FLAT[:-1] if self.fixed else FLAT
        return [row[0] for row in plan]

    @property
    def images(self) -> bool:
        return self.layout in ("nchw", "nhwc")

    @property
    def _plan(self) -> Any:
        return POOLING if self.pooling else CONVOLUTION

    def build(self, number: int) -> dict[str, Any]:
        if not self.images:
            _, _, d, m = FLAT[number]
            return {"d": d, "m": m}
        _, _, c, _, _, f, size, stride, pad = self._plan[number]
        return {"channels": c, "filters": f, "size": size, "stride": stride, "pad": pad, "d": c, "m": f}

    def x(self, number: int) -> tuple[int, ...]:
        if self.images:
            _, n, c, h, w, *_ = self._plan[number]
            c = self.features or c
            return (n, c, h, w) if self.layout == "nchw" else (n, h, w, c)
        _, n, d, _ = FLAT[number]
        d = self.features or d
        return {"rows": (n, d), "columns": (d, n), "sequence": (n, 4, d)}[self.layout]

    def examples(self, number: int) -> int:
        return int(self._plan[number][1] if self.images else FLAT[number][1])

    def settle(self, op: Known, module: Any, x: Array, y: Array, arrays: dict[str, Array]) -> None:
        """Layout and options of an operation on images or a normalisation, as its forward pass shows them."""
        self.op = op.op
        if self.images:
            op.layout = self.layout
        if op.op not in ("batchnorm", "layernorm", "spatial_batchnorm"):
            return
        if x.ndim == 4 and op.op == "batchnorm":
            op.op = self.op = "spatial_batchnorm"
        own = [v for n, v in attributes(module).items() if re.fullmatch("eps|epsilon", n, re.I)]
        for eps in (*own, *EPSILONS):
            if self._is(op, {"eps": eps, "mode": "train"}, x, y, arrays):
                self.eps = eps
                return

    def options(self, number: int, module: Any = None) -> dict[str, Any]:
        """What the trial's data say of the operation."""
        if self.eps is not None:
            return {"eps": self.eps, "mode": "train"}
        if not self.images or self.op not in ("conv", "max_pool", "avg_pool"):
            return {}
        build = self.build(number)
        found = {"stride": build["size"] if self.pooling else 1, "pad": 0, "size": build["size"]}
        for name, value in attributes(module).items():
            key = next((k for pattern, k in SLIDING if re.fullmatch(pattern, name, re.I)), "")
            if key in found and isinstance(value, int | np.integer) and not isinstance(value, bool):
                found[key] = int(value)
        return {k: v for k, v in found.items() if not (self.pooling and k == "pad")}

    def matches(self, op: Known, module: Any, x: Array, y: Array, arrays: dict[str, Array]) -> bool:
        """Whether this layout gives what the module gives."""
        self.op = op.op
        return self._is(op, self.options(0, module), x, y, arrays)

    def _is(self, op: Known, options: dict[str, Any], x: Array, y: Array, arrays: dict[str, Array]) -> bool:
        own = {role: np.asarray(arrays[n], np.float64) for n, role in op.roles.items()} | {"x": x}
        if self.layout == "nhwc":
            own = {k: _nchw(k, a) for k, a in own.items()}
            y = y.transpose(0, 3, 1, 2) if y.ndim == 4 else y
        own = {k: a.ravel() if k in ("b", "gamma", "beta") else a for k, a in own.items()}
        try:
            right = forward(Op(op.op, self.layout, {}, own, np.zeros(()), options, None))  # type: ignore[arg-type]
        except (ValueError, IndexError, KeyError, AttributeError):
            return False
        return (
            right is not None and right.shape == y.shape and bool(np.allclose(right, y, rtol=1e-6, atol=1e-9))
        )


def shapes_for(maker: Maker) -> Iterator[Shape]:
    """The likely ones first; the first in which forward and backward run is taken."""
    name = maker.kind.__name__
    if IMAGES.search(name):
        pooling = bool(re.search("pool", name, re.I))
        for layout in ("nchw", "nhwc"):
            for features in _features(maker) if maker.fixed and not pooling else (None,):
                yield Shape(layout, features, pooling=pooling, fixed=maker.fixed)
    for layout in ("rows", "columns", "sequence"):
        for features in _features(maker) if maker.fixed else (None,):
            yield Shape(layout, features, fixed=maker.fixed)
    if not IMAGES.search(name):
        for layout in ("nchw", "nhwc"):
            yield Shape(layout, fixed=maker.fixed)


def _features(maker: Maker) -> list[int | None]:
    """Sizes in the shapes of its arrays, and one less for a bias that is folded in; any where it has none."""
    shapes = [np.shape(a) for a in arrays_in(maker({}))]
    shapes.sort(key=len, reverse=True)
    sizes = [n for s in shapes for n in (s if len(s) != 4 else (s[1], s[2])) if n > 1]
    return [*dict.fromkeys([*sizes, *(n - 1 for n in sizes if n > 2)])] or [None]


def arrays_in(module: Any) -> list[Array]:
    """Arrays in its attributes, and in dicts and lists there."""
    found: list[Array] = []
    for value in attributes(module).values():
        parts = (
            [*value.values()]
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
        parts = [*parts, *(a for part in parts for a in vars(part).values())] if _plain(parts) else parts
        found += [a for a in parts if isinstance(a, np.ndarray) and a.ndim and a.dtype.kind in "fc"]
    return found


def _plain(parts: Any) -> bool:
    return bool(parts) and all(hasattr(p, "__dict__") and not callable(p) for p in parts)


def _nchw(role: str, a: Array) -> Array:
    if a.ndim != 4:
        return a
    return a.transpose(3, 2, 0, 1) if role == "w" else a.transpose(0, 3, 1, 2)
