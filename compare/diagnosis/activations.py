"""Mistakes in the derivative of an activation: missing, of the wrong thing, of another function, wrong mask."""

from collections.abc import Callable, Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.replay import ACTIVATIONS, Backward, activation, sigmoid

# (cause, text, slope(z, a, d)): z net input, a = f(z), d the gradient that arrives
Slope = Callable[[Array, Array, Array], Array]


@hypothesis("network")
def wrong_slope(case: Case) -> Iterator[Hypothesis]:
    """In one layer, or in all hidden layers."""
    if (model := case.model) is None or len(model.layers) < 2:
        return
    hidden = range(len(model.layers) - 1)
    for where in (*([None] if len(hidden) > 1 else []), *reversed(hidden)):
        for cause, text, slope in slopes(model.activation, model.slope):

            def wrong(self: Backward, number: int, d: Array, where=where, slope=slope) -> Array:
                if where is not None and number != where:
                    return Backward.slope(self, number, d)
                return slope(self.z[number], self.a[number + 1], d)

            fault = type("Fault", (Backward,), {"slope": wrong})
            yield Hypothesis(cause, text, lambda trial, fault=fault: fault(model, trial).gradients())


@hypothesis("network")
def wrong_output_slope(case: Case) -> Iterator[Hypothesis]:
    """Under a quadratic cost the output's activation is differentiated too: there alone, or everywhere alike."""
    if (model := case.model) is None or model.loss not in ("quadratic", "squared"):
        return
    if model.output not in ACTIVATIONS or model.output == "linear":
        return
    for everywhere in (
        (True, False) if model.activation == model.output and len(model.layers) > 1 else (False,)
    ):
        for cause, text, slope in slopes(model.output):

            def delta(self: Backward, slope=slope) -> Array:
                d = (1.0 if self.model.loss == "quadratic" else 2.0) * (self.p - self.one_hot)
                return d * slope(self.z[-1], self.p, d) / self.count

            def wrong(self: Backward, number: int, d: Array, slope=slope) -> Array:
                return slope(self.z[number], self.a[number + 1], d)

            fault = type("Fault", (Backward,), {"delta": delta, **({"slope": wrong} if everywhere else {})})
            yield Hypothesis(cause, text, lambda trial, fault=fault: fault(model, trial).gradients())


@hypothesis("network")
def slope_of_another_layer(case: Case) -> Iterator[Hypothesis]:
    """The derivative is taken at the net input of another layer of the same width."""
    if (model := case.model) is None or len(model.layers) < 3:
        return
    for other in range(len(model.layers)):

        def wrong(self: Backward, number: int, d: Array, other: int = other) -> Array:
            own = Backward.slope(self, number, d)
            return self.slope_of(self.z[other]) if self.z[other].shape == own.shape else own

        fault = type("Fault", (Backward,), {"slope": wrong})
        yield Hypothesis(
            "wrong-cached-value",
            f"The derivative of the activation is taken at the net input of layer {other + 1} in every layer: each "
            "layer's own net input belongs there.",
            lambda trial, fault=fault: fault(model, trial).gradients(),
        )


