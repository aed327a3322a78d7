'''
HW2 problem 3 -- two layer MLP, D-H-C, hidden units sigmoid or ReLU, softmax output.
'''
import numpy as np


class TwoLayerMLP(object):

    def __init__(self, input_size, hidden_size, num_classes, std=0.1, activation='sigmoid'):
        if activation not in ('sigmoid', 'relu'):
            raise ValueError('activation is sigmoid or relu')
        self.params = {}
        self.params['W1'] = std * np.random.randn(input_size, hidden_size)
        self.params['b1'] = np.zeros(hidden_size)
        self.params['W2'] = std * np.random.randn(hidden_size, num_classes)
        self.params['b2'] = np.zeros(num_classes)
        self.activation = activation

    def loss(self, X, y=None, reg=0.0):
        W1, b1 = self.params['W1'], self.params['b1']
        W2, b2 = self.params['W2'], self.params['b2']
        n = X.shape[0]

        # forward
        u = X.dot(W1) + b1
        if self.activation == 'sigmoid':
            h = 1.0 / (1.0 + np.exp(-u))
        else:
            h = np.maximum(0, u)
        scores = h.dot(W2) + b2
        if y is None:
            return scores

        shifted = scores - scores.max(axis=1, keepdims=True)
        logp = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
        data_loss = -np.mean(logp[np.arange(n), y])
        reg_loss = 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        loss = data_loss + reg_loss

        # backward
        grads = {}
        dscores = np.exp(logp)
        dscores[np.arange(n), y] -= 1
        dscores /= n
        grads['W2'] = h.T.dot(dscores) + reg * W2
        grads['b2'] = dscores.sum(axis=0)
        dh = dscores.dot(W2.T)
        if self.activation == 'sigmoid':
            du = dh * h * (1 - h)
        else:
            du = dh * (u > 0)
        grads['W1'] = X.T.dot(du) + reg * W1
        grads['b1'] = du.sum(axis=0)
        return loss, grads

    def predict(self, X):
        return self.loss(X).argmax(axis=1)


if __name__ == '__main__':
    np.random.seed(0)
    net = TwoLayerMLP(4, 10, 3, activation='relu')
    np.random.seed(1)
    X = 10 * np.random.randn(5, 4)
    y = np.array([0, 1, 2, 2, 1])
    print('loss should be 1.30378789133:', net.loss(X, y, reg=0.1)[0])
