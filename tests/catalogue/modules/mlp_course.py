"""
Homework: a neural network with two hidden layers, out of modules.

How it is called:
    model = make_model()                                   # or make_model(D, M, O, r)
    loss, cache = forward_pass(model, X, Y, is_train)      # Y = integer labels
    backward_pass(model, X, Y, cache)                      # writes module.gradient['W'], module.gradient['b']
"""
import numpy as np


class linear_layer:

    def __init__(self, input_D, output_D):
        self.params = dict()
        self.params['W'] = np.random.normal(0, 0.1, (input_D, output_D))
        self.params['b'] = np.random.normal(0, 0.1, (1, output_D))

        self.gradient = dict()
        self.gradient['W'] = np.zeros((input_D, output_D))
        self.gradient['b'] = np.zeros((1, output_D))

    def forward(self, X):
        N = X.shape[0]
        forward_output = np.dot(X, self.params['W']) + np.repeat(self.params['b'], N, axis=0)
        return forward_output

    def backward(self, X, grad):
        self.gradient['W'] = np.dot(np.transpose(X), grad)
        self.gradient['b'] = np.sum(grad, axis=0).reshape(1, -1)
        backward_output = np.dot(grad, np.transpose(self.params['W']))
        return backward_output


class relu:

    def __init__(self):
        self.mask = None

    def forward(self, X):
        self.mask = 1.0 * (X >= 0)
        return np.multiply(X, self.mask)

    def backward(self, X, grad):
        return np.multiply(grad, 1.0 * (X >= 0))


class tanh:

    def forward(self, X):
        # same as np.tanh
        return 2.0 / (1.0 + np.exp(-2.0 * X)) - 1.0

    def backward(self, X, grad):
        out = self.forward(X)
        return np.multiply(grad, 1.0 - out * out)


class dropout:

    def __init__(self, r):
        self.r = r
        self.mask = None

    def forward(self, X, is_train):
        if is_train:
            p = np.random.uniform(0.0, 1.0, X.shape)
            self.mask = (1.0 / (1.0 - self.r)) * (p >= self.r).astype(float)
        else:
            self.mask = np.ones(X.shape)
        return np.multiply(X, self.mask)

    def backward(self, X, grad):
        return np.multiply(grad, self.mask)


class softmax_cross_entropy:

    def __init__(self):
        self.expand_Y = None
        self.prob = None

    def forward(self, X, Y):
        # one-hot rows
        self.expand_Y = np.zeros(X.shape)
        for i in range(X.shape[0]):
            self.expand_Y[i, int(Y[i])] = 1.0

        shifted = X - np.amax(X, axis=1, keepdims=True)
        e = np.exp(shifted)
        self.prob = e / np.sum(e, axis=1, keepdims=True)
        logp = shifted - np.log(np.sum(e, axis=1, keepdims=True))
        return -np.sum(self.expand_Y * logp) / X.shape[0]

    def backward(self, X, Y):
        return (self.prob - self.expand_Y) / X.shape[0]


def make_model(D=8, M=6, O=4, r=0.5):
    np.random.seed(42)
    model = dict()
    model['L1'] = linear_layer(input_D=D, output_D=M)
    model['nonlinear1'] = relu()
    model['drop1'] = dropout(r=r)
    model['L2'] = linear_layer(input_D=M, output_D=M)
    model['nonlinear2'] = tanh()
    model['L3'] = linear_layer(input_D=M, output_D=O)
    model['loss'] = softmax_cross_entropy()
    return model


def forward_pass(model, X, Y, is_train=True):
    cache = dict()
    cache['a1'] = model['L1'].forward(X)
    cache['h1'] = model['nonlinear1'].forward(cache['a1'])
    cache['d1'] = model['drop1'].forward(cache['h1'], is_train)
    cache['a2'] = model['L2'].forward(cache['d1'])
    cache['h2'] = model['nonlinear2'].forward(cache['a2'])
    cache['a3'] = model['L3'].forward(cache['h2'])
    loss = model['loss'].forward(cache['a3'], Y)
    return loss, cache


def backward_pass(model, X, Y, cache):
    grad_a3 = model['loss'].backward(cache['a3'], Y)
    grad_h2 = model['L3'].backward(cache['h2'], grad_a3)
    grad_a2 = model['nonlinear2'].backward(cache['a2'], grad_h2)
    grad_d1 = model['L2'].backward(cache['d1'], grad_a2)
    grad_h1 = model['drop1'].backward(cache['h1'], grad_d1)
    grad_a1 = model['nonlinear1'].backward(cache['a1'], grad_h1)
    grad_x = model['L1'].backward(X, grad_a1)
    return grad_x


if __name__ == "__main__":
    np.random.seed(1)
    X = np.random.randn(200, 8)
    Y = np.argmax(X[:, :4] + X[:, 4:], axis=1)
    model = make_model(8, 20, 4, 0.25)
    for epoch in range(30):
        order = np.random.permutation(len(Y))
        for s in range(0, len(Y), 5):
            i = order[s:s + 5]
            loss, cache = forward_pass(model, X[i], Y[i], True)
            backward_pass(model, X[i], Y[i], cache)
            for name in ('L1', 'L2', 'L3'):
                for k in ('W', 'b'):
                    model[name].params[k] -= 0.05 * model[name].gradient[k]
        loss, cache = forward_pass(model, X, Y, False)
        print('epoch', epoch, 'loss', loss, 'accuracy', np.mean(np.argmax(cache['a3'], axis=1) == Y))
