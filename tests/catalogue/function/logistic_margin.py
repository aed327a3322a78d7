"""Logistic loss of margins: sum of log(1 + exp(-s * (X w + b))), the signs s may be any real weights.

w (d,), b scalar, X (n, d), s (n,)
"""
import numpy as np
from stable_pieces import expit, log1pexp


def margin_loss(w, b, X, s):
    return np.sum(log1pexp(-s * (X @ w + b)))


def grad_margin_loss(w, b, X, s):
    score = X @ w + b
    q = -expit(-s * score)
    ds = q * score
    dscore = q * s
    return X.T @ dscore, dscore.sum(), np.outer(dscore, w), ds
