# Two layer net, everything with loops so that I can see what happens. Slow but honest.
import math

import numpy as np


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, std=1e-4):
        self.D = input_size
        self.H = hidden_size
        self.C = output_size
        self.params = {}
        self.params['W1'] = std * np.random.randn(self.D, self.H)
        self.params['b1'] = np.zeros(self.H)
        self.params['W2'] = std * np.random.randn(self.H, self.C)
        self.params['b2'] = np.zeros(self.C)

    def loss(self, X, y=None, reg=0.0):
        W1 = self.params['W1']
        b1 = self.params['b1']
        W2 = self.params['W2']
        b2 = self.params['b2']
        N = X.shape[0]

        dW1 = np.zeros(W1.shape)
        db1 = np.zeros(b1.shape)
        dW2 = np.zeros(W2.shape)
        db2 = np.zeros(b2.shape)
        all_scores = np.zeros((N, self.C))
        total = 0.0

        for i in range(N):
            x = X[i]
            # hidden layer
            a = [b1[j] + sum(x[d] * W1[d, j] for d in range(self.D)) for j in range(self.H)]
            h = [v if v > 0 else 0.0 for v in a]
            # scores
            s = [b2[c] + sum(h[j] * W2[j, c] for j in range(self.H)) for c in range(self.C)]
            all_scores[i] = s
            if y is None:
                continue

            biggest = max(s)
            exps = [math.exp(v - biggest) for v in s]
            norm = sum(exps)
            total += math.log(norm) - (s[y[i]] - biggest)

            ds = [exps[c] / norm for c in range(self.C)]
            ds[y[i]] -= 1.0
            for c in range(self.C):
                db2[c] += ds[c] / N
                for j in range(self.H):
                    dW2[j, c] += h[j] * ds[c] / N
            for j in range(self.H):
                if a[j] <= 0:
                    continue
                da = 0.0
                for c in range(self.C):
                    da += W2[j, c] * ds[c]
                db1[j] += da / N
                for d in range(self.D):
                    dW1[d, j] += x[d] * da / N

        if y is None:
            return all_scores

        penalty = 0.0
        for W, dW in ((W1, dW1), (W2, dW2)):
            for r in range(W.shape[0]):
                for k in range(W.shape[1]):
                    penalty += 0.5 * reg * W[r, k] ** 2
                    dW[r, k] += reg * W[r, k]

        grads = {'W1': dW1, 'b1': db1, 'W2': dW2, 'b2': db2}
        return total / N + penalty, grads