def slopes(name: str, leak: float = 0.01) -> Iterator[tuple[str, str, Slope]]:
    """Every wrong derivative of this activation that people write."""
    rectifier = name in ("relu", "leaky_relu")
    said = {"relu": "ReLU", "leaky_relu": "leaky ReLU"}.get(name, name)
    f, derivative = activation(name, leak)
    leak = leak if name == "leaky_relu" else 0.0
    if name != "linear":
        yield (
            "relu-mask-missing" if name == "relu" else "activation-derivative-missing",
            f"The derivative of {said} is missing: multiply by it on the way back through the layer.",
            lambda z, a, d: np.ones_like(z),
        )
    if rectifier:
        yield (
            "relu-mask-inverted",
            "The mask is the wrong way round: the gradient passes where z > 0.",
            lambda z, a, d: np.where(z > 0, leak, 1.0),
        )
        yield (
            "relu-mask-of-gradient",
            "The mask is taken from the gradient that arrives instead of the net input z.",
            lambda z, a, d: np.where(d > 0, 1.0, leak),
        )
        yield (
            "relu-mask-of-gradient",
            "Gradients that are negative are cut off besides: the mask is that of z alone.",
            lambda z, a, d: np.where((z > 0) & (d > 0), 1.0, leak),
        )
        yield (
            "activation-derivative-wrong",
            f"{said}'s own value stands where its derivative should: it is 1 for z > 0, not z.",
            lambda z, a, d: a,
        )
    else:
        yield (
            "activation-derivative-wrong-argument",
            f"The derivative of {said} is taken at a = {said}(z) instead of z (it is applied twice).",
            lambda z, a, d: derivative(a),
        )
        yield (
            "activation-derivative-wrong-argument",
            f"The formula in terms of the output is given the net input z instead of a = {said}(z).",
            lambda z, a, d: z * (1 - z) if name == "sigmoid" else 1 - z * z,
        )
        yield (
            "activation-derivative-wrong-argument",
            f"The formula in terms of the output is given {said}(a) instead of a.",
            lambda z, a, d: derivative(f(a)),
        )
        yield (
            "activation-derivative-wrong-argument",
            f"The formula in terms of the output is given the gradient instead of a = {said}(z).",
            lambda z, a, d: d * (1 - d) if name == "sigmoid" else 1 - d * d,
        )
    yield from _others(name, said, leak)


def _others(name: str, said: str, leak: float) -> Iterator[tuple[str, str, Slope]]:
    wrong = "activation-derivative-wrong"
    for other, (_, slope) in ACTIVATIONS.items():
        if other not in (name, "linear"):
            yield wrong, f"This is the derivative of {other}, not of {said}.", lambda z, a, d, s=slope: s(z)
    formulas: dict[str, Slope] = {
        "a (1 - a), sigmoid's": lambda z, a, d: a * (1 - a),
        "1 - a^2, tanh's": lambda z, a, d: 1 - a * a,
        "1 - a": lambda z, a, d: 1 - a,
        "1 + a^2": lambda z, a, d: 1 + a * a,
        "a (1 + a)": lambda z, a, d: a * (1 + a),
        "a": lambda z, a, d: a,
        "a^2": lambda z, a, d: a * a,
        "(1 - a)^2": lambda z, a, d: (1 - a) ** 2,
        "a^2 (1 - a)": lambda z, a, d: a * a * (1 - a),
        "a (1 - a)^2": lambda z, a, d: a * (1 - a) ** 2,
        "sqrt(1 - a^2)": lambda z, a, d: np.sqrt(np.maximum(1 - a * a, 0)),
        "1 - 2 a^2": lambda z, a, d: 1 - 2 * a * a,
        "1 - |a|": lambda z, a, d: 1 - np.abs(a),
        "(1 - a^2) / 2": lambda z, a, d: (1 - a * a) / 2,
        "sech(z)": lambda z, a, d: 1 / np.cosh(z),
        "e^-z / (1 + e^-z)": lambda z, a, d: sigmoid(-z),
        "e^z": lambda z, a, d: np.exp(z),
        "e^-z": lambda z, a, d: np.exp(-z),
        "e^-z / (1 + e^z)^2": lambda z, a, d: np.exp(-z) * sigmoid(-z) ** 2,
        "e^z / (1 + e^z)": lambda z, a, d: sigmoid(z),
        "1 / (1 + z^2)": lambda z, a, d: 1 / (1 + z * z),
    }
    for text, formula in formulas.items():
        yield wrong, f"The derivative of {said} is computed as {text}; {_right(name, said)}.", formula
    for other_slope in (0.0, 0.001, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5):
        if name == "leaky_relu" and other_slope != leak:
            text = f"The backward pass takes another slope ({other_slope:g}) for z < 0 than the forward pass ({leak:g})."
            yield wrong, text, lambda z, a, d, s=other_slope: np.where(z > 0, 1.0, s)


def _right(name: str, said: str) -> str:
    right = {
        "sigmoid": "a (1 - a)",
        "tanh": "1 - a^2",
        "relu": "1 where z > 0, else 0",
        "leaky_relu": "1 where z > 0, else the slope",
        "arctan": "1 / (1 + z^2)",
        "softplus": "sigmoid(z)",
        "elu": "1 where z > 0, else e^z",
        "linear": "1",
    }[name]
    return f"with a = {said}(z) it is {right}"
