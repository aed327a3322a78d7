"""Network: a list of layers and a loss, with all parameters in one flat vector."""

from dataclasses import dataclass

import numpy as np

from scratch import ops
from scratch.errors import GradparityError, UsageError
from scratch.layers import Dropout, Layer
from scratch.regularizers import Penalty

Array = np.ndarray
Masks = dict[str, Array]  # keep-masks by the name of the dropout's output, such as `fc2/input`

LOSSES = {
    "softmax": lambda z, t: ops.softmax_cross_entropy(z, t),
    "sigmoid": lambda z, t: ops.sigmoid_cross_entropy(z, t),
}


@dataclass
class Watched:
    """One pass seen from outside: canonical names, canonical layouts, NumPy arrays.

    values: every layer's input, net input, activation and pooled map, in forward order.
    gradients: dL/d of each of them and of every parameter, in backward order.
    """

    loss: float
    values: dict[str, Array]
    gradients: dict[str, Array]


class Network:
    """Layers in a row, ending in logits (N, M), and a loss of the logits. Parameters are views of `flat`."""

    def __init__(
        self, layers: list[Layer], output: str = "softmax", penalty: Penalty | None = None, dtype=np.float32
    ) -> None:
        if output not in LOSSES:
            raise UsageError(f"output must be softmax or sigmoid, but {output!r} came.")
        self.layers, self.output, self.penalty = layers, output, penalty or Penalty()
        self.shapes = {name: shape for layer in layers for name, shape in layer.shapes.items()}
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        self.flat, self.flat_gradient = np.zeros(sum(sizes), dtype), np.zeros(sum(sizes), dtype)
        self.params = self.named(self.flat)
        self.gradients = self.named(self.flat_gradient)
        for layer in layers:
            layer.params = {name: self.params[name] for name in layer.shapes}
        self.logits_name = layers[-1].output
        self.probabilities_name = self.logits_name.replace("net_input", "activation")

    def named(self, flat: Array) -> dict[str, Array]:
        """Views of a flat vector of `flat`'s size, one a parameter."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        pieces = np.split(flat, ends[:-1])
        return {
            name: piece.reshape(shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def load(self, weights: dict[str, Array]) -> None:
        """Copy weights in; a missing, extra or misshaped name raises UsageError and nothing is changed."""
        check_names(weights, self.shapes)
        for name, value in weights.items():
            self.params[name][...] = value

    @property
    def dropouts(self) -> dict[str, Dropout]:
        """The dropout layers by the name of their output, such as `fc2/input`."""
        return {layer.output: layer for layer in self.layers if isinstance(layer, Dropout)}

    def draw_masks(self, examples: int, rng: np.random.Generator) -> Masks:
        """A keep-mask (examples, units) for every dropout layer."""
        return {
            name: rng.random((examples, layer.units)) >= layer.rate for name, layer in self.dropouts.items()
        }

    def forward(self, x: Array, masks: Masks | None = None, start: int = 0) -> Array:
        """Logits (N, M) of x, which is what layer number `start` receives: the images for start = 0."""
        masks = self._known(masks)
        for layer in self.layers[start:]:
            x, _ = layer.forward(x, masks.get(layer.output))
        return x

    def loss(self, logits: Array, t: Array) -> Array:
        """Mean loss of the logits in nats, with the penalty."""
        return LOSSES[self.output](logits, t)[0] + self.penalty.value(self.params)

    def predict(self, x: Array) -> Array:
        """Probabilities (N, M), dropout off."""
        return self.probabilities(self.forward(x))

    def probabilities(self, logits: Array) -> Array:
        """The last layer's activation: softmax or sigmoid of the logits."""
        return ops.softmax(logits) if self.output == "softmax" else ops.sigmoid(logits)[0]

    def loss_gradient(self, logits: Array, t: Array) -> Array:
        """dL/d logits (N, M)."""
        return LOSSES[self.output](logits, t)[1]()[0]

    def loss_and_grads(
        self, x: Array, t: Array, masks: Masks | None = None
    ) -> tuple[float, dict[str, Array]]:
        """(loss, gradients by parameter name). The gradients are views, overwritten by the next call."""
        watched = self.watch(x, t, masks)
        return watched.loss, self.collect(watched.gradients)

    def collect(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Copy a pass's gradients into the flat vector; returns its views, by parameter name."""
        for name, view in self.gradients.items():
            gradient = gradients[name]
            if gradient.shape != view.shape:  # assigning would broadcast
                raise GradparityError(
                    f"the gradient of {name} must be {view.shape}, but is {gradient.shape}."
                )
            view[...] = gradient
        return self.gradients

    def watch(self, x: Array, t: Array, masks: Masks | None = None) -> Watched:
        """One forward and backward pass with everything in between kept; see Watched."""
        masks = self._known(masks)
        values, backwards = {self.input_of(0): x}, []
        for number, layer in enumerate(self.layers):
            x, backward = layer.forward(x, masks.get(layer.output))
            values[layer.output] = x
            values.setdefault(self.input_of(number + 1), x)
            backwards.append(backward)
        data_loss, loss_backward = LOSSES[self.output](x, t)
        values[self.probabilities_name] = self.probabilities(x)

        (dx,) = loss_backward()
        gradients: dict[str, Array] = {}
        for number, layer in reversed(list(enumerate(self.layers))):
            gradients[layer.output] = dx
            dx, parameter_gradients = backwards[number](dx)
            for name, gradient in parameter_gradients.items():
                if self.penalty.covers(name):
                    gradient = gradient + self.penalty.gradient(self.params[name])
                gradients[name] = gradient
            gradients.setdefault(self.input_of(number), dx)
        return Watched(float(data_loss.real + np.real(self.penalty.value(self.params))), values, gradients)

    def _known(self, masks: Masks | None) -> Masks:
        if masks and (unknown := masks.keys() - self.dropouts.keys()):
            raise UsageError(
                f"dropout masks belong to {', '.join(self.dropouts) or 'no layer here'}, "
                f"but {', '.join(sorted(unknown))} came."
            )
        return masks or {}

    def input_of(self, number: int) -> str:
        """The name of what layer `number` receives: `<layer>/input` for an affine one, else its source.

        `x` is what a network that does not begin with an affine layer receives.
        """
        if number < len(self.layers) and self.layers[number].shapes:
            return self.layers[number].output.replace("net_input", "input")
        return self.layers[number - 1].output if number else "x"


def check_names(given: dict[str, Array], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise UsageError unless `given` has just the names and shapes of the contract."""
    missing, extra = shapes.keys() - given.keys(), given.keys() - shapes.keys()
    if missing or extra:
        raise UsageError(
            f"expected the parameters {', '.join(shapes)}; missing: {', '.join(sorted(missing)) or 'none'}, "
            f"not known: {', '.join(sorted(extra)) or 'none'}."
        )
    for name, shape in shapes.items():
        if tuple(given[name].shape) != tuple(shape):
            raise UsageError(f"{name} must have the shape {shape}, but {tuple(given[name].shape)} came.")
