"""A sigmoid network in the column style: `backprop(x, y)` returns two lists of gradients for one example.

x (n_in, 1) and y (n_out, 1) are columns; a layer computes a = sigmoid(W a + b) with W (n_out, n_in) and
b (n_out, 1). The cost is a class that knows its value, `fn`, and its derivative with respect to the net input
of the last layer, `delta`. Check it with

    gradparity check docs/examples/network.py
"""

from itertools import pairwise

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sigmoid_prime(z):
    """The derivative of the sigmoid at the net input z."""
    s = sigmoid(z)
    return s * (1 - s)


class CrossEntropyCost:
    """Binary cross-entropy, summed over the outputs."""

    @staticmethod
    def fn(a, y):
        return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))

    @staticmethod
    def delta(z, a, y):
        return a - y  # the factor sigmoid'(z) cancels against the cost's own 1 / (a (1 - a))


class Network:
    def __init__(self, sizes, cost=CrossEntropyCost, seed=0):
        rng = np.random.default_rng(seed)
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.cost = cost
        self.biases = [rng.standard_normal((n, 1)) for n in sizes[1:]]
        self.weights = [rng.standard_normal((n_out, n_in)) / np.sqrt(n_in) for n_in, n_out in pairwise(sizes)]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(w @ a + b)
        return a

    def backprop(self, x, y):
        """Return (nabla_b, nabla_w), the gradients of the cost of one example, layer by layer."""
        nabla_b = [np.zeros_like(b) for b in self.biases]
        nabla_w = [np.zeros_like(w) for w in self.weights]

        zs = []
        activations = [x]
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(w @ activations[-1] + b)
            activations.append(sigmoid(zs[-1]))

        delta = self.cost.delta(zs[-1], activations[-1], y)  # (n_out, 1)
        nabla_b[-1] = delta
        nabla_w[-1] = delta @ activations[-2].T
        for layer in range(2, self.num_layers):
            delta = self.weights[-layer + 1].T @ delta * sigmoid_prime(zs[-layer])
            nabla_b[-layer] = delta
            nabla_w[-layer] = delta @ activations[-layer - 1].T
        return nabla_b, nabla_w
