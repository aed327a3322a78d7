"""MLP as one object, written after the fashion of a well-known framework: weight is (out, in).

    net = MLP()                 # or MLP(in_dim, hidden, out_dim, l2=...)
    value = net.loss(x, y)      # mean cross-entropy + l2/2 * (sum of squared weights); y one-hot, (N, out_dim)
    net.backward()              # fills fc1.grad_weight, fc1.grad_bias, ...
"""
import numpy as np


class Linear:
    def __init__(self, in_features, out_features, seed=0):
        gen = np.random.RandomState(seed + 17 * in_features + out_features)
        bound = 1 / np.sqrt(in_features)
        self.weight = gen.uniform(-bound, bound, size=(out_features, in_features))
        self.bias = gen.uniform(-bound, bound, size=out_features)
        self.grad_weight = np.zeros_like(self.weight)
        self.grad_bias = np.zeros_like(self.bias)

    def forward(self, x):
        assert x.ndim == 2 and x.shape[1] == self.weight.shape[1], x.shape
        self._in = x
        return np.einsum('ni,oi->no', x, self.weight) + self.bias

    def backward(self, grad):
        assert grad.shape == (self._in.shape[0], self.weight.shape[0])
        self.grad_weight = np.einsum('no,ni->oi', grad, self._in)
        self.grad_bias = np.einsum('no->o', grad)
        return np.einsum('no,oi->ni', grad, self.weight)


class ReLU:
    def forward(self, x):
        self._on = x > 0
        return x * self._on

    def backward(self, grad):
        return grad * self._on


class Tanh:
    def forward(self, x):
        self._out = np.tanh(x)
        return self._out

    def backward(self, grad):
        return grad * (1 - self._out * self._out)


class SoftmaxCrossEntropy:
    def forward(self, x, y):
        self._y = y
        x = x - x.max(axis=-1, keepdims=True)
        lse = np.log(np.exp(x).sum(axis=-1, keepdims=True))
        self._p = np.exp(x - lse)
        return np.einsum('nc,nc->', y, lse - x) / x.shape[0]

    def backward(self):
        return (self._p - self._y) / self._y.shape[0]


class MLP:
    def __init__(self, in_dim=7, hidden=5, out_dim=3, l2=0.1):
        self.l2 = l2
        self.fc1 = Linear(in_dim, hidden)
        self.act1 = ReLU()
        self.fc2 = Linear(hidden, hidden)
        self.act2 = Tanh()
        self.fc3 = Linear(hidden, out_dim)
        self.criterion = SoftmaxCrossEntropy()

    def forward(self, x):
        h1 = self.act1.forward(self.fc1.forward(x))
        h2 = self.act2.forward(self.fc2.forward(h1))
        return self.fc3.forward(h2)

    def penalty(self):
        return 0.5 * self.l2 * sum((fc.weight ** 2).sum() for fc in (self.fc1, self.fc2, self.fc3))

    def loss(self, x, y):
        return self.criterion.forward(self.forward(x), y) + self.penalty()

    def backward(self):
        grad = self.criterion.backward()
        grad = self.act2.backward(self.fc3.backward(grad))
        grad = self.act1.backward(self.fc2.backward(grad))
        grad = self.fc1.backward(grad)
        for fc in (self.fc1, self.fc2, self.fc3):
            fc.grad_weight = fc.grad_weight + self.l2 * fc.weight
        return grad
