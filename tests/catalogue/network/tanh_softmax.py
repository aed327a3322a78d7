"""Hidden layers tanh, output layer softmax, cost = log-likelihood of the right class (y one-hot column)."""
import numpy as np
from numpy import dot, exp, log, ones_like, sqrt, tanh, zeros_like


def softmax(z):
    e = exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


class LogLikelihood:
    """-log a_k for the right class k"""

    @staticmethod
    def fn(a, y):
        return -(y * log(a)).sum()

    @staticmethod
    def delta(z, a, y):
        return a - y


class Network:
    def __init__(self, sizes, cost=LogLikelihood):
        self.num_layers, self.sizes, self.cost = len(sizes), sizes, cost
        g = np.random.RandomState(5)
        self.weights = [g.normal(size=(o, i)) / sqrt(i) for i, o in zip(sizes, sizes[1:])]
        self.biases = [g.normal(size=(o, 1)) for o in sizes[1:]]

    def layers(self, x):
        a, out = x, []
        last = len(self.weights) - 1
        for k, (w, b) in enumerate(zip(self.weights, self.biases)):
            z = dot(w, a) + b
            a = softmax(z) if k == last else tanh(z)
            out.append((z, a))
        return out

    def feedforward(self, x):
        return self.layers(x)[-1][1]

    def backprop(self, x, y):
        out = self.layers(x)
        gb = [zeros_like(b) for b in self.biases]
        gw = [zeros_like(w) for w in self.weights]
        z, a = out[-1]
        delta = self.cost.delta(z, a, y)
        for k in range(len(self.weights) - 1, -1, -1):
            below = out[k - 1][1] if k else x
            gb[k] += delta
            gw[k] += dot(delta, below.T)
            slope = ones_like(below) - below ** 2
            delta = dot(self.weights[k].T, delta) * slope
        return gb, gw
