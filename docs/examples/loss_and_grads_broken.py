"""A two-layer network in the loss-and-grads style: one call returns the loss and every gradient.

affine - ReLU - affine - softmax cross-entropy, averaged over the examples, plus the penalty
reg/2 * (sum W1^2 + sum W2^2). Check it with

    gradparity check docs/examples/loss_and_grads_broken.py
"""

import numpy as np


class TwoLayerNet:
    """The parameters live in the dict `params`: W1 (D, H), b1 (H,), W2 (H, C), b2 (C,)."""

    def __init__(self, input_size, hidden_size, output_size, std=1e-4, seed=0):
        rng = np.random.default_rng(seed)
        self.params = {
            "W1": std * rng.standard_normal((input_size, hidden_size)),
            "b1": np.zeros(hidden_size),
            "W2": std * rng.standard_normal((hidden_size, output_size)),
            "b2": np.zeros(output_size),
        }

    def loss(self, X, y=None, reg=0.0):
        """Return the scores (N, C) when y is None, otherwise the loss and a dict of gradients.

        X (N, D) holds the examples, y (N,) their classes as integers; the loss is in nats per example.
        """
        W1, b1 = self.params["W1"], self.params["b1"]
        W2, b2 = self.params["W2"], self.params["b2"]
        N = len(X)

        z1 = X @ W1 + b1  # (N, H)
        h = np.maximum(z1, 0)
        scores = h @ W2 + b2  # (N, C)
        if y is None:
            return scores

        scores = scores - scores.max(axis=1, keepdims=True)  # exp cannot overflow now
        log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        data_loss = -log_probs[np.arange(N), y].mean()
        loss = data_loss + 0.5 * reg * ((W1 * W1).sum() + (W2 * W2).sum())

        dscores = np.exp(log_probs)  # (N, C)
        dscores[np.arange(N), y] -= 1
        dscores /= N
        dh = dscores @ W2.T  # (N, H)
        dz1 = dh * (dh > 0)
        grads = {
            "W2": h.T @ dscores + reg * W2,
            "b2": dscores.sum(axis=0),
            "W1": X.T @ dz1 + reg * W1,
            "b1": dz1.sum(axis=0),
        }
        return loss, grads
