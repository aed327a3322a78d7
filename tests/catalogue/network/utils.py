"""helpers of our group"""
import numpy as np


def sigmoid(z):
    """works for every z: never takes exp of a positive number"""
    e = np.exp(-abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_prime(z):
    return sigmoid(z) * sigmoid(-z)


def check_column(v, n, what):
    assert v.ndim == 2 and v.shape[1] == 1, f"{what} must be a column, is {v.shape}"
    assert v.shape[0] == n, f"{what} must have {n} rows, has {v.shape[0]}"
