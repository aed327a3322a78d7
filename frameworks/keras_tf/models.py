"""The multilayer perceptron and the 4-layer DCN as a Keras user writes them. Both end in logits."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from scratch.errors import UsageError

PIECES = 2  # linear pieces of a maxout unit
ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "maxout")


class Maxout(layers.Layer):
    """The larger of a unit's two channels, the first where they are equal: (..., F * 2) -> (..., F).

    `ops.max` would share a tie's gradient out. Source: Goodfellow et al., Maxout Networks, 2013.
    """

    def call(self, z: Any) -> Any:
        first, second = z[..., 0::PIECES], z[..., 1::PIECES]
        return ops.where(second > first, second, first)


class LeakyReLU(layers.Layer):
    """z where z > 0, else 0.01 z. Keras's own rounds the slope to float32 in float64 too."""

    def call(self, z: Any) -> Any:
        return ops.where(z > 0, z, 0.01 * z)


class Dropout(layers.Dropout):
    """layers.Dropout that applies the keep-mask `keep` where one is set, in training and inference alike."""

    keep: Any = None

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.keep is None:
            return super().call(inputs, training=training)
        return inputs * self.keep / (1 - self.rate)


def mlp(
    sizes: Sequence[int],
    activation: str = "relu",
    dropout: float = 0.0,
    regularizer: Any = None,
    bias_regularizer: Any = None,
    dtype: str = "float32",
) -> Any:
    """Dense layers fc1 ... fcL over sizes (D, hidden ..., M): a keras.Model, x (N, D) -> logits (N, M).

    Dropout stands before every layer but the first.
    """
    options = {"kernel_regularizer": regularizer, "bias_regularizer": bias_regularizer, "dtype": dtype}
    features, *hidden, classes = sizes
    inputs = x = keras.Input((features,), dtype=dtype)
    for number, units in enumerate(hidden, start=1):
        if dropout and number > 1:
            x = Dropout(dropout, name=f"fc{number}_drop", dtype=dtype)(x)
        x = layers.Dense(_width(units, activation), name=f"fc{number}", **options)(x)
        x = _activation(activation, f"fc{number}_act", dtype)(x)
    last = f"fc{len(hidden) + 1}"
    if dropout and hidden:
        x = Dropout(dropout, name=f"{last}_drop", dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(classes, name=last, **options)(x))


def dcn(
    image: Sequence[int] = (28, 28, 1),
    filters: Sequence[int] = (32, 64),
    kernel: int = 5,
    hidden: int = 1024,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.5,
    regularizer: Any = None,
    bias_regularizer: Any = None,
    dtype: str = "float32",
) -> Any:
    """Two convolutions with pooling, two dense layers: a keras.Model, x (N, H, W, C) -> logits (N, M)."""
    options = {"kernel_regularizer": regularizer, "bias_regularizer": bias_regularizer, "dtype": dtype}
    last = {"data_format": "channels_last"}
    x = inputs = keras.Input(tuple(image), dtype=dtype)
    for number, units in enumerate(filters, start=1):
        width = _width(units, activation)
        x = layers.Conv2D(width, kernel, padding="same", name=f"conv{number}", **last, **options)(x)
        x = _activation(activation, f"conv{number}_act", dtype)(x)
        x = layers.MaxPooling2D(name=f"conv{number}_pool", dtype=dtype, **last)(x)
    x = layers.Flatten(dtype=dtype, **last)(x)
    x = layers.Dense(_width(hidden, activation), name="fc1", **options)(x)
    x = _activation(activation, "fc1_act", dtype)(x)
    if dropout:
        x = Dropout(dropout, name="fc2_drop", dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc2", **options)(x))


def probabilities(logits: Any, output: str) -> Any:
    """The last layer's activation, softmax or sigmoid of the logits (N, M)."""
    return ops.softmax(logits) if output == "softmax" else ops.sigmoid(logits)


def _activation(activation: str, name: str, dtype: str) -> Any:
    if activation == "maxout":
        return Maxout(name=name, dtype=dtype)
    if activation == "leaky_relu":
        return LeakyReLU(name=name, dtype=dtype)
    return layers.Activation(activation, name=name, dtype=dtype)


def _width(units: int, activation: str) -> int:
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation must be one of {', '.join(ACTIVATIONS)}, but {activation!r} came.")
    return units * PIECES if activation == "maxout" else units
