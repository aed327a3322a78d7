"""Three weight layers, two tanh layers of the same width H. Penalty is reg * sum of squares, no one half."""
import numpy as np


class ThreeLayerNet:
    def __init__(self, D, H, C, weight_scale=0.1):
        gen = np.random.RandomState(42)
        self.params = dict(
            W1=weight_scale * gen.randn(D, H), b1=np.zeros(H),
            W2=weight_scale * gen.randn(H, H), b2=np.zeros(H),
            W3=weight_scale * gen.randn(H, C), b3=np.zeros(C),
        )

    def loss(self, X, y=None, reg=0.0):
        p = self.params
        m = X.shape[0]
        h1 = np.tanh(X @ p["W1"] + p["b1"])
        h2 = np.tanh(h1 @ p["W2"] + p["b2"])
        s = h2 @ p["W3"] + p["b3"]
        if y is None:
            return s

        e = np.exp(s - np.max(s, axis=1)[:, None])
        q = e / np.sum(e, axis=1)[:, None]
        value = -np.sum(np.log(q[range(m), y])) / m
        for name in ("W1", "W2", "W3"):
            value += reg * np.sum(p[name] ** 2)

        g = {}
        d3 = q
        d3[range(m), y] -= 1.0
        d3 /= m
        g["W3"] = h2.T @ d3 + 2 * reg * p["W3"]
        g["b3"] = np.sum(d3, axis=0)
        d2 = (d3 @ p["W3"].T) * (1 - h2 ** 2)
        g["W2"] = h1.T @ d2 + 2 * reg * p["W2"]
        g["b2"] = np.sum(d2, axis=0)
        d1 = (d2 @ p["W2"].T) * (1 - h1 ** 2)
        g["W1"] = X.T @ d1 + 2 * reg * p["W1"]
        g["b1"] = np.sum(d1, axis=0)
        return value, g

    def train(self, X, y, lr=1e-1, reg=1e-4, steps=200):
        for t in range(steps):
            value, g = self.loss(X, y, reg)
            for k in g:
                self.params[k] -= lr * g[k]
            if t % 50 == 0:
                print("step", t, "loss", value)
