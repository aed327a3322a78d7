"""All squared distances between the rows of two matrices, and the loss built on them (RBF features).

X: (n, d), Y: (m, d)
"""
import numpy as np


def kernel_mean(X, Y):
    D = np.einsum("nd,nd->n", X, X)[:, None] + np.einsum("md,md->m", Y, Y)[None, :] - 2 * np.einsum("nd,md->nm", X, Y)
    return np.exp(-D / 2).mean()


def grad_kernel_mean(X, Y):
    D = np.einsum("nd,nd->n", X, X)[:, None] + np.einsum("md,md->m", Y, Y)[None, :] - 2 * np.einsum("nd,md->nm", X, Y)
    G = -0.5 * np.exp(-D / 2) / D.size
    gX = 2 * (np.einsum("nm,nd->nd", G, X) - np.einsum("nm,md->nd", G, Y))
    gY = 2 * (np.einsum("nm,md->md", G, Y) - np.einsum("nm,nd->md", G, X))
    return gX, gY
