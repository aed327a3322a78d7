"""What is shown of a tensor: its bounds, its moments and a histogram, exact over all elements and cheap."""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
BUCKETS = 30
CHUNK = 32768  # elements: stays in cache as float64


@dataclass(frozen=True)
class Tally:
    """A tensor's numbers, over its finite elements: exact to rounding in float64.

    count: finite elements; nonfinite: the others. With count 0 all else is NaN or empty.
    limits: the right edges of 30 equal buckets from min to max (of one bucket where min = max);
    buckets: the elements in each.
    """

    count: int
    nonfinite: int = 0
    min: float = math.nan
    max: float = math.nan
    mean: float = math.nan
    std: float = math.nan
    sum_squares: float = math.nan
    limits: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()

    @property
    def rms(self) -> float:
        return math.sqrt(self.sum_squares / self.count) if self.count else math.nan


def tally(array: Array) -> Tally:
    """The Tally of a real tensor of any shape, in two passes: bounds first, then everything else.

    Chunk by chunk, so that nothing of the tensor's size is copied; variances are merged as Chan, Golub
    and LeVeque (1983) do, so that a large mean costs the standard deviation no digits.
    """
    flat = np.asarray(array).ravel(order="K")  # order is of no matter: a transposed view is not copied
    if flat.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float64)
    with np.errstate(all="ignore"):  # squares may overflow: then the moments are infinite
        size, (low, high) = flat.size, _bounds(flat)
        if not math.isfinite(low) or not math.isfinite(high):
            flat = flat[np.isfinite(flat)]
            low, high = _bounds(flat)
        nonfinite = size - flat.size
        if not flat.size:
            return Tally(0, nonfinite)
        if low == high:
            squares = flat.size * (low * low)
            return Tally(flat.size, nonfinite, low, high, low, 0.0, squares, (high,), (flat.size,))
        mean, std, squares, buckets = _moments(flat, *_unit(flat, low, high))
    inner = (low * (1 - part) + high * part for part in np.arange(1, BUCKETS) / BUCKETS)
    limits = (*map(float, inner), high)
    return Tally(flat.size, nonfinite, low, high, mean, std, squares, limits, tuple(buckets.tolist()))


def rms_ratio(before: Array, after: Array) -> float:
    """rms(after - before) / rms(before): how far an update moves weights, relative to their size."""
    old, new = before.reshape(-1), after.reshape(-1)
    moved = size = 0.0
    with np.errstate(all="ignore"):
        for begin in range(0, old.size, CHUNK):
            was = old[begin : begin + CHUNK].astype(np.float64)
            move = new[begin : begin + CHUNK] - was
            moved, size = moved + _square_sum(move), size + _square_sum(was)
    return math.sqrt(moved / size) if size else math.nan


def _square_sum(chunk: Array) -> float:
    """Not `chunk @ chunk`: BLAS would wake its threads for it, which costs more than it saves."""
    return float(np.einsum("i,i->", chunk, chunk))


def _bounds(flat: Array) -> tuple[float, float]:
    return (float(flat.min()), float(flat.max())) if flat.size else (math.nan, math.nan)


def _unit(flat: Array, low: float, high: float) -> tuple[Array, Array, Array]:
    """(values, start, scale) such that (values - start) * scale runs from 0 to BUCKETS without overflow."""
    limits = np.finfo(flat.dtype)
    if not limits.tiny * BUCKETS * 2 < high - low < limits.max:
        flat = np.ldexp(flat.astype(np.float64), -math.frexp(max(abs(low), abs(high)))[1])
        low, high = _bounds(flat)
    return flat, flat.dtype.type(low), flat.dtype.type(BUCKETS / (high - low))


def _moments(flat: Array, values: Array, start: Array, scale: Array) -> tuple[float, float, float, Array]:
    """(mean, standard deviation, sum of squares, counts of the buckets) of two or more distinct numbers."""
    wide, places, indices = np.empty(CHUNK), np.empty(CHUNK, values.dtype), np.empty(CHUNK, np.int32)
    counts = np.zeros(BUCKETS + 1, np.intp)
    mean = spread = 0.0  # spread: sum of the squared distances from the mean
    for begin in range(0, flat.size, CHUNK):
        size = min(CHUNK, flat.size - begin)
        chunk, place, index = wide[:size], places[:size], indices[:size]
        np.subtract(values[begin : begin + size], start, out=place)
        np.multiply(place, scale, out=place)
        np.copyto(index, place, casting="unsafe")
        counts += np.bincount(index, minlength=BUCKETS + 1)
        chunk[...] = flat[begin : begin + size]
        own = float(chunk.sum()) / size
        chunk -= own
        apart = own - mean
        spread += _square_sum(chunk) + apart * apart * (size * begin / (begin + size))
        mean += apart * (size / (begin + size))
    counts[BUCKETS - 1] += counts[BUCKETS]  # the maximum itself closes the last bucket
    std, squares = math.sqrt(spread / flat.size), spread + flat.size * (mean * mean)
    return mean, std, squares, counts[:BUCKETS]
