"""A further look at a function: facts from which a wrong gradient of it can be explained without knowing it.

jacobians; the gradients of arguments that are broadcast, before they are summed; what goes through each
expression of the source; whether a matrix has to be symmetric for the gradients to be right; ties.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.function_calls import Caller, Given
from compare.adapters.function_derivatives import FINE, SAME, Derivatives, contracted
from compare.adapters.function_parts import Parts, Truths
from compare.adapters.function_points import Plan
from compare.adapters.function_repairs import repairs
from compare.adapters.subject import Claims, Point
from scratch.errors import GradparityError, UsageError

Array = np.ndarray
ENTRIES = 4000  # of a Jacobian
EQUAL_VALUE = 0.75


def looks(
    caller: Caller,
    plan: Plan,
    order: Sequence[str],
    given: Callable[[Point], Given],
    claims: Callable[[Point], Claims],
) -> dict[str, Any]:
    """All facts. given(point): the arguments; claims(point): the gradients as the subject has them."""
    found: dict[str, Any] = {"sizes": plan.sizes}
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        try:
            look = Derivatives(caller, plan, order, given)
        except (GradparityError, ValueError):
            return found
        dys = {p.label: _dys(p, plan.outputs) for p in plan.points}
        wrong = _wrong(look, claims, dys)
        if not wrong:
            return found | _ties(look, plan.points[0], claims, dys[plan.points[0].label])
        return found | _reasons(look, claims, dys, wrong)


def _reasons(
    look: Derivatives, claims: Callable[[Point], Claims], dys: dict[str, list[Array]], wrong: list[str]
) -> dict[str, Any]:
    """What may explain the wrong gradients."""
    points, order = look.plan.points, look.order
    truths: Truths = {p.label: {} for p in points}
    jacobians: dict[str, dict[str, Array]] = {}
    spread: dict[str, dict[str, Array]] = {}
    for p in points:
        own = look.given(p)
        for name in order:
            every = look.jacobian(look.values, own, name)
            truths[p.label][name] = contracted(every, dys[p.label])
            alone = len(order) == 1 and np.ndim(own[name]) == 0  # a function of one number
            if len(every) == 1 and (dys[p.label][0].ndim or alone) and every[0].size <= ENTRIES:
                jacobians.setdefault(p.label, {})[name] = every[0]
            if (wide := _spread(look, own, name, look.plan.sizes[p.label])) is not None:
                spread.setdefault(p.label, {})[name] = look.gradient(
                    look.values, own | {name: wide}, name, dys[p.label]
                )
    separable = [n for n in wrong if _is_separable(look, look.given(points[0]), n)]
    found: dict[str, Any] = {"separable": separable}
    found |= {"jacobians": jacobians, "spread": spread, "slope_at_output": _at_output(look, points, order)}
    with contextlib.suppress(ValueError, SyntaxError, KeyError, NameError, TypeError, GradparityError):
        found["parts"] = Parts(look, truths, dys, look.caller.body()).find(points, claims, wrong)

    def right(number: int) -> bool:
        p = points[number]
        with calling(p.seed):
            now = claims(p.copy())
        return not any(_is_wrong(now.get(name), truths[p.label][name], look.wrong) for name in order)

    found["repairs"] = repairs(look.caller, len(points), right, list(points[0].inputs))
    return found | _special(look, points, claims, dys, wrong)


def _wrong(look: Derivatives, claims: Callable[[Point], Claims], dys: dict[str, list[Array]]) -> list[str]:
    """The arguments whose gradient does not give the slopes of f along random directions."""
    wrong: dict[str, None] = {}
    for p in look.plan.points:
        with calling(p.seed):
            found = claims(p.copy())
        own = look.given(p)
        for name in look.order:
            claim = found.get(name)
            if claim is None or np.shape(claim) != np.shape(own[name]) or not np.isfinite(claim).all():
                wrong[name] = None
                continue
            for seed in range(2):
                v = np.random.default_rng(seed).standard_normal(np.shape(claim))
                slope = look.slope(look.values, own, name, v, dys[p.label])
                if not abs(float(np.sum(claim * v)) - slope) <= look.wrong * max(
                    float(np.linalg.norm(claim)), abs(slope)
                ):
                    wrong[name] = None
    return [n for n in look.order if n in wrong]


def _is_separable(look: Derivatives, given: Given, name: str) -> bool:
    """Whether a number is a sum of functions of one entry each: then every derivative is elementwise."""
    x, base = np.asarray(given[name]), look.values(given)
    if len(base) > 1 or base[0].ndim or x.size < 2:
        return False
    rng = np.random.default_rng(0)

    def at(*entries: int) -> float:
        moved = np.array(x)
        moved.flat[list(entries)] += 0.05
        return float(look.values(given | {name: moved})[0])

    for _ in range(6):
        i, j = rng.choice(x.size, 2, replace=False)
        one, other, both, none = at(i), at(j), at(i, j), float(base[0])
        if not abs(both - one - other + none) <= look.wrong * (abs(one - none) + abs(other - none) + 1e-12):
            return False
    return True


def _at_output(
    look: Derivatives, points: Sequence[Point], order: Sequence[str]
) -> dict[str, dict[str, Array]]:
    """The derivatives f'(f(x)) of an elementwise function: what applying it twice gives."""
    found: dict[str, dict[str, Array]] = {}
    for p in points:
        given = look.given(p)
        y = look.values(given)[0]
        for name in order:
            if y.shape == np.shape(given[name]) and y.ndim and y.size**2 <= ENTRIES:
                with contextlib.suppress(GradparityError):
                    j = look.jacobian(look.values, given | {name: np.asarray(y, np.float64)}, name)[0]
                    found.setdefault(p.label, {})[name] = (
                        np.diagonal(j.reshape(y.size, y.size)).reshape(y.shape).copy()
                    )
    return found


