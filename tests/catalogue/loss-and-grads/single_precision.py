"""Leaky ReLU network that computes in float32 throughout (it is meant to be moved to a GPU later)."""
import numpy as np

F = np.float32
SLOPE = F(0.1)


class LeakyNet:
    def __init__(self, D, H, C, std=0.05, seed=3):
        rng = np.random.default_rng(seed)
        self.params = {
            "W1": (std * rng.standard_normal((D, H))).astype(F),
            "b1": np.zeros(H, dtype=F),
            "W2": (std * rng.standard_normal((H, C))).astype(F),
            "b2": np.zeros(C, dtype=F),
        }

    def loss(self, X, y=None, reg=0.0):
        W1, b1, W2, b2 = [self.params[k].astype(F) for k in ("W1", "b1", "W2", "b2")]
        X = np.asarray(X).astype(F)
        reg = F(reg)

        pre = X @ W1 + b1
        hid = np.where(pre > 0, pre, SLOPE * pre)
        out = hid @ W2 + b2
        if y is None:
            return out

        out = out - out.max(axis=1, keepdims=True)
        norm = np.log(np.exp(out).sum(axis=1, keepdims=True))
        logprob = out - norm
        rows = np.arange(X.shape[0])
        loss = -logprob[rows, y].mean() + reg / 2 * ((W1 ** 2).sum() + (W2 ** 2).sum())

        dout = np.exp(logprob)
        dout[rows, y] -= 1
        dout = dout / F(X.shape[0])
        dpre = dout @ W2.T
        dpre = np.where(pre > 0, dpre, SLOPE * dpre)

        grads = {}
        grads["W1"] = X.T @ dpre + reg * W1
        grads["b1"] = dpre.sum(axis=0)
        grads["W2"] = hid.T @ dout + reg * W2
        grads["b2"] = dout.sum(axis=0)
        return loss, grads
