"""n_layer_neural_network: the deep network keeps a list of layers and stores the gradients in lists.

Hidden layers share one activation; the output layer is linear and the softmax belongs to the loss.
"""
import numpy as np


def softmax(s):
    s = np.exp(s - np.max(s, axis=1, keepdims=True))
    return s / np.sum(s, axis=1, keepdims=True)


class Layer(object):
    def __init__(self, dim_in, dim_out, rng):
        self.weights = rng.standard_normal((dim_in, dim_out)) / np.sqrt(dim_in)
        self.bias = rng.standard_normal((1, dim_out)) * 0.1

    def net(self, inp):
        self.inp = inp
        self.out = inp @ self.weights + self.bias
        return self.out


class DeepNeuralNetwork(object):
    def __init__(self, dims, actFun_type="tanh", reg_lambda=0.01, seed=0):
        rng = np.random.default_rng(seed)
        self.actFun_type = actFun_type
        self.reg_lambda = reg_lambda
        self.layers = [Layer(i, o, rng) for i, o in zip(dims[:-1], dims[1:])]
        self.num_layers = len(self.layers)

    def actFun(self, z, type):
        return {"tanh": np.tanh, "sigmoid": lambda t: 1 / (1 + np.exp(-t)), "relu": lambda t: t * (t > 0)}[type](z)

    def diff_actFun(self, z, type):
        a = self.actFun(z, type)
        return {"tanh": 1 - a ** 2, "sigmoid": a * (1 - a), "relu": (a > 0) + 0.0}[type]

    def feedforward(self, X, actFun=None):
        if actFun is None:
            actFun = lambda z: self.actFun(z, self.actFun_type)
        a = X
        for layer in self.layers[:-1]:
            a = actFun(layer.net(a))
        self.probs = softmax(self.layers[-1].net(a))
        return self.probs

    def calculate_loss(self, X, y):
        self.feedforward(X)
        N = X.shape[0]
        ce = -np.log(self.probs[np.arange(N), y])
        reg = sum(np.sum(layer.weights ** 2) for layer in self.layers)
        return (np.sum(ce) + 0.5 * self.reg_lambda * reg) / N

    def backprop(self, X, y):
        self.feedforward(X)
        delta = self.probs.copy()
        delta[np.arange(X.shape[0]), y] -= 1
        dW, db = [], []
        for i in range(self.num_layers - 1, -1, -1):
            layer = self.layers[i]
            dW.insert(0, layer.inp.T @ delta)
            db.insert(0, np.sum(delta, axis=0, keepdims=True))
            if i > 0:
                delta = (delta @ layer.weights.T) * self.diff_actFun(self.layers[i - 1].out, self.actFun_type)
        return dW, db

    def fit_model(self, X, y, epsilon=0.01, num_passes=2000, print_loss=True):
        for k in range(num_passes):
            dW, db = self.backprop(X, y)
            for layer, gW, gb in zip(self.layers, dW, db):
                gW = gW + self.reg_lambda * layer.weights
                layer.weights = layer.weights - epsilon * gW
                layer.bias = layer.bias - epsilon * gb
            if print_loss and k % 500 == 0:
                print(k, self.calculate_loss(X, y))
