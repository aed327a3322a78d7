"""The bias is the last row of each weight matrix: X gets a column of ones. The bias row is not penalised."""
import numpy as np


def add_ones(A):
    return np.hstack([A, np.ones((A.shape[0], 1))])


class TwoLayerNet:

    def __init__(self, input_size, hidden_size, output_size, std=1e-2):
        W1 = std * np.random.randn(input_size + 1, hidden_size)
        W2 = std * np.random.randn(hidden_size + 1, output_size)
        W1[-1] = 0
        W2[-1] = 0
        self.params = {'W1': W1, 'W2': W2}

    def loss(self, X, y=None, reg=0.0):
        W1, W2 = self.params['W1'], self.params['W2']
        N = X.shape[0]

        X1 = add_ones(X)
        Z = X1.dot(W1)
        H = np.where(Z > 0, Z, 0)
        H1 = add_ones(H)
        scores = H1.dot(W2)
        if y is None:
            return scores

        scores = scores - np.max(scores, axis=1, keepdims=True)
        P = np.exp(scores)
        P = P / np.sum(P, axis=1, keepdims=True)
        L = -np.log(P[np.arange(N), y])
        loss = np.sum(L) / N + 0.5 * reg * (np.sum(W1[:-1] ** 2) + np.sum(W2[:-1] ** 2))

        T = np.zeros_like(P)
        T[np.arange(N), y] = 1
        dS = (P - T) / N
        dW2 = H1.T.dot(dS)
        dW2[:-1] += reg * W2[:-1]
        dH = dS.dot(W2[:-1].T)
        dZ = np.where(Z > 0, dH, 0)
        dW1 = X1.T.dot(dZ)
        dW1[:-1] += reg * W1[:-1]

        return loss, {'W1': dW1, 'W2': dW2}
