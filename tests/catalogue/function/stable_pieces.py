"""numerically safe building blocks, used by logistic_margin.py"""
import numpy as np


def log1pexp(t):
    return np.logaddexp(0.0, t)


def expit(t):
    e = np.exp(-np.abs(t))
    return np.where(t >= 0, 1.0, e) / (1.0 + e)
