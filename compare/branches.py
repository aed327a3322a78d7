"""Branches that rounding decides: ReLU signs, maxout pieces and pooling winners that differ between runs.

One flipped branch moves a gradient a thousand times further than rounding does, and proves nothing: where
the margin is within rounding, the example is left out on all sides. A flip beyond that is a disagreement.
"""

from collections.abc import Callable, Iterator

import numpy as np

from compare.noise import Analysis, maxout_pieces, pool_pieces
from compare.structure import stages
from scratch.learner import Architecture
from scratch.network import Watched

Array = np.ndarray
REACH = 4.0  # times the noise, whose C is 16: a margin up to 64 u (|x| |w| + |b|) may flip


def flips(
    architecture: Architecture, run: Watched, oracle: Watched, analysis: Analysis, unit: float
) -> tuple[Array, dict[str, int]]:
    """(examples (N,) to leave out, {tensor: how many branches flipped though the margin was clear}).

    unit: the roundoff of the run's arithmetic.
    """
    first = stages(architecture)[0].source
    out = np.zeros(len(oracle.values[first]), bool)
    clear: dict[str, int] = {}
    for name, mine, theirs, noise in _decisions(architecture, run, oracle, analysis):
        if mine.shape != theirs.shape or not np.isfinite(mine).all():
            continue  # the comparison of values says so
        a, b = mine.argmax(-1)[..., None], theirs.argmax(-1)[..., None]
        margin = (np.take_along_axis(theirs, b, -1) - np.take_along_axis(theirs, a, -1))[..., 0]
        limit = (np.take_along_axis(noise, b, -1) + np.take_along_axis(noise, a, -1))[..., 0]
        flipped = (a != b)[..., 0]
        by_rounding = flipped & (margin <= REACH * unit * limit)
        out |= by_rounding.reshape(len(out), -1).any(axis=1)
        if count := int((flipped & ~by_rounding).sum()):
            clear[name] = count
    return out, clear


def _decisions(
    architecture: Architecture, run: Watched, oracle: Watched, analysis: Analysis
) -> Iterator[tuple[str, Array, Array, Array]]:
    """(name, candidates of the run, of the oracle, their noise); the branch is the last axis's argmax."""
    for stage in stages(architecture):
        split: Callable[[Array], Array]
        if stage.op == "pool":
            split = pool_pieces
        elif stage.op == "activation" and architecture.activation == "maxout":
            split = maxout_pieces
        elif stage.op == "activation" and architecture.activation in ("relu", "leaky_relu"):
            split = _against_zero
        else:
            continue
        name = stage.source
        if name not in run.values:
            continue  # the comparison of values says so
        found = split(run.values[name]), split(oracle.values[name]), split(analysis.values[name])
        yield stage.output, *found


def _against_zero(z: Array) -> Array:
    return np.stack([np.zeros_like(z), z], axis=-1)
