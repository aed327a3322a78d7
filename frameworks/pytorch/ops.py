"""Single operations in PyTorch, NumPy in and NumPy out, channels-last as everywhere outside."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Array = np.ndarray


def evaluate(
    op: str, arrays: dict[str, Array], options: dict[str, Any], cotangent: Array
) -> tuple[Array, dict[str, Array]]:
    """(y, {argument: gradient of <cotangent, y>}) of the operation that scratch.ops names `op`."""
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}
    y = OPERATIONS[op](**tensors, **options)
    gradients = torch.autograd.grad(y, list(tensors.values()), torch.tensor(cotangent, dtype=y.dtype))
    return y.detach().numpy(), {name: g.numpy() for name, g in zip(tensors, gradients, strict=True)}


def dense(x, w, b):
    return F.linear(x, w.T, b)


def conv2d(x, w, b, stride=1, padding="SAME"):
    x = _pad(x.permute(0, 3, 1, 2), w.shape[:2], stride, padding, 0.0)
    return F.conv2d(x, w.permute(3, 2, 0, 1).contiguous(), b, stride).permute(0, 2, 3, 1)


def max_pool2d(x, size=2, stride=None, padding="VALID"):
    x = _pad(x.permute(0, 3, 1, 2), (size, size), stride or size, padding, -torch.inf)
    return F.max_pool2d(x, size, stride).permute(0, 2, 3, 1)


def flatten(x):
    return torch.flatten(x, 1)


def leaky_relu(z, slope=0.01):
    return F.leaky_relu(z, slope)


def maxout(z, pieces=2):
    groups = z.unflatten(-1, (-1, pieces))
    first = groups.argmax(-1, keepdim=True)
    return groups.gather(-1, first)[..., 0]


def dropout(x, rate, mask):
    return x * torch.from_numpy(mask) / (1 - rate)


def softmax_cross_entropy(z, t):
    return F.cross_entropy(z, torch.from_numpy(t))


def sigmoid_cross_entropy(z, t):
    targets = torch.from_numpy(t)
    targets = F.one_hot(targets, z.shape[1]) if targets.ndim == 1 else targets
    return F.binary_cross_entropy_with_logits(z, targets.to(z.dtype), reduction="sum") / len(z)


def _pad(x, window, stride, padding, value):
    """TensorFlow's SAME for any stride, which PyTorch has for stride 1 only: the extra pixel goes last."""
    if padding == "VALID":
        return x
    (top, bottom), (left, right) = (
        (total // 2, total - total // 2)
        for size, k in zip(x.shape[2:], window, strict=True)
        for total in [max((-(-size // stride) - 1) * stride + k - size, 0)]
    )
    return F.pad(x, (left, right, top, bottom), value=value)


OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "dense": dense,
    "conv2d": conv2d,
    "max_pool2d": max_pool2d,
    "flatten": flatten,
    "sigmoid": lambda z: torch.sigmoid(z),
    "tanh": lambda z: torch.tanh(z),
    "relu": lambda z: F.relu(z),
    "leaky_relu": leaky_relu,
    "maxout": maxout,
    "dropout": dropout,
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}
