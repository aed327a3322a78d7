"""Rules for parameters that live in float32: the state and the result are float32 whatever comes in.

new_w, config = rule(w, dw, config)
"""
import numpy as np

f32 = np.float32


def sgd(w, dw, config=None):
    config = dict(config or {})
    lr = f32(config.setdefault('learning_rate', 1e-2))
    return w.astype(f32) - lr * dw.astype(f32), config


def sgd_momentum(w, dw, config=None):
    config = dict(config or {})
    lr, mu = f32(config.setdefault('learning_rate', 1e-2)), f32(config.setdefault('momentum', 0.9))
    v = config.get('velocity')
    v = np.zeros(w.shape, f32) if v is None else v.astype(f32)
    config['velocity'] = mu * v - lr * dw.astype(f32)
    return w.astype(f32) + config['velocity'], config


def adagrad(w, dw, config=None):
    config = dict(config or {})
    lr, eps = f32(config.setdefault('learning_rate', 1e-2)), f32(config.setdefault('epsilon', 1e-8))
    g = dw.astype(f32)
    s = config.get('cache')
    s = g * g if s is None else s.astype(f32) + g * g
    config['cache'] = s
    return w.astype(f32) - lr * g / (np.sqrt(s) + eps), config
