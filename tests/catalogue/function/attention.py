"""Scaled dot-product attention for one head.

Q: (n, d)   K: (m, d)   V: (m, v)   ->   (n, v)
"""
import numpy as np


def softmax_rows(S):
    E = np.exp(S - S.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def attention(Q, K, V):
    A = softmax_rows(Q @ K.T / np.sqrt(Q.shape[1]))
    return A @ V


def attention_grad(Q, K, V, dO):
    c = 1 / np.sqrt(Q.shape[1])
    A = softmax_rows(c * Q @ K.T)
    dV = A.T @ dO
    dA = dO @ V.T
    dS = A * (dA - (dA * A).sum(axis=1, keepdims=True))
    dQ = c * dS @ K
    dK = c * dS.T @ Q
    return dQ, dK, dV
