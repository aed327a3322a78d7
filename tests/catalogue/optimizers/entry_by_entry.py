"""The rules spelled out for a single number, and a loop over all entries of w.

config: 'learning_rate', 'momentum', 'decay_rate', 'beta1', 'beta2', 'epsilon'; the state is kept under 'state'.
"""
import math

import numpy as np


def sgd_momentum(w, dw, config=None):
    config = {} if config is None else config
    lr = config.setdefault('learning_rate', 0.01)
    mu = config.setdefault('momentum', 0.9)
    state = config.setdefault('state', [0.0] * w.size)
    flat, grad = w.flatten(), dw.flatten()
    for i in range(w.size):
        state[i] = mu * state[i] - lr * grad[i]
        flat[i] += state[i]
    return flat.reshape(w.shape), config


def rmsprop(w, dw, config=None):
    config = {} if config is None else config
    lr = config.setdefault('learning_rate', 0.01)
    rho = config.setdefault('decay_rate', 0.99)
    eps = config.setdefault('epsilon', 1e-8)
    state = config.setdefault('state', np.zeros(w.shape))
    out = np.empty(w.shape)
    for i in np.ndindex(w.shape):
        state[i] = rho * state[i] + (1 - rho) * dw[i] * dw[i]
        out[i] = w[i] - lr * dw[i] / (math.sqrt(state[i]) + eps)
    return out, config


def adam(w, dw, config=None):
    config = {} if config is None else config
    lr = config.setdefault('learning_rate', 0.001)
    b1 = config.setdefault('beta1', 0.9)
    b2 = config.setdefault('beta2', 0.999)
    eps = config.setdefault('epsilon', 1e-8)
    if 'state' not in config:
        config['state'] = {'t': 0, 'm': np.zeros(w.shape), 'v': np.zeros(w.shape)}
    state = config['state']
    state['t'] += 1
    first = 1 - math.pow(b1, state['t'])
    second = 1 - math.pow(b2, state['t'])
    out = np.empty(w.shape)
    for i in np.ndindex(w.shape):
        state['m'][i] = b1 * state['m'][i] + (1 - b1) * dw[i]
        state['v'][i] = b2 * state['v'][i] + (1 - b2) * dw[i] ** 2
        out[i] = w[i] - lr * (state['m'][i] / first) / (math.sqrt(state['v'][i] / second) + eps)
    return out, config
