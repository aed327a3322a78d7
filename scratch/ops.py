"""Operations with hand-written gradients: `y, backward = op(x, ...)`.

`backward(dy)` returns one gradient per differentiable argument, in the order of the arguments, each of the
shape of what it belongs to. It is a closure, so nothing it needs can go stale. Every operation runs in
float32, float64 and complex128: branches look at `.real` and `.T` never conjugates, so that a complex step
passes through the very same lines.
"""

from collections.abc import Callable, Iterator

import numpy as np

from scratch.errors import UsageError
from scratch.windows import crop, pad, pad_amounts, windows

Array = np.ndarray
Backward = Callable[..., tuple[Array, ...]]


def dense(x: Array, w: Array, b: Array) -> tuple[Array, Backward]:
    """Affine map of every row. x (N, D), w (D, M), b (M,) -> y (N, M).

    y = x w + b; dx = dy w^T, dw = x^T dy, db = the sum of the rows of dy.
    Raises UsageError where the shapes do not fit. Source: Goodfellow et al., Deep Learning, 6.5.
    """
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0] or b.shape != w.shape[1:]:
        raise UsageError(
            f"dense expects x (N, D), w (D, M), b (M,), but x {x.shape}, w {w.shape}, b {b.shape} came; "
            "flatten images first, or fix the sizes."
        )
    y = _add(x @ w, b)

    def backward(dy: Array) -> tuple[Array, Array, Array]:
        return (w @ dy.T).T, x.T @ dy, _sum_rows(dy)

    return y, backward


def conv2d(x: Array, w: Array, b: Array, stride: int = 1, padding: str = "SAME") -> tuple[Array, Backward]:
    """Cross-correlation. x (N, H, W, C), w (K, L, C, F), b (F,) -> y (N, H', W', F).

    y[n,i,j,f] = b[f] + sum_klc x[n, i*stride + k, j*stride + l, c] w[k,l,c,f], x padded with zeros.
    dx is the correlation of dy, spread out by the stride, with the kernel turned by 180 degrees.
    Raises UsageError where the shapes do not fit. Source: Dumoulin and Visin, arXiv:1603.07285.
    """
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2] or b.shape != w.shape[3:]:
        raise UsageError(
            f"conv2d expects x (N, H, W, C), w (K, L, C, F), b (F,), but x {x.shape}, w {w.shape}, "
            f"b {b.shape} came; images are channels-last."
        )
    k, l = w.shape[:2]
    height, width = x.shape[1:3]
    rows = pad_amounts(height, k, stride, padding)
    columns = pad_amounts(width, l, stride, padding)
    padded = pad(x, rows, columns)
    y = _add(_correlate(padded, w, stride), b)

    def backward(dy: Array) -> tuple[Array, Array, Array]:
        kernel = w.reshape(-1, w.shape[3]).shape  # (K*L*C, F)
        dw = np.zeros(kernel, np.result_type(x, dy))
        for i, columns_of_image in _im2col(padded, k, l, stride):
            dw += columns_of_image.T @ dy[i].reshape(-1, kernel[1])
        # one axis: dx[i] = sum_k spread[i + rows[0] - k] w[k], hence these many zeros on either side
        spread = _spread(dy, stride)
        before = k - 1 - rows[0], l - 1 - columns[0]
        after = height + rows[0] - spread.shape[1], width + columns[0] - spread.shape[2]
        turned = np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))  # (K, L, F, C)
        dx = _correlate(pad(spread, (before[0], after[0]), (before[1], after[1])), turned, 1)
        return dx, dw.reshape(w.shape), _sum_rows(dy.reshape(-1, kernel[1]))

    return y, backward


