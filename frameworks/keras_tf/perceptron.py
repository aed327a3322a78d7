"""Loss and gradients of a multilayer perceptron in Keras, for weights that somebody else's code has."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

Array = np.ndarray
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": ops.relu,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "arctan": ops.arctan,
    "softplus": ops.softplus,
    "elu": ops.elu,
    "linear": lambda z: z,
}


def loss_and_grads(
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
    """The same as frameworks.pytorch.perceptron, with keras.ops under a GradientTape."""
    layers = [[tf.constant(a, tf.float64) for a in pair] for pair in weights]
    with tf.GradientTape() as tape:
        tape.watch(layers)
        z = tf.constant(x, tf.float64)
        for number, (w, b) in enumerate(layers):
            z = ops.matmul(_activate(z, activation, slope) if number else z, w) + b
        value = _loss(z, tf.constant(np.asarray(t, np.int64)), output, loss)
        value = value if total else value / len(x)
        strength, biases = penalty
        if strength:
            squares = [ops.sum(ops.square(p)) for w, b in layers for p in ([w, b] if biases else [w])]
            value = value + tf.constant(strength, tf.float64) * sum(squares)
    gradients = tape.gradient(value, layers, unconnected_gradients="zero")
    return float(value), [(w.numpy(), b.numpy()) for w, b in gradients]


def _activate(z: Any, activation: str, slope: float) -> Any:
    if activation == "leaky_relu":
        return ops.where(z > 0, z, tf.constant(slope, z.dtype) * z)  # Keras rounds its own slope to float32
    return ACTIVATIONS[activation](z)


def _loss(z: Any, t: Any, output: str, loss: str) -> Any:
    if loss == "cross_entropy":
        return ops.sum(ops.sparse_categorical_crossentropy(t, z, from_logits=True))
    single = z.shape[1] == 1 and output != "softmax"
    targets = tf.cast(t[:, None], z.dtype) if single else tf.one_hot(t, z.shape[1], dtype=z.dtype)
    if loss == "binary_cross_entropy":
        return ops.sum(ops.binary_crossentropy(targets, z, from_logits=True))
    y = ops.softmax(z, axis=1) if output == "softmax" else ACTIVATIONS[output](z)
    return ops.sum(ops.square(y - targets)) * tf.constant(0.5 if loss == "quadratic" else 1.0, z.dtype)
