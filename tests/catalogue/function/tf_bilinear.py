"""A bilinear score of two batches of vectors, one number per example, with its own gradients.

u: (n, p), W: (p, q), v: (n, q) -> (n,)
"""
import tensorflow as tf


@tf.custom_gradient
def bilinear(u, W, v):
    uW = tf.matmul(u, W)
    score = tf.reduce_sum(uW * v, axis=1)

    def grad(upstream):
        g = upstream[:, tf.newaxis]
        du = g * tf.matmul(v, W, transpose_b=True)
        dW = tf.matmul(g * u, v, transpose_a=True)
        dv = g * uW
        return du, dW, dv

    return score, grad
