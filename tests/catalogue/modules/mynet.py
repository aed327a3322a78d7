"""Needs mylayers.py beside it.

    net = Net(); loss = net.loss(x, y); net.backward()
    gradients: net.hidden.grads['W'], net.hidden.grads['b'], net.out.grads['W'], net.out.grads['b']
"""
from mylayers import CrossEntropy, Linear, ReLU


class Net:
    def __init__(self, n_in=5, n_hidden=7, n_out=3):
        self.hidden = Linear(in_features=n_in, out_features=n_hidden)
        self.relu = ReLU()
        self.out = Linear(in_features=n_hidden, out_features=n_out)
        self.ce = CrossEntropy()

    def loss(self, x, y):
        z = self.out.forward(self.relu.forward(self.hidden.forward(x)))
        print('scores', z.shape)
        return self.ce.forward(z, y)

    def backward(self):
        g = self.ce.backward()
        g = self.out.backward(g)
        g = self.relu.backward(g)
        g = self.hidden.backward(g)
        return g


if __name__ == '__main__':
    import numpy as np
    net = Net()
    print('loss', net.loss(np.random.randn(4, 5), np.array([0, 1, 2, 0])))
    net.backward()
    print(net.hidden.grads['W'])
