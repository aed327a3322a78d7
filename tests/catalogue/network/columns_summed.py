# Same network, but backprop takes a matrix of columns and everything is SUMMED over the columns,
# the cost as well; the learning rate is divided by the batch size in update_mini_batch.
import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


class QuadraticCost:
    @staticmethod
    def fn(a, y):
        return 0.5 * np.einsum('in,in->', a - y, a - y)

    @staticmethod
    def delta(z, a, y):
        return (a - y) * a * (1 - a)


class Network:
    def __init__(self, sizes, cost=QuadraticCost):
        self.cost = cost
        self.num_layers = len(sizes)
        self.biases = [np.random.randn(s, 1) for s in sizes[1:]]
        self.weights = [np.random.randn(t, s) for s, t in zip(sizes[:-1], sizes[1:])]

    def feedforward(self, A):
        for k in range(self.num_layers - 1):
            A = sigmoid(np.einsum('oi,in->on', self.weights[k], A) + self.biases[k])
        return A

    def backprop(self, X, Y):
        A = {0: X}
        for k in range(self.num_layers - 1):
            A[k + 1] = sigmoid(np.einsum('oi,in->on', self.weights[k], A[k]) + self.biases[k])
        L = self.num_layers - 1
        delta = {L: self.cost.delta(None, A[L], Y)}
        for k in range(L - 1, 0, -1):
            delta[k] = np.einsum('oi,on->in', self.weights[k], delta[k + 1]) * A[k] * (1 - A[k])
        nabla_w = [np.einsum('on,in->oi', delta[k + 1], A[k]) for k in range(L)]
        nabla_b = [np.einsum('on->o', delta[k + 1])[:, None] for k in range(L)]
        return nabla_b, nabla_w

    def update_mini_batch(self, X, Y, eta):
        nabla_b, nabla_w = self.backprop(X, Y)
        for k in range(self.num_layers - 1):
            self.weights[k] -= eta / X.shape[1] * nabla_w[k]
            self.biases[k] -= eta / X.shape[1] * nabla_b[k]
