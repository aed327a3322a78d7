"""In which form the user's code takes targets: integers (N,), one-hot (N, C), or a column (N, 1)."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray
FORMS: dict[str, Callable[[Array, int], Array]] = {
    "integers": lambda t, classes: t.copy(),
    "one-hot": lambda t, classes: one_hot(t, classes),
    "a column of integers": lambda t, classes: t[:, None].copy(),
}


def one_hot(t: Array, classes: int) -> Array:
    """(N, C); of a single output, (N, 1), what it should be: 0 or 1."""
    return np.eye(classes)[t] if classes > 1 else np.asarray(t, np.float64)[:, None]


class Targets:
    """Finds the form at the first call, and keeps to it."""

    def __init__(self, form: str | None = None) -> None:
        self.form = form

    def call(
        self,
        function: Callable[[Array], Any],
        t: Array,
        classes: int,
        good: Callable[[Any], bool] = lambda _: True,
    ) -> Any:
        """function(targets); at the first call the forms are tried until one gives a finite number.

        good(result): whether that is what a right form gives; a wrong one may be broadcast to something.
        Where none is good, the first finite one is taken. Raises what the first form raised where none is.
        """
        if self.form:
            return function(FORMS[self.form](t, classes))
        first: Exception | None = None
        finite: str | None = None
        for form, make in FORMS.items():
            try:
                result = function(make(t, classes))
            except Exception as error:
                first = first or error
                continue
            if _finite(result) and good(result):
                self.form = form
                return result
            finite = finite or (form if _finite(result) else None)
        if first is not None and finite is None:
            raise first
        self.form = finite or "integers"
        return function(FORMS[self.form](t, classes))


def _finite(result: Any) -> bool:
    parts = result if isinstance(result, tuple) else (result,)
    numbers = [p for p in parts if np.ndim(p) == 0 and not isinstance(p, dict | str) and p is not None]
    return all(np.isfinite(n) for n in numbers)
