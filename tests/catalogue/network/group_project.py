"""Group 7: network.py. Needs utils.py in the same folder."""
import numpy as np
import utils
from utils import sigmoid, sigmoid_prime


class Cost:
    """binary cross entropy from the net input, so that nothing overflows"""

    @staticmethod
    def fn(a, y):
        a = np.clip(a, 1e-15, 1 - 1e-15)
        return -np.sum(y * np.log(a) + (1 - y) * np.log1p(-a))

    @staticmethod
    def delta(z, a, y):
        return sigmoid(z) - y


class Network:
    def __init__(self, sizes=(784, 20, 10), cost=Cost, verbose=True):
        self.sizes = list(sizes)
        self.num_layers = len(sizes)
        self.cost = cost
        self.verbose = verbose
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]
        self.weights = [np.random.randn(y, x) / np.sqrt(x) for x, y in zip(sizes[:-1], sizes[1:])]
        self.nabla_b = None
        self.nabla_w = None
        if verbose:
            print("network with layers", self.sizes)

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def backprop(self, x, y):
        utils.check_column(x, self.sizes[0], "x")
        utils.check_column(y, self.sizes[-1], "y")
        self.nabla_b = [np.zeros(b.shape) for b in self.biases]
        self.nabla_w = [np.zeros(w.shape) for w in self.weights]

        self.activations = [x]
        self.zs = []
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, self.activations[-1]) + b
            self.zs.append(z)
            self.activations.append(sigmoid(z))

        delta = self.cost.delta(self.zs[-1], self.activations[-1], y)
        for l in range(1, self.num_layers):
            if l > 1:
                delta = np.dot(self.weights[1 - l].T, delta) * sigmoid_prime(self.zs[-l])
            self.nabla_b[-l] += delta
            self.nabla_w[-l] += np.dot(delta, self.activations[-l - 1].T)
            if self.verbose:
                print("layer", self.num_layers - l, "|delta| =", np.abs(delta).max())
        return self.nabla_b, self.nabla_w


if __name__ == "__main__":
    net = Network([784, 20, 10])
    x = np.random.rand(784, 1)
    y = np.zeros((10, 1))
    y[3] = 1
    for k in range(100):
        nb, nw = net.backprop(x, y)
        net.weights = [w - 0.1 * g for w, g in zip(net.weights, nw)]
        net.biases = [b - 0.1 * g for b, g in zip(net.biases, nb)]
    print(net.feedforward(x).ravel().round(3))
