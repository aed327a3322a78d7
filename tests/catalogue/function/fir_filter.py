"""A one-dimensional convolution (signal processing sense: the kernel is flipped), 'valid' part only.

y[t] = sum_j k[j] * x[t + K - 1 - j],  x: (T,), k: (K,), y: (T - K + 1,); needs T >= K
"""
import numpy as np


def fir(x, k):
    T, K = len(x), len(k)
    y = np.zeros(T - K + 1)
    for t in range(T - K + 1):
        y[t] = np.sum(x[t:t + K] * k[::-1])
    return y


def fir_backward(x, k, dy):
    T, K = len(x), len(k)
    dx = np.zeros(T)
    dk = np.zeros(K)
    for t in range(T - K + 1):
        dx[t:t + K] += dy[t] * k[::-1]
        dk += dy[t] * x[t:t + K][::-1]
    return dx, dk
