"""Where keras.optimizers take weights, step by step, for gradients that are given."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

Array = np.ndarray


def trajectory(
    rule: str,
    w: Array,
    gradients: Array,
    rates: Array,
    hyperparameters: dict[str, float],
    start: float = 0.0,
    decoupled: bool = False,
) -> Array:
    """The same as frameworks.pytorch.rules. Hyperparameters should be float32 numbers: Keras rounds them.

    Keras's weight decay is always decoupled; coupled decay is added to the gradient here.
    """
    decay = hyperparameters.get("weight_decay", 0.0)
    optimizer = _make(rule, float(rates[0]), hyperparameters, start, decay if decoupled else 0.0)
    weight = keras.Variable(w, dtype="float64")
    optimizer.build([weight])
    path = []
    for g, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = float(rate)
        coupled = 0.0 if decoupled else decay * weight.numpy()
        optimizer.apply([tf.constant(g + coupled, tf.float64)])
        path.append(np.array(weight.numpy()))
    return np.array(path)


def _make(rule: str, lr: float, h: dict[str, float], start: float, decay: float) -> Any:
    options: dict[str, Any] = {"learning_rate": lr, "weight_decay": decay or None}
    match rule:
        case "sgd":
            return keras.optimizers.SGD(**options)
        case "momentum" | "nesterov":
            return keras.optimizers.SGD(momentum=h["momentum"], nesterov=rule == "nesterov", **options)
        case "adagrad":
            return keras.optimizers.Adagrad(initial_accumulator_value=start, epsilon=h["epsilon"], **options)
        case "rmsprop":
            return keras.optimizers.RMSprop(rho=h["rho"], epsilon=h["epsilon"], **options)
        case "adadelta":
            return keras.optimizers.Adadelta(rho=h["rho"], epsilon=h["epsilon"], **options)
        case _:
            adam = keras.optimizers.AdamW if decay else keras.optimizers.Adam
            return adam(beta_1=h["beta_1"], beta_2=h["beta_2"], epsilon=h["epsilon"], **options)
