"""f(x, A) = x^T A x, where A need not be symmetric.  x: (n,), A: (n, n)"""
import numpy as np


def f(x, A):
    return x @ A @ x


def df(x, A):
    return (A + A.T) @ x, np.outer(x, x)
