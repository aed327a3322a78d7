"""Which operation a name means, in which shapes it is tried, and what else is looked at in it.

The shapes are those in which faults hide: strides, paddings, overlaps, one example, square and all-distinct.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters import module_dropout

Array = np.ndarray
NAMES = (  # (a part of the name, the operation); the first that fits
    ("spatial_batch", "spatial_batchnorm"),
    ("batch_norm", "batchnorm"),
    ("batchnorm", "batchnorm"),
    ("bn", "batchnorm"),
    ("layer_norm", "layernorm"),
    ("layernorm", "layernorm"),
    ("leaky", "leaky_relu"),
    ("affine_relu", "affine_relu"),
    ("linear_relu", "affine_relu"),
    ("relu", "relu"),
    ("selu", "selu"),
    ("gelu", "gelu"),
    ("elu", "elu"),
    ("softplus", "softplus"),
    ("swish", "swish"),
    ("silu", "silu"),
    ("softsign", "softsign"),
    ("arctan", "arctan"),
    ("sigmoid", "sigmoid"),
    ("logistic", "sigmoid"),
    ("tanh", "tanh"),
    ("max_pool", "max_pool"),
    ("maxpool", "max_pool"),
    ("avg_pool", "avg_pool"),
    ("avgpool", "avg_pool"),
    ("mean_pool", "avg_pool"),
    ("average_pool", "avg_pool"),
    ("pool", "max_pool"),
    ("conv", "conv"),
    ("dropout", "dropout"),
    ("affine", "affine"),
    ("linear", "affine"),
    ("dense", "affine"),
    ("fc", "affine"),
    ("fully", "affine"),
    ("softmax", "softmax_loss"),
    ("cross_entropy", "softmax_loss"),
    ("crossentropy", "softmax_loss"),
    ("xent", "softmax_loss"),
    ("svm", "svm_loss"),
    ("hinge", "svm_loss"),
)
POINTWISE = ("relu", "leaky_relu", "sigmoid", "tanh")
RATE = 0.3  # of a dropout
SLOPE = 0.125  # of a leaky ReLU where the user's code takes one
EPS = 1e-5


@dataclass(frozen=True)
class Plan:
    """One call: shapes by canonical argument, options, layout (`nchw` or `nhwc`, `in,out` or `out,in`)."""

    label: str
    shapes: dict[str, tuple[int, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    layout: str = ""
    seed: int = 0

    def values(self, role: str, drawn: Array, rng: np.random.Generator) -> Array:
        """What the argument holds: N(0, 1); gamma around 1."""
        return (1 + 0.3 * drawn).astype(np.float32).astype(np.float64) if role == "gamma" else drawn


@dataclass(frozen=True)
class Call:
    """The user's operation by canonical arguments. apply(inputs, data) -> (y, gradients)."""

    op: str
    name: str
    roles: dict[str, str]
    apply: Callable[[dict[str, Array], dict[str, Any]], tuple[Array, dict[str, Array]]]
    rate_name: str = ""  # what a dropout calls its rate


def canonical_op(name: str) -> str:
    """The operation that a name means; `unknown` where it means none."""
    lower = name.lower()
    return next((op for part, op in NAMES if part in lower), "unknown")


def plans(op: str, roles: dict[str, str], loss: bool = False) -> Iterator[Plan]:
    """The calls to try, the most usual layout first; the first that runs fixes the layout."""
    has = set(roles.values())
    if loss:
        for label, n, c in (
            ("a batch of 6", 6, 4),
            ("another batch of 6", 6, 4),
            ("one example", 1, 4),
            ("square shapes", 5, 5),
        ):
            yield Plan(label, {"x": (n, c)})
    elif op in ("affine", "affine_relu"):
        yield from _affine(has)
    elif op == "conv":
        for layout in ("nchw", "nhwc"):
            yield from _conv(layout, has)
    elif op in ("max_pool", "avg_pool"):
        for layout in ("nchw", "nhwc"):
            yield from _pool(layout)
    elif op in ("batchnorm", "layernorm"):
        yield from _norm(op)
    elif op == "spatial_batchnorm":
        for label, shape, mode in (
            ("training", (3, 4, 2, 5), "train"),
            ("another batch", (3, 4, 2, 5), "train"),
            ("test mode", (2, 4, 3, 2), "test"),
        ):
            yield _norm_plan(label, shape, shape[1], mode)
    elif op == "dropout":
        yield Plan("training", {"x": (7, 6)}, {"p": RATE, "mode": "train", "seed": 5}, seed=5)
        yield Plan("another batch", {"x": (7, 6)}, {"p": RATE, "mode": "train", "seed": 6}, seed=6)
        yield Plan("evaluation", {"x": (4, 3)}, {"p": RATE, "mode": "test", "seed": 7}, seed=7)
    else:
        options = {"slope": SLOPE} if op == "leaky_relu" else {}
        shapes: tuple[tuple[str, tuple[int, ...]], ...] = (
            ("a matrix", (5, 4)),
            ("another matrix", (5, 4)),
            ("one example", (1, 6)),
            ("square shapes", (4, 4)),
            ("four axes", (2, 3, 4, 2)),
        )
        for label, every in shapes:
            yield Plan(label, dict.fromkeys(has, every), options)


