"""Nielsen-style network for whole minibatches: x is (D, N), one column per example; costs and gradients are means."""
import numpy as np


def logistic(z):
    return 1.0 / (1.0 + np.exp(-z))


class BinaryCrossEntropy:

    @staticmethod
    def fn(a, y):
        n = a.shape[1]
        return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / n

    @staticmethod
    def delta(z, a, y):
        return (a - y) / a.shape[1]


class Network:
    def __init__(self, sizes, cost=BinaryCrossEntropy):
        rng = np.random.default_rng(12345)
        self.cost = cost
        self.sizes = sizes
        self.num_layers = len(sizes)
        self.weights = []
        self.biases = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
            self.weights.append(rng.normal(0, fan_in ** -0.5, (fan_out, fan_in)))
            self.biases.append(rng.normal(0, 1, (fan_out, 1)))

    def feedforward(self, x):
        a = x
        for w, b in zip(self.weights, self.biases):
            a = logistic(w.dot(a) + b)
        return a

    def backprop(self, x, y):
        acts = [x]
        for w, b in zip(self.weights, self.biases):
            acts.append(logistic(w.dot(acts[-1]) + b))
        nabla_b = []
        nabla_w = []
        delta = self.cost.delta(None, acts[-1], y)
        for w, a_in in zip(reversed(self.weights), reversed(acts[:-1])):
            nabla_w.append(delta.dot(a_in.T))
            nabla_b.append(delta.sum(axis=1, keepdims=True))
            delta = w.T.dot(delta) * a_in * (1 - a_in)
        return nabla_b[::-1], nabla_w[::-1]

    def train(self, x, y, eta=0.5, epochs=100, batch=10):
        for epoch in range(epochs):
            order = np.random.permutation(x.shape[1])
            for k in range(0, len(order), batch):
                cols = order[k:k + batch]
                nabla_b, nabla_w = self.backprop(x[:, cols], y[:, cols])
                for i in range(len(self.weights)):
                    self.weights[i] -= eta * nabla_w[i]
                    self.biases[i] -= eta * nabla_b[i]
