"""Single operations in Keras on TensorFlow, NumPy in and NumPy out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

Array = np.ndarray


def evaluate(
    op: str, arrays: dict[str, Array], options: dict[str, Any], cotangent: Array
) -> tuple[Array, dict[str, Array]]:
    """(y, {argument: gradient of <cotangent, y>}) of the operation that scratch.ops names `op`."""
    tensors = {name: tf.constant(a) for name, a in arrays.items()}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = OPERATIONS[op](**tensors, **options)
    gradients = tape.gradient(y, tensors, output_gradients=tf.cast(cotangent, y.dtype))
    return y.numpy(), {name: g.numpy() for name, g in gradients.items()}


def dense(x, w, b):
    return ops.matmul(x, w) + b


def conv2d(x, w, b, stride=1, padding="SAME"):
    return ops.conv(x, w, stride, padding.lower(), "channels_last") + b


def max_pool2d(x, size=2, stride=None, padding="VALID"):
    return ops.max_pool(x, size, stride, padding.lower(), "channels_last")


def flatten(x):
    return ops.reshape(x, (len(x), -1))


def leaky_relu(z, slope=0.01):
    return ops.where(z > 0, z, slope * z)  # TensorFlow rounds its own slope to float32


def maxout(z, pieces=2):
    groups = ops.reshape(z, (*z.shape[:-1], -1, pieces))
    first = ops.one_hot(ops.argmax(groups, axis=-1), pieces, dtype=z.dtype)
    return ops.sum(groups * first, axis=-1)


def dropout(x, rate, mask):
    return x * ops.cast(mask, x.dtype) / (1 - rate)


def softmax_cross_entropy(z, t):
    return ops.mean(ops.sparse_categorical_crossentropy(t, z, from_logits=True))


def sigmoid_cross_entropy(z, t):
    targets = ops.one_hot(t, z.shape[1], dtype=z.dtype) if t.ndim == 1 else ops.cast(t, z.dtype)
    return ops.sum(ops.binary_crossentropy(targets, z, from_logits=True)) / len(z)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "dense": dense,
    "conv2d": conv2d,
    "max_pool2d": max_pool2d,
    "flatten": flatten,
    "sigmoid": lambda z: ops.sigmoid(z),
    "tanh": lambda z: ops.tanh(z),
    "relu": lambda z: ops.relu(z),
    "leaky_relu": leaky_relu,
    "maxout": maxout,
    "dropout": dropout,
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}
