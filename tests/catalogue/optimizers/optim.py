"""
First-order update rules.  Each one:  next_w, config = rule(w, dw, config)

  w       current weights
  dw      gradient of the loss
  config  dict with hyperparameters (learning_rate, momentum, ...) and the state of the rule
"""
import numpy as np


def sgd(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)

    next_w = w - config['learning_rate'] * dw
    return next_w, config


def sgd_momentum(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)
    config.setdefault('momentum', 0.9)
    v = config.get('velocity', np.zeros_like(w))

    v = config['momentum'] * v - config['learning_rate'] * dw
    next_w = w + v
    config['velocity'] = v
    return next_w, config


def nesterov(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)
    config.setdefault('momentum', 0.9)
    mu = config['momentum']
    v_prev = config.get('velocity', np.zeros_like(w))

    v = mu * v_prev - config['learning_rate'] * dw
    next_w = w - mu * v_prev + (1 + mu) * v
    config['velocity'] = v
    return next_w, config


def adagrad(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)
    config.setdefault('epsilon', 1e-8)
    cache = config.get('cache', np.zeros_like(w))

    cache = cache + dw ** 2
    next_w = w - config['learning_rate'] * dw / (np.sqrt(cache) + config['epsilon'])
    config['cache'] = cache
    return next_w, config


def rmsprop(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)
    config.setdefault('decay_rate', 0.99)
    config.setdefault('epsilon', 1e-8)
    config.setdefault('cache', np.zeros_like(w))

    rho = config['decay_rate']
    config['cache'] = rho * config['cache'] + (1 - rho) * dw ** 2
    next_w = w - config['learning_rate'] * dw / (np.sqrt(config['cache']) + config['epsilon'])
    return next_w, config


def adadelta(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1.0)
    config.setdefault('rho', 0.95)
    config.setdefault('epsilon', 1e-6)
    config.setdefault('sq_grad', np.zeros_like(w))
    config.setdefault('sq_step', np.zeros_like(w))
    rho, eps = config['rho'], config['epsilon']

    sq_grad = rho * config['sq_grad'] + (1 - rho) * dw * dw
    step = np.sqrt(config['sq_step'] + eps) / np.sqrt(sq_grad + eps) * dw
    sq_step = rho * config['sq_step'] + (1 - rho) * step * step
    config['sq_grad'], config['sq_step'] = sq_grad, sq_step
    next_w = w - config['learning_rate'] * step
    return next_w, config


def adam(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-3)
    config.setdefault('beta1', 0.9)
    config.setdefault('beta2', 0.999)
    config.setdefault('epsilon', 1e-8)
    config.setdefault('m', np.zeros_like(w))
    config.setdefault('v', np.zeros_like(w))
    config.setdefault('t', 0)

    config['t'] += 1
    config['m'] = config['beta1'] * config['m'] + (1 - config['beta1']) * dw
    config['v'] = config['beta2'] * config['v'] + (1 - config['beta2']) * (dw ** 2)
    mt = config['m'] / (1 - config['beta1'] ** config['t'])
    vt = config['v'] / (1 - config['beta2'] ** config['t'])
    next_w = w - config['learning_rate'] * mt / (np.sqrt(vt) + config['epsilon'])
    return next_w, config


def adamw(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-3)
    config.setdefault('beta1', 0.9)
    config.setdefault('beta2', 0.999)
    config.setdefault('epsilon', 1e-8)
    config.setdefault('weight_decay', 1e-2)
    config.setdefault('m', np.zeros_like(w))
    config.setdefault('v', np.zeros_like(w))
    config.setdefault('t', 0)

    t = config['t'] + 1
    m = config['beta1'] * config['m'] + (1 - config['beta1']) * dw
    v = config['beta2'] * config['v'] + (1 - config['beta2']) * dw * dw
    w = w - config['learning_rate'] * config['weight_decay'] * w
    next_w = w - config['learning_rate'] * (m / (1 - config['beta1'] ** t)) / (
        np.sqrt(v / (1 - config['beta2'] ** t)) + config['epsilon'])
    config.update(m=m, v=v, t=t)
    return next_w, config
