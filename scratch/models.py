"""The two networks: a multilayer perceptron and the 4-layer DCN. Their names and shapes are the contract."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scratch.errors import UsageError
from scratch.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, width
from scratch.network import Network
from scratch.regularizers import Penalty


def mlp(
    sizes: Sequence[int],
    activation: str = "relu",
    output: str = "softmax",
    dropout: float = 0.0,
    penalty: Penalty | None = None,
    dtype=np.float32,
) -> Network:
    """Dense layers fc1 ... fcL over sizes (D, hidden ..., M); dropout before every layer but the first.

    Images are flattened by the caller: x (N, D). All parameters start at 0; see initializers.draw.
    Raises UsageError for fewer than two sizes or a size below 1.
    """
    sizes = tuple(int(size) for size in sizes)
    if len(sizes) < 2 or min(sizes) < 1:
        raise UsageError(f"an MLP needs at least an input and an output size, each 1 or more; {sizes} came.")
    width(1, activation)  # the options are checked even where no hidden layer uses them
    Dropout("fc1", dropout, 1)
    layers: list[Layer] = []
    for number, (inputs, units) in enumerate(pairwise(sizes), start=1):
        name = f"fc{number}"
        if dropout and number > 1:
            layers.append(Dropout(name, dropout, inputs))
        if number == len(sizes) - 1:
            layers.append(Dense(name, inputs, units))
        else:
            layers += [Dense(name, inputs, width(units, activation)), Activation(name, activation)]
    return Network(layers, output, penalty, dtype)


def dcn(
    image: Sequence[int] = (28, 28, 1),
    filters: Sequence[int] = (32, 64),
    kernel: int = 5,
    hidden: int = 1024,
    classes: int = 10,
    activation: str = "relu",
    output: str = "softmax",
    dropout: float = 0.5,
    penalty: Penalty | None = None,
    dtype=np.float32,
) -> Network:
    """conv1 - act - pool - conv2 - act - pool - fc1 - act - dropout - fc2, SAME padding, 2 x 2 pooling.

    The defaults are the 4-layer network of TensorFlow's "Deep MNIST for Experts": 3,274,634 parameters.
    x (N, H, W, C). Raises UsageError where an image is smaller than 4 x 4.
    """
    sizes = (kernel, hidden, classes, *filters, *image)
    if len(image) != 3 or len(filters) != 2 or min(sizes) < 1:
        raise UsageError(
            "the DCN needs an image (H, W, C), two filter counts, a kernel, a hidden and a class count, "
            f"each 1 or more; image {tuple(image)}, filters {tuple(filters)}, kernel {kernel}, "
            f"hidden {hidden}, classes {classes} came."
        )
    height, image_width, channels = image
    if min(height, image_width) < 4:
        raise UsageError(f"the DCN pools twice and needs images of at least 4 x 4, but {tuple(image)} came.")
    first, second = filters
    features = (height // 4) * (image_width // 4) * second
    layers: list[Layer] = [
        Conv2D("conv1", channels, width(first, activation), kernel),
        Activation("conv1", activation),
        MaxPool2D("conv1"),
        Conv2D("conv2", first, width(second, activation), kernel),
        Activation("conv2", activation),
        MaxPool2D("conv2"),
        Flatten("fc1"),
        Dense("fc1", features, width(hidden, activation)),
        Activation("fc1", activation),
    ]
    if dropout:
        layers.append(Dropout("fc2", dropout, hidden))
    layers.append(Dense("fc2", hidden, classes))
    return Network(layers, output, penalty, dtype)
