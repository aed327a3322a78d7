"""The multilayer perceptron and the 4-layer DCN as a PyTorch user writes them. Both end in logits."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from scratch.errors import UsageError

PIECES = 2  # linear pieces of a maxout unit


class Maxout(nn.Module):
    """The larger of a unit's PIECES channels: (N, F * PIECES, ...) -> (N, F, ...).

    `max(dim)` names a winner, the first of equals, and routes the gradient there; `amax` would share it out.
    Source: Goodfellow et al., Maxout Networks, 2013.
    """

    def forward(self, z: Tensor) -> Tensor:
        return z.unflatten(1, (-1, PIECES)).max(dim=2).values


class Dropout(nn.Dropout):
    """nn.Dropout that applies the keep-mask `keep` where one is set, in training and evaluation alike."""

    keep: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.keep is None:
            return super().forward(x)
        return x * self.keep / (1 - self.p)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "maxout": Maxout,
}


class MLP(nn.Sequential):
    """Dense layers fc1 ... fcL over sizes (D, hidden ..., M): x (N, D) -> logits (N, M).

    Dropout stands before every layer but the first.
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        last = len(sizes) - 1
        for number in range(1, last + 1):
            inputs, units = sizes[number - 1], sizes[number]
            if number > 1 and dropout:
                self.add_module(f"fc{number}_drop", Dropout(dropout))
            if number < last:
                self.add_module(f"fc{number}", nn.Linear(inputs, _width(units, activation)))
                self.add_module(f"fc{number}_act", ACTIVATIONS[activation]())
            else:
                self.add_module(f"fc{number}", nn.Linear(inputs, units))


class DCN(nn.Module):
    """Two convolutions with pooling, two dense layers: x (N, C, H, W) -> logits (N, M).

    `features` is the (channels, height, width) that fc1 reads in this order.
    """

    def __init__(
        self,
        image: Sequence[int] = (28, 28, 1),
        filters: Sequence[int] = (32, 64),
        kernel: int = 5,
        hidden: int = 1024,
        classes: int = 10,
        activation: str = "relu",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        height, width, channels = image
        self.features = filters[1], height // 4, width // 4

        self.conv1 = nn.Conv2d(channels, _width(filters[0], activation), kernel, padding="same")
        self.conv1_act = ACTIVATIONS[activation]()
        self.conv1_pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(filters[0], _width(filters[1], activation), kernel, padding="same")
        self.conv2_act = ACTIVATIONS[activation]()
        self.conv2_pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(filters[1] * (height // 4) * (width // 4), _width(hidden, activation))
        self.fc1_act = ACTIVATIONS[activation]()
        self.fc2_drop = Dropout(dropout)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1_pool(self.conv1_act(self.conv1(x)))  # (N, filters[0], H // 2, W // 2)
        x = self.conv2_pool(self.conv2_act(self.conv2(x)))  # (N, filters[1], H // 4, W // 4)
        x = self.fc1_act(self.fc1(self.flatten(x)))  # (N, hidden)
        return self.fc2(self.fc2_drop(x))  # (N, classes)


def _width(units: int, activation: str) -> int:
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation must be one of {', '.join(ACTIVATIONS)}, but {activation!r} came.")
    return units * PIECES if activation == "maxout" else units


def probabilities(logits: Tensor, output: str) -> Tensor:
    """The last layer's activation, softmax or sigmoid of the logits (N, M)."""
    return torch.softmax(logits, dim=1) if output == "softmax" else torch.sigmoid(logits)
