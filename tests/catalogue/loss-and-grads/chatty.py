"""Homework 1. Prints what it does, checks its shapes, and can use dropout (off unless asked for)."""
import numpy as np


class TwoLayerNet:
    def __init__(self, *, input_size, hidden_size, output_size, std=1e-2, dropout=0.0):
        assert 0 <= dropout < 1
        print("creating a", input_size, "-", hidden_size, "-", output_size, "network")
        self.dropout = dropout
        self.params = {}
        self.params["W1"] = np.random.randn(input_size, hidden_size) * std
        self.params["b1"] = np.zeros((hidden_size,))
        self.params["W2"] = np.random.randn(hidden_size, output_size) * std
        self.params["b2"] = np.zeros((output_size,))
        self.hidden = None

    def forward(self, X, training):
        z = np.dot(X, self.params["W1"]) + self.params["b1"]
        self.hidden = z * (z >= 0)
        self.on = (z >= 0)
        if training and self.dropout > 0:
            keep = (np.random.rand(*z.shape) >= self.dropout) / (1 - self.dropout)
            self.hidden = self.hidden * keep
            self.on = self.on * keep
        return np.dot(self.hidden, self.params["W2"]) + self.params["b2"]

    def loss(self, X, y=None, reg=0.0):
        """y may be a vector of class numbers or a matrix of one-hot rows."""
        scores = self.forward(X, training=y is not None)
        if y is None:
            return scores
        N, C = scores.shape
        y = np.asarray(y)
        if y.ndim == 1:
            y = np.eye(C)[y]
        assert y.shape == (N, C), y.shape

        m = scores.max(axis=1, keepdims=True)
        lse = m + np.log(np.exp(scores - m).sum(axis=1, keepdims=True))
        loss = (y * (lse - scores)).sum() / N
        loss += reg * (self.params["W1"] ** 2).sum() / 2
        loss += reg * (self.params["W2"] ** 2).sum() / 2
        print("loss:", loss)

        grads = {}
        G = (np.exp(scores - lse) - y) / N
        grads["b2"] = np.ones(N) @ G
        grads["W2"] = self.hidden.T @ G + reg * self.params["W2"]
        G = G @ self.params["W2"].T * self.on
        grads["b1"] = np.ones(N) @ G
        grads["W1"] = X.T @ G + reg * self.params["W1"]
        for k in grads:
            assert grads[k].shape == self.params[k].shape, k
        return loss, grads


if __name__ == "__main__":
    import matplotlib.pyplot as plt

    X = np.random.randn(300, 2)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    net = TwoLayerNet(input_size=2, hidden_size=20, output_size=2, std=0.5)
    history = []
    for it in range(500):
        value, grads = net.loss(X, y, reg=1e-3)
        history.append(value)
        for k in net.params:
            net.params[k] -= 0.5 * grads[k]
    plt.plot(history)
    plt.show()
