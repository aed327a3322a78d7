"""Row-wise log of a sum of exponentials.

logsumexp(X): (n, k) -> (n,)
grad_logsumexp(X, dy): cotangent dy (n,) -> (n, k)
"""
import numpy as np


def logsumexp(X):
    m = X.max(axis=1)
    return m + np.log(np.exp(X - m[:, None]).sum(axis=1))


def grad_logsumexp(X, dy):
    p = np.exp(X - logsumexp(X)[:, None])
    return p * dy[:, None]
