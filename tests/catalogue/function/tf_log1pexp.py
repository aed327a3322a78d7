"""log(1 + exp(x)) with a custom gradient that stays finite for large x."""
import tensorflow as tf


@tf.custom_gradient
def log1pexp(x):
    e = tf.exp(-tf.abs(x))

    def grad(upstream):
        p = tf.where(x >= 0, 1 / (1 + e), e / (1 + e))
        return upstream * p

    return tf.maximum(x, 0) + tf.math.log1p(e), grad
