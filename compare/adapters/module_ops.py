"""Which operation a module is, by what its forward pass gives; where that says nothing, by its name.

The backward pass is not looked at, so a wrong one cannot mislead this.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters.opnames import canonical_op
from compare.diagnosis.replay import ACTIVATIONS

Array = np.ndarray
SAME = 1e-9
SINGLE = 1e-5  # of code that computes in float32
LEAST, MOST = 1e-4, 0.9  # slopes of a leaky ReLU
BIASES = ("b", "beta", "bias", "shift")


@dataclass
class Known:
    """op; roles: canonical argument by parameter's name; layout; options, as the trials' data have them."""

    op: str = "unknown"
    roles: dict[str, str] = field(default_factory=dict)
    layout: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def transposed(self) -> bool:
        """Whether a dense weight is (out, in)."""
        return self.layout in ("out,in", "columns")


def known(name: str, x: Array, y: Any, arrays: dict[str, Array]) -> Known:
    """arrays: the parameters by name, of the call that took x to y."""
    y = np.asarray(y)
    named = canonical_op(name)
    if not arrays:
        found = pointwise(x, y)
        if named in ACTIVATIONS and (found is None or (found.op in ACTIVATIONS and found.op != named)):
            return Known(named)  # what it computes is another function than its name says
        if found is not None and found.op == "linear" and not re.search("ident|linear", name, re.I):
            return Known()  # such as a change of shape
        return found if found is not None else Known("unknown" if named == "softmax_loss" else named)
    found = dense(x, y, arrays)
    if found is not None:
        return found
    return Known(named, by_name(named, arrays))


def pointwise(x: Array, y: Array) -> Known | None:
    """relu, tanh ..., and leaky ReLU with its slope; identity is `linear`."""
    x = np.asarray(x)
    if x.shape != y.shape or not x.size or y.dtype.kind not in "fc":
        return None
    for op, (f, _) in ACTIVATIONS.items():
        if _same(y, f(x.astype(np.float64))):
            return Known(op)
    below = x < 0
    if below.any() and _same(y[~below], x[~below]):
        slopes = y[below] / x[below]
        slope = float(np.median(slopes))
        if LEAST < slope < MOST and _same(slopes, np.full(slopes.shape, slope)):
            return Known("leaky_relu", options={"slope": slope})
    return None


def dense(x: Array, y: Array, arrays: dict[str, Array]) -> Known | None:
    """x W + b: rows or columns are examples, W is (in, out) or (out, in), the bias is folded in or not."""
    weights = [n for n, a in arrays.items() if a.ndim == 2 and not (len(arrays) > 1 and 1 in a.shape)]
    others = [n for n in arrays if n not in weights]
    if len(weights) != 1 or len(others) > 1 or np.ndim(x) != 2 or y.ndim != 2:
        return None
    (w,) = weights
    b = np.asarray(arrays[others[0]], np.float64) if others else np.zeros(())
    roles = {w: "w", **({others[0]: "b"} if others else {})}
    matrix = np.asarray(arrays[w], np.float64)
    attempts = (
        ("in,out", lambda: x @ matrix + b.reshape(1, -1)),
        ("out,in", lambda: x @ matrix.T + b.reshape(1, -1)),
        ("columns", lambda: matrix @ x + b.reshape(-1, 1)),
        ("columns,in,out", lambda: matrix.T @ x + b.reshape(-1, 1)),
    )
    for layout, product in attempts:
        if _gives(product, y):
            return Known("affine", roles, layout)
    folded = (
        ("row", lambda: x @ matrix[:-1] + matrix[-1]),
        ("first row", lambda: x @ matrix[1:] + matrix[0]),
        ("column", lambda: x @ matrix[:, :-1].T + matrix[:, -1]),
        ("first column", lambda: x @ matrix[:, 1:].T + matrix[:, 0]),
    )
    for layout, product in folded if not others else ():
        if _gives(product, y):
            return Known("affine_folded", {w: "w"}, layout)
    return None


def by_name(op: str, arrays: dict[str, Array]) -> dict[str, str]:
    """Roles of the parameters of an operation that is known by its name."""
    scales = ("batchnorm", "layernorm", "spatial_batchnorm")
    roles: dict[str, str] = {}
    for name, a in sorted(arrays.items(), key=lambda item: -item[1].squeeze().ndim):
        bias = name.lower().strip("_") in BIASES or name.lower().startswith("b")
        if op in scales:
            role = "beta" if bias else "gamma"
        else:
            role = "b" if bias or (a.squeeze().ndim < 2 and "w" in roles.values()) else "w"
        if role not in roles.values():
            roles[name] = role
    return roles


def _gives(product: Any, y: Array) -> bool:
    try:
        return _same(y, product())
    except ValueError:  # shapes that do not fit
        return False


def _same(a: Array, b: Array) -> bool:
    if np.shape(a) != np.shape(b):
        return False
    single = np.asarray(a).dtype == np.float32
    scale = float(np.abs(b).max(initial=0.0))
    return bool(
        np.abs(np.asarray(a) - b).max(initial=0.0) <= (SINGLE if single else SAME) * max(scale, 1e-300)
    )
