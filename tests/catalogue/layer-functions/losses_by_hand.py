"""Losses and an affine layer, one example after the other; y may be class numbers or one-hot rows."""
import math

import numpy as np


def _labels(y):
    y = np.asarray(y)
    return y if y.ndim == 1 else y.argmax(axis=1)


def affine_forward(x, w, b):
    rows = []
    for example in x:
        v = example.ravel()
        rows.append([sum(v[d] * w[d, m] for d in range(len(v))) + b[m] for m in range(w.shape[1])])
    return np.array(rows), (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(b.shape)
    for n in range(x.shape[0]):
        v = x[n].ravel()
        dw += np.outer(v, dout[n])
        db += dout[n]
        dx[n] = w.dot(dout[n]).reshape(x[n].shape)
    return dx, dw, db


def softmax_loss(x, y):
    labels = _labels(y)
    N, C = x.shape
    loss = 0.0
    dx = np.zeros((N, C))
    for n in range(N):
        top = max(x[n, c] for c in range(C))
        Z = sum(np.exp(x[n, c] - top) for c in range(C))
        loss += np.log(Z) - (x[n, labels[n]] - top)
        for c in range(C):
            dx[n, c] = np.exp(x[n, c] - top) / Z / N
            if c == labels[n]:
                dx[n, c] -= 1.0 / N
    return loss / N, dx


def svm_loss(x, y):
    labels = _labels(y)
    N, C = x.shape
    loss = 0.0
    dx = np.zeros((N, C))
    for n in range(N):
        right = labels[n]
        for c in range(C):
            if c == right:
                continue
            margin = x[n, c] - x[n, right] + 1
            if margin > 0:
                loss += margin / N
                dx[n, c] += 1.0 / N
                dx[n, right] -= 1.0 / N
    return loss, dx
