"""log |det A| of a square matrix, as in a normalising flow. A: (n, n)"""
import numpy as np
from numpy.linalg import inv, slogdet


def log_abs_det(A):
    sign, value = slogdet(A)
    return value


def grad_log_abs_det(A):
    return inv(A).T
