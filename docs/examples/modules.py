"""Style `modules`: layers as objects with forward and backward, put together by two functions.

A module keeps its parameters in `params` and, after `backward(x, grad)`, their gradients in `gradient` under
the same keys. `x` is what went into `forward`, `grad` the gradient of the loss with respect to what came out;
`backward` returns the gradient with respect to `x`. The whole network is called as

    model = make_model()                                # every size has a default
    loss, values = forward_pass(model, x, y, is_train)  # x (N, D), y (N,) class numbers
    backward_pass(model, x, y, values)                  # fills model["L1"].gradient["W"] and the others
"""

import numpy as np


class Linear:
    """u = x W + b, with W (D, M) and b (1, M)."""

    def __init__(self, n_in, n_out, seed=42):
        rng = np.random.default_rng(seed)
        self.params = {"W": rng.normal(0, 0.1, (n_in, n_out)), "b": rng.normal(0, 0.1, (1, n_out))}
        self.gradient = {name: np.zeros_like(value) for name, value in self.params.items()}

    def forward(self, x):
        return x @ self.params["W"] + self.params["b"]

    def backward(self, x, grad):
        self.gradient["W"] = x.T @ grad
        self.gradient["b"] = grad.sum(axis=0, keepdims=True)
        return grad @ self.params["W"].T


class Tanh:
    def forward(self, u):
        return np.tanh(u)

    def backward(self, u, grad):
        return grad * (1 - np.tanh(u) ** 2)


class Dropout:
    """Keeps a unit with probability 1 - rate and scales it by 1/(1 - rate); does nothing unless is_train."""

    def __init__(self, rate, seed=42):
        self.rate, self.rng, self.mask = rate, np.random.default_rng(seed), None

    def forward(self, x, is_train):
        keep = self.rng.uniform(size=x.shape) >= self.rate
        self.mask = keep / (1 - self.rate) if is_train else np.ones(x.shape)
        return x * self.mask

    def backward(self, x, grad):
        return grad * self.mask


class SoftmaxCrossEntropy:
    """The mean over the examples of -log softmax(z)[y]."""

    def forward(self, z, y):
        z = z - z.max(axis=1, keepdims=True)
        return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])

    def backward(self, z, y):
        exponentials = np.exp(z - z.max(axis=1, keepdims=True))
        grad = exponentials / exponentials.sum(axis=1, keepdims=True)
        grad[np.arange(len(y)), y] -= 1
        return grad / len(y)


def make_model(n_in=6, n_hidden=5, n_out=4, rate=0.25):
    first, last = Linear(n_in, n_hidden), Linear(n_hidden, n_out)
    return {"L1": first, "tanh": Tanh(), "drop": Dropout(rate), "L2": last, "loss": SoftmaxCrossEntropy()}


def forward_pass(model, x, y, is_train=True):
    u = model["L1"].forward(x)
    h = model["tanh"].forward(u)
    d = model["drop"].forward(h, is_train)
    z = model["L2"].forward(d)
    return model["loss"].forward(z, y), {"u": u, "h": h, "d": d, "z": z}


def backward_pass(model, x, y, values):
    grad = model["loss"].backward(values["z"], y)
    grad = model["L2"].backward(values["d"], grad)
    grad = model["drop"].backward(values["h"], grad)
    grad = model["tanh"].backward(values["u"], grad)
    model["L1"].backward(x, grad)
