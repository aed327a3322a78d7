"""Optimizer updates: each step starts from identical weights, state and gradient, so it is judged by itself.

The learning rate is halved on the way, since PyTorch's momentum and Keras's part just there.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from compare import tolerance
from compare.case import Case
from compare.referees import Referees, build
from compare.verdict import Quantity, Target
from scratch import optimizers
from scratch.learner import NumpyLearner

Array = np.ndarray
Tensors = dict[str, Array]
WEIGHT_ROUNDING = 4  # units of roundoff in the weight itself, which is all that a tiny update leaves of it


@dataclass(frozen=True)
class Step:
    """Where one update starts, and where the framework arrives in each precision."""

    weights: Tensors
    state: Tensors
    gradient: Tensors
    learning_rate: float
    arrived: dict[str, Tensors]  # by precision: weights and slots by name


def check_updates(
    target: str,
    case: Case,
    referees: Referees,
    rules: list[tuple[str, float]],
    steps: int,
    dtypes: tuple[str, ...],
) -> list[Target]:
    """Every rule (name, weight decay) in every framework's dialect; one Target a precision."""
    results = [Target(target, dtype, referees.names) for dtype in dtypes]
    for framework, (name, decay) in product(referees.frameworks, rules):
        options = {"weight_decay": decay} if decay else {}
        path = referees.once(
            ("updates", framework, name, decay, steps, dtypes, case.key),
            partial(_reference, case, referees, framework, name, options, steps, dtypes),
        )
        label = f"{name}+decay" if decay else name
        for result in results:
            network = case.architecture.network(np.dtype(result.dtype))
            learner = NumpyLearner(network, optimizers.make(name, framework, **options))
            result.quantities += _judge(path, learner, framework, label, result.dtype)
    return results


def _reference(
    case: Case,
    referees: Referees,
    framework: str,
    name: str,
    options: dict[str, float],
    steps: int,
    dtypes: tuple[str, ...],
) -> list[Step]:
    """The framework's own steps."""
    gradients = referees.once(
        ("gradients", framework, steps, case.key), lambda: _gradients(case, referees, framework, steps)
    )
    learners = {
        dtype: build(framework, case.architecture, dtype, name, **options)
        for dtype in dict.fromkeys(("float64", *dtypes))
    }
    rate = learners["float64"].learning_rate
    weights, state = case.weights, learners["float64"].optimizer_state()
    path = []
    for k, gradient in enumerate(gradients):
        learning_rate = rate if k < (steps + 1) // 2 else rate / 2
        arrived = {}
        for dtype, learner in learners.items():
            learner.load(weights)
            learner.load_optimizer_state(state)
            learner.learning_rate = learning_rate
            learner.apply(gradient)
            arrived[dtype] = learner.weights() | learner.optimizer_state()
        path.append(Step(weights, state, gradient, learning_rate, arrived))
        after = _as_float32(arrived["float64"])
        weights = {tensor: after[tensor] for tensor in weights}
        state = {tensor: a for tensor, a in after.items() if tensor not in weights}
    return path


def _gradients(case: Case, referees: Referees, framework: str, steps: int) -> list[Tensors]:
    """The framework's own gradients over labels shifted by 0, 1, ...: each step gets another one."""
    learner = referees.learner(framework, case.architecture, "float64")
    learner.load(case.weights)
    classes = case.architecture.sizes[-1]
    return [
        _as_float32(learner.loss_and_grads(case.x, (case.t + k) % classes, case.masks)[1])
        for k in range(steps)
    ]


def _judge(path: list[Step], learner: NumpyLearner, framework: str, label: str, dtype: str) -> list[Quantity]:
    """The worst step of every weight and slot."""
    worst: dict[str, Quantity] = {}
    for number, step in enumerate(path, start=1):
        learner.load(step.weights)
        learner.load_optimizer_state(step.state)
        learner.learning_rate = step.learning_rate
        with np.errstate(all="ignore"):
            learner.apply(step.gradient)
        mine, exact = learner.weights() | learner.optimizer_state(), step.arrived["float64"]
        for tensor, start in (step.weights | step.state).items():
            if tensor == "step":
                continue
            rounding = WEIGHT_ROUNDING * tolerance.UNIT[dtype] * (np.abs(exact[tensor]) + np.abs(start))
            error = 0.0
            if dtype == "float32":
                error = tolerance.rms(step.arrived[dtype][tensor] - exact[tensor])
                rounding /= tolerance.FLOAT32_NOISE
            found = mine[tensor].astype(np.float64) - start
            judgement = tolerance.judge(found, exact[tensor] - start, rounding, dtype, error)
            row = Quantity(tensor, "update", framework, judgement, note=f"{label}, step {number}")
            if tensor not in worst or _badness(row) > _badness(worst[tensor]):
                worst[tensor] = row
    return list(worst.values())


def _badness(row: Quantity) -> tuple[bool, bool, float]:
    return row.verdict == "disagree", row.verdict == "agree", row.judgement.ratio


def _as_float32(tensors: Tensors) -> Tensors:
    return {
        name: a if name == "step" else np.asarray(a).astype(np.float32).astype(np.float64)
        for name, a in tensors.items()
    }
