"""A three-layer network for two half moons, in the style of a class with `feedforward` and `backprop`.

The loss is (sum of the cross-entropies + reg_lambda/2 * sum of the squared weights) / N. By the custom of
this style, `backprop` returns the gradients of the sum over the examples, and `fit_model` adds the penalty's
part: together N times the gradient of the loss, which the checker reports as a convention. Check it with

    gradparity check docs/examples/three_layer_broken.py
"""

import numpy as np


class NeuralNetwork:
    """input - actFun - softmax, with W1 (D, H), b1 (1, H), W2 (H, C), b2 (1, C)."""

    def __init__(
        self, nn_input_dim, nn_hidden_dim, nn_output_dim, actFun_type="tanh", reg_lambda=0.01, seed=0
    ):
        self.actFun_type = actFun_type
        self.reg_lambda = reg_lambda
        rng = np.random.default_rng(seed)
        self.W1 = rng.standard_normal((nn_input_dim, nn_hidden_dim)) / np.sqrt(nn_input_dim)
        self.b1 = np.zeros((1, nn_hidden_dim))
        self.W2 = rng.standard_normal((nn_hidden_dim, nn_output_dim)) / np.sqrt(nn_hidden_dim)
        self.b2 = np.zeros((1, nn_output_dim))

    def actFun(self, z, type):
        if type == "tanh":
            return np.tanh(z)
        if type == "sigmoid":
            return 1 / (1 + np.exp(-z))
        if type == "relu":
            return np.maximum(z, 0)
        raise ValueError(f"type must be tanh, sigmoid or relu, not {type!r}")

    def diff_actFun(self, z, type):
        """The derivative of actFun at the net input z."""
        if type == "tanh":
            return 1 - np.tanh(z) ** 2
        if type == "sigmoid":
            a = self.actFun(z, type)
            return a * (1 - a)
        if type == "relu":
            return (z > 0) * 1.0
        raise ValueError(f"type must be tanh, sigmoid or relu, not {type!r}")

    def feedforward(self, X, actFun):
        self.z1 = X @ self.W1 + self.b1
        self.a1 = actFun(self.z1)
        self.z2 = self.a1 @ self.W2 + self.b2
        exp_scores = np.exp(self.z2 - self.z2.max(axis=1, keepdims=True))
        self.probs = exp_scores / exp_scores.sum(axis=1, keepdims=True)

    def calculate_loss(self, X, y):
        self.feedforward(X, lambda z: self.actFun(z, self.actFun_type))
        data_loss = -np.log(self.probs[np.arange(len(X)), y]).sum()
        penalty = self.reg_lambda / 2 * ((self.W1**2).sum() + (self.W2**2).sum())
        return (data_loss + penalty) / len(X)

    def backprop(self, X, y):
        """Return dW1, dW2, db1, db2 of the summed cross-entropy, from the values of the last feedforward."""
        delta2 = self.probs.copy()
        delta2[np.arange(len(X)), y] -= 1
        dW2 = self.a1.T @ delta2
        db2 = delta2.sum(axis=0, keepdims=True)
        delta1 = delta2 @ self.W2.T * self.diff_actFun(self.a1, self.actFun_type)
        dW1 = X.T @ delta1
        db1 = delta1.sum(axis=0, keepdims=True)
        return dW1, dW2, db1, db2

    def fit_model(self, X, y, epsilon=0.01, num_passes=20000, print_loss=True):
        """Full-batch gradient descent."""
        for i in range(num_passes):
            self.feedforward(X, lambda z: self.actFun(z, self.actFun_type))
            dW1, dW2, db1, db2 = self.backprop(X, y)
            self.W1 -= epsilon * (dW1 + self.reg_lambda * self.W1)
            self.b1 -= epsilon * db1
            self.W2 -= epsilon * (dW2 + self.reg_lambda * self.W2)
            self.b2 -= epsilon * db2
            if print_loss and i % 1000 == 0:
                print(f"loss after pass {i}: {self.calculate_loss(X, y):.6f}")
