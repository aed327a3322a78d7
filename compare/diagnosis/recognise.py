"""Which multilayer perceptron is this? The one whose loss the user's own loss equals, at every trial.

Only the forward pass is looked at, its value and its derivatives by arithmetic (tanh and arctan of small
numbers give one loss to all digits), so a wrong backward pass cannot mislead it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from compare.diagnosis.replay import HIDDEN, Backward, Model, Penalty
from compare.submission.evidence import Evidence, Trial

OUTPUTS = (  # (output, loss)
    ("softmax", "cross_entropy"),
    ("sigmoid", "binary_cross_entropy"),
    ("sigmoid", "quadratic"),
    ("linear", "quadratic"),
    ("sigmoid", "squared"),
    ("linear", "squared"),
    ("softmax", "quadratic"),
    ("tanh", "quadratic"),
    ("tanh", "squared"),
    ("softmax", "squared"),
)
PENALTIES = tuple(
    Penalty(factor, per_example, biases)
    for factor, per_example, biases in product((0.5, 1.0), (False, True), (False, True))
)
SLOPES = (0.1, 0.2, 0.3, 0.05, 0.02, 0.001, 0.25, 0.5)
GUARDS = (*(10.0**-power for power in range(3, 17)), 2.0**-52, 1e-20)
EXACT, SINGLE = 1e-9, (1e-6, 2e-5)
SLOPE, ROUGH = 1e-6, 1e-2  # of a tensor's rms: how well derivatives fit, in float64 and float32


def candidates(evidence: Evidence) -> Iterator[Model]:
    """Every network that the adapter's description leaves open, the most usual first."""
    description = evidence.description
    layers = description.get("layers")
    if not layers:
        return
    declared = description.get("activation")
    hidden = [declared] if declared in HIDDEN else []
    hidden += [name for name in HIDDEN if name not in hidden]
    foldings = ("row", "first row") if any(layer["folded"] for layer in layers) else ("",)
    turned = (False, True) if _square(evidence, layers) else (False,)
    for total, turn, (output, loss), activation, folded in product(
        (False, True), turned, OUTPUTS, hidden, foldings
    ):
        if description.get("output") in (None, output) and description.get("loss") in (None, loss):
            own = tuple(
                layer
                | ({"folded": folded} if layer["folded"] else {})
                | ({"transposed": not layer["transposed"]} if turn else {})
                for layer in layers
            )
            yield Model(own, activation, output, loss, sum=total)


def _square(evidence: Evidence, layers: Sequence[dict[str, Any]]) -> bool:
    """Whether the shapes leave open which axis of a weight is its input's."""
    shapes = [np.shape(t.inputs.get(layer["W"], ())) for t in evidence.trials[:1] for layer in layers]
    return all(len(shape) == 2 and shape[0] == shape[1] for shape in shapes)


def recognise(evidence: Evidence) -> Model | None:
    """The network of this evidence; None where no candidate's loss fits."""
    trials = [t for t in evidence.trials if t.loss is not None and np.isfinite(t.loss)]
    if not trials or evidence.kind != "network":
        return None
    plain = [t for t in trials if not t.data.get("reg")] or trials
    models = [*(every := list(candidates(evidence))), *_unusual(every)]
    for within in (EXACT,) if not evidence.facts.get("float32") else SINGLE:
        if (found := _first(models, evidence, trials, plain, within)) is not None:
            return found
    return None


def _first(
    models: Sequence[Model], evidence: Evidence, trials: list[Trial], plain: list[Trial], within: float
) -> Model | None:
    """plain: the trials without penalty."""
    unusual: Model | None = None
    for model in models:
        if not _fits(model, plain[:1], within) or not _fits(model, plain, within):
            continue
        if _fits(model, trials, within):
            if _slopes(model, trials, evidence):
                return model
            continue
        if evidence.description.get("penalty") is False or not _slopes(model, plain, evidence):
            continue
        for penalty in PENALTIES:
            own = replace(model, penalty=penalty)
            if _fits(own, trials, within) and _slopes(own, trials, evidence):
                return own
        unusual = unusual or model  # its data loss is right, its penalty unusual
    return unusual


def _unusual(usual: list[Model]) -> Iterator[Model]:
    """The same with means over the outputs, log2 or log10, an epsilon in the logarithm, softmax taken twice."""
    for model in usual:
        if model.loss in ("quadratic", "squared", "binary_cross_entropy"):
            yield replace(model, per_output=True)
    leaky = [replace(m, slope=slope) for m in usual if m.activation == "leaky_relu" for slope in SLOPES]
    yield from leaky
    for model in [*usual, *leaky]:
        if "cross_entropy" in model.loss:
            yield from (replace(model, guard=guard) for guard in GUARDS)
            yield from (replace(model, base=base) for base in (2.0, 10.0))
        if model.loss == "cross_entropy":
            yield replace(model, loss="cross_entropy_twice")


def declared(evidence: Evidence) -> Model | None:
    """What the code says it is, where its loss is that of no network: the first candidate."""
    return next(candidates(evidence), None)


def computes(model: Model, trial: Trial, evidence: Evidence) -> bool:
    """Whether the loss of this trial is that of the model."""
    return _fits(model, [trial], SINGLE[-1] if evidence.facts.get("float32") else EXACT)


def _fits(model: Model, trials: Sequence[Trial], within: float) -> bool:
    for trial in trials:
        try:
            own = Backward(model, trial)
            loss = own.loss()
        except (ValueError, IndexError):
            return False
        if not abs(loss - trial.loss) <= within * max(abs(loss), 1e-3) + own.blur():  # type: ignore[operator]
            return False
    return True


def _slopes(model: Model, trials: Sequence[Trial], evidence: Evidence) -> bool:
    """Whether the derivatives of the code's own forward are those of the model."""
    within = ROUGH if evidence.facts.get("float32") else SLOPE
    for trial in trials:
        expected = Backward(model, trial).gradients()
        for name, found in trial.derivatives.items():
            if name not in expected or found.value.shape != expected[name].shape:
                continue
            off = np.abs(expected[name] - found.value)[~found.kinks]
            size = float(np.sqrt(np.mean(np.square(found.value)))) if off.size else 0.0
            if not (off <= within * max(size, 1e-6) + 10 * found.error[~found.kinks]).all():
                return False
    return True
