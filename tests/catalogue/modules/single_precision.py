"""The same modules in single precision, as for a graphics card.

    model = make_model()
    loss, acts = forward_pass(model, x, y)      # y: class numbers
    backward_pass(model, x, y, acts)            # model['fc2'].dW ...
"""
import numpy as np

F = np.float32


class FC:
    def __init__(self, d, h):
        g = np.random.default_rng(d + 31 * h)
        self.W = (g.standard_normal((d, h)) / np.sqrt(d)).astype(F)
        self.b = (0.1 * g.standard_normal(h)).astype(F)
        self.dW = self.db = None

    def forward(self, x):
        return x.astype(F) @ self.W.astype(F) + self.b.astype(F)

    def backward(self, x, dy):
        x, dy = x.astype(F), dy.astype(F)
        self.dW = x.T @ dy
        self.db = dy.sum(axis=0)
        return dy @ self.W.astype(F).T


class SoftPlus:
    """log(1 + e^x); its derivative is the logistic function."""

    def forward(self, x):
        x = x.astype(F)
        return np.maximum(x, F(0)) + np.log1p(np.exp(-np.abs(x)))

    def backward(self, x, dy):
        x = x.astype(F)
        return dy.astype(F) * (F(0.5) + F(0.5) * np.tanh(F(0.5) * x))


class SoftmaxLoss:
    def forward(self, s, y):
        s = s.astype(F)
        s = s - s.max(axis=1, keepdims=True)
        return F((np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(y)), y]).mean())

    def backward(self, s, y):
        s = s.astype(F)
        p = np.exp(s - s.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(y)), y] -= F(1)
        return p / F(len(y))


def make_model(d=6, h=8, c=4):
    return {'fc1': FC(d, h), 'softplus': SoftPlus(), 'fc2': FC(h, c), 'loss': SoftmaxLoss()}


def forward_pass(model, x, y):
    a1 = model['fc1'].forward(x)
    z1 = model['softplus'].forward(a1)
    a2 = model['fc2'].forward(z1)
    return model['loss'].forward(a2, y), {'a1': a1, 'z1': z1, 'a2': a2}


def backward_pass(model, x, y, acts):
    d = model['loss'].backward(acts['a2'], y)
    d = model['fc2'].backward(acts['z1'], d)
    d = model['softplus'].backward(acts['a1'], d)
    return model['fc1'].backward(x, d)
