# Small layer library. Every layer remembers what it needs in forward() and uses it in backward(grad).
#
#   net  = build_net()
#   crit = CrossEntropyLoss()
#   loss = crit.forward(net.forward(x), y)
#   dx   = net.backward(crit.backward())       # now layer.dW, layer.db are filled
import numpy as np

rng = np.random.RandomState(3)


class Layer:
    def parameters(self):
        return []

    def __call__(self, *args):
        return self.forward(*args)


class Dense(Layer):
    def __init__(self, fan_in, fan_out):
        self.W = rng.randn(fan_in, fan_out) * np.sqrt(2.0 / fan_in)
        self.b = rng.randn(fan_out) * 0.1
        self.dW = None
        self.db = None
        self.x = None

    def forward(self, x):
        self.x = x
        return x.dot(self.W) + self.b

    def backward(self, grad):
        self.dW = self.x.T.dot(grad)
        self.db = grad.sum(0)
        return grad.dot(self.W.T)

    def parameters(self):
        return [(self.W, self.dW), (self.b, self.db)]


class Sigmoid(Layer):
    def forward(self, x):
        e = np.exp(-np.abs(x))
        self.s = np.where(x >= 0, 1.0 / (1.0 + e), e / (1.0 + e))
        return self.s

    def backward(self, grad):
        return grad * self.s * (1.0 - self.s)


class LeakyReLU(Layer):
    def __init__(self, slope=0.1):
        self.slope = slope

    def forward(self, x):
        self.positive = x > 0
        return np.where(self.positive, x, self.slope * x)

    def backward(self, grad):
        return np.where(self.positive, grad, self.slope * grad)


class CrossEntropyLoss(Layer):
    """Mean cross-entropy of softmax(scores), y holds class numbers."""

    def forward(self, scores, y):
        self.y = y
        m = scores.max(1, keepdims=True)
        self.logp = scores - m - np.log(np.exp(scores - m).sum(1, keepdims=True))
        return -self.logp[range(len(y)), y].mean()

    def backward(self):
        n = len(self.y)
        d = np.exp(self.logp)
        d[range(n), self.y] -= 1.0
        return d / n


class Sequential(Layer):
    def __init__(self, layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad):
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]


def build_net():
    return Sequential([
        Dense(6, 5),
        LeakyReLU(),
        Dense(5, 5),
        Sigmoid(),
        Dense(5, 3),
    ])


if __name__ == "__main__":
    x = rng.randn(90, 6)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] * x[:, 2] > 0)
    net, crit = build_net(), CrossEntropyLoss()
    for step in range(2000):
        loss = crit(net(x), y)
        net.backward(crit.backward())
        for p, dp in net.parameters():
            p -= 0.5 * dp
        if step % 200 == 0:
            print("%5d  %.4f" % (step, loss))
