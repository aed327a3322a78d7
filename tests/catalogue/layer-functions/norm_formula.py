"""The same normalisations, the whole backward pass in one formula, for any axes.

dx = gamma / std * (dout - mean(dout) - xhat * mean(dout * xhat)), means over the normalised axes.
"""
import numpy as np


def _normalise(x, axes, eps):
    centred = x - x.mean(axis=axes, keepdims=True)
    std = np.sqrt(np.mean(np.square(centred), axis=axes, keepdims=True) + eps)
    return centred / std, std


def _denormalise(g, xhat, std, axes):
    m1 = g.mean(axis=axes, keepdims=True)
    m2 = (g * xhat).mean(axis=axes, keepdims=True)
    return (g - m1 - xhat * m2) / std


def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    if bn_param["mode"] == "test":
        std = np.sqrt(bn_param["running_var"] + eps)
        xhat = (x - bn_param["running_mean"]) / std
        return xhat * gamma + beta, ("test", xhat, std, gamma)
    xhat, std = _normalise(x, 0, eps)
    a = bn_param.get("momentum", 0.9)
    mean, var = np.mean(x, 0), np.var(x, 0)
    bn_param["running_mean"] = a * bn_param.get("running_mean", 0 * mean) + (1 - a) * mean
    bn_param["running_var"] = a * bn_param.get("running_var", 0 * var + 1) + (1 - a) * var
    return xhat * gamma + beta, ("train", xhat, std, gamma)


def batchnorm_backward(dout, cache):
    mode, xhat, std, gamma = cache
    dbeta = np.einsum("nd->d", dout)
    dgamma = np.einsum("nd,nd->d", dout, xhat)
    if mode == "train":
        return _denormalise(dout * gamma, xhat, std, 0), dgamma, dbeta
    return dout * gamma / std, dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    xhat, std = _normalise(x, 1, ln_param.get("eps", 1e-5))
    return xhat * gamma + beta, (xhat, std, gamma)


def layernorm_backward(dout, cache):
    xhat, std, gamma = cache
    dbeta = np.einsum("nd->d", dout)
    dgamma = np.einsum("nd,nd->d", dout, xhat)
    return _denormalise(dout * gamma, xhat, std, 1), dgamma, dbeta


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    g, b = gamma[:, None, None], beta[:, None, None]
    eps = bn_param.get("eps", 1e-5)
    if bn_param["mode"] == "test":
        std = np.sqrt(bn_param["running_var"] + eps)[:, None, None]
        xhat = (x - bn_param["running_mean"][:, None, None]) / std
        return xhat * g + b, ("test", xhat, std, g)
    xhat, std = _normalise(x, (0, 2, 3), eps)
    a = bn_param.get("momentum", 0.9)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    bn_param["running_mean"] = a * bn_param.get("running_mean", 0 * mean) + (1 - a) * mean
    bn_param["running_var"] = a * bn_param.get("running_var", 0 * var + 1) + (1 - a) * var
    return xhat * g + b, ("train", xhat, std, g)


def spatial_batchnorm_backward(dout, cache):
    mode, xhat, std, g = cache
    dbeta = np.einsum("nchw->c", dout)
    dgamma = np.einsum("nchw,nchw->c", dout, xhat)
    if mode == "train":
        return _denormalise(dout * g, xhat, std, (0, 2, 3)), dgamma, dbeta
    return dout * g / std, dgamma, dbeta
