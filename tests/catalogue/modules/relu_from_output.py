"""Two layers, as modules. Dropout is there but switched off (rate 0), it only draws its numbers.

The ReLU's backward gets the ReLU's OUTPUT h, not its input u: since h > 0 exactly where u > 0, that is the same mask.

    loss, c = forward_pass(model, x, y);  backward_pass(model, x, y, c);  model = make_model()
"""
import numpy as np


class affine:
    def __init__(self, D, M):
        self.params = dict(W=np.random.normal(0, 0.3, (D, M)), b=np.random.normal(0, 0.3, (1, M)))
        self.gradient = dict(W=None, b=None)

    def forward(self, X):
        return X.dot(self.params['W']) + self.params['b']

    def backward(self, X, grad):
        self.gradient['W'] = (grad.T.dot(X)).T
        self.gradient['b'] = np.array([np.sum(grad, 0)])
        return (self.params['W'].dot(grad.T)).T


class relu:
    def forward(self, X):
        return (X + np.abs(X)) / 2

    def backward(self, X, grad):
        g = grad.copy()
        g[X <= 0] = 0.0
        return g


class dropout:
    def __init__(self, r):
        self.r = r

    def forward(self, X, is_train):
        p = np.random.uniform(size=X.shape)
        self.mask = np.where(p >= self.r, 1.0 / (1.0 - self.r), 0.0) if is_train else np.ones_like(X)
        return self.mask * X

    def backward(self, X, grad):
        return self.mask * grad


class softmax_cross_entropy:
    """y: class numbers, shape (N,) or (N, 1)."""

    def forward(self, X, y):
        y = np.asarray(y).reshape(-1)
        X = X - X.max(1).reshape(-1, 1)
        P = np.exp(X)
        Z = P.sum(1)
        P /= Z.reshape(-1, 1)
        value = np.mean(np.log(Z) - X[np.arange(len(y)), y])
        # from here on P is changed into the gradient
        P[np.arange(len(y)), y] -= 1.0
        P /= len(y)
        self.delta = P
        return value

    def backward(self, X, y):
        return self.delta


def make_model(n_in=7, n_hidden=6, n_out=3, rate=0.0):
    np.random.seed(42)
    return {'L1': affine(n_in, n_hidden), 'relu': relu(), 'drop': dropout(rate), 'L2': affine(n_hidden, n_out),
            'loss': softmax_cross_entropy()}


def forward_pass(model, x, y, is_train=True):
    c = {'u': model['L1'].forward(x)}
    c['h'] = model['relu'].forward(c['u'])
    c['d'] = model['drop'].forward(c['h'], is_train)
    c['z'] = model['L2'].forward(c['d'])
    return model['loss'].forward(c['z'], y), c


def backward_pass(model, x, y, c):
    dz = model['loss'].backward(c['z'], y)
    dd = model['L2'].backward(c['d'], dz)
    dh = model['drop'].backward(c['h'], dd)
    du = model['relu'].backward(c['h'], dh)
    return model['L1'].backward(x, du)
