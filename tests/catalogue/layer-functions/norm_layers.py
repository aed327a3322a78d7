"""Normalisation, the backward pass walked through node by node (computational graph)."""
import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    mode = bn_param['mode']
    eps = bn_param.get('eps', 1e-5)
    momentum = bn_param.get('momentum', 0.9)
    N, D = x.shape
    running_mean = bn_param.get('running_mean', np.zeros(D))
    running_var = bn_param.get('running_var', np.ones(D))

    if mode == 'train':
        mu = 1.0 / N * np.sum(x, axis=0)          # 1
        xmu = x - mu                              # 2
        sq = xmu ** 2                             # 3
        var = 1.0 / N * np.sum(sq, axis=0)        # 4
        sqrtvar = np.sqrt(var + eps)              # 5
        ivar = 1.0 / sqrtvar                      # 6
        xhat = xmu * ivar                         # 7
        gammax = gamma * xhat                     # 8
        out = gammax + beta                       # 9
        running_mean = momentum * running_mean + (1 - momentum) * mu
        running_var = momentum * running_var + (1 - momentum) * var
        cache = (mode, xhat, gamma, xmu, ivar, sqrtvar, N)
    elif mode == 'test':
        sqrtvar = np.sqrt(running_var + eps)
        xhat = (x - running_mean) / sqrtvar
        out = gamma * xhat + beta
        cache = (mode, xhat, gamma, None, None, sqrtvar, N)
    else:
        raise ValueError('unknown mode "%s"' % mode)

    bn_param['running_mean'] = running_mean
    bn_param['running_var'] = running_var
    return out, cache


def batchnorm_backward(dout, cache):
    mode, xhat, gamma, xmu, ivar, sqrtvar, N = cache
    dbeta = np.sum(dout, axis=0)                  # 9
    dgamma = np.sum(dout * xhat, axis=0)          # 8
    dxhat = dout * gamma
    if mode == 'test':
        return dxhat / sqrtvar, dgamma, dbeta
    divar = np.sum(dxhat * xmu, axis=0)           # 7
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / (sqrtvar ** 2) * divar      # 6
    dvar = 0.5 / sqrtvar * dsqrtvar               # 5
    dsq = 1.0 / N * np.ones_like(dout) * dvar     # 4
    dxmu2 = 2 * xmu * dsq                         # 3
    dx1 = dxmu1 + dxmu2                           # 2
    dmu = -np.sum(dx1, axis=0)
    dx2 = 1.0 / N * np.ones_like(dout) * dmu      # 1
    dx = dx1 + dx2
    return dx, dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get('eps', 1e-5)
    mu = x.mean(axis=1, keepdims=True)
    xmu = x - mu
    var = (xmu ** 2).mean(axis=1, keepdims=True)
    ivar = (var + eps) ** -0.5
    xhat = xmu * ivar
    out = gamma * xhat + beta
    cache = (xhat, gamma, xmu, ivar)
    return out, cache


def layernorm_backward(dout, cache):
    xhat, gamma, xmu, ivar = cache
    D = xhat.shape[1]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    dvar = (dxhat * xmu).sum(axis=1, keepdims=True) * -0.5 * ivar ** 3
    dxmu = dxhat * ivar + dvar * 2.0 * xmu / D
    dmu = -dxmu.sum(axis=1, keepdims=True)
    dx = dxmu + dmu / D
    return dx, dgamma, dbeta


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    out, cache = batchnorm_forward(flat, gamma, beta, bn_param)
    out = out.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return out, cache


def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
    dx, dgamma, dbeta = batchnorm_backward(flat, cache)
    dx = dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return dx, dgamma, dbeta
