"""Which expressions of a function a wrong gradient forgets, or counts too often: their part of the derivative."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.adapters.examine import calling
from compare.adapters.function_calls import Given
from compare.adapters.function_derivatives import SAME, Derivatives, Values
from compare.adapters.function_paths import Paths
from compare.adapters.subject import Claims, Point
from scratch.errors import GradparityError

Array = np.ndarray
Truths = dict[str, dict[str, Array]]
PARTS, DIRECTIONS = 6, 3


class Parts:
    """Finds expressions whose part of the derivative is a multiple of what is wrong."""

    def __init__(
        self, look: Derivatives, truths: Truths, dys: dict[str, list[Array]], body: Callable
    ) -> None:
        self.look, self.truths, self.dys = look, truths, dys
        self.paths = Paths(body)
        self.neutral: dict[int, str] = {}

    def find(
        self, points: Sequence[Point], claims: Callable[[Point], Claims], wrong: list[str]
    ) -> list[dict[str, Any]]:
        """The likeliest few, each with its part of every wrong gradient at every point."""
        self.record(points[0])
        with calling(points[0].seed):
            found = claims(points[0].copy())
        ranked: list[tuple[tuple, dict[str, Any]]] = []
        for name in wrong:
            claim, truth = found.get(name), self.truths[points[0].label][name]
            if claim is None or np.shape(claim) != truth.shape or not np.isfinite(claim).all():
                continue
            self.neutral = self._neutral(points[0], name)
            for spot, where in enumerate(self.paths.spots):
                for how in ("zero",) if where.constant else ("hold", "pass") if where.inner else ("hold",):
                    try:
                        factor = self._factor(points[0], name, {spot: how}, np.asarray(claim) - truth)
                    except (GradparityError, ValueError, TypeError):
                        continue
                    if factor is None or (how == "pass" and abs(factor) > SAME):
                        continue
                    nice = next((i for i, n in enumerate((0.0, -1.0)) if abs(factor - n) < SAME), 2)
                    part = {"spot": spot, "how": how, "tensor": name, "text": where.text, "line": where.line}
                    part["neutral"] = dict(self.neutral)
                    ranked.append(
                        ((wrong.index(name), nice, how == "pass", where.rank, -len(where.text)), part)
                    )
        chosen = [part for _, part in sorted(ranked, key=lambda r: r[0])[:PARTS]]
        for part in chosen:
            part["parts"] = {p.label: {} for p in points}
        for p in points:
            self.record(p)
            for part in chosen:
                changed = self._changed({**part["neutral"], part["spot"]: part["how"]})
                for name in wrong:
                    rest = self.look.gradient(changed, self.look.given(p), name, self.dys[p.label])
                    part["parts"][p.label][name] = self.truths[p.label][name] - rest
        for part in chosen:
            del part["neutral"], part["spot"]
        return chosen

    def record(self, p: Point) -> None:
        with self.paths.recording():
            self._values(self.look.given(p))

    def _values(self, given: Given) -> list[Array]:
        with calling(0):
            return self.look.caller.value_of(self.paths.call, self.look.own(given))

    def _changed(self, changes: dict[int, str]) -> Values:
        def values(given: Given) -> list[Array]:
            with self.paths.changing(changes):
                return self._values(given)

        return values

    def _neutral(self, p: Point, name: str) -> dict[int, str]:
        """Expressions that change with the argument, though nothing comes of it, such as a maximum that is subtracted.

        People leave them out of a derivative, so they are held fixed beside every other.
        """
        x, found = np.asarray(self.look.given(p)[name]), {}
        v = np.random.default_rng(3).standard_normal(x.shape)
        size = float(np.abs(self.truths[p.label][name]).max(initial=0.0))
        for spot, where in enumerate(self.paths.spots):
            if where.rank == 0 and not where.constant and ("max" in where.text or "min" in where.text):
                rest = self._slope(p, name, v, {spot: "hold"})
                if abs(rest - float(np.sum(self.truths[p.label][name] * v))) < self.look.wrong * max(
                    size, 1e-12
                ):
                    found[spot] = "hold"
        return found

    def _slope(self, p: Point, name: str, v: Array, changes: dict[int, str]) -> float:
        return self.look.slope(self._changed(changes), self.look.given(p), name, v, self.dys[p.label])

    def _factor(self, p: Point, name: str, changes: dict[int, str], off: Array) -> float | None:
        """How many times what goes through these the claim has of it, if that is all that is wrong."""
        truth = self.truths[p.label][name]
        ratios, size = [], float(np.abs(truth).max(initial=0.0))
        for seed in range(DIRECTIONS if truth.size > 1 else 1):
            v = np.random.default_rng(seed).standard_normal(truth.shape)
            full, rest = float(np.sum(truth * v)), self._slope(p, name, v, self.neutral | changes)
            part = full - rest
            if abs(part) < self.look.wrong * max(size, 1e-12) or (
                abs(rest) < self.look.wrong * abs(full) and truth.size > 1
            ):
                return None  # nothing goes through it, or everything does
            ratios.append(float(np.sum(off * v)) / part)
        if max(ratios) - min(ratios) > SAME * max(1.0, abs(ratios[0])) or abs(ratios[0]) < self.look.wrong:
            return None
        return 1 + ratios[0]