def _dys(point: Point, count: int) -> list[Array]:
    names = ["dy", *(f"dy{i}" for i in range(2, count + 1))]
    return [np.asarray(point.data.get(n, 1.0)) for n in names[:count]]


def _is_wrong(claim: Any, truth: Array, within: float) -> bool:
    if claim is None or np.shape(claim) != truth.shape or not np.isfinite(claim).all():
        return True
    return bool(
        np.abs(claim - truth).max(initial=0.0) > within * max(float(np.abs(truth).max(initial=0.0)), 1e-12)
    )


def _spread(look: Derivatives, given: Given, name: str, sizes: dict[str, int]) -> Array | None:
    """The argument repeated as broadcasting repeats it, where the function takes that and gives the same."""
    x, before = np.asarray(given[name]), look.values(given)
    shapes = [y.shape for y in before] + [np.shape(a) for n, a in given.items() if n != name]
    shapes += [(n, *x.shape) for n in dict.fromkeys(sizes.values())]
    for shape in shapes:
        try:
            if shape == x.shape or np.broadcast_shapes(shape, x.shape) != shape:
                continue
            wide = np.array(np.broadcast_to(x, shape))
            after = look.values(given | {name: wide})
        except (ValueError, CheckedCodeError, UsageError):
            continue
        if all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-12) for a, b in zip(after, before, strict=True)
        ):
            return wide
    return None


def _special(
    look: Derivatives,
    points: Sequence[Point],
    claims: Callable[[Point], Claims],
    dys: dict[str, list[Array]],
    wrong: list[str],
) -> dict[str, Any]:
    """Which gradients are right once a matrix is symmetric; and the right ones at the transpose of a matrix."""
    symmetric: dict[str, str] = {}
    transposed: dict[str, dict[str, dict[str, Array]]] = {}
    for argument in look.order:
        square = [
            p
            for p in points
            if p.inputs[argument].ndim == 2
            and len(set(p.inputs[argument].shape)) == 1
            and p.inputs[argument].size > 1
        ]
        for p in square[:1]:
            with calling(p.seed):
                here = claims(p.copy())
            own = p.copy()
            a = own.inputs[argument]
            own.inputs[argument] = (a + a.T) / 2
            for name in wrong:
                with calling(p.seed):
                    claim = claims(own.copy()).get(name)
                right = look.gradient(look.values, look.given(p), name, dys[p.label])
                if _is_wrong(here.get(name), right, look.wrong) and not _is_wrong(
                    claim, look.gradient(look.values, look.given(own), name, dys[p.label]), look.wrong
                ):
                    symmetric.setdefault(name, argument)
        for p in square:
            turned = p.copy()
            turned.inputs[argument] = p.inputs[argument].T.copy()
            try:
                there = {n: look.gradient(look.values, look.given(turned), n, dys[p.label]) for n in wrong}
            except GradparityError:
                continue
            transposed.setdefault(argument, {})[p.label] = there
    return {"right_if_symmetric": symmetric, "transposed": transposed}


def _ties(look: Derivatives, p: Point, claims: Callable[[Point], Claims], dys: list[Array]) -> dict[str, Any]:
    """Where all entries are equal, and all move together: the gradient must sum to the slope that f has."""
    for name in look.order:
        x = p.inputs[name]
        if x.size < 2 or look.plan.layout.domains.get(name, "") not in ("", "positive", "unit"):
            continue
        tied = p.copy()
        tied.inputs[name] = np.full(x.shape, EQUAL_VALUE)
        try:
            given, ones = look.given(tied), np.ones(x.shape)
            base = look.values(given)
            sides = []
            for h in (FINE, -FINE):
                moved = look.values(given | {name: tied.inputs[name] + h * ones})
                sides.append(
                    float(sum(np.sum(dy * (a - b)) for dy, a, b in zip(dys, moved, base, strict=True))) / h
                )
            slopes = look.along(look.values, given, name, ones, FINE)
            slope = float(sum(np.sum(dy * s) for dy, s in zip(dys, slopes, strict=True)))
            with calling(p.seed):
                claim = claims(tied.copy()).get(name)
        except GradparityError:
            continue
        if claim is None or not np.isfinite(claim).all() or not np.isfinite([*sides, slope]).all():
            continue
        size = max(abs(slope), float(np.abs(claim).max(initial=0.0)), 1e-12)
        if (
            abs(sides[0] - sides[1]) < 0.01 * size
            and abs(float(np.sum(claim)) - slope) > SAME * size * x.size
        ):
            return {"tied": {"tensor": name, "found": float(np.sum(claim)), "right": slope}}
    return {}
