"""Layers of a paper reproduction: losses are SUMS over the batch, relu'(0) = 1 as in the paper's appendix.

All arguments may be given by keyword.
"""
import numpy as np


def relu_forward(x):
    active = np.greater_equal(x, 0)
    return np.where(active, x, 0), active


def relu_backward(dout, cache):
    return np.multiply(dout, cache)


def affine_forward(x, w, b):
    ones = np.ones((x.shape[0], 1))
    design = np.concatenate((x.reshape(x.shape[0], -1), ones), axis=1)
    weights = np.concatenate((w, b[None]), axis=0)
    return design @ weights, (design, weights, x.shape)


def affine_backward(dout, cache):
    design, weights, shape = cache
    dweights = design.T @ dout
    ddesign = dout @ weights.T
    return ddesign[:, :-1].reshape(shape), dweights[:-1], dweights[-1]


def softmax_loss(x, y):
    centred = x - x.max(axis=1)[:, None]
    log_z = np.log(np.exp(centred).sum(axis=1))
    targets = np.eye(x.shape[1])[y]
    loss = log_z.sum() - (targets * centred).sum()
    return loss, np.exp(centred - log_z[:, None]) - targets


def svm_loss(x, y):
    n = np.arange(len(y))
    hinge = x - x[n, y][:, None] + 1
    hinge[n, y] = 0
    positive = hinge > 0
    dx = positive.astype(float)
    dx[n, y] = -positive.sum(axis=1)
    return hinge[positive].sum(), dx
