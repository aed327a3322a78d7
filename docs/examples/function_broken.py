"""A function and its gradient: `grad_f(*arrays)` returns one gradient for each argument of `f(*arrays)`.

The function here is the mean softplus of an affine map, a smooth penalty on positive net inputs. Its value
is a number, so the gradient takes the same arguments and nothing else; a function with an array for its value
has `grad_f(*arrays, dy)`. Check it with

    gradparity check docs/examples/function_broken.py
"""

import numpy as np


def mean_softplus(x, W, b):
    """The mean over the examples of sum_j log(1 + exp(z_j)), z = x W + b.

    x: (N, D), W: (D, M), b: (M,)
    """
    z = x @ W + b
    return np.logaddexp(0, z).sum() / len(x)


def grad_mean_softplus(x, W, b):
    """The gradients with respect to x, W and b, in this order and of the same shapes."""
    z = x @ W + b
    dz = 0.5 * (1 + np.tanh(z / 2)) / len(x)  # the sigmoid of z, safe for every z; (N, M)
    dx = dz @ W.T
    dW = x.T @ dz
    db = dz.mean(axis=0)
    return dx, dW, db
