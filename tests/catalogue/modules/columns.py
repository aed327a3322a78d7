"""Examples are COLUMNS here: X is (features, N), W is (out, in), b is (out, 1), targets are one-hot columns (C, N).

    net = ColumnNet()
    J = net.loss(X, T)
    net.backward()
    net.l1.dW, net.l1.db, net.l2.dW, net.l2.db
"""
import numpy as np


class LinearLayer:
    def __init__(self, n_in, n_out):
        r = np.random.RandomState(n_in + n_out)
        self.W = r.randn(n_out, n_in) / np.sqrt(n_in)
        self.b = r.randn(n_out, 1) * 0.3

    def forward(self, A):
        self.A = A
        return np.dot(self.W, A) + self.b

    def backward(self, dZ):
        self.dW = np.dot(dZ, self.A.T)
        self.db = np.sum(dZ, axis=1, keepdims=True)
        return np.dot(self.W.T, dZ)


class TanhLayer:
    def forward(self, Z):
        self.H = np.tanh(Z)
        return self.H

    def backward(self, dH):
        return dH * (1 - np.square(self.H))


class SoftmaxCost:
    def forward(self, Z, T):
        self.T = T
        S = Z - Z.max(axis=0, keepdims=True)
        logZ = np.log(np.exp(S).sum(axis=0, keepdims=True))
        self.P = np.exp(S - logZ)
        return float((T * (logZ - S)).sum() / Z.shape[1])

    def backward(self):
        return (self.P - self.T) / self.T.shape[1]


class ColumnNet:
    def __init__(self, n_in=6, n_hidden=4, n_out=3):
        self.l1 = LinearLayer(n_in, n_hidden)
        self.act = TanhLayer()
        self.l2 = LinearLayer(n_hidden, n_out)
        self.cost = SoftmaxCost()

    def loss(self, X, T):
        return self.cost.forward(self.l2.forward(self.act.forward(self.l1.forward(X))), T)

    def backward(self):
        return self.l1.backward(self.act.backward(self.l2.backward(self.cost.backward())))
