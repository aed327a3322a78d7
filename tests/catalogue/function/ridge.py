"""Ridge regression: mean squared residual plus an L2 penalty that spares nothing.

w: (d,), X: (n, d), t: (n,)
"""
import numpy as np

LAMBDA = 0.1


def ridge_loss(w, X, t):
    n = X.shape[0]
    r = X @ w - t
    return np.dot(r, r) / n + LAMBDA * np.dot(w, w)


def ridge_loss_grad(w, X, t):
    n = X.shape[0]
    r = X @ w - t
    gw = 2 * X.T @ r / n + 2 * LAMBDA * w
    gX = 2 * np.outer(r, w) / n
    gt = -2 * r / n
    return gw, gX, gt
