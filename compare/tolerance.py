"""The verdict on one tensor: how far apart, how far it may be, and whether it says anything at all.

float64 is judged entry by entry: |a - b| <= 1e-11 rms(b) + noise. float32 is judged as a whole against the
float64 oracle g: rms(a - g) <= 3 rms(reference's own float32 error) + 4 u rms(g) + rms(noise). A tensor
that is zero on both sides, or below 100 times its noise, is untested: it can show a fault, never its absence.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}
FLOAT32_NOISE = 1 / 4  # of the analysis' C = 16: a float32 tensor is judged by its rms, which averages
TESTED = 100.0


@dataclass(frozen=True)
class Judgement:
    """error and allowed are in the tensor's unit, at the worst entry (float64) or as rms (float32)."""

    verdict: str  # agree, disagree or untested
    error: float
    allowed: float
    max_abs: float
    worst_index: tuple[int, ...] | None
    mine: float
    theirs: float

    @property
    def ratio(self) -> float:
        """error / allowed: above 1 is a disagreement."""
        return self.error / self.allowed if self.allowed else (np.inf if self.error else 0.0)


def rms(a: Array) -> float:
    """Root mean square of all entries; 0 for none. Squares that overflow or vanish are scaled first."""
    if not np.size(a):
        return 0.0
    with np.errstate(over="ignore", under="ignore"):
        plain = float(np.sqrt(np.mean(np.square(a))))
    largest = _largest(a)
    if 1e-150 < plain < np.inf or not 0 < largest < np.inf:
        return plain
    return largest * float(np.sqrt(np.mean(np.square(np.asarray(a) / largest))))


def judge(
    mine: Array, theirs: Array, noise: Array | float, dtype: str, reference_error: float = 0.0
) -> Judgement:
    """Compare two tensors of one shape; `theirs` is the reference (float64) or the oracle (float32).

    noise: what rounding may do, entry by entry. reference_error: rms of what the references lose in float32.
    A shape that differs, NaN or infinity always disagrees.
    """
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    if mine.shape != theirs.shape:
        return Judgement("disagree", np.inf, 0.0, _largest(theirs), None, np.nan, np.nan)
    bad = ~(np.isfinite(mine) & np.isfinite(theirs))
    if bad.any():
        return _at(int(bad.argmax()), mine, theirs, np.inf, 0.0, "disagree")
    with np.errstate(over="ignore"):
        difference = np.abs(mine - theirs)
    if dtype == "float64":
        allowed = 1e-11 * rms(theirs) + noise
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(difference > 0, difference / allowed, 0.0)
        worst = int(ratio.argmax())
        error, limit = float(difference.flat[worst]), float(np.broadcast_to(allowed, mine.shape).flat[worst])
        floor = rms(np.broadcast_to(noise, mine.shape))
    else:
        worst = int(difference.argmax())
        floor = FLOAT32_NOISE * rms(np.broadcast_to(noise, mine.shape))
        error, limit = rms(difference), 3 * reference_error + 4 * UNIT[dtype] * rms(theirs) + floor
    if error > limit or not np.isfinite(limit):
        return _at(worst, mine, theirs, error, limit, "disagree")
    tested = rms(theirs) >= TESTED * floor and bool(theirs.any())
    return _at(worst, mine, theirs, error, limit, "agree" if tested else "untested")


def judge_directions(mine: list[float], theirs: list[float], noise: Array, dtype: str) -> Judgement:
    """Compare directional derivatives <g, v> along random v with what arithmetic alone gives.

    Independent errors of size `noise` in the P entries of g move <g, v> by the 2-norm of the noise.
    """
    size = noise.size
    scale = float(
        np.sqrt(np.mean(np.square(theirs)) / size)
    )  # the rms of the gradient, as the directions see it
    a, b = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Judgement("disagree", np.inf, 0.0, _largest(b), None, float(a[0]), float(b[0]))
    if dtype == "float64":
        relative, floor = 1e-11, rms(noise)
    else:
        relative, floor = 4 * UNIT[dtype], 4 * FLOAT32_NOISE * rms(noise)
    allowed = float(np.sqrt(size)) * (relative * scale + floor)
    worst = int(np.abs(a - b).argmax())
    error = float(abs(a[worst] - b[worst]))
    if error > allowed or not np.isfinite(allowed):
        verdict = "disagree"
    else:
        verdict = "agree" if scale >= TESTED * floor and scale > 0 else "untested"
    return Judgement(verdict, error, allowed, _largest(b), None, float(a[worst]), float(b[worst]))


def judge_loss(
    mine: float, theirs: float, noise: float, dtype: str, reference_error: float = 0.0
) -> Judgement:
    """Compare two losses; noise is 16 u times the scale of the summands, which may exceed the loss."""
    error = abs(mine - theirs)
    if dtype == "float64":
        allowed = 1e-13 * abs(theirs) + noise
    else:
        allowed = 3 * reference_error + 4 * UNIT[dtype] * abs(theirs) + noise
    verdict = "agree" if error <= allowed else "disagree"  # NaN compares false, hence disagrees
    return Judgement(verdict, error if np.isfinite(error) else np.inf, allowed, abs(theirs), (), mine, theirs)


def _at(worst: int, mine: Array, theirs: Array, error: float, allowed: float, verdict: str) -> Judgement:
    index = tuple(int(i) for i in np.unravel_index(worst, mine.shape))
    return Judgement(
        verdict, error, allowed, _largest(theirs), index, float(mine.flat[worst]), float(theirs.flat[worst])
    )


def _largest(a: Array) -> float:
    return float(np.abs(a).max()) if a.size else 0.0
