"""What scratch, PyTorch and Keras make of w, where they have the form of the rule."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.diagnosis.update_fit import Block, Fit
from compare.diagnosis.update_rules import Form
from compare.submission.hyperparameters import RATE
from scratch import optimizers
from scratch.errors import GradparityError

Array = np.ndarray
FEW = 3  # blocks that a framework sees
AGREES = 1e-9  # of how far w moves
Trajectory = Callable[[str, Array, Array, Array, dict[str, float], float, bool], Array]


def paths(fit: Fit, found: Sequence[Block], frameworks: Sequence[str]) -> dict[str, dict[int, Array]]:
    """{referee: {number of the block: w after every step}}.

    Raises GradparityError where a reference does not give what the formulas of update_rules give.
    """
    out: dict[str, dict[int, Array]] = {}
    dialect = dialect_of(fit.form)
    if dialect is None:
        return out
    for referee in ("scratch", *frameworks):
        if referee not in ("scratch", dialect) and fit.form.rule not in ("sgd", "adadelta"):
            continue
        if referee == "torch" and fit.form.decay == "decoupled" and fit.form.rule != "adamw":
            continue
        own = out.setdefault(referee, {})
        for number, (block, h) in enumerate(zip(found, fit.h, strict=True)):
            numbers = {n: v for n, v in h.items() if n != RATE}
            rates = np.full(len(block.rates), h[RATE]) if RATE in h else block.rates
            if referee != "scratch" and (len(own) == FEW or not _exact(rates, *numbers.values())):
                continue  # Keras rounds hyperparameters to float32, and is slow
            run = scratch(dialect) if referee == "scratch" else _framework(referee)
            decoupled = fit.form.decay == "decoupled"
            path = run(fit.form.rule, block.w, block.gradients, rates, numbers, fit.form.start, decoupled)
            _check(path, fit.paths[number], block, referee)
            own[number] = path
    return {referee: own for referee, own in out.items() if own}


def dialect_of(form: Form) -> str | None:
    """Whose form it is, torch's or Keras's; None for neither's."""
    if form.decay == "after" or form.epsilon == "floor" or form.rate == "mean":
        return None
    match form.rule:
        case "sgd":
            return "torch"
        case "momentum" | "nesterov":
            return "keras" if form.rate == "inside" else "torch"
        case "adagrad" | "rmsprop":
            return "torch" if form.epsilon == "outside" else "keras"
        case "adadelta":
            return "torch" if form.epsilon == "inside" else None
        case _:
            return {"outside": "torch", "hat": "keras"}.get(form.epsilon)


def scratch(dialect: str) -> Trajectory:
    """scratch.optimizers in one dialect, with hyperparameters that are not rounded."""

    def run(
        rule: str,
        w: Array,
        gradients: Array,
        rates: Array,
        h: dict[str, float],
        start: float,
        decoupled: bool,
    ) -> Array:
        h = dict(h)
        decay = h.pop("weight_decay", 0.0)
        optimizer = optimizers.make(rule, dialect)
        flat, path = w.ravel().copy(), []
        optimizer.state = optimizer.initial_state(flat)
        if rule == "adagrad":
            optimizer.state["square_sum"][:] = start
        for g, rate in zip(gradients, rates, strict=True):
            optimizer.hyperparameters = {
                **optimizer.hyperparameters,
                **h,
                "learning_rate": rate,
                "weight_decay": 0.0,
            }
            used = g.ravel() + (0.0 if decoupled else decay) * flat
            if decoupled:
                flat *= 1 - rate * decay
            optimizer.update(flat, used)
            path.append(flat.reshape(w.shape).copy())
        return np.array(path)

    return run


def _framework(name: str) -> Any:
    if name == "torch":
        from frameworks.pytorch.rules import trajectory
    else:
        from frameworks.keras_tf.rules import trajectory
    return trajectory


def _exact(rates: Array, *numbers: float) -> bool:
    return all(float(np.float32(v)) == v for v in (*rates, *numbers))


def _check(path: Array, formula: Array, block: Block, referee: str) -> None:
    if not np.isfinite(formula).all():
        return
    size = float(np.abs(formula - block.w).max(initial=0.0)) + 1e-6 * float(np.abs(block.w).max(initial=0.0))
    if not np.abs(path - formula).max(initial=0.0) <= AGREES * size:
        raise GradparityError(f"{referee} and the formulas disagree about an update rule; please report it.")
