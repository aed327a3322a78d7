"""Moons network, averaged version: backprop gives the gradients of the MEAN loss, the penalty is divided by N too."""
import numpy as np


class NeuralNetwork:
    def __init__(self, nn_input_dim, nn_hidden_dim, nn_output_dim, actFun_type='tanh', reg_lambda=0.01, seed=0):
        np.random.seed(seed)
        d, h, c = nn_input_dim, nn_hidden_dim, nn_output_dim
        self.W1, self.b1 = np.random.randn(d, h) / d ** .5, np.zeros((1, h))
        self.W2, self.b2 = np.random.randn(h, c) / h ** .5, np.zeros((1, c))
        self.actFun_type, self.reg_lambda = actFun_type, reg_lambda

    def actFun(self, z, type):
        assert type in ('tanh', 'sigmoid', 'relu'), type
        if type == 'sigmoid':
            return 0.5 * (1 + np.tanh(0.5 * z))
        return np.tanh(z) if type == 'tanh' else np.clip(z, 0, None)

    def diff_actFun(self, z, type):
        if type == 'tanh':
            return 1 / np.cosh(z) ** 2
        if type == 'sigmoid':
            return 0.25 / np.cosh(z / 2) ** 2
        return np.heaviside(z, 0.0)

    def feedforward(self, X, actFun):
        self.X = X
        self.z1 = X @ self.W1 + self.b1
        self.a1 = actFun(self.z1)
        self.z2 = self.a1 @ self.W2 + self.b2
        m = self.z2.max(axis=1, keepdims=True)
        self.logprobs = self.z2 - m - np.log(np.exp(self.z2 - m).sum(axis=1, keepdims=True))
        self.probs = np.exp(self.logprobs)
        return self.probs

    def calculate_loss(self, X, y):
        self.feedforward(X, lambda z: self.actFun(z, self.actFun_type))
        nll = -np.take_along_axis(self.logprobs, y[:, None], axis=1).sum()
        l2 = self.reg_lambda / 2 * sum((W ** 2).sum() for W in (self.W1, self.W2))
        return (nll + l2) / len(y)

    def backprop(self, X, y):
        N = len(y)
        onehot = np.eye(self.W2.shape[1])[y]
        g2 = (self.probs - onehot) / N
        dW2 = self.a1.T @ g2
        db2 = g2.sum(0, keepdims=True)
        g1 = (g2 @ self.W2.T) * self.diff_actFun(self.z1, self.actFun_type)
        dW1 = X.T @ g1
        db1 = g1.sum(0, keepdims=True)
        return dW1, dW2, db1, db2

    def fit_model(self, X, y, epsilon=0.1, num_passes=20000, print_loss=True):
        for k in range(num_passes):
            self.feedforward(X, lambda z: self.actFun(z, self.actFun_type))
            dW1, dW2, db1, db2 = self.backprop(X, y)
            dW1 = dW1 + self.reg_lambda / len(y) * self.W1
            dW2 = dW2 + self.reg_lambda / len(y) * self.W2
            for P, dP in ((self.W1, dW1), (self.W2, dW2), (self.b1, db1), (self.b2, db2)):
                P -= epsilon * dP
            if print_loss and k % 1000 == 0:
                print(f'{k:6d}  {self.calculate_loss(X, y):.6f}')
