"""What both reference learners ask of their arguments. Names and shapes only: nothing here computes."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from scratch.errors import UsageError
from scratch.learner import KINDS, Architecture

Array = np.ndarray
OUTPUTS = ("softmax", "sigmoid")
DTYPES = ("float32", "float64")


def snap(value: float) -> float:
    """The nearest float32, which is what Keras keeps of a hyperparameter in any precision."""
    return float(np.float32(value))


def one_of(what: str, value: Any, known: Iterable[Any]) -> None:
    """Raise UsageError unless `value` is known."""
    if value not in (known := list(known)):
        raise UsageError(f"{what} must be one of {', '.join(known)}, but {value!r} came.")


def check_architecture(a: Architecture) -> None:
    """Raise UsageError where the values make no network; activations are checked where they are built."""
    one_of("the model", a.kind, KINDS)
    one_of("output", a.output, OUTPUTS)
    if min(a.sizes, default=0) < 1 or len(a.sizes) < 2:
        raise UsageError(f"sizes must be at least two numbers, each 1 or more, but {a.sizes} came.")
    if not 0 <= a.dropout < 1:
        raise UsageError(f"dropout must be a rate in [0, 1), but {a.dropout} came.")
    if a.kind == "dcn":
        if len(a.sizes) != 2:
            raise UsageError(f"the DCN's sizes must be (hidden, classes), but {a.sizes} came.")
        if min(a.image[:2]) < 4:
            raise UsageError(f"the DCN pools twice and needs images of at least 4 x 4, but {a.image} came.")
        if min(*a.filters, a.kernel, a.image[2]) < 1:
            raise UsageError(
                "filters, kernel and channels must each be 1 or more, but "
                f"{a.filters}, {a.kernel} and {a.image[2]} came."
            )


def check_dtype(dtype: Any) -> str:
    """The name of a dtype that the references can run in, or UsageError."""
    name = np.dtype(dtype).name
    one_of("dtype", name, DTYPES)
    return name


def check_hyperparameters(optimizer: str, given: Mapping[str, float], known: Iterable[str]) -> None:
    """Raise UsageError for a hyperparameter that the optimizer does not take."""
    known = list(known)
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"{optimizer} takes {', '.join(known)}, but {', '.join(unknown)} came.")


def check_input(x: Array, a: Architecture) -> None:
    """Raise UsageError unless x is (N, D) for an MLP and (N, H, W, C) for the DCN."""
    expected = a.sizes[:1] if a.kind == "mlp" else a.image
    if np.shape(x)[1:] != tuple(expected):
        shape = ", ".join(map(str, ("N", *expected)))
        raise UsageError(f"the {a.kind} expects x ({shape}), but {np.shape(x)} came.")


def check_targets(t: Array, examples: int, a: Architecture) -> Array:
    """Integer targets (N,) as int64, or (N, M) targets of sigmoid outputs as they are; else UsageError."""
    t, classes = np.asarray(t), a.sizes[-1]
    if a.output == "sigmoid" and t.shape == (examples, classes):
        return t
    if t.shape != (examples,) or t.dtype.kind not in "iu":
        raise UsageError(f"expected {examples} integer targets, but {t.dtype} {t.shape} came.")
    if t.size and not 0 <= t.min() <= t.max() < classes:
        raise UsageError(f"targets must lie in 0 ... {classes - 1}, but {t.min()} ... {t.max()} came.")
    return t.astype(np.int64)


def check_masks(
    masks: Mapping[str, Array] | None, units: Mapping[str, int], examples: int
) -> dict[str, Array]:
    """The keep-masks given, each (N, units); UsageError for a name without dropout or another shape."""
    for name, mask in (masks or {}).items():
        if name not in units:
            raise UsageError(f"dropout is at {', '.join(units) or 'no layer'}, but a mask for {name} came.")
        if np.shape(mask) != (examples, units[name]):
            raise UsageError(
                f"the mask for {name} must be {(examples, units[name])}, but {np.shape(mask)} came."
            )
    return dict(masks or {})


def backward_order(values: Mapping[str, Array], parameters: Mapping[str, Array]) -> dict[str, Array]:
    """One dict of gradients, last layer first, a layer's parameters after its net input."""
    ordered: dict[str, Array] = {}
    for name in reversed(list(values)):
        ordered[name] = values[name]
        layer, what = name.split("/")
        if what == "net_input":
            ordered |= {key: parameters[key] for key in (f"{layer}/W", f"{layer}/b")}
    return ordered
