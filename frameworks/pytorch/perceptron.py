"""Loss and gradients of a multilayer perceptron in PyTorch, for weights that somebody else's code has."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Array = np.ndarray
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "arctan": torch.arctan,
    "softplus": lambda z: torch.logaddexp(
        z, torch.zeros_like(z)
    ),  # F.softplus is linear above 20, or overflows
    "elu": F.elu,
    "linear": lambda z: z,
}


def loss_and_grads(
    weights: Sequence[tuple[Array, Array]],
    x: Array,
    t: Array,
    activation: str,
    slope: float,
    output: str,
    loss: str,
    total: bool,
    penalty: tuple[float, bool],
) -> tuple[float, list[tuple[Array, Array]]]:
    """weights: (W (in, out), b (out,)) of each layer; x (N, D); t (N,) integers, 0 or 1 where there is one
    output; both answers in float64.

    loss: cross_entropy, binary_cross_entropy, quadratic (1/2 sum (a - t)^2) or squared; total: summed over
    the examples; penalty: (strength s, biases too) adds s sum W^2; slope: of a leaky ReLU.
    Every number comes from torch.autograd.
    """
    layers = [[torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in pair] for pair in weights]
    z = torch.tensor(x, dtype=torch.float64)
    for number, (w, b) in enumerate(layers):
        z = F.linear(_activate(z, activation, slope) if number else z, w.T, b)
    value = _loss(z, torch.tensor(np.asarray(t, np.int64)), output, loss)
    value = value if total else value / len(x)
    strength, biases = penalty
    if strength:
        value = value + strength * sum((p**2).sum() for w, b in layers for p in ([w, b] if biases else [w]))
    gradients = torch.autograd.grad(value, [p for pair in layers for p in pair], allow_unused=True)
    flat: list[Any] = [g.numpy() for g in gradients]
    return float(value.detach()), list(zip(flat[::2], flat[1::2], strict=True))


def _activate(z: torch.Tensor, activation: str, slope: float) -> torch.Tensor:
    return F.leaky_relu(z, slope) if activation == "leaky_relu" else ACTIVATIONS[activation](z)


def _loss(z: torch.Tensor, t: torch.Tensor, output: str, loss: str) -> torch.Tensor:
    if loss == "cross_entropy":
        return F.cross_entropy(z, t, reduction="sum")
    single = z.shape[1] == 1 and output != "softmax"
    targets = (t[:, None] if single else F.one_hot(t, z.shape[1])).to(z.dtype)
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(z, targets, reduction="sum")
    y = torch.softmax(z, dim=1) if output == "softmax" else ACTIVATIONS[output](z)
    return F.mse_loss(y, targets, reduction="sum") * (0.5 if loss == "quadratic" else 1.0)
