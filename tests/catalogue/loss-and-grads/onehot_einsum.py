"""Two-layer classifier. Targets are one-hot rows; all contractions are spelled out with einsum.

index letters: n example, d input, h hidden, c class
"""
from numpy import arctan, einsum, exp, log, ndarray, zeros
from numpy.random import default_rng


class EinsumNet:
    def __init__(self, input_dim: int, hidden_dim: int, num_classes: int, weight_scale: float = 0.05):
        rng = default_rng(7)
        self.params: dict[str, ndarray] = {
            "W1": rng.normal(0, weight_scale, (input_dim, hidden_dim)),
            "b1": zeros(hidden_dim),
            "W2": rng.normal(0, weight_scale, (hidden_dim, num_classes)),
            "b2": zeros(num_classes),
        }

    def loss(self, X: ndarray, y: ndarray | None = None, reg: float = 0.0):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        z = einsum("nd,dh->nh", X, W1) + b1
        h = arctan(z)
        scores = einsum("nh,hc->nc", h, W2) + b2
        if y is None:
            return scores
        if y.shape != scores.shape:
            raise ValueError(f"one-hot targets of shape {scores.shape} expected, got {y.shape}")

        e = exp(scores - scores.max(1, keepdims=True))
        p = e / einsum("nc->n", e)[:, None]
        loss = -einsum("nc,nc->", y, log(p)) / len(X)
        loss += reg / 2 * (einsum("dh,dh->", W1, W1) + einsum("hc,hc->", W2, W2))

        ds = (p - y) / len(X)
        dz = einsum("nc,hc->nh", ds, W2) / (1 + z * z)
        return loss, {
            "W1": einsum("nd,nh->dh", X, dz) + reg * W1,
            "b1": einsum("nh->h", dz),
            "W2": einsum("nh,nc->hc", h, ds) + reg * W2,
            "b2": einsum("nc->c", ds),
        }
