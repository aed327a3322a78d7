"""A net of any depth, built from the functions in layer_helpers.py (same folder)."""
import numpy as np
from layer_helpers import affine, affine_back, elu, elu_back, softmax_loss


class FullyConnectedNet:
    """W1, b1, ..., W3, b3; ELU between them. Widths: input_dim, hidden_dim, 2 * hidden_dim, num_classes."""

    def __init__(self, input_dim, hidden_dim, num_classes, weight_scale=1e-2):
        dims = [input_dim, hidden_dim, 2 * hidden_dim, num_classes]
        self.L = len(dims) - 1
        self.params = {}
        for k in range(1, self.L + 1):
            self.params[f"W{k}"] = np.random.normal(scale=weight_scale, size=(dims[k - 1], dims[k]))
            self.params[f"b{k}"] = np.zeros(dims[k])

    def loss(self, X, y=None, reg=0.0):
        out, caches = X, []
        for k in range(1, self.L + 1):
            out, c = affine(out, self.params[f"W{k}"], self.params[f"b{k}"])
            c2 = None
            if k < self.L:
                out, c2 = elu(out)
            caches.append((c, c2))
        if y is None:
            return out

        loss, dout = softmax_loss(out, y)
        grads = {}
        for k in range(self.L, 0, -1):
            c, c2 = caches[k - 1]
            if k < self.L:
                dout = elu_back(dout, c2)
            dout, grads[f"W{k}"], grads[f"b{k}"] = affine_back(dout, c)
            W = self.params[f"W{k}"]
            loss += 0.5 * reg * (W * W).sum()
            grads[f"W{k}"] += reg * W
        return loss, grads
