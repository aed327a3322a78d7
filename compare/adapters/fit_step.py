"""What one pass of the training method makes of the gradients: where the penalty is added in the update.

The step (W before - W after) / epsilon of one full pass is the gradient that is really followed. Where it is
the gradient of the backward pass plus a multiple of W, that multiple is the penalty's part.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters import roles
from compare.adapters.subject import Claims
from scratch.errors import UsageError

Array = np.ndarray
FIT = re.compile(r"_?(fit|train|learn|gradient_?descent|gd|sgd|optimi[sz]e|update)\w*", re.I)
RATE = re.compile(r"_?(epsilon|eps|lr|eta|learning_?rate|step_?size|alpha)", re.I)
STEPS = (2.0**20, 2.0**10)  # powers of two, so large that the weights do not round the step
CAREFUL = (1.0, 0.5)  # where the code cannot stand such weights
SAME = 1e-7
ONLY = "only the backward pass is judged, without L2."
SHAPES = re.compile(r"broadcast|shape|align", re.I)


@dataclass
class FitStep:
    """name: of the method, None where there is none that can be asked for one step. rates: its two rates.

    mode: how the step is the gradient's: `added` (gradient + c W), `averaged` (gradient / N + c W), `scaled`
    (all of it times one factor, such as a decayed rate), `own` (anything else: then the step itself counts).
    """

    name: str | None = None
    rates: tuple[float, float] = STEPS
    mode: str = "added"
    notes: list[str] = field(default_factory=list)

    def step(
        self, make: Callable[[], Any], read: Callable[[Any], dict[str, Array]], values: dict, rate: float
    ) -> dict:
        """The parameters before minus after one pass, over the rate."""
        thing = make()
        before = {name: np.array(a, np.float64) for name, a in read(thing).items()}
        method = getattr(thing, str(self.name))
        names = [roles.role(p.name) for p in roles.parameters(method)]
        if "epsilon" not in names:
            for attribute, value in list(vars(thing).items()):
                if RATE.fullmatch(attribute) and isinstance(value, float):
                    setattr(thing, attribute, rate)
        roles.call(
            method, str(self.name), ("x", "y"), values | {"epsilon": rate, "passes": 1, "print": False}
        )
        return {name: (before[name] - np.asarray(a, np.float64)) / rate for name, a in read(thing).items()}

    def combine(
        self, claims: Claims, fresh: Claims, step: dict[str, Array], weights: dict[str, Array], n: int
    ) -> Claims:
        """The gradients that are followed. fresh: the gradients that belong to the step."""
        followed: Claims = {}
        factor = {"added": 1.0, "averaged": 1.0 / n, "scaled": self._factor(fresh, step, weights)}.get(
            self.mode
        )
        for name, claim in claims.items():
            own, moved, w = fresh.get(name), step[name], np.asarray(weights[name], np.float64)
            if claim is None or own is None or np.shape(own) != w.shape or np.shape(claim) != w.shape:
                followed[name] = claim
                continue
            if factor is not None:
                rest = moved - factor * np.asarray(own, np.float64)
                c = float(np.vdot(w, rest) / np.vdot(w, w)) if w.any() else 0.0
                size = max(float(np.abs(a).max(initial=0.0)) for a in (moved, own))
                if np.abs(rest - c * w).max(initial=0.0) <= SAME * size:
                    scale = 1.0 if self.mode == "scaled" else factor
                    c = c / factor if self.mode == "scaled" else c
                    followed[name] = scale * claim + c * w if abs(c) > 1e-12 else scale * claim
                    continue
            followed[name] = moved
        return followed

    def _factor(self, fresh: Claims, step: dict[str, Array], weights: dict[str, Array]) -> float:
        found = [f for f, _ in coefficients(fresh, step, weights).values()]
        return float(np.median(found)) if found else 1.0


def coefficients(
    fresh: Claims, step: dict[str, Array], weights: dict[str, Array]
) -> dict[str, tuple[float, float]]:
    """(f, c) of each tensor whose step is f times the gradient plus c times the weight."""
    found = {}
    for name, own in fresh.items():
        w, moved = np.asarray(weights[name], np.float64), step[name]
        if own is None or np.shape(own) != w.shape or not np.any(own) or not np.isfinite(moved).all():
            continue
        columns = np.stack([np.asarray(own, np.float64).ravel(), w.ravel()], axis=1)
        answer = np.linalg.lstsq(columns, moved.ravel(), rcond=None)[0]
        if np.abs(columns @ answer - moved.ravel()).max() <= SAME * np.abs(moved).max():
            found[name] = float(answer[0]), float(answer[1])
    return found


def find(thing: Any) -> str | None:
    """A method that takes X, y and a number of passes."""
    for name in sorted(
        (n for n in dir(thing) if FIT.fullmatch(n)), key=lambda n: (not n.startswith("fit"), n)
    ):
        method = getattr(thing, name)
        if not callable(method):
            continue
        names = [roles.role(p.name) for p in roles.parameters(method)]
        if "passes" in names and ("epsilon" in names or any(RATE.fullmatch(a) for a in vars(thing))):
            return name
    return None


def look(
    name: str | None,
    tries: list[tuple[Callable[[], Any], dict[str, Any], Claims, dict[str, Array]]],
    read: Callable,
) -> FitStep:
    """Try it on batches of different sizes: tries of (maker, values, gradients there, weights there).

    Raises what the method raises where gradients do not fit their weights in it.
    """
    fit = FitStep(name)
    if name is None:
        return fit
    for rates in (STEPS, CAREFUL):
        fit.rates = rates
        try:
            steps = [[fit.step(make, read, values, rate) for rate in rates] for make, values, _, _ in tries]
        except Exception as error:
            if isinstance(error, ValueError) and SHAPES.search(str(error)):
                raise
            why = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
            fit.notes = [f"{name} could not be asked for one pass ({why}): {ONLY}"]
            continue
        if all(_linear(one, other) for one, other in steps):
            fit.notes = []
            fit.mode = _mode(
                [(fresh, one[0], w) for one, (_, _, fresh, w) in zip(steps, tries, strict=True)], tries
            )
            return fit
        fit.notes = [f"One pass of {name} is not one step of gradient descent: {ONLY}"]
    return FitStep(None, notes=fit.notes)


def _linear(one: dict[str, Array], other: dict[str, Array]) -> bool:
    """Whether two rates give the same step: then it is one step along one gradient."""
    for name, a in one.items():
        size = float(np.abs(a).max(initial=0.0))
        if not np.isfinite(a).all() or np.abs(a - other[name]).max(initial=0.0) > SAME * max(size, 1e-6):
            return False
    return True


def _mode(found: list[tuple[Claims, dict[str, Array], dict[str, Array]]], tries: list) -> str:
    """What all tries have in common."""
    counts = [len(values["x"]) for _, values, _, _ in tries]
    factors = [[f for f, _ in coefficients(*one).values()] for one in found]
    if not all(factors):
        return "own"
    medians = [float(np.median(f)) for f in factors]
    if all(abs(f - 1) < SAME for f in medians):
        return "added"
    if all(abs(f * n - 1) < SAME for f, n in zip(medians, counts, strict=True)):
        return "averaged"
    alike = all(abs(f - medians[0]) < SAME * abs(medians[0]) for one in factors for f in one)
    return "scaled" if alike and medians[0] > 0 else "own"
