"""Layers without any matrix tricks: everything is a sum over one example after the other.

make_layers() gives a list of modules. Use:

    loss, inputs = forward_pass(layers, x, t)      # x: (N, 4), t: one-hot rows (N, 3)
    backward_pass(layers, x, t, inputs)            # afterwards layer.grads['W'] etc.

A module by itself: out = m.forward(x); dx = m.backward(x, dout).
"""
import numpy as np


class Linear:
    def __init__(self, n, m):
        gen = np.random.default_rng(n * 100 + m)
        self.n, self.m = n, m
        self.params = {'W': gen.standard_normal((n, m)) * 0.5, 'b': gen.standard_normal(m) * 0.5}
        self.grads = {}

    def forward(self, x):
        W, b = self.params['W'], self.params['b']
        out = []
        for xi in x:
            row = []
            for j in range(self.m):
                s = b[j]
                for i in range(self.n):
                    s = s + xi[i] * W[i, j]
                row.append(s)
            out.append(row)
        return np.array(out)

    def backward(self, x, dout):
        W = self.params['W']
        dW = np.zeros_like(W)
        db = np.zeros(self.m)
        dx = np.zeros_like(x)
        for k in range(len(x)):
            for j in range(self.m):
                db[j] += dout[k, j]
                for i in range(self.n):
                    dW[i, j] += x[k, i] * dout[k, j]
                    dx[k, i] += W[i, j] * dout[k, j]
        self.grads = {'W': dW, 'b': db}
        return dx


class Scale:
    """A gain and a shift for every unit."""

    def __init__(self, m):
        self.params = {'gain': np.linspace(0.5, 1.5, m), 'shift': np.linspace(-0.2, 0.3, m)}
        self.grads = {}

    def forward(self, x):
        return np.array([xi * self.params['gain'] + self.params['shift'] for xi in x])

    def backward(self, x, dout):
        dgain = sum(d * xi for d, xi in zip(dout, x))
        dshift = sum(d for d in dout)
        self.grads = {'gain': dgain, 'shift': dshift}
        return np.array([d * self.params['gain'] for d in dout])


class Tanh:
    params = {}

    def forward(self, x):
        return np.array([[np.tanh(v) for v in row] for row in x])

    def backward(self, x, dout):
        return np.array([[d / np.cosh(v) ** 2 for v, d in zip(row, drow)] for row, drow in zip(np.clip(x, -300, 300), dout)])


class CrossEntropy:
    params = {}

    def probabilities(self, z):
        e = np.exp(z - max(z))
        return e / sum(e)

    def forward(self, z, t):
        total = 0.0
        for zi, ti in zip(z, t):
            c = int(np.argmax(ti))
            shifted = zi - max(zi)
            total += np.log(sum(np.exp(shifted))) - shifted[c]
        return total / len(z)

    def backward(self, z, t):
        rows = []
        for zi, ti in zip(z, t):
            rows.append((self.probabilities(zi) - ti) / len(z))
        return np.array(rows)


def make_layers():
    return [Linear(4, 5), Scale(5), Tanh(), Linear(5, 3), CrossEntropy()]


def forward_pass(layers, x, t):
    inputs = []
    for layer in layers[:-1]:
        inputs.append(x)
        x = layer.forward(x)
    inputs.append(x)
    return layers[-1].forward(x, t), inputs


def backward_pass(layers, x, t, inputs):
    d = layers[-1].backward(inputs[-1], t)
    for k in range(len(layers) - 2, -1, -1):
        d = layers[k].backward(inputs[k], d)
    return d
