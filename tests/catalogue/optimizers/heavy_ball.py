"""Momentum without a velocity: the two last iterates are kept instead.

w_next = w - lr * dw + momentum * (w - w_before)          (Polyak's heavy ball)

`nesterov` keeps the plain gradient-descent point y of the last step and extrapolates from it:
y = w - lr * dw,  w_next = y + momentum * (y - y_before).
Both equal the velocity forms as long as w comes back unchanged from the caller.
"""
import numpy as np


def sgd_momentum(w, dw, config=None):
    config = dict(config or {})
    lr = config.setdefault('learning_rate', 0.01)
    beta = config.setdefault('momentum', 0.9)
    before = config.get('w_before', w)
    config['w_before'] = w.copy()
    return w - lr * dw + beta * (w - before), config


def nesterov(w, dw, config=None):
    config = dict(config or {})
    lr = config.setdefault('learning_rate', 0.01)
    beta = config.setdefault('momentum', 0.9)
    y_before = config.get('y_before', w)
    y = w - lr * dw
    config['y_before'] = y
    return y + beta * (y - y_before), config
