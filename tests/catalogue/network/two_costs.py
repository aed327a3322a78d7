# network with two cost functions, after the lecture. default cost is the quadratic one.
import random
import json
import sys

import numpy as np


class QuadraticCost(object):

    @staticmethod
    def fn(a, y):
        return 0.5 * np.linalg.norm(a - y) ** 2

    @staticmethod
    def delta(z, a, y):
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost(object):

    @staticmethod
    def fn(a, y):
        return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    def delta(z, a, y):
        return (a - y)


class Network(object):

    def __init__(self, sizes, cost=QuadraticCost):
        self.sizes = sizes
        self.num_layers = len(sizes)
        self.cost = cost
        self.biases = [np.random.randn(k, 1) for k in sizes[1:]]
        self.weights = [np.random.randn(k, j) / np.sqrt(j) for j, k in zip(sizes[:-1], sizes[1:])]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def SGD(self, data, epochs, batch, eta):
        for epoch in range(epochs):
            random.shuffle(data)
            for k in range(0, len(data), batch):
                self.update(data[k:k + batch], eta)

    def update(self, batch, eta):
        sum_b = [0 * b for b in self.biases]
        sum_w = [0 * w for w in self.weights]
        for x, y in batch:
            db, dw = self.backprop(x, y)
            sum_b = [s + d for s, d in zip(sum_b, db)]
            sum_w = [s + d for s, d in zip(sum_w, dw)]
        self.weights = [w - eta / len(batch) * s for w, s in zip(self.weights, sum_w)]
        self.biases = [b - eta / len(batch) * s for b, s in zip(self.biases, sum_b)]

    def backprop(self, x, y):
        grad_b, grad_w = [], []
        # feedforward, keep everything
        a, zs, acts = x, [], [x]
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, a) + b
            a = sigmoid(z)
            zs.append(z)
            acts.append(a)
        # and back
        delta = self.cost.delta(zs[-1], acts[-1], y)
        for l in range(self.num_layers - 2, -1, -1):
            grad_b.insert(0, delta)
            grad_w.insert(0, np.dot(delta, acts[l].transpose()))
            if l > 0:
                delta = np.dot(self.weights[l].transpose(), delta) * sigmoid_prime(zs[l - 1])
        return (grad_b, grad_w)

    def save(self, filename):
        data = {"sizes": self.sizes,
                "weights": [w.tolist() for w in self.weights],
                "biases": [b.tolist() for b in self.biases],
                "cost": str(self.cost.__name__)}
        with open(filename, "w") as f:
            json.dump(data, f)


def load(filename):
    with open(filename) as f:
        data = json.load(f)
    net = Network(data["sizes"], cost=getattr(sys.modules[__name__], data["cost"]))
    net.weights = [np.array(w) for w in data["weights"]]
    net.biases = [np.array(b) for b in data["biases"]]
    return net


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))
