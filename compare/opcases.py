"""Calls of single operations, in the shapes where faults hide.

Strides, paddings, overlapping windows, ties, square and all-distinct shapes, one example, huge logits: much
of it no network here uses.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scratch import numeric, ops

Array = np.ndarray


@dataclass(frozen=True)
class OpCase:
    """One call: differentiable arrays by argument name, the other arguments, and a random cotangent."""

    label: str
    op: str
    arrays: dict[str, Array]
    options: dict[str, Any] = field(default_factory=dict)

    def call(self, replaced: dict[str, Array], dtype: str = "float64") -> tuple[Array, ops.Backward]:
        """scratch's operation on the arrays in `dtype`, some of them replaced."""
        arrays = {name: a.astype(dtype) for name, a in self.arrays.items()} | replaced
        return getattr(ops, self.op)(**arrays, **self.options)


def cases(seed: int) -> list[OpCase]:
    """The calls, drawn anew for each seed; every number is a float32."""
    rng = np.random.default_rng([seed, 77])

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return rng.normal(0, scale, shape).astype(np.float32).astype(np.float64)

    def integers(*shape: int, levels: int = 3) -> Array:
        return rng.integers(-1, levels - 1, shape).astype(np.float64)

    def huge(*shape: int, size: float) -> Array:
        return (size * integers(*shape) + normal(*shape)).astype(np.float32).astype(np.float64)

    def dense(label: str, n: int, d: int, m: int) -> OpCase:
        return OpCase(f"dense {label}", "dense", {"x": normal(n, d), "w": normal(d, m), "b": normal(m)})

    def conv(label: str, x: tuple[int, ...], w: tuple[int, ...], **options: Any) -> OpCase:
        arrays = {"x": normal(*x), "w": normal(*w), "b": normal(w[-1])}
        return OpCase(f"conv2d {label}", "conv2d", arrays, options)

    def pool(label: str, x: Array, **options: Any) -> OpCase:
        return OpCase(f"max_pool2d {label}", "max_pool2d", {"x": x}, options)

    def losses(op: str) -> Iterator[OpCase]:
        def case(label: str, z: Array, t: Array) -> OpCase:
            return OpCase(f"{op} {label}", op, {"z": z}, {"t": t})

        yield case("plain", normal(5, 4, scale=2), rng.integers(0, 4, 5))
        yield case("one example", normal(1, 3), rng.integers(0, 3, 1))
        yield case("logits of +-1000", huge(6, 3, size=1000), rng.integers(0, 3, 6))
        yield case("square", normal(4, 4), rng.permutation(4))

    flat = normal(4, 6, scale=3)
    with_zeros = np.where(rng.random((5, 6)) < 0.3, 0.0, normal(5, 6, scale=2))
    return [
        dense("plain", 3, 5, 4),
        dense("square", 4, 4, 4),
        dense("one example", 1, 6, 5),
        conv("plain", (2, 7, 6, 3), (3, 3, 3, 4)),
        conv("VALID", (3, 7, 6, 2), (3, 2, 2, 5), padding="VALID"),
        conv("stride 2", (2, 7, 6, 2), (3, 3, 2, 3), stride=2),
        conv("stride 2 even", (2, 8, 6, 2), (3, 3, 2, 3), stride=2),
        conv("stride 3 VALID", (2, 9, 8, 2), (4, 3, 2, 3), stride=3, padding="VALID"),
        conv("even kernel", (2, 6, 5, 2), (4, 2, 2, 3)),
        conv("square", (3, 5, 5, 3), (3, 3, 3, 3)),
        conv("kernel above image", (1, 3, 4, 2), (5, 5, 2, 3)),
        conv("one filter", (2, 5, 4, 2), (3, 3, 2, 1)),
        conv("1 x 1", (2, 4, 3, 3), (1, 1, 3, 2)),
        pool("plain", normal(2, 6, 4, 3)),
        pool("square", normal(2, 6, 6, 3)),
        pool("odd", normal(2, 5, 7, 2)),
        pool("ties", integers(3, 6, 8, 2)),
        pool("overlapping", normal(2, 7, 6, 2), size=3, stride=2),
        pool("overlapping ties", integers(2, 7, 6, 2), size=3, stride=1, padding="SAME"),
        pool("SAME", normal(2, 5, 7, 2), padding="SAME"),
        OpCase("flatten", "flatten", {"x": normal(2, 3, 4, 5)}),
        OpCase("sigmoid", "sigmoid", {"z": flat}),
        OpCase("sigmoid saturated", "sigmoid", {"z": huge(3, 5, size=100)}),
        OpCase("tanh", "tanh", {"z": flat}),
        OpCase("relu", "relu", {"z": with_zeros}),
        OpCase("leaky_relu", "leaky_relu", {"z": with_zeros}),
        OpCase("leaky_relu slope 0.25", "leaky_relu", {"z": with_zeros}, {"slope": 0.25}),
        OpCase("maxout", "maxout", {"z": normal(3, 8)}),
        OpCase("maxout ties", "maxout", {"z": integers(2, 3, 2, 12)}, {"pieces": 3}),
        OpCase(
            "dropout", "dropout", {"x": normal(4, 6)}, {"rate": 0.375, "mask": rng.random((4, 6)) > 0.375}
        ),
        *losses("softmax_cross_entropy"),
        *losses("sigmoid_cross_entropy"),
        OpCase(
            "sigmoid_cross_entropy soft targets",
            "sigmoid_cross_entropy",
            {"z": normal(4, 3)},
            {"t": rng.random((4, 3)).astype(np.float32).astype(np.float64)},
        ),
    ]


def derivatives(case: OpCase, cotangent: Array) -> dict[str, Array]:
    """d<cotangent, y>/d argument by complex step, entry by entry."""
    found = {}
    for name, value in case.arrays.items():

        def along(a: Array, name=name) -> Array:
            return (case.call({name: a})[0] * cotangent).sum()

        try:
            found[name] = np.asarray(numeric.gradient(along, value, verify=False).value)
        except numeric.NotFiniteError:  # no number agrees with NaN
            found[name] = np.full(value.shape, np.nan)
    return found
