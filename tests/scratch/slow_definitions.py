"""What every operation means, in plain Python loops, and the awkward cases that all op tests run through.

The definitions share no line with scratch/ops.py: they are slow, scalar and written from the formulas.
"""

import cmath
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scratch import ops


def dense(x, w, b):
    y = np.zeros((x.shape[0], w.shape[1]), complex)
    for n, m in np.ndindex(y.shape):
        y[n, m] = b[m] + sum(x[n, d] * w[d, m] for d in range(x.shape[1]))
    return y


def geometry(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    """(number of outputs, where the first window starts), of one axis."""
    if padding == "VALID":
        return math.ceil((size - window + 1) / stride), 0
    outputs = math.ceil(size / stride)
    return outputs, -(max((outputs - 1) * stride + window - size, 0) // 2)


def conv2d(x, w, b, stride=1, padding="SAME"):
    (images, height, width, channels), (k, k2, _, filters) = x.shape, w.shape
    (rows, top), (columns, left) = geometry(height, k, stride, padding), geometry(width, k2, stride, padding)
    y = np.zeros((images, rows, columns, filters), complex)
    for n, i, j, f in np.ndindex(y.shape):
        y[n, i, j, f] = b[f]
        for p, q, c in np.ndindex(k, k2, channels):
            h, v = top + i * stride + p, left + j * stride + q
            if 0 <= h < height and 0 <= v < width:
                y[n, i, j, f] += x[n, h, v, c] * w[p, q, c, f]
    return y


def winners(x, size=2, stride=None, padding="VALID"):
    """{place in y: place of its maximum in x}, the first in row-major order."""
    stride = stride or size
    images, height, width, channels = x.shape
    (rows, top), (columns, left) = (geometry(n, size, stride, padding) for n in (height, width))
    found = {}
    for n, i, j, c in np.ndindex(images, rows, columns, channels):
        for p, q in itertools.product(range(size), repeat=2):
            h, v = top + i * stride + p, left + j * stride + q
            if not (0 <= h < height and 0 <= v < width):
                continue
            best = found.get((n, i, j, c))
            if best is None or x[n, h, v, c].real > x[best].real:
                found[n, i, j, c] = (n, h, v, c)
    return found


def max_pool2d(x, size=2, stride=None, padding="VALID"):
    found = winners(x, size, stride, padding)
    y = np.zeros(np.max(list(found), axis=0) + 1, complex)
    for place, winner in found.items():
        y[place] = x[winner]
    return y


def max_pool2d_gradient(x, dy, **options):
    dx = np.zeros(x.shape)
    for place, winner in winners(x, **options).items():
        dx[winner] += dy[place]
    return dx


def elementwise(function: Callable[[complex], complex]):
    """The definition of an op that treats every element alike."""

    def apply(z):
        y = np.zeros(z.shape, complex)
        for place in np.ndindex(z.shape):
            y[place] = function(complex(z[place]))
        return y

    return apply


def maxout(z, pieces=2):
    y = np.zeros((*z.shape[:-1], z.shape[-1] // pieces), complex)
    for place in np.ndindex(y.shape):
        group = [z[(*place[:-1], place[-1] * pieces + j)] for j in range(pieces)]
        y[place] = max(group, key=lambda value: value.real)
    return y


def dropout(x, rate, mask):
    y = np.zeros(x.shape, complex)
    for place in np.ndindex(x.shape):
        y[place] = x[place] / (1 - rate) if mask[place] else 0
    return y


def softmax_cross_entropy(z, t):
    losses = [cmath.log(sum(cmath.exp(v) for v in row)) - row[label] for row, label in zip(z, t, strict=True)]
    return sum(losses) / len(losses)


def sigmoid_cross_entropy(z, t):
    total = 0
    for n, m in np.ndindex(z.shape):
        target = t[n, m] if t.ndim == 2 else float(m == t[n])
        y = 1 / (1 + cmath.exp(-z[n, m]))
        total -= target * cmath.log(y) + (1 - target) * cmath.log(1 - y)
    return total / len(z)


@dataclass(frozen=True)
class Case:
    """An op with its differentiable arguments; fixed ones (labels, masks, strides) are bound by `options`."""

    id: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    slow: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)

    def op(self, *arrays):
        return getattr(ops, self.kind)(*arrays, **self.options)

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng([seed, *map(ord, self.id)])
        return [rng.normal(size=shape) for shape in self.shapes]


def _conv(image, kernel, filters, stride, padding, n=2, channels=3) -> Case:
    shapes = (n, *image, channels), (*kernel, channels, filters), (filters,)
    sizes = "x".join(map(str, (n, *image, channels))), "x".join(map(str, kernel))
    options = {"stride": stride, "padding": padding}
    return Case(
        f"conv2d-{sizes[0]}-{sizes[1]}-s{stride}-{padding}",
        "conv2d",
        shapes,
        lambda *a: conv2d(*a, **options),
        options,
    )


def _pool(shape, size, stride, padding) -> Case:
    options = {"size": size, "stride": stride, "padding": padding}
    name = f"max_pool2d-{'x'.join(map(str, shape))}-k{size}-s{stride}-{padding}"
    return Case(name, "max_pool2d", (shape,), lambda x: max_pool2d(x, **options), options)


def _loss(name, kind, shape, t) -> Case:
    return Case(name, kind, (shape,), lambda z: globals()[kind](z, t), {"t": t})


MASK = np.random.default_rng(5).random((3, 5)) > 0.4
TARGETS = np.random.default_rng(6).random((4, 3))
CASES = [
    Case("dense", "dense", ((3, 5), (5, 4), (4,)), dense),
    Case("dense-one", "dense", ((1, 5), (5, 1), (1,)), dense),
    *(
        _conv((7, 6), kernel, 4, stride, padding)
        for kernel in ((3, 3), (2, 4), (5, 2))
        for stride in (1, 2, 3)
        for padding in ("SAME", "VALID")
    ),
    _conv((5, 8), (1, 1), 4, 3, "SAME"),  # a stride beyond the kernel
    _conv((5, 8), (2, 1), 4, 3, "VALID"),
    _conv((5, 4), (3, 2), 6, 1, "SAME", n=1, channels=1),
    _conv((2, 3), (5, 6), 4, 1, "SAME"),  # a kernel beyond the image
    _conv((2, 3), (5, 6), 4, 2, "SAME"),
    _conv((4, 3), (4, 3), 5, 1, "VALID", n=1),  # a kernel as large as the image
    _pool((2, 4, 6, 3), 2, None, "VALID"),
    _pool((1, 5, 7, 3), 2, None, "VALID"),  # an odd rest is left out
    _pool((2, 6, 7, 3), 3, 2, "VALID"),  # overlapping
    _pool((2, 6, 7, 3), 3, 1, "SAME"),
    _pool((2, 7, 5, 3), 2, 3, "VALID"),  # gaps
    _pool((2, 7, 5, 3), 2, 3, "SAME"),
    _pool((2, 5, 6, 3), 3, 3, "SAME"),
    _pool((1, 2, 3, 4), 5, 1, "SAME"),
    Case("flatten", "flatten", ((2, 3, 4, 5),), lambda x: x.reshape(2, 60)),
    Case("sigmoid", "sigmoid", ((4, 5),), elementwise(lambda z: 1 / (1 + cmath.exp(-z)))),
    Case("tanh", "tanh", ((4, 5),), elementwise(cmath.tanh)),
    Case("relu", "relu", ((2, 3, 4, 5),), elementwise(lambda z: z if z.real > 0 else 0)),
    Case("leaky_relu", "leaky_relu", ((4, 5),), elementwise(lambda z: z if z.real > 0 else 0.01 * z)),
    Case(
        "leaky_relu-0.3",
        "leaky_relu",
        ((4, 5),),
        elementwise(lambda z: z if z.real > 0 else 0.3 * z),
        {"slope": 0.3},
    ),
    Case("maxout", "maxout", ((3, 8),), maxout),
    Case("maxout-3", "maxout", ((2, 3, 4, 6),), lambda z: maxout(z, 3), {"pieces": 3}),
    Case("dropout", "dropout", ((3, 5),), lambda x: dropout(x, 0.4, MASK), {"rate": 0.4, "mask": MASK}),
    _loss("softmax_cross_entropy", "softmax_cross_entropy", (5, 4), np.array([3, 0, 2, 2, 1])),
    _loss("softmax_cross_entropy-1x2", "softmax_cross_entropy", (1, 2), np.array([1], np.uint8)),
    _loss("sigmoid_cross_entropy", "sigmoid_cross_entropy", (5, 4), np.array([3, 0, 2, 2, 1])),
    _loss("sigmoid_cross_entropy-targets", "sigmoid_cross_entropy", (4, 3), TARGETS),
    _loss("sigmoid_cross_entropy-one", "sigmoid_cross_entropy", (3, 1), np.array([[0], [1], [1]])),
]
