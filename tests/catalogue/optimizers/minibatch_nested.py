"""In-place training step for a dict of layers (layer.params / layer.gradient).

update(model, velocity, weight_decay, mu, rate): `velocity` is a dict that may start empty; it gets one dict per layer.
The arrays of layer.params are kept and overwritten, so views of them stay valid.
"""
import numpy as np


class Layer:
    def __init__(self, **arrays):
        self.params = {k: np.array(v, dtype=float) for k, v in arrays.items()}
        self.gradient = {k: np.zeros_like(v) for k, v in self.params.items()}


class Activation:
    """Has nothing to train."""


def make_model():
    r = np.random.RandomState(7)
    return {
        'fc1': Layer(W=r.randn(5, 4), b=r.randn(1, 4)),
        'act': Activation(),
        'fc2': Layer(W=r.randn(4, 4), b=r.randn(1, 4)),
        'fc3': Layer(W=r.randn(4, 3), b=r.randn(1, 3)),
    }


def update(model, velocity, weight_decay, mu, rate):
    trainable = [(n, l) for n, l in model.items() if getattr(l, 'params', None)]
    for name, layer in trainable:
        memory = velocity.setdefault(name, {})
        for key in sorted(layer.params):
            theta = layer.params[key]
            direction = layer.gradient[key] + weight_decay * theta
            if mu:
                if key not in memory:
                    memory[key] = np.zeros_like(theta)
                memory[key] *= mu
                memory[key] -= rate * direction
                np.add(theta, memory[key], out=theta)
            else:
                np.subtract(theta, rate * direction, out=theta)
