"""The backward pass is a function of its own, bp; the class only keeps the parameters and trains."""
import numpy as np


def act(z):
    return 1 / (1 + np.exp(-z))


def act_deriv(z):
    return np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2


class CrossEntropy:
    @staticmethod
    def fn(a, y):
        eps = 1e-300
        return -(y * np.log(a + eps) + (1 - y) * np.log(1 - a + eps)).sum()

    @staticmethod
    def delta(a, y):
        return a - y


def bp(x, y, biases, weights, cost, num_layers):
    """x: (n_in, 1), y: (n_out, 1) -> (nabla_b, nabla_w), lists like biases and weights"""
    nabla_b = [None] * (num_layers - 1)
    nabla_w = [None] * (num_layers - 1)

    h = [x]
    z = [None]
    for k in range(num_layers - 1):
        z.append(weights[k] @ h[k] + biases[k])
        h.append(act(z[k + 1]))

    d = cost.delta(h[-1], y)
    k = num_layers - 2
    while True:
        nabla_w[k] = np.outer(d, h[k])
        nabla_b[k] = d
        if k == 0:
            return nabla_b, nabla_w
        d = (weights[k].T @ d) * act_deriv(z[k])
        k = k - 1


class Network:
    def __init__(self, sizes, cost=CrossEntropy):
        self.sizes = list(sizes)
        self.num_layers = len(self.sizes)
        self.cost = cost
        rs = np.random.RandomState(1)
        self.biases = [rs.randn(m, 1) for m in self.sizes[1:]]
        self.weights = [rs.randn(m, n) / n ** 0.5 for n, m in zip(self.sizes, self.sizes[1:])]

    def feedforward(self, x):
        for w, b in zip(self.weights, self.biases):
            x = act(w @ x + b)
        return x

    def step(self, x, y, eta):
        nb, nw = bp(x, y, self.biases, self.weights, self.cost, self.num_layers)
        for k in range(self.num_layers - 1):
            self.weights[k] = self.weights[k] - eta * nw[k]
            self.biases[k] = self.biases[k] - eta * nb[k]
