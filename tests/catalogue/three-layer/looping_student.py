"""Three layer network. I did the sums with loops over the examples because the indices confuse me otherwise."""
import numpy as np


class ThreeLayerNetwork:
    def __init__(self, nn_input_dim, nn_hidden_dim, nn_output_dim, actFun_type="sigmoid", reg_lambda=0.01, seed=0):
        state = np.random.RandomState(seed)
        self.n_in, self.n_hid, self.n_out = nn_input_dim, nn_hidden_dim, nn_output_dim
        self.actFun_type = actFun_type.lower()
        self.reg_lambda = reg_lambda
        self.W1 = state.randn(self.n_in, self.n_hid) / np.sqrt(self.n_in)
        self.b1 = np.zeros((1, self.n_hid))
        self.W2 = state.randn(self.n_hid, self.n_out) / np.sqrt(self.n_hid)
        self.b2 = np.zeros((1, self.n_out))

    def actFun(self, z, type):
        functions = {
            "tanh": lambda v: 2 / (1 + np.exp(-2 * v)) - 1,
            "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
            "relu": lambda v: v * (v >= 0),
        }
        return functions[type](z)

    def diff_actFun(self, z, type):
        a = self.actFun(z, type)
        if type == "tanh":
            return (1 + a) * (1 - a)
        if type == "sigmoid":
            return a - a * a
        return np.where(z >= 0, 1.0, 0.0)

    def feedforward(self, X, actFun):
        n = X.shape[0]
        self.z1 = np.empty((n, self.n_hid))
        self.a1 = np.empty((n, self.n_hid))
        self.probs = np.empty((n, self.n_out))
        for i in range(n):
            self.z1[i] = X[i].dot(self.W1) + self.b1[0]
            self.a1[i] = actFun(self.z1[i])
            s = self.a1[i].dot(self.W2) + self.b2[0]
            s = np.exp(s - s.max())
            self.probs[i] = s / s.sum()

    def calculate_loss(self, X, y):
        self.feedforward(X, lambda v: self.actFun(v, self.actFun_type))
        total = 0.0
        for i in range(len(X)):
            total -= np.log(self.probs[i, y[i]])
        total += self.reg_lambda / 2 * (np.sum(self.W1 ** 2) + np.sum(self.W2 ** 2))
        return total / len(X)

    def backprop(self, X, y):
        dW1 = np.zeros_like(self.W1)
        db1 = np.zeros_like(self.b1)
        dW2 = np.zeros_like(self.W2)
        db2 = np.zeros_like(self.b2)
        for i in range(len(X)):
            out = self.probs[i].copy()
            out[y[i]] -= 1
            slope = self.diff_actFun(self.z1[i], self.actFun_type)
            hid = self.W2.dot(out) * slope
            dW2 += np.outer(self.a1[i], out)
            db2 += out
            dW1 += np.outer(X[i], hid)
            db1 += hid
        return dW1, dW2, db1, db2

    def fit_model(self, X, y, epsilon=0.01, num_passes=5000, print_loss=True):
        for i in range(num_passes):
            self.feedforward(X, lambda v: self.actFun(v, self.actFun_type))
            dW1, dW2, db1, db2 = self.backprop(X, y)
            self.W1 = self.W1 - epsilon * (dW1 + self.reg_lambda * self.W1)
            self.W2 = self.W2 - epsilon * (dW2 + self.reg_lambda * self.W2)
            self.b1 = self.b1 - epsilon * db1
            self.b2 = self.b2 - epsilon * db2
            if print_loss and i % 1000 == 0:
                print("pass", i, "loss", self.calculate_loss(X, y))


if __name__ == "__main__":
    rng = np.random.RandomState(0)
    X = rng.randn(100, 2)
    y = (X.sum(axis=1) > 0).astype(int)
    net = ThreeLayerNetwork(2, 3, 2, actFun_type="tanh")
    net.fit_model(X, y, num_passes=2000)
