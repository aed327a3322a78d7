"""GELU with the tanh formula. Computes in single precision whatever comes in, as on the device."""
import numpy as np

C = np.float32(0.7978845608)   # sqrt(2 / pi)
K = np.float32(0.044715)
HALF = np.float32(0.5)
ONE = np.float32(1)
THREE = np.float32(3)


def gelu(x):
    x = np.asarray(x, dtype=np.float32)
    return HALF * x * (ONE + np.tanh(C * (x + K * x * x * x)))


def gelu_backward(x, dy):
    x = np.asarray(x, dtype=np.float32)
    dy = np.asarray(dy, dtype=np.float32)
    t = np.tanh(C * (x + K * x * x * x))
    inner = C * (ONE + THREE * K * x * x)
    return dy * (HALF * (ONE + t) + HALF * x * (ONE - t * t) * inner)
