"""Gradients by arithmetic alone, from nothing but values of f: the referee of every hand-written gradient.

Three methods, each with its error: `central` differences (about 1e-9), `richardson` extrapolation (about
1e-12) and the `complex` step (about 1e-16), which needs an f that is also right for complex numbers.
f(x) returns a scalar, or (scalar, decisions): the branches it took (masks, argmaxes) as an array or a tuple
of arrays. Where a step changes a decision, f has a kink within reach, and the estimate is not to be judged.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from scratch.errors import UsageError

Array = np.ndarray
Function = Callable[[Array], Any]
Result = tuple[float, float, bool]  # value, error, kink

UNIT = 2.0**-53  # unit roundoff of float64
CENTRAL_STEP = np.cbrt(2 * UNIT)
RICHARDSON_STEPS = 2.0 ** np.arange(-11, -5)
COMPLEX_STEP = 1e-30


@dataclass(frozen=True)
class Estimate:
    """Derivatives by arithmetic: three arrays of one shape, or three scalars for one direction.

    error: absolute, an estimate rather than a bound; accept |gradient - value| <= 3 error.
    kinks: True where f changes a branch within the step, so that value and error mean nothing.
    """

    value: Array | np.float64
    error: Array | np.float64
    kinks: Array | np.bool_


def gradient(
    f: Function,
    x: Array,
    method: str = "complex",
    coordinates: Sequence[int] | Array | None = None,
    verify: bool = True,
) -> Estimate:
    """df/dx, one coordinate after the other. x float64 of any shape -> arrays of the shape of x.

    coordinates: flat indices into x; the answer then has their shape instead. verify=False: f is known to
    be right for complex numbers, so a derivative of 0 is not looked into (at a kink it may well be 0).
    Raises UsageError for x that is not float64, for an f that is not finite, no scalar, or not fit for
    `method`. Source: Griewank and Walther, Evaluating Derivatives, 2008; Squire and Trapp, 1998.
    """
    probe = _Probe(f, x)
    size = probe.x.size
    chosen = np.arange(size).reshape(np.shape(x)) if coordinates is None else np.asarray(coordinates, int)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < size:
        raise UsageError(f"coordinates must lie in 0 ... {size - 1}; {chosen.min()} ... {chosen.max()} came.")
    derive = _method(method)
    results = [derive(_Line(probe, slice(i, i + 1), np.ones(1))) for i in chosen.ravel()]
    table = np.array(results).reshape(*chosen.shape, 3)
    value, error, kinks = table[..., 0], table[..., 1], table[..., 2] != 0
    if method == "complex":
        silent = np.zeros(size)
        silent[chosen[(value == 0) & ~kinks]] = verify
        _check_survival(probe, silent)
        error = np.maximum(error, 8 * UNIT * np.sqrt(np.sum(value**2) / max(value.size, 1)))
    return Estimate(value, error, kinks)


def directional(f: Function, x: Array, v: Array, method: str = "complex", verify: bool = True) -> Estimate:
    """Derivative of t -> f(x + t v) at t = 0: <df/dx, v>. x float64, v of the same shape -> scalars.

    It costs one evaluation (complex), 4 (central) or 12 (richardson), however many coordinates x has.
    Raises UsageError as `gradient` does, and for a v that does not fit x or is zero.
    """
    probe = _Probe(f, x)
    v = probe.direction(v)
    value, error, kink = _method(method)(_Line(probe, slice(None), v))
    if verify and method == "complex" and value == 0 and not kink:
        _check_survival(probe, v)
    return Estimate(np.float64(value), np.float64(error), np.bool_(kink))


def random_directions(shape: Sequence[int], count: int, rng: np.random.Generator) -> Iterator[Array]:
    """`count` arrays of independent N(0, 1): the mean square of <g, v> is then |g|^2.

    No error of g is orthogonal to them but by a chance of 0; signs +-1 cancel two equal errors half the time.
    """
    for _ in range(count):
        yield rng.standard_normal(tuple(shape))


def taylor_slope(f: Function, x: Array, g: Array, v: Array) -> float:
    """Order of |f(x + t v) - f(x) - t <g, v>| as t -> 0: 2 for a right gradient g, 1 for a wrong one.

    It needs no tolerance: ask for more than 1.5. x, g, v of one shape; inf where rounding hides the
    remainder, as for a right gradient of a linear f. Errors below about 1e-5 of g do not show.
    Raises UsageError as `directional` does. Source: Farrell et al., SIAM J. Sci. Comput. 35, 2013.
    """
    probe = _Probe(f, x)
    line = _Line(probe, slice(None), probe.direction(v))
    if np.shape(g) != probe.shape:
        raise UsageError(f"g must have the shape of x, {probe.shape}, but {np.shape(g)} came.")
    slope = float(np.ravel(g) @ line.v)
    steps, remainders = [], []
    for t in line.scale * 2.0 ** -np.arange(2, 24, 2):
        value, _ = line(t)
        remainder, noise = abs(value - probe.value - t * slope), abs(value) + abs(t * slope)
        if remainder > 1000 * UNIT * noise:
            steps.append(t)
            remainders.append(remainder)
    if len(steps) < 2:
        return float("inf")
    return float(np.polyfit(np.log(steps[-3:]), np.log(remainders[-3:]), 1)[0])


class NotFiniteError(UsageError):
    """f is NaN or infinite at x or a step away from it."""


class _Probe:
    """f around x: every call gets a fresh array, and every answer is checked and copied."""

    def __init__(self, f: Function, x: Array) -> None:
        if np.asarray(x).dtype != np.float64:
            raise UsageError(
                f"differences need x in float64, but {np.asarray(x).dtype} came: "
                "in float32 they are mostly noise; pass x.astype(np.float64)."
            )
        self.f, self.shape = f, np.shape(x)
        self.x = np.array(x, order="C").ravel()
        self.value, self.decisions = self(self.x)

    def __call__(self, point: Array) -> tuple[Any, tuple[Array, ...]]:
        result = self.f(point.reshape(self.shape).copy())
        value, decisions = result if isinstance(result, tuple) else (result, ())
        if np.shape(value) != ():
            raise UsageError(f"f must return a scalar, but an array of shape {np.shape(value)} came.")
        if not np.isfinite(value):
            raise NotFiniteError(f"f must be finite around x, but {value} came.")
        if np.iscomplexobj(value) and not np.iscomplexobj(point):
            if value.imag != 0:
                raise UsageError(f"f must be real for real x, but {value} came.")
            value = value.real
        kept = decisions if isinstance(decisions, tuple | list) else (decisions,)
        return np.asarray(value)[()], tuple(np.array(decision) for decision in kept)

    def direction(self, v: Array) -> Array:
        """v as a flat vector, if it is one to move x along."""
        if np.shape(v) != self.shape or not np.isfinite(v).all() or not np.any(v):
            raise UsageError(
                f"a direction must be finite, not zero and of the shape {self.shape}, but {np.shape(v)} came."
            )
        return np.array(v, np.float64).ravel()

    def crossed(self, decisions: tuple[Array, ...]) -> bool:
        """Whether these branches differ from those at x."""
        return not all(map(np.array_equal, decisions, self.decisions))


class _Line:
    """t -> f(x + t v), where v moves only x[where]; `scale` is the t that moves x by max(1, |x|)."""

    def __init__(self, probe: _Probe, where: slice, v: Array) -> None:
        self.probe, self.where, self.v = probe, where, v
        self.scale = max(1.0, float(np.abs(probe.x[where]).max())) / float(np.abs(v).max())

    def point(self, t: complex) -> Array:
        point = self.probe.x.astype(np.result_type(self.probe.x, type(t)))
        point[self.where] += t * self.v
        return point

    def __call__(self, t: complex) -> tuple[Any, tuple[Array, ...]]:
        return self.probe(self.point(t))

    def difference(self, h: float) -> tuple[float, bool]:
        """(f(x + h v) - f(x - h v)) / 2h, and whether a branch changes on either side."""
        above, below = self.point(h), self.point(-h)
        moved = (above - below)[self.where]  # 2 h v but for the rounding of x +- h v
        (high, right), (low, left) = self.probe(above), self.probe(below)
        crossed = self.probe.crossed(right) or self.probe.crossed(left)
        return float((high - low) * (self.v @ self.v) / (moved @ self.v)), crossed

    def rounding(self, h: float, slope: float) -> float:
        """What rounding f and x +- h v to float64 does to a difference quotient."""
        return UNIT * (abs(self.probe.value) + self.scale * abs(slope)) / h


def _central(line: _Line) -> Result:
    """Error: |D(h) - D(2h)| / 3 for the h^2 term, u |f| / h for rounding."""
    h = CENTRAL_STEP * line.scale
    (near, crossed), (far, _) = line.difference(h), line.difference(2 * h)
    return near, abs(near - far) / 3 + line.rounding(h, near), crossed


def _richardson(line: _Line) -> Result:
    """Differences at h, 2h, 4h ... up to the first kink, extrapolated to h = 0; the entry that moved least.

    T[j,k] = T[j,k-1] + (T[j,k-1] - T[j+1,k-1]) / (4^k - 1) loses the h^2k term of the entries it is made of;
    its error is how far it lies from both. Source: Ridders, Adv. Eng. Software 4, 1982.
    """
    column: list[float] = []
    for h in line.scale * RICHARDSON_STEPS:
        slope, crossed = line.difference(h)
        if crossed:
            break
        column.append(slope)
    if len(column) < 2:
        return slope, float("inf"), True
    best = column[0], float("inf")
    for k in range(1, len(column)):
        finer = [a + (a - b) / (4**k - 1) for a, b in pairwise(column)]
        for j, entry in enumerate(finer):
            moved = max(abs(entry - column[j]), abs(entry - column[j + 1]))
            error = moved + line.rounding(line.scale * RICHARDSON_STEPS[j], entry)
            best = min(best, (entry, error), key=lambda candidate: candidate[1])
        column = finer
    return *best, False


def _complex(line: _Line) -> Result:
    """Im f(x + ih v) / h: no subtraction, so h may be tiny. Error: 8 u of the larger of |value|, |f| / |x|.

    `gradient` raises that to 8 u of the root mean square of the coordinates, the size of what cancelled.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            value, decisions = line(1j * COMPLEX_STEP)
    except Exception as error:
        raise UsageError(f"f fails for complex numbers ({error}); use method='richardson'.") from error
    if not np.iscomplexobj(value):
        raise UsageError("f returns a real number for complex x; use method='richardson'.")
    slope = float(value.imag / COMPLEX_STEP)
    scale = max(abs(slope), abs(line.probe.value) / line.scale)
    return slope, 8 * UNIT * scale, line.probe.crossed(decisions)


def _check_survival(probe: _Probe, v: Array) -> None:
    """Raise UsageError if f moves along v, where the complex step saw nothing: f lost the imaginary part."""
    if not v.any():
        return
    line = _Line(probe, slice(None), v)
    slope, error, crossed = _central(line)
    h = CENTRAL_STEP * line.scale
    bend = abs(line(h)[0] - 2 * probe.value + line(-h)[0]) / h  # of the order of the slope at a kink
    if abs(slope) > 100 * error and bend < abs(slope) / 2 and not crossed:
        raise UsageError(
            f"f drops the imaginary part (np.abs, .real or a cast to float): the complex step gives 0 where "
            f"differences give {slope:.3g}; use method='richardson'."
        )


METHODS: dict[str, Callable[[_Line], Result]] = {
    "central": _central,
    "richardson": _richardson,
    "complex": _complex,
}


def _method(name: str) -> Callable[[_Line], Result]:
    if name not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, but {name!r} came.")
    return METHODS[name]
