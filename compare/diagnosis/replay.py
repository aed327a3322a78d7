"""A multilayer perceptron written out step by step, so that a hypothesis can replace exactly one step.

It stands apart from scratch and from the frameworks: it only predicts what a given mistake would have
produced, and which network the user's loss is the loss of. Rows are examples, weights (in, out).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.submission.evidence import Trial

Array = np.ndarray
Function = Callable[[Array], Array]


def sigmoid(z: Array) -> Array:
    """Logistic function without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z > 0, 1, e) / (1 + e)


def softmax(z: Array) -> Array:
    """Of each row, without overflow."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def one_hot(t: Array, classes: int, output: str) -> Array:
    """(N, C); of a single output that is no softmax, (N, 1), what it should be: 0 or 1."""
    single = classes == 1 and output != "softmax"
    return np.asarray(t, np.float64)[:, None] if single else np.eye(classes)[t]


def _log_sum_exp(z: Array) -> Array:
    peak = z.max(axis=1)
    return peak + np.log(np.exp(z - peak[:, None]).sum(axis=1))


# name: (f(z), f'(z)); a derivative at 0 is that of the left side
ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "arctan": (np.arctan, lambda z: 1 / (1 + z * z)),
    "softplus": (lambda z: np.logaddexp(0, z), sigmoid),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
    "linear": (lambda z: z, np.ones_like),
}
HIDDEN = ("relu", "tanh", "sigmoid", "leaky_relu", "linear", "arctan", "softplus", "elu")


def activation(name: str, slope: float = 0.01) -> tuple[Function, Function]:
    """(f, f'); slope: of a leaky ReLU below 0."""
    if name == "leaky_relu":
        return lambda z: np.where(z > 0, z, slope * z), lambda z: np.where(z > 0, 1.0, slope)
    return ACTIVATIONS[name]


@dataclass(frozen=True)
class Penalty:
    """strength * factor * sum W^2, over N where per_example is set; over the biases too where biases is set."""

    factor: float = 0.0
    per_example: bool = False
    biases: bool = False


@dataclass(frozen=True)
class Model:
    """What a network computes. layers: see adapters.chains, names as the user has them.

    output: of the last layer; loss: cross_entropy, binary_cross_entropy, quadratic (1/2 sum (a - t)^2),
    squared (sum (a - t)^2), cross_entropy_twice (of softmax(softmax(z))); sum: over the examples instead of
    the mean; per_output: the mean over the outputs besides; times_n: the gradients are those of N times the loss;
    slope: of a leaky ReLU; base: of the loss's logarithm; guard: the epsilon in log(p + epsilon).
    """

    layers: tuple[dict[str, Any], ...]
    activation: str
    output: str
    loss: str
    sum: bool = False
    penalty: Penalty = Penalty()
    per_output: bool = False
    times_n: bool = False
    slope: float = 0.01
    base: float = math.e
    guard: float = 0.0

    def __str__(self) -> str:
        over = "summed" if self.sum else "averaged"
        return (
            f"{len(self.layers)} layers, {self.activation}, {self.output} outputs, "
            f"{self.loss.replace('_', ' ')} {over} over the examples{' and the outputs' * self.per_output}"
        )


class Backward:
    """One forward pass, and the backward pass one overridable step each."""

    def __init__(self, model: Model, trial: Trial) -> None:
        self.model, self.trial = model, trial
        self.w, self.b = [], []
        for layer in model.layers:
            w, b = canonical(layer, trial.inputs)
            self.w.append(w)
            self.b.append(b)
        self.last = len(self.w) - 1
        self.x: Array = np.asarray(trial.data["x"], np.float64)
        self.n = len(self.x)
        self.one_hot: Array = one_hot(np.asarray(trial.data["t"], int), self.w[-1].shape[1], model.output)
        self.strength = float(trial.data.get("reg") or 0.0)
        self.f, self.slope_of = activation(model.activation, model.slope)
        self.a, self.z = [self.x], []
        for number in range(len(self.w)):
            self.z.append(self.net_input(number))
            self.a.append(self.activate(number))

    # forward

    def net_input(self, number: int) -> Array:
        return self.a[number] @ self.w[number] + self.b[number]

    def activate(self, number: int) -> Array:
        z = self.z[number]
        if number < self.last:
            return self.f(z)
        if self.model.output == "softmax":
            return softmax(z)
        return ACTIVATIONS[self.model.output][0](z)

    @property
    def p(self) -> Array:
        return self.a[-1]

    def losses(self) -> Array:
        """Of each example, without penalty."""
        z, t = self.z[-1], self.one_hot
        with np.errstate(all="ignore"):
            match self.model.loss:
                case "cross_entropy" if self.model.guard:
                    return -np.log((self.p * t).sum(axis=1) + self.model.guard)
                case "cross_entropy":
                    return _log_sum_exp(z) - (z * t).sum(axis=1)
                case "cross_entropy_twice":
                    return _log_sum_exp(self.p) - (self.p * t).sum(axis=1)
                case "binary_cross_entropy" if self.model.guard:
                    right = np.where(t > 0, self.p, 1 - self.p)
                    return -np.log(right + self.model.guard).sum(axis=1)
                case "binary_cross_entropy":
                    return (np.logaddexp(0, z) - z * t).sum(axis=1)
                case "quadratic":
                    return 0.5 * ((self.p - t) ** 2).sum(axis=1)
                case _:
                    return ((self.p - t) ** 2).sum(axis=1)

    @property
    def count(self) -> float:
        """What a gradient's sum over examples is divided by; the base of the logarithm is in it."""
        return self._count(self.model.sum or self.model.times_n)

    def _count(self, total: bool) -> float:
        outputs = self.one_hot.shape[1] if self.model.per_output else 1
        return (1.0 if total else float(self.n)) * outputs * math.log(self.model.base)

    def loss(self) -> float:
        rule = self.model.penalty
        squares = sum(float((w**2).sum()) for w in self.w)
        squares += sum(float((b**2).sum()) for b in self.b) if rule.biases else 0.0
        share = self.n if rule.per_example else 1
        data = float(self.losses().sum()) / self._count(self.model.sum)
        return data + self.strength * rule.factor * squares / share

    def blur(self) -> float:
        """What rounding may do to a loss that is computed as log(1 - p): p near 1 leaves few digits."""
        if self.model.loss != "binary_cross_entropy":
            return 0.0
        right = np.where(self.one_hot > 0, self.p, 1 - self.p)
        lost = 2.0**-51 / np.maximum(right + self.model.guard, 1e-12)
        return float(lost.sum()) / self.count

    # backward: dL/dz is `delta`, dL/da is `d`

    def delta(self) -> Array:
        """Of the last layer."""
        p, t = self.p, self.one_hot
        if self.model.loss == "cross_entropy_twice":
            d = softmax(p) - t
            return p * (d - (d * p).sum(axis=1, keepdims=True)) / self.count
        if self.model.loss in ("cross_entropy", "binary_cross_entropy"):
            return (p - t) * self.guarded() / self.count
        d = (1.0 if self.model.loss == "quadratic" else 2.0) * (p - t)
        if self.model.output == "softmax":
            return p * (d - (d * p).sum(axis=1, keepdims=True)) / self.count
        return d * self.slope_out() / self.count

    def guarded(self) -> Array | float:
        """What the epsilon in log(p + epsilon) does to p - t."""
        if not self.model.guard:
            return 1.0
        p, t = self.p, self.one_hot
        right = (
            (p * t).sum(axis=1, keepdims=True)
            if self.model.loss == "cross_entropy"
            else np.where(t > 0, p, 1 - p)
        )
        return right / (right + self.model.guard)

    def slope_out(self) -> Array:
        z = self.z[-1]
        return ACTIVATIONS[self.model.output][1](z)

    def slope(self, number: int, d: Array) -> Array:
        """Factor of d on the way through the activation of layer `number`."""
        return self.slope_of(self.z[number])

    def weight(self, number: int, delta: Array) -> Array:
        return self.a[number].T @ delta

    def bias(self, number: int, delta: Array) -> Array:
        return delta.sum(axis=0)

    def behind(self, number: int, delta: Array) -> Array:
        """dL/da of the layer before."""
        return delta @ self.w[number].T

    def penalty(self, w: Array, number: int, part: str) -> Array:
        rule = self.model.penalty
        if part == "b" and not rule.biases:
            return np.zeros_like(w)
        return 2 * self.strength * rule.factor * w * self.share(rule.per_example)

    def share(self, per_example: bool) -> float:
        """What the number of examples makes of the penalty's gradient."""
        return (self.n if self.model.times_n else 1.0) / (self.n if per_example else 1.0)

    def gradients(self) -> dict[str, Array]:
        """By the user's names and in the user's layout."""
        delta = self.delta()
        out: dict[str, Array] = {}
        for number in range(self.last, -1, -1):
            layer = self.model.layers[number]
            w = self.weight(number, delta) + self.penalty(self.w[number], number, "W")
            b = self.bias(number, delta) + self.penalty(self.b[number], number, "b")
            out |= users(layer, w, b, self.trial.inputs)
            if number:
                d = self.behind(number, delta)
                delta = d * self.slope(number - 1, d)
            elif name := self.trial.data.get("dx"):  # the code hands back the gradient of x too
                out[name] = self.behind(number, delta)
        return out


def canonical(layer: dict[str, Any], arrays: dict[str, Array]) -> tuple[Array, Array]:
    """(W (in, out), b (out,)) of a layer."""
    w = np.asarray(arrays[layer["W"]], np.float64)
    w = w.T if layer["transposed"] else w
    if layer["folded"]:
        return (w[:-1], w[-1]) if layer["folded"] == "row" else (w[1:], w[0])
    b = np.zeros(w.shape[1]) if layer["b"] is None else np.asarray(arrays[layer["b"]], np.float64).ravel()
    return w, b


def users(layer: dict[str, Any], w: Array, b: Array, arrays: dict[str, Array]) -> dict[str, Array]:
    """The inverse of `canonical`, for gradients."""
    if layer["folded"]:
        w = np.vstack([w, b]) if layer["folded"] == "row" else np.vstack([b, w])
        return {layer["W"]: w.T if layer["transposed"] else w}
    out = {layer["W"]: w.T if layer["transposed"] else w}
    if layer["b"] is not None:
        shape = np.shape(arrays[layer["b"]])
        out[layer["b"]] = b.reshape(shape) if b.size == np.prod(shape) else b  # a mistake may change it
    return out
