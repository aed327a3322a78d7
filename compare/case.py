"""One thing to compare: an architecture with its weights, a batch and the dropout masks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from compare.structure import dropouts
from scratch import initializers
from scratch.learner import Architecture
from scratch.network import Masks

Array = np.ndarray
FAINT = 1 / 64
Batch = Callable[[np.random.Generator], tuple[Array, Array]]  # draws (x, t)


@dataclass(frozen=True)
class Case:
    """Everything in float64, but every number a float32, so that both precisions start from the same.

    key tells cases apart: what a reference computed for one key need not be computed again.
    """

    architecture: Architecture
    weights: dict[str, Array] = field(repr=False)
    x: Array = field(repr=False)
    t: Array = field(repr=False)
    masks: Masks = field(repr=False)
    key: tuple

    def without(self, examples: Array) -> "Case":
        """The same case with some examples (boolean, N) left out."""
        keep = ~examples
        return replace(
            self,
            x=self.x[keep],
            t=self.t[keep],
            masks={name: mask[keep] for name, mask in self.masks.items()},
            key=(*self.key, *np.flatnonzero(examples)),
        )


def draw(architecture: Architecture, batch: Batch, init: str, bias: float, seed: int, attempt: int) -> Case:
    """Draw weights, batch and masks; `attempt` counts the draws after one that left something untested.

    From the second on images have no ties (see untied): there are matrix products that round equal rows
    differently, by where they stand, and then every tie of a black area is decided by rounding.

    Biases of the MLP are N(bias, 0.1^2): a bias of 0 would hide faults. Raises UsageError for bad options.
    """
    rng = np.random.default_rng([seed, attempt])
    network = architecture.network(np.float64)
    weights = initializers.draw(network.shapes, init, rng, bias)
    if architecture.kind == "mlp":
        weights |= {
            name: w + rng.normal(0, 0.1, w.shape) for name, w in weights.items() if name.endswith("/b")
        }
    x, t = batch(rng)
    if architecture.kind == "mlp":
        x = x.reshape(len(x), -1)
    elif attempt:
        x = untied(x, rng)
    masks = {
        name: rng.random((len(x), units)) >= architecture.dropout
        for name, units in dropouts(architecture).items()
    }
    digest = hashlib.sha256(x.tobytes() + t.tobytes()).hexdigest()
    return Case(
        architecture=architecture,
        weights={name: _as_float32(w) for name, w in weights.items()},
        x=_as_float32(x),
        t=t,
        masks=masks,
        key=(architecture, init, bias, seed, attempt, digest),
    )


def untied(x: Array, rng: np.random.Generator) -> Array:
    """Images in [0, 1] with a faint noise, at most 1/64, so that no two pixels are alike."""
    return x * (1 - FAINT) + rng.uniform(0, FAINT, x.shape)


def _as_float32(a: Array) -> Array:
    return a.astype(np.float32).astype(np.float64)
