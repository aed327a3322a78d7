"""Layers that work in float32, whatever comes in (as we would on the accelerator)."""
import numpy as np


def _single(*arrays):
    return [np.asarray(a, dtype=np.float32) for a in arrays]


def affine_forward(x, w, b):
    x, w, b = _single(x, w, b)
    flat = x.reshape(x.shape[0], -1)
    return flat @ w + b, (flat, w, x.shape)


def affine_backward(dout, cache):
    flat, w, shape = cache
    (dout,) = _single(dout)
    return (dout @ w.T).reshape(shape), flat.T @ dout, dout.sum(0)


def elu_forward(x, alpha=1.0):
    (x,) = _single(x)
    negative = np.float32(alpha) * np.expm1(np.minimum(x, 0))
    return np.where(x > 0, x, negative), (x, negative, np.float32(alpha))


def elu_backward(dout, cache):
    x, negative, alpha = cache
    (dout,) = _single(dout)
    return dout * np.where(x > 0, np.float32(1), negative + alpha)


def softmax_loss(x, y):
    (x,) = _single(x)
    n = np.arange(x.shape[0])
    x = x - x.max(1, keepdims=True)
    e = np.exp(x)
    z = e.sum(1, keepdims=True)
    dx = e / z
    dx[n, y] -= 1
    return float(np.mean(np.log(z[:, 0]) - x[n, y])), dx / np.float32(len(n))
