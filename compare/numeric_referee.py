"""The referee that needs no framework: complex steps through the network's own forward pass.

It knows nothing of any backward pass. Small tensors are differentiated entry by entry, large ones along
random directions, which cost one forward pass each whatever the size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compare.case import Case
from scratch import numeric

Array = np.ndarray
DIRECTIONS = 2
WHOLE = 1e8  # entries x parameters x examples up to which a tensor is done entry by entry


@dataclass(frozen=True)
class Derivative:
    """dL/d tensor: `whole` entry by entry, or `along` random `directions` of the tensor's shape."""

    whole: Array | None = None
    directions: tuple[Array, ...] = ()
    along: tuple[float, ...] = ()


def differentiate(case: Case) -> tuple[float, dict[str, Derivative]]:
    """(loss, derivative by every name that `watch` gives a gradient of), in float64."""
    real, twin = case.architecture.network(np.float64), case.architecture.network(np.complex128)
    real.load(case.weights)
    twin.load(case.weights)
    rng = np.random.default_rng(len(case.x))
    derivatives: dict[str, Derivative] = {}

    def probe(loss: Callable[[Array], Array], at: Array) -> Derivative:
        try:
            return measure(loss, at)
        except numeric.NotFiniteError:  # no number agrees with NaN, so whatever is compared disagrees
            return Derivative(whole=np.full(at.shape, np.nan))

    def measure(loss: Callable[[Array], Array], at: Array) -> Derivative:
        if at.size * real.flat.size * len(case.x) <= WHOLE:
            return Derivative(whole=np.asarray(numeric.gradient(loss, at, verify=False).value))
        directions = tuple(numeric.random_directions(at.shape, DIRECTIONS, rng))
        along = (numeric.directional(loss, at, v, verify=False).value for v in directions)
        return Derivative(directions=directions, along=tuple(map(float, along)))

    x = case.x
    for number, layer in enumerate(real.layers):
        for name in layer.shapes:

            def loss_of_parameter(value: Array, name=name, x=x, number=number) -> Array:
                kept = twin.params[name].copy()
                twin.params[name][...] = value
                loss = twin.loss(twin.forward(x, case.masks, number), case.t)
                twin.params[name][...] = kept
                return loss

            derivatives[name] = probe(loss_of_parameter, case.weights[name])

        def loss_of_input(value: Array, number=number) -> Array:
            return twin.loss(twin.forward(value, case.masks, number), case.t)

        names = {real.input_of(number), *([real.layers[number - 1].output] if number else [])}
        derivatives |= dict.fromkeys(names, probe(loss_of_input, x))
        x, _ = layer.forward(x, case.masks.get(layer.output))
    derivatives[real.logits_name] = probe(lambda z: real.loss(z, case.t), x)
    return float(real.loss(x, case.t)), derivatives