def max_pool2d(
    x: Array, size: int = 2, stride: int | None = None, padding: str = "VALID"
) -> tuple[Array, Backward]:
    """Maximum of every size x size window. x (N, H, W, C) -> y (N, H', W', C); stride is size by default.

    The first maximum in row-major order takes the whole gradient; where windows overlap, gradients add up.
    Raises UsageError for an input smaller than the window. Source: Goodfellow et al., 9.3.
    """
    stride = size if stride is None else stride
    if x.ndim != 4 or size < 1:
        raise UsageError(f"max_pool2d expects x (N, H, W, C) and size >= 1; x {x.shape}, size {size} came.")
    rows = pad_amounts(x.shape[1], size, stride, padding)
    columns = pad_amounts(x.shape[2], size, stride, padding)
    padded = pad(x, rows, columns, value=-np.inf)
    taps = windows(padded, size, size, stride)  # (N, H', W', size, size, C)
    places = [(i, j) for i in range(size) for j in range(size)]
    y = taps[:, :, :, 0, 0].copy()
    winner = np.zeros(y.shape, np.int8 if size < 12 else np.int32)
    for index, (i, j) in enumerate(places[1:], start=1):
        candidate = taps[:, :, :, i, j]
        better = candidate.real > y.real  # strictly, so that the first of equals stays
        better |= np.isnan(candidate.real)
        np.copyto(y, candidate, where=better)
        np.copyto(winner, index, where=better)

    def backward(dy: Array) -> tuple[Array]:
        dx = np.zeros(padded.shape, dy.dtype)
        out_h, out_w = y.shape[1:3]
        for index, (i, j) in enumerate(places):
            rows_of_tap = slice(i, i + stride * (out_h - 1) + 1, stride)
            columns_of_tap = slice(j, j + stride * (out_w - 1) + 1, stride)
            dx[:, rows_of_tap, columns_of_tap] += dy * (winner == index)
        return (crop(dx, rows, columns),)

    return y, backward


def flatten(x: Array) -> tuple[Array, Backward]:
    """Each example as one row, in C order: x (N, H, W, C) -> y (N, H*W*C)."""
    return x.reshape(len(x), np.prod(x.shape[1:], dtype=int)), lambda dy: (dy.reshape(x.shape),)


def sigmoid(z: Array) -> tuple[Array, Backward]:
    """Logistic function, y = 1 / (1 + exp(-z)), any shape; dz = dy y (1 - y). No overflow for any z."""
    e = np.exp(np.where(z.real > 0, -z, z))
    y = np.where(z.real > 0, 1, e) / (1 + e)
    return y, lambda dy: (dy * y * (1 - y),)


def tanh(z: Array) -> tuple[Array, Backward]:
    """Hyperbolic tangent, any shape; dz = dy (1 - y^2)."""
    y = np.tanh(z)
    return y, lambda dy: (dy * (1 - y * y),)


def relu(z: Array) -> tuple[Array, Backward]:
    """Rectifier, y = max(z, 0), any shape; dz = dy where z > 0, else 0: the derivative at 0 is 0."""
    active = z.real > 0
    # np.maximum orders complex numbers by their imaginary part too, so those are masked
    y = z * active if np.iscomplexobj(z) else np.maximum(z, 0)
    return y, lambda dy: (dy * active,)


def leaky_relu(z: Array, slope: float = 0.01) -> tuple[Array, Backward]:
    """Rectifier with a leak, y = z where z > 0, else slope z, any shape; the derivative at 0 is slope."""
    factor = np.where(z.real > 0, 1, slope).astype(z.real.dtype)
    return z * factor, lambda dy: (dy * factor,)


def maxout(z: Array, pieces: int = 2) -> tuple[Array, Backward]:
    """Maximum over groups of channels. z (..., F*pieces), pieces fastest -> y (..., F).

    The first piece wins ties and takes the whole gradient.
    Raises UsageError where the channels are no multiple of pieces. Source: Goodfellow et al., 2013.
    """
    if pieces < 1 or z.shape[-1] % pieces:
        raise UsageError(f"maxout expects a multiple of {pieces} >= 1 channels, but {z.shape[-1]} came.")
    groups = z.reshape(*z.shape[:-1], -1, pieces)
    winner = groups.real.argmax(-1)[..., None]

    def backward(dy: Array) -> tuple[Array]:
        dz = np.zeros(groups.shape, dy.dtype)
        np.put_along_axis(dz, winner, dy[..., None], -1)
        return (dz.reshape(z.shape),)

    return np.take_along_axis(groups, winner, -1)[..., 0], backward


def dropout(
    x: Array, rate: float, mask: Array | None = None, rng: np.random.Generator | None = None
) -> tuple[Array, Backward]:
    """Inverted dropout, y = x mask / (1 - rate), any shape; dx = dy mask / (1 - rate).

    mask: boolean, True keeps, of the shape of x; or it is drawn from rng. One of the two must be given.
    Raises UsageError for a rate outside [0, 1). Source: Srivastava et al., JMLR 15, 2014.
    """
    if not 0 <= rate < 1:
        raise UsageError(f"dropout expects a rate in [0, 1), but {rate} came.")
    if mask is None:
        if rng is None:
            raise UsageError("dropout expects a mask or a Generator, but neither came.")
        mask = rng.random(x.shape) >= rate
    if mask.shape != x.shape:
        raise UsageError(f"dropout expects a mask of the shape {x.shape}, but {mask.shape} came.")
    scale = mask.astype(x.real.dtype) / x.real.dtype.type(1 - rate)
    return x * scale, lambda dy: (dy * scale,)


