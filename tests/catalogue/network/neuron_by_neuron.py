'''
Neural network without matrix products: every neuron has its own loop.
x and y are columns, as in the book.
'''
import math
import numpy as np


class SquaredError:
    def fn(a, y):
        return sum((a[i, 0] - y[i, 0]) ** 2 for i in range(len(a)))

    def delta(z, a, y):
        d = np.zeros((len(a), 1))
        for i in range(len(a)):
            d[i, 0] = 2 * (a[i, 0] - y[i, 0]) * a[i, 0] * (1 - a[i, 0])
        return d


class Network:
    cost = SquaredError

    def __init__(self, sizes):
        self.sizes = sizes
        self.num_layers = len(sizes)
        self.weights = [0.5 * np.random.randn(sizes[i + 1], sizes[i]) for i in range(len(sizes) - 1)]
        self.biases = [0.1 * np.random.randn(sizes[i + 1], 1) for i in range(len(sizes) - 1)]

    def forward(self, x):
        zs, acts = [], [x]
        for W, b in zip(self.weights, self.biases):
            n_out, n_in = W.shape
            z = np.zeros((n_out, 1))
            a = np.zeros((n_out, 1))
            for j in range(n_out):
                z[j, 0] = b[j, 0]
                for i in range(n_in):
                    z[j, 0] += W[j, i] * acts[-1][i, 0]
                a[j, 0] = 1 / (1 + math.exp(-z[j, 0]))
            zs.append(z)
            acts.append(a)
        return zs, acts

    def feedforward(self, x):
        return self.forward(x)[1][-1]

    def backprop(self, x, y):
        zs, acts = self.forward(x)
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        delta = self.cost.delta(zs[-1], acts[-1], y)
        for layer in reversed(range(self.num_layers - 1)):
            W = self.weights[layer]
            n_out, n_in = W.shape
            below = acts[layer]
            for j in range(n_out):
                nabla_b[layer][j, 0] = delta[j, 0]
                for i in range(n_in):
                    nabla_w[layer][j, i] = delta[j, 0] * below[i, 0]
            if layer == 0:
                break
            new = np.zeros((n_in, 1))
            for i in range(n_in):
                s = 0.0
                for j in range(n_out):
                    s += W[j, i] * delta[j, 0]
                new[i, 0] = s * below[i, 0] * (1 - below[i, 0])
            delta = new
        return nabla_b, nabla_w
