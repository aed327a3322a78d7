"""Style `optimizers`: update rules, checked over several steps with the learning rate changed half-way.

A rule is called as `next_w, config = rule(w, dw, config)`: w holds the weights, dw the gradient of the loss,
and the dict config the hyperparameters and, from one call to the next, the rule's memory. Missing
hyperparameters take their defaults; w and dw are left as they were. Each array has a config of its own.

The other form is a minibatch step in place, here `sgd_step(model, momentum, lam, alpha, lr)`: it walks
through a dict of modules with `params` and `gradient`, and keeps each parameter's velocity in the dict
`momentum`, which is empty at first.
"""

import numpy as np


def sgd(w, dw, config=None):
    """w - lr dw"""
    config = {"learning_rate": 1e-2} | (config or {})
    return w - config["learning_rate"] * dw, config


def sgd_momentum(w, dw, config=None):
    """v = m v - lr dw, w + v"""
    config = {"learning_rate": 1e-2, "momentum": 0.9, "velocity": np.zeros_like(w)} | (config or {})
    v = config["momentum"] * config["velocity"] - config["learning_rate"] * dw
    return w + v, config | {"velocity": v}


def rmsprop(w, dw, config=None):
    """c = r c + (1 - r) dw^2, w - lr dw / (sqrt(c) + eps)"""
    defaults = {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8, "cache": np.zeros_like(w)}
    config = defaults | (config or {})
    rho = config["decay_rate"]
    cache = rho * config["cache"] + (1 - rho) * dw**2
    step = config["learning_rate"] * dw / (np.sqrt(cache) + config["epsilon"])
    return w - step, config | {"cache": cache}


def adam(w, dw, config=None):
    """Bias-corrected running means m of dw and v of dw^2, w - lr m / (sqrt(v) + eps)"""
    defaults = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    memory = {"m": np.zeros_like(w), "v": np.zeros_like(w), "t": 0}
    config = defaults | memory | (config or {})
    beta1, beta2, t = config["beta1"], config["beta2"], config["t"] + 1
    m = beta1 * config["m"] + (1 - beta1) * dw
    v = beta2 * config["v"] + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    step = config["learning_rate"] * m_hat / (np.sqrt(v_hat) + config["epsilon"])
    return w - step, config | {"m": m, "v": v}


def sgd_step(model, momentum, lam, alpha, lr):
    """v = alpha v - lr (g + lam w), w += v; without momentum (alpha = 0) w -= lr (g + lam w)"""
    for name, module in model.items():
        for key, w in getattr(module, "params", {}).items():
            step = -lr * (module.gradient[key] + lam * w)
            if alpha > 0:
                step += alpha * momentum.get((name, key), 0)
                momentum[name, key] = step
            w += step
