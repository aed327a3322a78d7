# coding: utf-8
# Sum over the batch everywhere (loss and gradients), the step size takes care of the rest.
# biases are row vectors (1, H) and (1, C); plain softmax; the probabilities are changed in place.
import numpy as np


class Net(object):

    def __init__(self, n_in, n_hidden, n_out, std=0.01):
        self.params = {
            'W1': np.random.normal(0, std, size=(n_in, n_hidden)),
            'b1': np.zeros((1, n_hidden)),
            'W2': np.random.normal(0, std, size=(n_hidden, n_out)),
            'b2': np.zeros((1, n_out)),
        }

    def loss(self, X, y=None, reg=0.0):
        par = self.params
        num = len(X)
        net1 = np.dot(X, par['W1']) + par['b1']
        act1 = 1 / (1 + np.exp(-net1))
        net2 = np.dot(act1, par['W2']) + par['b2']
        if y is None:
            return net2

        probs = np.exp(net2)
        probs /= probs.sum(axis=1, keepdims=True)
        loss = -np.log(probs[range(num), y]).sum()
        loss += reg / 2. * (np.square(par['W1']).sum() + np.square(par['W2']).sum())

        probs[range(num), y] -= 1          # from here on "probs" is d loss / d net2
        back = np.dot(probs, par['W2'].T)
        back *= act1 * (1 - act1)

        grads = dict()
        grads['W2'] = np.dot(act1.T, probs)
        grads['W2'] += reg * par['W2']
        grads['b2'] = np.sum(probs, axis=0, keepdims=True)
        grads['W1'] = np.dot(X.T, back)
        grads['W1'] += reg * par['W1']
        grads['b1'] = np.sum(back, axis=0, keepdims=True)
        return loss, grads
