"""What the references say the gradients of a recognised network or operation are, at the user's weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compare.diagnosis.recognise import computes
from compare.diagnosis.replay import Backward, Model, canonical, users
from compare.submission import operations
from compare.submission.evidence import Evidence, Trial
from scratch import ops
from scratch.errors import GradparityError

Array = np.ndarray
Right = dict[tuple[str, str], Array]  # by (label of the trial, tensor)
SCRATCH = ("relu", "tanh", "sigmoid", "leaky_relu", "linear")
Perceptron = Callable[..., tuple[float, list[tuple[Array, Array]]]]


def gradients(evidence: Evidence, model: Model | None, frameworks: Sequence[str]) -> dict[str, Right]:
    """By referee: torch and keras where they are asked for, scratch; none for code that is not recognised."""
    if evidence.kind == "operation":
        return operations.gradients(evidence, frameworks)
    if model is None or model.loss.endswith("twice") or model.base != math.e or model.per_output:
        return {}
    found = {name: _network(evidence, model, _perceptron(name)) for name in frameworks}
    known = model.loss in ("cross_entropy", "binary_cross_entropy") and model.activation in SCRATCH
    if known and canonical(model.layers[-1], evidence.trials[0].inputs)[1].size > 1:
        found["scratch"] = _network(evidence, model, scratch)
    return {name: right for name, right in found.items() if right}


def _network(evidence: Evidence, model: Model, perceptron: Perceptron) -> Right:
    right: Right = {}
    for trial in evidence.trials:
        if trial.loss is None or not computes(model, trial, evidence):
            continue  # a penalty of a form that is not known here: what is right there, arithmetic says
        weights = [canonical(layer, trial.inputs) for layer in model.layers]
        loss, found = perceptron(
            weights,
            trial.data["x"],
            trial.data["t"],
            model.activation,
            model.slope,
            model.output,
            model.loss,
            model.sum,
            _penalty(model, trial),
        )
        own = Backward(replace(model, guard=0.0), trial).loss()
        if not abs(loss - own) <= 1e-9 * max(abs(own), 1e-3):
            raise GradparityError(
                f"the references disagree about the loss: {loss} against {own}; please report it."
            )
        for layer, (w, b) in zip(model.layers, found, strict=True):
            right |= {(trial.label, n): g for n, g in users(layer, w, b, trial.inputs).items()}
    return right


def _penalty(model: Model, trial: Trial) -> tuple[float, bool]:
    """(s, biases) of a term s sum W^2."""
    rule = model.penalty
    strength = float(trial.data.get("reg") or 0.0) * rule.factor
    return strength / (trial.examples if rule.per_example else 1), rule.biases


def _perceptron(framework: str) -> Perceptron:
    if framework == "torch":
        from frameworks.pytorch.perceptron import loss_and_grads
    else:
        from frameworks.keras_tf.perceptron import loss_and_grads
    return loss_and_grads


def scratch(
    weights: Sequence[tuple[Array, Array]],
    x: Array,
    t: Array,
    activation: str,
    slope: float,
    output: str,
    loss: str,
    total: bool,
    penalty: tuple[float, bool],
) -> tuple[float, list[tuple[Array, Array]]]:
    """The same with the operations of scratch and their hand-written gradients."""
    linear: Any = lambda z: (z, lambda dy: (dy,))  # noqa: E731
    act = linear if activation == "linear" else getattr(ops, activation)
    if activation == "leaky_relu":
        act = lambda z: ops.leaky_relu(z, slope)  # noqa: E731
    z, backwards = np.asarray(x, np.float64), []
    for number, (w, b) in enumerate(weights):
        if number:
            z, back = act(z)
            backwards.append(back)
        z, back = ops.dense(z, w, b)
        backwards.append(back)
    kind = "softmax_cross_entropy" if loss == "cross_entropy" else "sigmoid_cross_entropy"
    value, back = getattr(ops, kind)(z, np.asarray(t, np.int64))
    scale = float(len(x)) if total else 1.0
    (dy,) = back(scale)
    strength, biases = penalty
    out = []
    for number in reversed(range(len(weights))):
        w, b = weights[number]
        dy, dw, db = backwards.pop()(dy)
        out.append((dw + 2 * strength * w, db + (2 * strength * b if biases else 0.0)))
        if number:
            (dy,) = backwards.pop()(dy)
    squares = sum(float((p**2).sum()) for w, b in weights for p in ((w, b) if biases else (w,)))
    return float(value) * scale + strength * squares, out[::-1]
