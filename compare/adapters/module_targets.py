"""In which form a loss takes its targets: integers, one-hot or a column; examples in rows or in columns.

Several forms may run (argmax of an integer is 0), so the one is taken under which the loss is a known
function of the scores, failing that one on which it depends at all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.adapters.targets import FORMS

Array = np.ndarray
SAME = 1e-6
Value = Callable[[Array, Array], Any]  # value(x, targets) -> one number, or one for each example


@dataclass(frozen=True)
class Form:
    """layout: rows or columns are the examples; targets: as in adapters.targets; family: what the loss is."""

    layout: str = "rows"
    targets: str = "integers"
    family: str = ""
    probabilities: bool = False  # what comes in must be positive and sum to 1

    def x(self, rows: Array) -> Array:
        return rows if self.layout == "rows" else np.ascontiguousarray(rows.T)

    def t(self, t: Array, classes: int) -> Array:
        made = FORMS[self.targets](t, classes)
        return np.ascontiguousarray(made.T) if self.layout == "columns" and made.ndim == 2 else made


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


FAMILIES: dict[
    str, Callable[[Array, Array], float]
] = {  # of scores (N, C) and one-hot targets, up to a factor
    "cross_entropy": lambda z, t: -float(np.log((softmax(z) * t).sum(axis=1)).sum()),
    "squared": lambda z, t: float(((z - t) ** 2).sum()),
    "binary_cross_entropy": lambda z, t: float((np.logaddexp(0, z) - z * t).sum()),
    "cross_entropy_of_probabilities": lambda z, t: -float(np.log(np.abs((z * t).sum(axis=1))).sum()),
}


def forms() -> Iterator[Form]:
    for layout in ("rows", "columns"):
        for targets in FORMS:
            yield Form(layout, targets)


def choose(
    value: Callable[[Form, Array], Any],
    scores: Callable[[Form], Array | None],
    targets: list[Array],
    classes: int,
    penalty: bool = False,
) -> Form:
    """value(form, t) for three targets t (N,); scores(form): (N, classes) that go into the loss, where known.

    penalty: something may be added that does not depend on the targets.
    Raises what the first form raised where none gives a finite number.
    """
    fits: list[Form] = []
    first: Exception | None = None
    for form in forms():
        try:
            with np.errstate(all="ignore"):
                values = np.array([np.sum(value(form, t)) for t in targets])
        except Exception as error:
            first = first or error
            continue
        if not np.isfinite(values).all():
            continue
        if values[0] == values[1] == values[2]:
            fits.append(form)
            continue
        z = scores(form)
        family = "" if z is None else _family(z, values, targets, classes, penalty)
        if family:
            return Form(form.layout, form.targets, family)
        fits.insert(sum(1 for f in fits if f.family == "other"), Form(form.layout, form.targets, "other"))
    if fits:
        return fits[0]
    raise first or ValueError("the loss is not a finite number, whatever the form of the targets")


def _family(z: Array, values: Array, targets: list[Array], classes: int, penalty: bool) -> str:
    """A constant factor is left open; where there may be a penalty, differences between targets count."""
    single = 1e-3 if np.asarray(values).dtype == np.float32 else SAME
    for name, loss in FAMILIES.items():
        with np.errstate(all="ignore"):
            right = np.array([loss(z, np.eye(classes)[t]) for t in targets])
        if not np.isfinite(right).all():
            continue
        ours, theirs = (values[1:] - values[0], right[1:] - right[0]) if penalty else (values, right)
        if np.abs(theirs).min() < 1e-6:
            continue
        factors = ours / theirs
        if factors[0] > 0 and np.abs(factors - factors[0]).max() <= single * factors[0]:
            return name
    return ""
