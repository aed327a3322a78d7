"""Derivatives of a user's function by arithmetic, for a further look at it: along a direction, Jacobians, gradients."""

from collections.abc import Callable, Sequence

import numpy as np

from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.function_calls import Caller, Given, copied
from compare.adapters.function_points import Plan
from compare.adapters.subject import Point
from scratch.errors import UsageError

Array = np.ndarray
Values = Callable[[Given], list[Array]]
COMPLEX, FINE, COARSE = 1e-30, 2.0**-10, 2.0**-5
WRONG, WRONG_SINGLE, SAME = 1e-6, 1e-3, 1e-4


class Derivatives:
    """Derivatives of one function, by the best means that it allows."""

    def __init__(
        self, caller: Caller, plan: Plan, order: Sequence[str], given: Callable[[Point], Given]
    ) -> None:
        self.caller, self.plan, self.order, self.given = caller, plan, order, given
        first = given(plan.points[0])
        self.step: complex = 1j * COMPLEX
        self.wrong = WRONG
        if not self._survives(first):
            single = self._single(first)
            self.step, self.wrong = (COARSE, WRONG_SINGLE) if single else (FINE, WRONG)

    def values(self, given: Given) -> list[Array]:
        with calling(0):
            return self.caller.value(self.own(given))

    def own(self, given: Given) -> Given:
        """Copies, of which those that are meant to be symmetric are."""
        out = copied(given)
        for name in self.plan.symmetric:
            out[name] = (out[name] + np.swapaxes(out[name], -1, -2)) / 2
        return out

    def slope(self, f: Values, given: Given, name: str, v: Array, dys: Sequence[Array]) -> float:
        """The derivative of <dy, f> along v."""
        slopes = self.along(f, given, name, v)
        return float(sum(np.sum(dy * s) for dy, s in zip(dys, slopes, strict=True)))

    def along(self, f: Values, given: Given, name: str, v: Array, step: complex | None = None) -> list[Array]:
        """The derivatives of the outputs along v."""
        h = self.step if step is None else step
        x = np.asarray(given[name], np.float64)
        if isinstance(h, complex):
            return [np.imag(y) / COMPLEX for y in f(given | {name: np.asarray(x + h * v)})]
        near, far = (
            [
                (a - b) / (2 * size)
                for a, b in zip(
                    f(given | {name: np.asarray(x + size * v)}),
                    f(given | {name: np.asarray(x - size * v)}),
                    strict=True,
                )
            ]
            for size in (h, 2 * h)
        )
        return [(4 * a - b) / 3 for a, b in zip(near, far, strict=True)]

    def jacobian(self, f: Values, given: Given, name: str) -> list[Array]:
        """d outputs / d argument, each of shape y.shape + x.shape."""
        x = np.asarray(given[name], np.float64)
        columns = []
        for i in range(x.size):
            v = np.zeros(x.shape)
            v.flat[i] = 1.0
            columns.append(self.along(f, given, name, v))
        return [np.stack(c, axis=-1).reshape(np.shape(c[0]) + x.shape) for c in zip(*columns, strict=True)]

    def gradient(self, f: Values, given: Given, name: str, dys: Sequence[Array]) -> Array:
        return contracted(self.jacobian(f, given, name), dys)

    def _survives(self, given: Given) -> bool:
        """Whether complex numbers go through the function and give what differences give."""
        for name in self.order:
            v = np.random.default_rng(1).standard_normal(np.shape(given[name]))
            try:
                a, b = (
                    self.along(self.values, given, name, v, 1j * COMPLEX),
                    self.along(self.values, given, name, v, FINE),
                )
            except (CheckedCodeError, UsageError, TypeError):
                return False
            if any(
                np.abs(p - q).max(initial=0.0) > SAME * max(float(np.abs(q).max(initial=0.0)), 1e-6)
                for p, q in zip(a, b, strict=True)
            ):
                return False
        return True

    def _single(self, given: Given) -> bool:
        """Whether it computes in float32: changes of 1e-10 are lost."""
        moved = {n: a * (1 + 1e-10) if n in self.order else a for n, a in given.items()}
        return all(np.array_equal(a, b) for a, b in zip(self.values(given), self.values(moved), strict=True))


def contracted(jacobians: Sequence[Array], dys: Sequence[Array]) -> Array:
    """The gradient of <dy, y> from the Jacobians of all outputs."""
    parts = [np.tensordot(dy, j, axes=np.ndim(dy)) for dy, j in zip(dys, jacobians, strict=True)]
    return np.asarray(sum(parts[1:], parts[0]))
