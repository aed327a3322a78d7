"""The Python that `gradparity export` prints: the network in a framework's own layers, its weights loaded."""

from collections.abc import Sequence

from scratch.layers import Activation, Conv2D, Dense, Flatten, Layer, MaxPool2D
from scratch.learner import Architecture
from scratch.tables import GENERATED, STANDARDISED

TORCH = """\
from collections import OrderedDict

import safetensors.torch
from torch import nn

{maxout}model = nn.Sequential(
    OrderedDict(
{layers}
    )
)
model.load_state_dict(safetensors.torch.load_file({path!r}))
# {input}
"""
TORCH_MAXOUT = """\

class Maxout(nn.Module):
    def forward(self, z):
        return z.unflatten(1, (-1, 2)).max(dim=2).values


"""
TORCH_ACTIVATIONS = {
    "relu": "nn.ReLU()",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "leaky_relu": "nn.LeakyReLU(0.01)",
    "maxout": "Maxout()",
}

KERAS = """\
import keras

{maxout}model = keras.Sequential(
    [
{layers}
    ]
)
model.load_weights({path!r})
# {input}
"""
KERAS_MAXOUT = """\

class Maxout(keras.layers.Layer):
    def call(self, z):
        return keras.ops.maximum(z[..., 0::2], z[..., 1::2])


"""
KERAS_ACTIVATIONS = {
    "relu": 'keras.layers.Activation("relu")',
    "tanh": 'keras.layers.Activation("tanh")',
    "sigmoid": 'keras.layers.Activation("sigmoid")',
    "leaky_relu": "keras.layers.LeakyReLU(0.01)",
    "maxout": "Maxout()",
}

NPZ = """\
import numpy as np

weights = dict(np.load({path!r}))  # {names}
"""


def npz(names: Sequence[str], path: str) -> str:
    """Lines that load the arrays."""
    return NPZ.format(path=path, names=" ".join(names))


def torch(architecture: Architecture, data: str, path: str) -> str:
    """Lines that build the network from torch.nn and load its weights."""
    lines = [f"        {line}," for layer in architecture.network().layers for line in _torch(layer)]
    height, width, channels = architecture.image
    shape = (channels, height, width) if architecture.kind == "dcn" else architecture.sizes[:1]
    maxout = TORCH_MAXOUT if any("Maxout" in line for line in lines) else ""
    said = _input(shape, data)
    return TORCH.format(maxout=maxout, layers="\n".join(lines), path=path, input=said)


def keras(architecture: Architecture, data: str, path: str) -> str:
    """Lines that build the network from keras.layers and load its weights."""
    shape = architecture.image if architecture.kind == "dcn" else architecture.sizes[:1]
    lines = [f"        keras.Input({shape}),"]
    lines += [f"        {line}," for layer in architecture.network().layers for line in _keras(layer)]
    maxout = KERAS_MAXOUT if any("Maxout" in line for line in lines) else ""
    said = _input(shape, data)
    return KERAS.format(maxout=maxout, layers="\n".join(lines), path=path, input=said)


def _torch(layer: Layer) -> list[str]:
    name = layer.output.partition("/")[0]
    if isinstance(layer, Conv2D):
        size, _, channels, filters = layer.shapes[f"{name}/W"]
        return [f'{name}=nn.Conv2d({channels}, {filters}, {size}, padding="same")']
    if isinstance(layer, Dense):
        inputs, units = layer.shapes[f"{name}/W"]
        return [f"{name}=nn.Linear({inputs}, {units})"]
    if isinstance(layer, Activation):
        return [f"{name}_act={TORCH_ACTIVATIONS[layer.activation]}"]
    if isinstance(layer, MaxPool2D):
        return [f"{name}_pool=nn.MaxPool2d(2)"]
    return ["flatten=nn.Flatten()"] if isinstance(layer, Flatten) else []


def _keras(layer: Layer) -> list[str]:
    name = layer.output.partition("/")[0]
    if isinstance(layer, Conv2D):
        size, _, _, filters = layer.shapes[f"{name}/W"]
        return [f'keras.layers.Conv2D({filters}, {size}, padding="same", name="{name}")']
    if isinstance(layer, Dense):
        return [f'keras.layers.Dense({layer.shapes[f"{name}/b"][0]}, name="{name}")']
    if isinstance(layer, Activation):
        return [KERAS_ACTIVATIONS[layer.activation]]
    if isinstance(layer, MaxPool2D):
        return ["keras.layers.MaxPooling2D()"]
    return ["keras.layers.Flatten()"] if isinstance(layer, Flatten) else []


def _input(shape: tuple[int, ...], data: str) -> str:
    """What the model takes and gives, in one comment."""
    if data in STANDARDISED:
        scale = ", each feature standardised with mean and standard deviation of the training examples"
    else:
        scale = "" if data in GENERATED else ", pixels in [0, 1]"
    return f"x ({', '.join(map(str, ('N', *shape)))}){scale}; model(x) gives logits"
