from math import sqrt

import numpy as np


def dot(u, v):
    total = 0.0
    for i in range(len(u)):
        total = total + u[i] * v[i]
    return total


def cosine_similarity(u, v):
    """cosine of the angle between two vectors u (n,) and v (n,), in plain loops"""
    return dot(u, v) / sqrt(dot(u, u) * dot(v, v))


def cosine_similarity_grad(u, v):
    uu = dot(u, u)
    vv = dot(v, v)
    uv = dot(u, v)
    norm = sqrt(uu * vv)
    gu = np.zeros(len(u))
    gv = np.zeros(len(v))
    for i in range(len(u)):
        gu[i] = v[i] / norm - uv * u[i] / (uu * norm)
        gv[i] = u[i] / norm - uv * v[i] / (vv * norm)
    return gu, gv
