"""Single operations written out plainly, canonical layout: what a hypothesis about one of them starts from.

Images are (N, C, H, W), kernels (F, C, K, L), dense weights (in, out). `Op` brings the user's tensors there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.diagnosis.hypothesis import Case
from compare.diagnosis.replay import ACTIVATIONS, activation, softmax
from compare.submission.evidence import Evidence, Trial

Array = np.ndarray


@dataclass
class Op:
    """One call in canonical layout: x, w, b, gamma, beta by name; dy; options."""

    op: str
    layout: str
    names: dict[str, str]  # canonical argument: the user's tensor
    arrays: dict[str, Array]
    dy: Array
    options: dict[str, Any]
    trial: Trial

    def __getattr__(self, name: str) -> Array:
        try:
            return self.arrays[name]
        except KeyError:
            raise AttributeError(name) from None

    def users(self, **gradients: Array) -> dict[str, Array]:
        """Gradients by canonical argument as the user has them: names, layout, shapes of vectors."""
        out = {}
        for role, g in gradients.items():
            if role in self.names:
                g = _to_user(self.op, self.layout, role, np.asarray(g))
                shape = np.shape(self.trial.inputs[self.names[role]])
                same = role in ("b", "gamma", "beta") and g.size == np.prod(shape)
                out[self.names[role]] = (
                    g.reshape(shape)
                    if same
                    or (self.op in ("affine", "affine_relu") and role == "x" and g.size == np.prod(shape))
                    else g
                )
        return out


def of(evidence: Evidence, trial: Trial) -> Op:
    """The call of a trial."""
    description = evidence.description
    op, layout = str(description.get("op")), str(description.get("layout") or "")
    names = {role: n for role, n in description.get("arguments", {}).items() if n in trial.inputs}
    arrays = {
        role: _to_canonical(op, layout, role, np.asarray(trial.inputs[n], np.float64))
        for role, n in names.items()
    }
    dy = np.asarray(trial.data.get("dy", 1.0), np.float64)
    if op in ("conv", "max_pool", "avg_pool") and layout == "nhwc":
        dy = dy.transpose(0, 3, 1, 2)
    if layout.startswith("columns"):
        dy = dy.T
    return Op(op, layout, names, arrays, dy, trial.data, trial)


def ops_of(case: Case, *ops: str) -> bool:
    """Whether the case is one of these operations."""
    return case.evidence.kind == "operation" and case.evidence.description.get("op") in ops


def forward(o: Op) -> Array | None:
    """y in canonical layout; None for an operation that is not known here."""
    match o.op:
        case "affine":
            return o.x.reshape(len(o.x), -1) @ o.w + o.arrays.get("b", 0.0)
        case "affine_relu":
            return np.maximum(o.x.reshape(len(o.x), -1) @ o.w + o.arrays.get("b", 0.0), 0)
        case "conv":
            x, stride = padded(o), o.options["stride"]
            b = o.arrays.get("b", np.zeros(len(o.w)))
            columns = [[np.einsum("nckl,fckl->nf", x[s], o.w) + b for s in row] for row in places(o, stride)]
            return np.array(columns).transpose(2, 3, 0, 1)
        case "max_pool":
            return np.array([[o.x[s].max(axis=(2, 3)) for s in row] for row in places(o)]).transpose(
                2, 3, 0, 1
            )
        case "avg_pool":
            return np.array([[o.x[s].mean(axis=(2, 3)) for s in row] for row in places(o)]).transpose(
                2, 3, 0, 1
            )
        case "batchnorm" | "layernorm" | "spatial_batchnorm":
            xhat, _, _ = normalised(o)
            shape = (1, -1, 1, 1) if o.op == "spatial_batchnorm" else (1, -1)
            return o.gamma.reshape(shape) * xhat + o.beta.reshape(shape)
        case "leaky_relu":
            slope = o.options.get("slope", 0.01)
            return np.where(o.x > 0, o.x, slope * o.x)
        case op if op in ACTIVATIONS:
            return activation(op)[0](o.x)
    return None


def window(o: Op) -> tuple[int, int]:
    """Height and width of the window."""
    return o.w.shape[2:] if o.op == "conv" else (o.options["size"], o.options["size"])


def padded(o: Op) -> Array:
    pad = o.options.get("pad", 0)
    return np.pad(o.x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])


def places(o: Op, stride: int | None = None) -> list[list[tuple[slice, ...]]]:
    """The slices of the (padded) input that the outputs (i, j) look at."""
    stride = o.options.get("stride", 1) if stride is None else stride
    k, l = window(o)
    shape = padded(o).shape[2:]
    rows, columns = (
        (n - size) // o.options.get("stride", 1) + 1 for n, size in zip(shape, (k, l), strict=True)
    )
    everything = slice(None)
    return [
        [
            (everything, everything, slice(i * stride, i * stride + k), slice(j * stride, j * stride + l))
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def normalised(o: Op) -> tuple[Array, Array, Array]:
    """(xhat, mean, standard deviation), the latter two of the axis that is normalised over."""
    axes = {"batchnorm": (0,), "layernorm": (1,), "spatial_batchnorm": (0, 2, 3)}[o.op]
    if o.options.get("mode") == "test":
        shape = (1, -1, 1, 1) if o.op == "spatial_batchnorm" else (1, -1)
        mean, variance = (np.asarray(o.options[k]).reshape(shape) for k in ("running_mean", "running_var"))
    else:
        mean, variance = o.x.mean(axis=axes, keepdims=True), o.x.var(axis=axes, keepdims=True)
    deviation = np.sqrt(variance + o.options.get("eps", 0.0))
    return (o.x - mean) / deviation, mean, deviation


def probabilities(o: Op) -> tuple[Array, Array]:
    """(softmax of the scores, one-hot targets) of a loss."""
    t = np.asarray(o.options["t"], int)
    return softmax(o.x), np.eye(o.x.shape[1])[t]


def _to_canonical(op: str, layout: str, role: str, a: Array) -> Array:
    if layout.startswith("columns"):  # of examples; the weight is (out, in), or (in, out) where it says so
        return a.ravel() if role == "b" else a if role == "w" and layout == "columns,in,out" else a.T
    if op in ("affine", "affine_relu"):
        return a.T if role == "w" and layout == "out,in" else a.ravel() if role == "b" else a
    if op in ("conv", "max_pool", "avg_pool") and layout == "nhwc":
        return (
            a.transpose(3, 2, 0, 1) if role == "w" else a.transpose(0, 3, 1, 2) if role == "x" else a.ravel()
        )
    return a.ravel() if role in ("b", "gamma", "beta") else a


def _to_user(op: str, layout: str, role: str, g: Array) -> Array:
    if layout.startswith("columns"):
        return g if role == "b" or (role == "w" and layout == "columns,in,out") else g.T
    if op in ("affine", "affine_relu") and role == "w" and layout == "out,in":
        return g.T
    if op in ("conv", "max_pool", "avg_pool") and layout == "nhwc" and g.ndim == 4:
        return g.transpose(2, 3, 1, 0) if role == "w" else g.transpose(0, 2, 3, 1)
    return g
