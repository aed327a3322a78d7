"""A quadratic penalty outside a box, elementwise: 0 for |x| <= r, (|x| - r)^2 beyond. Has printouts and asserts."""
import numpy as np


def box_penalty(x, r=1.0):
    assert r > 0
    excess = np.maximum(np.abs(x) - r, 0)
    print("outside the box:", np.count_nonzero(excess), "of", excess.size)
    return (excess ** 2).sum()


def box_penalty_grad(x, r=1.0):
    excess = np.maximum(np.abs(x) - r, 0)
    g = 2 * excess * np.sign(x)
    assert g.shape == x.shape
    return g


if __name__ == "__main__":
    x = np.linspace(-3, 3, 7)
    print(box_penalty(x), box_penalty_grad(x))
