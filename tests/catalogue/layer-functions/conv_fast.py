"""Convolution without loops over pixels: windows by stride tricks, products by einsum/tensordot.

dx is itself a convolution: dout, spread out by the stride and padded, with the kernels turned by 180 degrees.
"""
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def _windows(a, height, width, stride):
    return sliding_window_view(a, (height, width), axis=(2, 3))[:, :, ::stride, ::stride]


def conv_forward(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    padded = np.pad(x, ((0,), (0,), (pad,), (pad,)))
    view = _windows(padded, w.shape[2], w.shape[3], stride)
    out = np.einsum("nchwij,fcij->nfhw", view, w, optimize=True) + b[None, :, None, None]
    return out, (x, w, conv_param)


def conv_backward(dout, cache):
    x, w, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    n, _, height, width = x.shape
    f, _, kh, kw = w.shape

    padded = np.pad(x, ((0,), (0,), (pad,), (pad,)))
    view = _windows(padded, kh, kw, stride)
    dw = np.tensordot(dout, view, axes=([0, 2, 3], [0, 2, 3]))
    db = np.einsum("nfhw->f", dout)

    spread = np.zeros((n, f, height + 2 * pad - kh + 1, width + 2 * pad - kw + 1))
    spread[:, :, ::stride, ::stride] = dout
    spread = np.pad(spread, ((0,), (0,), (kh - 1,), (kw - 1,)))
    turned = w[:, :, ::-1, ::-1]
    dpadded = np.einsum("nfhwij,fcij->nchw", _windows(spread, kh, kw, 1), turned, optimize=True)
    dx = dpadded[:, :, pad:pad + height, pad:pad + width]
    return dx, dw, db


def max_pool_forward(x, pool_param):
    kh, kw, stride = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    view = _windows(x, kh, kw, stride)
    flat = view.reshape(view.shape[:4] + (kh * kw,))
    winner = flat.argmax(axis=-1)
    out = np.take_along_axis(flat, winner[..., None], axis=-1)[..., 0]
    return out, (x.shape, winner, pool_param)


def max_pool_backward(dout, cache):
    shape, winner, pool_param = cache
    kw, stride = pool_param["pool_width"], pool_param["stride"]
    n, c, h, w = np.indices(dout.shape)
    rows = h * stride + winner // kw
    columns = w * stride + winner % kw
    dx = np.zeros(shape)
    np.add.at(dx, (n, c, rows, columns), dout)
    return dx


def avg_pool_forward(x, pool_param):
    view = _windows(x, pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"])
    return view.mean(axis=(4, 5)), (x.shape, pool_param)


def avg_pool_backward(dout, cache):
    shape, pool_param = cache
    kh, kw, stride = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    dx = np.zeros(shape)
    view = sliding_window_view(dx, (kh, kw), axis=(2, 3), writeable=True)[:, :, ::stride, ::stride]
    share = dout / (kh * kw)
    for i in range(kh):
        for j in range(kw):
            view[:, :, :, :, i, j] += share
    return dx
