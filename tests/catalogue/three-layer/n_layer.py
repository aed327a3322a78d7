"""Any number of layers: Layer objects know W, b and the derivative of their own activation."""
import numpy as np


class Layer:
    def __init__(self, n_in, n_out, actFun_type, reg_lambda):
        self.W = np.random.randn(n_in, n_out) / np.sqrt(n_in)
        self.b = np.zeros((1, n_out))
        self.actFun_type = actFun_type
        self.reg_lambda = reg_lambda

    def actFun(self, z, type):
        if type == 'tanh':
            return np.tanh(z)
        if type == 'sigmoid':
            return 1.0 / (1.0 + np.exp(-z))
        if type == 'relu':
            return np.maximum(z, 0.0)
        if type == 'softmax':
            e = np.exp(z - z.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        raise ValueError(type)

    def diff_actFun(self, z, type):
        if type == 'tanh':
            return 1.0 - np.tanh(z) ** 2
        if type == 'sigmoid':
            s = self.actFun(z, 'sigmoid')
            return s * (1.0 - s)
        if type == 'relu':
            return np.where(z > 0, 1.0, 0.0)
        raise ValueError(type)

    def feedforward(self, X):
        self.X = X
        self.z = X.dot(self.W) + self.b
        self.a = self.actFun(self.z, self.actFun_type)
        return self.a

    def backprop(self, delta):
        """delta is d loss / d z of this layer; returns d loss / d X"""
        self.dW = self.X.T.dot(delta)
        self.db = delta.sum(axis=0, keepdims=True)
        return delta.dot(self.W.T)

    def update(self, epsilon):
        self.W -= epsilon * (self.dW + self.reg_lambda * self.W)
        self.b -= epsilon * self.db


class DeepNeuralNetwork:
    """layer_sizes such as [2, 10, 10, 2]; the last layer is softmax."""

    def __init__(self, layer_sizes, actFun_type='tanh', reg_lambda=0.01, seed=0):
        np.random.seed(seed)
        self.reg_lambda = reg_lambda
        self.layers = []
        for k in range(len(layer_sizes) - 1):
            last = k == len(layer_sizes) - 2
            kind = 'softmax' if last else actFun_type
            self.layers.append(Layer(layer_sizes[k], layer_sizes[k + 1], kind, reg_lambda))

    def feedforward(self, X):
        for layer in self.layers:
            X = layer.feedforward(X)
        self.probs = X
        return X

    def calculate_loss(self, X, y):
        self.feedforward(X)
        loss = -np.sum(np.log(self.probs[np.arange(len(X)), y]))
        for layer in self.layers:
            loss += 0.5 * self.reg_lambda * np.sum(layer.W ** 2)
        return loss / len(X)

    def backprop(self, X, y):
        delta = self.probs.copy()
        delta[np.arange(len(X)), y] -= 1
        for k in reversed(range(len(self.layers))):
            dX = self.layers[k].backprop(delta)
            if k > 0:
                below = self.layers[k - 1]
                delta = dX * below.diff_actFun(below.z, below.actFun_type)
        return [l.dW for l in self.layers], [l.db for l in self.layers]

    def fit_model(self, X, y, epsilon=0.01, num_passes=20000, print_loss=True):
        for i in range(num_passes):
            self.feedforward(X)
            self.backprop(X, y)
            for layer in self.layers:
                layer.update(epsilon)
            if print_loss and i % 1000 == 0:
                print('Loss after iteration %d: %f' % (i, self.calculate_loss(X, y)))
