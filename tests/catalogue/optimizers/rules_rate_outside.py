"""Update rules with the learning rate OUTSIDE the velocity and eps INSIDE the root.

rule(w, dw, config) -> (w_new, config).  config needs 'lr' (or 'learning_rate'); all else has a default.
'weight_decay' in config adds weight_decay * w to the gradient, in every rule.
"""
import numpy as np


def _open(w, dw, config):
    c = dict(config) if config else {}
    rate = c.get('learning_rate', c.get('lr', 0.01))
    g = dw + c.get('weight_decay', 0.0) * w
    return c, rate, g


def sgd(w, dw, config=None):
    c, rate, g = _open(w, dw, config)
    return w - rate * g, c


def sgd_momentum(w, dw, config=None):
    c, rate, g = _open(w, dw, config)
    c['velocity'] = c.get('momentum', 0.9) * c.get('velocity', 0) + g
    return w - rate * c['velocity'], c


def nesterov(w, dw, config=None):
    c, rate, g = _open(w, dw, config)
    mu = c.get('momentum', 0.9)
    c['velocity'] = mu * c.get('velocity', 0) + g
    return w - rate * (g + mu * c['velocity']), c


def adagrad(w, dw, config=None):
    c, rate, g = _open(w, dw, config)
    c['cache'] = c.get('cache', 0) + np.square(g)
    return w - rate * g / np.sqrt(c['cache'] + c.get('epsilon', 1e-10)), c


def rmsprop(w, dw, config=None):
    c, rate, g = _open(w, dw, config)
    keep = c.get('decay_rate', 0.9)
    c['cache'] = keep * c.get('cache', 0) + (1 - keep) * np.square(g)
    return w - rate * g / np.sqrt(c['cache'] + c.get('epsilon', 1e-7)), c


def adam(w, dw, config=None):
    c, rate, g = _open(w, dw, config)
    b1, b2 = c.get('beta1', 0.9), c.get('beta2', 0.999)
    c['t'] = c.get('t', 0) + 1
    c['m'] = c.get('m', 0) + (1 - b1) * (g - c.get('m', 0))
    c['v'] = c.get('v', 0) + (1 - b2) * (g * g - c.get('v', 0))
    # both corrections put into the rate, as at the end of section 2 of the paper
    corrected = rate * np.sqrt(1 - b2 ** c['t']) / (1 - b1 ** c['t'])
    return w - corrected * c['m'] / (np.sqrt(c['v']) + c.get('epsilon', 1e-8)), c