def _affine(has: set[str]) -> Iterator[Plan]:
    for layout in ("in,out", "out,in"):
        for label, n, d, m in (
            ("a batch of 6", 6, 4, 3),
            ("another batch of 6", 6, 4, 3),
            ("one example", 1, 4, 3),
            ("a batch of 2", 2, 4, 3),
            ("square shapes", 5, 5, 5),
        ):
            w = (d, m) if layout == "in,out" else (m, d)
            shapes = {"x": (n, d), "w": w, "b": (m,)}
            yield Plan(label, {role: s for role, s in shapes.items() if role in has}, layout=layout)


def _conv(layout: str, has: set[str]) -> Iterator[Plan]:
    for label, n, c, h, w, f, k, l, stride, pad in (
        ("stride 1, padding 1", 2, 2, 4, 5, 3, 3, 3, 1, 1),
        ("another batch", 2, 2, 4, 5, 3, 3, 3, 1, 1),
        ("one example, no padding", 1, 2, 5, 4, 3, 3, 2, 1, 0),
        ("stride 2, padding 1", 2, 2, 5, 7, 3, 3, 3, 2, 1),
        ("square shapes", 3, 3, 3, 3, 3, 3, 3, 1, 1),
    ):
        x, kernel = ((n, c, h, w), (f, c, k, l)) if layout == "nchw" else ((n, h, w, c), (k, l, c, f))
        shapes = {"x": x, "w": kernel, "b": (f,)}
        own = {role: s for role, s in shapes.items() if role in has}
        yield Plan(label, own, {"stride": stride, "pad": pad}, layout)


def _pool(layout: str) -> Iterator[Plan]:
    for label, n, c, h, w, size, stride in (
        ("windows of 2, stride 2", 2, 3, 4, 6, 2, 2),
        ("another batch", 2, 3, 4, 6, 2, 2),
        ("one example", 1, 2, 6, 4, 2, 2),
        ("overlapping windows", 2, 2, 5, 7, 3, 2),
        ("overlapping windows, stride 1", 2, 2, 4, 3, 2, 1),
    ):
        yield Plan(
            label,
            {"x": (n, c, h, w) if layout == "nchw" else (n, h, w, c)},
            {"size": size, "stride": stride},
            layout,
        )


def _norm(op: str) -> Iterator[Plan]:
    for label, shape, mode in (
        ("training", (6, 4), "train"),
        ("another batch", (6, 4), "train"),
        ("square shapes", (5, 5), "train"),
        *([("test mode", (3, 4), "test")] if op == "batchnorm" else [("one example", (1, 5), "train")]),
    ):
        yield _norm_plan(label, shape, shape[1], mode)


def _norm_plan(label: str, shape: tuple[int, ...], features: int, mode: str) -> Plan:
    rng = np.random.default_rng(features)
    options = {
        "mode": mode,
        "eps": EPS,
        "momentum": 0.9,
        "running_mean": rng.standard_normal(features).astype(np.float32).astype(np.float64),
        "running_var": (0.5 + rng.random(features)).astype(np.float32).astype(np.float64),
    }
    return Plan(label, {"x": shape, "gamma": (features,), "beta": (features,)}, options)


# ---- a further look, where derivatives do not reach: at a kink, at ties


def _kink(call: Call, rng: np.random.Generator) -> dict[str, Any]:
    """What a rectifier's derivative is at 0, where every number from the left to the right one is right."""
    x = np.zeros((1, 3))
    _, gradients = call.apply({"x": x}, {"dy": np.ones((1, 3)), "slope": SLOPE})
    return {"at_zero": float(np.ravel(gradients["x"])[0])}


def _ties(call: Call, rng: np.random.Generator) -> dict[str, Any]:
    """How a window of equal values shares what arrives: it must give away just that, no more."""
    for layout in ((1, 1, 2, 2), (1, 2, 2, 1)):
        try:
            _, gradients = call.apply(
                {"x": np.ones(layout)}, {"size": 2, "stride": 2, "dy": np.ones((1, 1, 1, 1))}
            )
        except Exception:  # the other layout, then
            continue
        shares = np.ravel(gradients["x"])
        return {"ties": [float(s) for s in shares]}
    return {}


def _masks(call: Call, rng: np.random.Generator) -> dict[str, Any]:
    """How a dropout behaves over many draws, and in evaluation."""

    def train(x: Array, seed: int) -> tuple[Array, Array]:
        data = {"p": RATE, "mode": "train", "seed": seed, "dy": np.ones(x.shape)}
        y, gradients = call.apply({"x": x}, data)
        return y, gradients["x"]

    def evaluate(x: Array) -> Array:
        return call.apply({"x": x}, {"p": RATE, "mode": "test", "seed": 0, "dy": np.ones(x.shape)})[0]

    return module_dropout.facts(train, evaluate, RATE, call.rate_name)


# what is found out about an operation besides its derivatives
FURTHER: dict[str, Callable[[Call, np.random.Generator], dict[str, Any]]] = {
    "relu": _kink,
    "leaky_relu": _kink,
    "max_pool": _ties,
    "dropout": _masks,
}