def softmax(z: Array) -> Array:
    """Probabilities of each row of logits z (N, M): exp(z) / sum exp(z), without overflow."""
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_cross_entropy(z: Array, t: Array) -> tuple[Array, Backward]:
    """Mean over examples of -log softmax(z)[t], in nats. z (N, M) logits, t (N,) integers -> a scalar.

    dz = dloss (softmax(z) - onehot(t)) / N. Finite for any finite logits.
    Raises UsageError where t does not fit z. Source: Goodfellow et al., 6.2.2.3.
    """
    one_hot = _one_hot(t, z)
    shifted = z - z.real.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    loss = (log_sum - shifted[np.arange(len(z)), t]).mean()
    return loss, lambda dloss=1: ((softmax(z) - one_hot) * (dloss / z.real.dtype.type(len(z))),)


def sigmoid_cross_entropy(z: Array, t: Array) -> tuple[Array, Backward]:
    """Binary cross-entropy, summed over outputs, averaged over examples, in nats. z (N, M) -> a scalar.

    t: (N,) integers, taken one-hot, or (N, M) targets in [0, 1]. With y = sigmoid(z) the loss of an output
    is -t log y - (1 - t) log(1 - y) = max(z, 0) - z t + log(1 + exp(-|z|)); dz = dloss (y - t) / N.
    Raises UsageError where t does not fit z. Source: Nielsen, Neural Networks and Deep Learning, ch. 3.
    """
    soft = t.ndim == 2 and t.shape == z.shape
    if soft and not ((t >= 0) & (t <= 1)).all():
        raise UsageError(f"targets must lie in [0, 1], but {t.min()} ... {t.max()} came.")
    targets = t.astype(z.real.dtype) if soft else _one_hot(t, z)
    positive = z.real > 0
    losses = z * positive - z * targets + np.log1p(np.exp(np.where(positive, -z, z)))
    count = z.real.dtype.type(len(z))
    return losses.sum() / count, lambda dloss=1: ((sigmoid(z)[0] - targets) * (dloss / count),)


def _one_hot(t: Array, z: Array) -> Array:
    if z.ndim != 2 or t.shape != z.shape[:1] or t.dtype.kind not in "iu":
        raise UsageError(
            f"the loss expects logits (N, M) and integer targets (N,), but {z.shape} and "
            f"{t.dtype} {t.shape} came."
        )
    if t.size and not 0 <= t.min() <= t.max() < z.shape[1]:
        raise UsageError(f"targets must lie in 0 ... {z.shape[1] - 1}, but {t.min()} ... {t.max()} came.")
    return (t[:, None] == np.arange(z.shape[1])).astype(z.real.dtype)


def _add(y: Array, b: Array) -> Array:
    """y + b, in y's own memory unless b alone is complex."""
    return np.add(y, b, out=y if np.can_cast(b.dtype, y.dtype) else None)


def _sum_rows(dy: Array) -> Array:
    """Column sums as a product: faster than `.sum(0)`, and BLAS adds up in blocks, so more accurate too."""
    return np.ones(len(dy), dy.dtype) @ dy


def _im2col(x: Array, k: int, l: int, stride: int) -> Iterator[tuple[int, Array]]:
    """(image number, its windows as rows (H'*W', K*L*C)); one buffer serves all, so use each at once."""
    view = windows(x, k, l, stride)
    buffer = np.empty(view.shape[1:], x.dtype)
    for i in range(len(x)):
        np.copyto(buffer, view[i])
        yield i, buffer.reshape(-1, k * l * x.shape[3])


def _correlate(x: Array, w: Array, stride: int) -> Array:
    """VALID cross-correlation of x (N, H, W, C) with w (K, L, C, F), as one product an image."""
    k, l, _, f = w.shape
    n, h, width, _ = x.shape
    y = np.empty((n, (h - k) // stride + 1, (width - l) // stride + 1, f), np.result_type(x, w))
    kernel = w.reshape(-1, f)
    for i, columns in _im2col(x, k, l, stride):
        y[i] = (columns @ kernel).reshape(y.shape[1:])
    return y


def _spread(dy: Array, stride: int) -> Array:
    """dy (N, H', W', F) with stride - 1 zeros between neighbours."""
    if stride == 1:
        return dy
    n, h, w, f = dy.shape
    out = np.zeros((n, (h - 1) * stride + 1, (w - 1) * stride + 1, f), dy.dtype)
    out[:, ::stride, ::stride] = dy
    return out
