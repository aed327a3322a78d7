"""Free-running difference: both sides take the same steps on their own, and drift apart by rounding alone.

It is shown and never judged: a branch that flips, or a rule that magnifies rounding, drifts in correct code.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from compare.case import Case
from compare.referees import Referees, build
from compare.verdict import Target
from scratch import optimizers
from scratch.learner import Learner, NumpyLearner


@dataclass(frozen=True)
class Drift:
    """max |mine - theirs| over all weights after `steps` steps, relative to the largest move of theirs."""

    optimizer: str
    referee: str
    steps: int
    difference: float


def free_running(target: str, case: Case, referees: Referees, names: tuple[str, ...], steps: int) -> Target:
    """Every rule in every framework's dialect, in float64, on one batch with the same dropout masks."""
    result = Target(target, "float64", referees.names)
    for framework, name in product(referees.frameworks, names):
        network = case.architecture.network(np.float64)
        mine = _weights_after(NumpyLearner(network, optimizers.make(name, framework)), case, steps)
        theirs = _weights_after(build(framework, case.architecture, "float64", name), case, steps)
        move = max(np.abs(theirs[tensor] - w).max() for tensor, w in case.weights.items())
        apart = max(np.abs(mine[tensor] - w).max() for tensor, w in theirs.items())
        result.drift.append(Drift(name, framework, steps, float(apart / move) if move else float(apart)))
    return result


def _weights_after(learner: Learner, case: Case, steps: int) -> dict[str, np.ndarray]:
    learner.load(case.weights)
    for _ in range(steps):
        _, gradients = learner.loss_and_grads(case.x, case.t, case.masks)
        learner.apply(gradients)
    return learner.weights()
