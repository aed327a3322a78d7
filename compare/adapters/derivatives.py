"""Derivatives of somebody else's function: it may drop imaginary parts, compute in float32, have kinks.

What a difference cannot see it must not claim: where two step sizes disagree, the error says so. Of a tensor
that is too large some entries stand for all; the others are marked as kinks, which are not judged.
"""

from collections.abc import Callable

import numpy as np

from compare.submission.evidence import Derivative
from scratch import numeric
from scratch.errors import GradparityError, UsageError

Array = np.ndarray
Function = Callable[[Array], float | complex]
Points = tuple[Array, Array, Array]  # value, error, kinks at the chosen coordinates
AGREES = 20.0  # two estimates must fit within so many of their own errors
COARSE = 2.0 ** np.arange(-8, -5)  # steps for code that computes in float32
COSTS = {"complex": 1, "central": 8, "richardson": 20, "wide differences": 6}  # evaluations for one entry
SHARE, FEWEST = 8, 24  # a tensor may have 1/8 of the evaluations that are left; entries looked at in any case


def derivative(f: Function, x: Array, single: bool, left: int) -> Derivative:
    """df/dx by complex step where it survives, else by extrapolated differences. left: evaluations allowed.

    single: f computes in float32 whatever it is given.
    """
    if single:
        chosen = _chosen(x.size, "wide differences", left)
        return _derivative(x, chosen, _coarse(f, x, chosen), "wide differences")
    try:
        chosen = _chosen(x.size, "complex", left)
        found = numeric.gradient(f, x, coordinates=chosen)
        _check(f, x, chosen, np.asarray(found.value))
        return _derivative(x, chosen, _arrays(found), "complex")
    except GradparityError:
        method = "richardson" if COSTS["richardson"] * x.size < left else "central"
        chosen = _chosen(x.size, method, left)
        return _derivative(x, chosen, _differences(f, x, chosen, method), method)


def moved(f: Function, x: Array, own: Derivative) -> Array:
    """The complex step somewhere else, where `own` is known; 0 elsewhere."""
    out, chosen = np.zeros(x.size), np.flatnonzero(~own.kinks)
    out[chosen] = numeric.gradient(f, x, coordinates=chosen, verify=False).value
    return out.reshape(x.shape)


def _chosen(size: int, method: str, left: int) -> Array:
    """Flat indices of the entries to look at: all, or as many as can be paid."""
    many = max(FEWEST, left // SHARE // COSTS[method])
    if size <= many:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, many, replace=False))


def _derivative(x: Array, chosen: Array, points: Points, method: str) -> Derivative:
    value, error, kinks = np.zeros(x.size), np.full(x.size, np.inf), np.ones(x.size, bool)
    value[chosen], error[chosen], kinks[chosen] = points
    kinks |= ~np.isfinite(error)
    return Derivative(value.reshape(x.shape), error.reshape(x.shape), kinks.reshape(x.shape), method)


def _arrays(found: numeric.Estimate) -> Points:
    return np.array(found.value), np.array(found.error), np.array(found.kinks)


def _check(f: Function, x: Array, chosen: Array, value: Array) -> None:
    """Raise UsageError where the complex step fits no difference: f lost the imaginary part on some way.

    Extrapolated differences are sharp, but reach over kinks; near ones hardly ever do.
    """
    for along in numeric.random_directions(chosen.shape, 2, np.random.default_rng(x.size)):
        v = np.zeros(x.size)
        v[chosen] = along
        slope, size = float(value @ along), float(np.sqrt(value @ value))
        for method in ("richardson", "central"):
            found = numeric.directional(f, x, v.reshape(x.shape), method)
            within = AGREES * float(found.error) + 1e-9 * size
            if found.kinks or abs(slope - float(found.value)) <= within:
                break
        else:
            raise UsageError("the complex step does not fit a difference.")


def _differences(f: Function, x: Array, chosen: Array, method: str) -> Points:
    """A kink within the wide steps is passed over by near ones, which see it if it is nearer still: then
    f(x + h) - 2 f(x) + f(x - h) is of the order of h, and the error with it."""
    value, error, kinks = _arrays(numeric.gradient(f, x, "central", chosen))
    if method == "central":
        return value, error + _bends(f, x, chosen), kinks
    better, within, _ = _arrays(numeric.gradient(f, x, method, chosen))
    apart = (within > error) | (np.abs(value - better) > AGREES * (error + within))
    error[apart] += _bends(f, x, chosen[apart])
    within += np.abs(value - better)
    return np.where(apart, value, better), np.where(apart, error, within), kinks


def _bends(f: Function, x: Array, chosen: Array) -> Array:
    """By how much a kink may mislead a near difference at each coordinate."""
    here, out = float(np.real(f(x))) if chosen.size else 0.0, []
    for i in chosen:
        h = numeric.CENTRAL_STEP * max(1.0, abs(x.flat[i]))
        out.append(_kink(here, _both(f, x, i, h), _both(f, x, i, 2 * h), h))
    return np.array(out)


def _kink(here: float, near: tuple[float, float], far: tuple[float, float], h: float) -> float:
    """f(x + h) - 2 f(x) + f(x - h) grows as h^2 where f is smooth, as h where it has a kink; per 2 h."""
    near_bend, far_bend = (up - 2 * here + down for up, down in (near, far))
    return abs(near_bend - far_bend / 4) / h


def _coarse(f: Function, x: Array, chosen: Array) -> Points:
    """Differences with wide steps, for an f that computes in float32 whatever it is given."""
    value, error = np.zeros(chosen.size), np.zeros(chosen.size)
    here = float(np.real(f(x)))
    for place, i in enumerate(chosen):
        steps = COARSE * max(1.0, abs(x.flat[i]))
        values = [_both(f, x, i, h) for h in steps]
        slopes = [(up - down) / (2 * h) for (up, down), h in zip(values, steps, strict=True)]
        rounding = 2.0**-22 * (abs(here) + abs(slopes[0])) / steps[0]
        near, far = abs(slopes[0] - slopes[1]), abs(slopes[1] - slopes[2])
        value[place] = slopes[0] + (slopes[0] - slopes[1]) / 3
        error[place] = near / 3 + rounding + _kink(here, values[0], values[1], steps[0])
        if near > far / 2 + 10 * rounding:
            error[place] = np.inf
    return value, error, ~np.isfinite(error)


def _both(f: Function, x: Array, i: int, h: float) -> tuple[float, float]:
    """f on both sides."""
    return float(np.real(f(_moved(x, i, h)))), float(np.real(f(_moved(x, i, -h))))


def _moved(x: Array, i: int, by: float) -> Array:
    out = np.array(x, order="C")
    out.flat[i] += by
    return out
