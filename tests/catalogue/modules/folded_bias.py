"""Modules in which the bias is the last row of theta: a column of ones is appended to the input.

The error is SUMMED over the batch (no 1/N anywhere).

net = Net()
E = net.error(X, labels)      # forward
net.backward()                # theta's gradient is in layer.grads['theta']
"""
import numpy as np


def with_ones(X):
    return np.hstack([X, np.ones((X.shape[0], 1))])


class Affine:
    def __init__(self, inputs, outputs, seed):
        theta = np.random.default_rng(seed).normal(size=(inputs + 1, outputs))
        self.params = {'theta': theta / np.sqrt(inputs + 1)}
        self.grads = {'theta': 0 * theta}

    def forward(self, X):
        self.X1 = with_ones(X)
        return self.X1 @ self.params['theta']

    def backward(self, G):
        self.grads['theta'] = self.X1.T @ G
        return G @ self.params['theta'][:-1].T


class Logistic:
    """1 / (1 + exp(-u)), by way of tanh."""
    params = {}

    def forward(self, U):
        self.Y = 0.5 * (1 + np.tanh(0.5 * U))
        return self.Y

    def backward(self, G):
        return G * (self.Y - self.Y ** 2)


class SoftmaxError:
    params = {}

    def forward(self, U, labels):
        U = U - np.max(U, axis=1)[:, None]
        Z = np.sum(np.exp(U), axis=1)
        self.P = np.exp(U) / Z[:, None]
        self.onehot = np.eye(U.shape[1])[labels]
        return np.sum(np.log(Z) - np.sum(U * self.onehot, axis=1))

    def backward(self):
        return self.P - self.onehot


class Net:
    def __init__(self, sizes=(5, 6, 4)):
        self.first = Affine(sizes[0], sizes[1], seed=1)
        self.squash = Logistic()
        self.second = Affine(sizes[1], sizes[2], seed=2)
        self.top = SoftmaxError()

    def error(self, X, labels):
        Y = self.squash.forward(self.first.forward(X))
        return self.top.forward(self.second.forward(Y), labels)

    loss = error

    def backward(self):
        G = self.top.backward()
        G = self.second.backward(G)
        G = self.squash.backward(G)
        return self.first.backward(G)
