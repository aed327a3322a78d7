"""Update rules over one flat vector, in two dialects: PyTorch's and Keras's formulas differ in places.

`dialect="torch"` and `dialect="keras"` follow torch.optim and keras.optimizers to the last bits, defaults
included. Every hyperparameter is rounded to float32 first, because Keras does so in any precision.
Weight decay: torch adds weight_decay * w to the gradient (AdamW alone shrinks w instead); Keras shrinks w
by learning_rate * weight_decay * w before the update, in every rule.
"""

import math
from collections.abc import Callable

import numpy as np

from scratch.errors import UsageError

Array = np.ndarray
DIALECTS = ("torch", "keras")


def snap(value: float) -> float:
    """The nearest float32, which is what Keras keeps of a hyperparameter."""
    return float(np.float32(value))


class Optimizer:
    """A rule `update(w, g)` that changes w in place; its memory is `state`, arrays like w, and `step`.

    defaults: hyperparameters per dialect. Raises UsageError for an unknown dialect or hyperparameter.
    """

    defaults: dict[str, dict[str, float]]
    slots: tuple[str, ...] = ()
    initial: dict[str, float] = {}  # of the slots in Keras, where not 0
    decoupled = False  # torch: whether weight decay shrinks w rather than being added to the gradient

    def __init__(self, dialect: str = "torch", **hyperparameters: float) -> None:
        if dialect not in DIALECTS:
            raise UsageError(f"dialect must be torch or keras, but {dialect!r} came.")
        known = {"weight_decay": 0.0} | self.defaults[dialect]
        if unknown := hyperparameters.keys() - known.keys():
            raise UsageError(
                f"{type(self).__name__} takes {', '.join(known)}, but {', '.join(sorted(unknown))} came."
            )
        self.dialect = dialect
        self.hyperparameters = {k: snap(v) for k, v in (known | hyperparameters).items()}
        self.state: dict[str, Array] = {}
        self.step = 0

    @property
    def learning_rate(self) -> float:
        return self.hyperparameters["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.hyperparameters["learning_rate"] = snap(value)

    def initial_state(self, w: Array) -> dict[str, Array]:
        """The memory before the first update."""
        start = self.initial if self.dialect == "keras" else {}
        return {slot: np.full_like(w, start.get(slot, 0.0)) for slot in self.slots}

    def update(self, w: Array, g: Array) -> None:
        """One step: w (P,) is changed in place, g (P,) = dL/dw is left alone."""
        if not self.state:
            self.state = self.initial_state(w)
        self.step += 1
        decay = self.hyperparameters["weight_decay"]
        if decay and (self.dialect == "keras" or self.decoupled):
            w *= 1 - self.learning_rate * decay
        elif decay:
            g = g + decay * w
        self.rule(w, g, **{k: v for k, v in self.hyperparameters.items() if k != "weight_decay"})

    rule: Callable[..., None]  # rule(w, g, **hyperparameters), without weight decay: each subclass's own


class SGD(Optimizer):
    """w -= lr g."""

    defaults = {"torch": {"learning_rate": 1e-3}, "keras": {"learning_rate": 1e-2}}

    def rule(self, w: Array, g: Array, *, learning_rate: float) -> None:
        w -= learning_rate * g


class Momentum(Optimizer):
    """torch: v = m v + g, w -= lr v. Keras: v = m v - lr g, w += v. They part when the rate changes.

    Source: Polyak, 1964; Sutskever et al., 2013.
    """

    defaults = {
        "torch": {"learning_rate": 1e-3, "momentum": 0.9},
        "keras": {"learning_rate": 1e-2, "momentum": 0.9},
    }
    slots = ("velocity",)
    nesterov = False

    def rule(self, w: Array, g: Array, *, learning_rate: float, momentum: float) -> None:
        v = self.state["velocity"]
        v *= momentum
        if self.dialect == "torch":
            v += g
            w -= learning_rate * (g + momentum * v if self.nesterov else v)
        else:
            v -= learning_rate * g
            w += momentum * v - learning_rate * g if self.nesterov else v


class Nesterov(Momentum):
    """Momentum whose step looks ahead by one more m v. Source: Nesterov, 1983; Sutskever et al., 2013."""

    nesterov = True


class Adagrad(Optimizer):
    """a += g^2; torch: w -= lr g / (sqrt(a) + eps), Keras: w -= lr g / sqrt(a + eps), a from 0.1.

    Source: Duchi, Hazan and Singer, JMLR 12, 2011.
    """

    defaults = {
        "torch": {"learning_rate": 1e-2, "epsilon": 1e-10},
        "keras": {"learning_rate": 1e-3, "epsilon": 1e-7},
    }
    slots = ("square_sum",)
    initial = {"square_sum": snap(0.1)}

    def rule(self, w: Array, g: Array, *, learning_rate: float, epsilon: float) -> None:
        a = self.state["square_sum"]
        a += g * g
        w -= learning_rate * g / _root(a, epsilon, outside=self.dialect == "torch")


class RMSprop(Optimizer):
    """a = r a + (1 - r) g^2; torch: w -= lr g / (sqrt(a) + eps), Keras: w -= lr g / sqrt(a + eps).

    Source: Hinton, Coursera lecture 6e, 2012.
    """

    defaults = {
        "torch": {"learning_rate": 1e-2, "rho": 0.99, "epsilon": 1e-8},
        "keras": {"learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-7},
    }
    slots = ("mean_square",)

    def rule(self, w: Array, g: Array, *, learning_rate: float, rho: float, epsilon: float) -> None:
        a = self.state["mean_square"]
        a *= rho
        a += (1 - rho) * (g * g)
        w -= learning_rate * g / _root(a, epsilon, outside=self.dialect == "torch")


class Adadelta(Optimizer):
    """d = g sqrt(s + eps) / sqrt(a + eps), w -= lr d, with running means a of g^2 and s of d^2.

    Source: Zeiler, arXiv:1212.5701.
    """

    defaults = {
        "torch": {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6},
        "keras": {"learning_rate": 1e-3, "rho": 0.95, "epsilon": 1e-7},
    }
    slots = ("mean_square", "mean_square_step")

    def rule(self, w: Array, g: Array, *, learning_rate: float, rho: float, epsilon: float) -> None:
        a, s = self.state["mean_square"], self.state["mean_square_step"]
        a *= rho
        a += (1 - rho) * (g * g)
        d = np.sqrt(s + epsilon) / np.sqrt(a + epsilon) * g
        s *= rho
        s += (1 - rho) * (d * d)
        w -= learning_rate * d


class Adam(Optimizer):
    """Bias-corrected running means m of g and v of g^2; torch: w -= lr m' / (sqrt(v') + eps).

    Keras adds eps to the uncorrected root instead ("epsilon hat"), so no constant eps maps one to the other.
    Source: Kingma and Ba, arXiv:1412.6980, algorithm 1 (torch) and the end of section 2 (Keras).
    """

    defaults = {
        "torch": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        "keras": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    }
    slots = ("mean", "mean_square")

    def rule(
        self, w: Array, g: Array, *, learning_rate: float, beta_1: float, beta_2: float, epsilon: float
    ) -> None:
        m, v = self.state["mean"], self.state["mean_square"]
        m += (1 - beta_1) * (g - m)
        v += (1 - beta_2) * (g * g - v)
        first, second = 1 - beta_1**self.step, 1 - beta_2**self.step
        if self.dialect == "torch":
            w -= learning_rate / first * m / (np.sqrt(v) / math.sqrt(second) + epsilon)
        else:
            w -= learning_rate * math.sqrt(second) / first * m / (np.sqrt(v) + epsilon)


class AdamW(Adam):
    """Adam with decoupled weight decay in both dialects. Source: Loshchilov and Hutter, arXiv:1711.05101."""

    defaults = {
        "torch": Adam.defaults["torch"] | {"weight_decay": 1e-2},
        "keras": Adam.defaults["keras"] | {"weight_decay": 4e-3},
    }
    decoupled = True


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adadelta": Adadelta,
    "adam": Adam,
    "adamw": AdamW,
}


def make(name: str, dialect: str = "torch", **hyperparameters: float) -> Optimizer:
    """The optimizer of this name; raises UsageError for an unknown one."""
    if name not in OPTIMIZERS:
        raise UsageError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, but {name!r} came.")
    return OPTIMIZERS[name](dialect, **hyperparameters)


def _root(square: Array, epsilon: float, outside: bool) -> Array:
    return np.sqrt(square) + epsilon if outside else np.sqrt(square + epsilon)
