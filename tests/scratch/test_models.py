"""The two architectures: their names, shapes and parameter counts are a contract."""

import itertools

import numpy as np
import pytest

from scratch import models
from scratch.errors import UsageError


def count(network):
    return {name: int(np.prod(shape)) for name, shape in network.shapes.items()}


def test_the_dcn_has_3_274_634_parameters():
    network = models.dcn()
    sizes = count(network)
    per_layer = [sizes[f"{layer}/W"] + sizes[f"{layer}/b"] for layer in ("conv1", "conv2", "fc1", "fc2")]
    assert per_layer == [832, 51_264, 3_212_288, 10_250]
    assert network.flat.size == sum(sizes.values()) == 3_274_634
    assert network.flat.dtype == np.float32 and not network.flat.any()
    assert network.shapes == {
        "conv1/W": (5, 5, 1, 32),
        "conv1/b": (32,),
        "conv2/W": (5, 5, 32, 64),
        "conv2/b": (64,),
        "fc1/W": (3136, 1024),
        "fc1/b": (1024,),
        "fc2/W": (1024, 10),
        "fc2/b": (10,),
    }


def test_the_order_of_the_dcn():
    order = [type(layer).__name__ for layer in models.dcn().layers]
    block = ["Conv2D", "Activation", "MaxPool2D"]
    assert order == [*block, *block, "Flatten", "Dense", "Activation", "Dropout", "Dense"]
    assert "Dropout" not in [
        type(layer).__name__ for layer in models.dcn((8, 8, 1), (2, 2), 3, 4, 2, dropout=0).layers
    ]


def test_maxout_doubles_the_net_inputs():
    shapes = models.dcn((8, 12, 3), (4, 5), 3, 7, 2, activation="maxout").shapes
    assert shapes["conv1/W"] == (3, 3, 3, 8) and shapes["conv2/W"] == (3, 3, 4, 10)
    assert shapes["fc1/W"] == (2 * 3 * 5, 14) and shapes["fc2/W"] == (7, 2)
    assert models.mlp((5, 4, 3), "maxout").shapes["fc1/W"] == (5, 8)
    assert models.mlp((5, 4, 3), "maxout").shapes["fc2/W"] == (4, 3)


@pytest.mark.parametrize(("height", "width", "features"), [(4, 4, 1), (6, 11, 2), (15, 7, 3), (28, 28, 49)])
def test_pooling_leaves_out_an_odd_rest(height, width, features):
    network = models.dcn((height, width, 1), (2, 3), 3, 4, 5)
    assert network.shapes["fc1/W"] == (features * 3, 4)
    assert network.forward(np.zeros((1, height, width, 1), np.float32)).shape == (1, 5)


@pytest.mark.parametrize("hidden", range(6))
def test_mlp_shapes(hidden):
    sizes = (11, *range(9, 9 - hidden, -1), 3)
    shapes = models.mlp(sizes).shapes
    names = [f"fc{n}/{p}" for n in range(1, hidden + 2) for p in "Wb"]
    assert list(shapes) == names
    for number, (inputs, units) in enumerate(itertools.pairwise(sizes), start=1):
        assert shapes[f"fc{number}/W"] == (inputs, units) and shapes[f"fc{number}/b"] == (units,)


def test_mlp_of_784_64_32_10():
    assert models.mlp((784, 64, 32, 10)).flat.size == 52_650


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: models.mlp((5,)), "at least an input and an output"),
        (lambda: models.mlp(()), "at least"),
        (lambda: models.mlp((5, 0, 3)), "1 or more"),
        (lambda: models.mlp((5, 4, 3), "swish"), "activation"),
        (lambda: models.mlp((5, 4, 3), output="linear"), "softmax or sigmoid"),
        (lambda: models.mlp((5, 4, 3), dropout=1.0), "rate"),
        (lambda: models.mlp((5, 4, 3), dropout=-0.5), "rate"),
        (lambda: models.dcn((3, 28, 1)), "at least 4 x 4"),
        (lambda: models.dcn((28, 3, 1)), "at least 4 x 4"),
        (lambda: models.dcn(activation="swish"), "activation"),
        (lambda: models.dcn((8, 8, 1), dropout=1.5), "rate"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(UsageError, match=words):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: models.dcn((28, 28)),
        lambda: models.dcn(filters=(32,)),
        lambda: models.dcn((8, 8, 1), (0, 4)),
        lambda: models.dcn((8, 8, 1), kernel=0),
        lambda: models.dcn((8, 8, 1), hidden=0),
    ],
)
def test_sizes_that_make_no_dcn(call):
    with pytest.raises(UsageError):
        call()


@pytest.mark.parametrize("options", [{"activation": "swish"}, {"dropout": 1.5}])
def test_options_are_checked_without_hidden_layers_too(options):
    with pytest.raises(UsageError):
        models.mlp((5, 3), **options)
