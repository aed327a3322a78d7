"""Layers: they own named parameters and call operations. The networks are lists of these.

Every layer has `output`, the name of what it computes (`conv1/net_input`, `conv1/activation`, ...), and
`forward(x, mask) -> (y, backward)`, where `backward(dy) -> (dx, {parameter: gradient})`.
"""

from collections.abc import Callable

import numpy as np

from scratch import ops
from scratch.errors import UsageError

Array = np.ndarray
LayerBackward = Callable[[Array], tuple[Array, dict[str, Array]]]

ACTIVATIONS: dict[str, Callable[[Array], tuple[Array, ops.Backward]]] = {
    "relu": lambda z: ops.relu(z),
    "tanh": lambda z: ops.tanh(z),
    "sigmoid": lambda z: ops.sigmoid(z),
    "leaky_relu": lambda z: ops.leaky_relu(z),
    "maxout": lambda z: ops.maxout(z),
}
PIECES = 2  # of a maxout unit


def width(units: int, activation: str) -> int:
    """Net inputs that `units` units need: a maxout unit takes the maximum of several."""
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation must be one of {', '.join(ACTIVATIONS)}, but {activation!r} came.")
    return units * PIECES if activation == "maxout" else units


class Layer:
    """A layer without parameters; subclasses say what it computes."""

    output: str
    shapes: dict[str, tuple[int, ...]]  # of the parameters, by full name

    def __init__(self, output: str) -> None:
        self.output = output
        self.shapes = {}
        self.params: dict[str, Array] = {}

    def forward(self, x: Array, mask: Array | None = None) -> tuple[Array, LayerBackward]:
        y, backward = self.op(x, mask)
        return y, lambda dy: (backward(dy)[0], {})

    def op(self, x: Array, mask: Array | None) -> tuple[Array, ops.Backward]:
        raise TypeError(f"{type(self).__name__} has no operation of its own.")


class _Affine(Layer):
    """A layer with a weight `<name>/W` and a bias `<name>/b`; its output is the net input."""

    def __init__(self, name: str, weight: tuple[int, ...]) -> None:
        super().__init__(f"{name}/net_input")
        self.name = name
        self.shapes = {f"{name}/W": weight, f"{name}/b": weight[-1:]}

    def forward(self, x: Array, mask: Array | None = None) -> tuple[Array, LayerBackward]:
        w, b = self.params.values()
        y, backward = self.affine(x, w, b)

        def layer_backward(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx, *gradients = backward(dy)
            return dx, dict(zip(self.shapes, gradients, strict=True))

        return y, layer_backward

    def affine(self, x: Array, w: Array, b: Array) -> tuple[Array, ops.Backward]:
        raise TypeError(f"{type(self).__name__} has no operation of its own.")


class Dense(_Affine):
    """`inputs` features to `units` net inputs."""

    def __init__(self, name: str, inputs: int, units: int) -> None:
        super().__init__(name, (inputs, units))

    def affine(self, x: Array, w: Array, b: Array) -> tuple[Array, ops.Backward]:
        return ops.dense(x, w, b)


class Conv2D(_Affine):
    """`filters` kernels of kernel x kernel x channels, stride 1, SAME padding."""

    def __init__(self, name: str, channels: int, filters: int, kernel: int) -> None:
        super().__init__(name, (kernel, kernel, channels, filters))

    def affine(self, x: Array, w: Array, b: Array) -> tuple[Array, ops.Backward]:
        return ops.conv2d(x, w, b)


class Activation(Layer):
    """One of ACTIVATIONS, applied to every net input."""

    def __init__(self, name: str, activation: str) -> None:
        super().__init__(f"{name}/activation")
        self.activation = activation

    def op(self, x: Array, mask: Array | None) -> tuple[Array, ops.Backward]:
        return ACTIVATIONS[self.activation](x)


class MaxPool2D(Layer):
    """Maximum over 2 x 2 windows, stride 2; an odd last row or column is left out."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}/pooled")

    def op(self, x: Array, mask: Array | None) -> tuple[Array, ops.Backward]:
        return ops.max_pool2d(x)


class Flatten(Layer):
    """Images as rows, for the dense layer `name` that follows."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}/input")

    def op(self, x: Array, mask: Array | None) -> tuple[Array, ops.Backward]:
        return ops.flatten(x)


class Dropout(Layer):
    """Inverted dropout before the layer `name`. Without a mask it is the identity, as at test time."""

    def __init__(self, name: str, rate: float, units: int) -> None:
        super().__init__(f"{name}/input")
        if not 0 <= rate < 1:
            raise UsageError(f"dropout expects a rate in [0, 1), but {rate} came.")
        self.rate, self.units = rate, units

    def op(self, x: Array, mask: Array | None) -> tuple[Array, ops.Backward]:
        if mask is None:
            return x, lambda dy: (dy,)
        return ops.dropout(x, self.rate, mask=mask)
