"""Three layers in single precision, sums written with einsum; the activations are looked up in a table."""
import numpy as np

TABLE = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: 0.25 / np.cosh(z / 2) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
}


class Net:
    def __init__(self, nn_input_dim, nn_hidden_dim, nn_output_dim, actFun_type="tanh", reg_lambda=0.01, seed=0):
        rng = np.random.default_rng(seed)

        def init(i, o):
            return (rng.standard_normal((i, o)) / np.sqrt(i)).astype(np.float32), np.zeros((1, o), np.float32)

        self.W1, self.b1 = init(nn_input_dim, nn_hidden_dim)
        self.W2, self.b2 = init(nn_hidden_dim, nn_output_dim)
        self.actFun_type = actFun_type
        self.reg_lambda = np.float32(reg_lambda)

    def actFun(self, z, type):
        return TABLE[type][0](z)

    def diff_actFun(self, z, type):
        return TABLE[type][1](z)

    def feedforward(self, X, actFun):
        X = X.astype(np.float32)
        self.z1 = np.einsum("ni,ij->nj", X, self.W1) + self.b1
        self.a1 = actFun(self.z1)
        self.z2 = np.einsum("nj,jk->nk", self.a1, self.W2) + self.b2
        e = np.exp(self.z2 - self.z2.max(1, keepdims=True))
        self.probs = e / np.einsum("nk->n", e)[:, None]

    def calculate_loss(self, X, y):
        self.feedforward(X, lambda z: self.actFun(z, self.actFun_type))
        onehot = np.eye(self.probs.shape[1], dtype=np.float32)[y]
        loss = -np.einsum("nk,nk->", onehot, np.log(self.probs))
        loss += self.reg_lambda / 2 * (np.einsum("ij,ij->", self.W1, self.W1) + np.einsum("jk,jk->", self.W2, self.W2))
        return loss / len(X)

    def backprop(self, X, y):
        X = X.astype(np.float32)
        onehot = np.eye(self.probs.shape[1], dtype=np.float32)[y]
        d2 = self.probs - onehot
        d1 = np.einsum("nk,jk,nj->nj", d2, self.W2, self.diff_actFun(self.z1, self.actFun_type))
        dW1 = np.einsum("ni,nj->ij", X, d1)
        dW2 = np.einsum("nj,nk->jk", self.a1, d2)
        db1 = np.einsum("nj->j", d1)[None, :]
        db2 = np.einsum("nk->k", d2)[None, :]
        return dW1, dW2, db1, db2

    def fit_model(self, X, y, epsilon=0.01, num_passes=20000, print_loss=True):
        eps = np.float32(epsilon)
        for i in range(num_passes):
            self.feedforward(X, lambda z: self.actFun(z, self.actFun_type))
            dW1, dW2, db1, db2 = self.backprop(X, y)
            self.W1 -= eps * (dW1 + self.reg_lambda * self.W1)
            self.W2 -= eps * (dW2 + self.reg_lambda * self.W2)
            self.b1 -= eps * db1
            self.b2 -= eps * db2
            if print_loss and i % 1000 == 0:
                print("loss", i, self.calculate_loss(X, y))
