"""Style `layer-functions`: every layer is a pair of functions, tied together by a cache.

`name_forward(x, ..., param) -> (out, cache)` computes the layer and remembers what its other half will need;
`name_backward(dout, cache)` gets the gradient of the loss with respect to `out` and returns those with
respect to the forward's arrays, in the order of its arguments. A loss is a single function,
`name_loss(x, y) -> (loss, dx)`.
Every pair in a file is checked by itself.
"""

import numpy as np


def affine_forward(x, w, b):
    """x (N, ...) is flattened to (N, D); w (D, M), b (M,)."""
    out = x.reshape(len(x), -1) @ w + b
    return out, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(len(x), -1).T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    return dout * (dout > 0)


def dropout_forward(x, dropout_param):
    """p is the probability of dropping a unit; mode is "train" or "test"."""
    p, mask = dropout_param["p"], None
    if dropout_param["mode"] == "test":
        return x, (dropout_param, mask)
    rng = np.random.default_rng(dropout_param.get("seed"))
    mask = (rng.uniform(size=x.shape) >= p) / (1 - p)
    return x * mask, (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    return dout if dropout_param["mode"] == "test" else dout * mask


def batchnorm_forward(x, gamma, beta, bn_param):
    """x (N, D) is normalised over the batch in mode "train", by the running statistics in mode "test"."""
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    running_var = bn_param.get("running_var", np.ones(x.shape[1]))
    train = bn_param["mode"] == "train"
    mean, var = (x.mean(axis=0), x.var(axis=0)) if train else (running_mean, running_var)
    if train:
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std
    return gamma * xhat + beta, (xhat, gamma, std, train)


def batchnorm_backward(dout, cache):
    xhat, gamma, std, train = cache
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * gamma
    if train:
        dxhat = dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)
    return dxhat / std, dgamma, dbeta


def softmax_loss(x, y):
    """The mean cross-entropy of softmax(x) and the class numbers y (N,)."""
    rows = np.arange(len(y))
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dx = np.exp(log_p)
    dx[rows, y] -= 1
    return -log_p[rows, y].mean(), dx / len(y)
