"""The update rules written step by step, so that a hypothesis can replace exactly one step; and their forms.

They stand apart from scratch and from the frameworks: they predict what a form of a rule, or a mistake in it,
makes of w. Books and libraries differ in the form of a rule; all of `forms` are right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray
PLACES = {
    "outside": "The learning rate stands outside the velocity, as in PyTorch (Keras has it inside); the two part "
    "only when the rate changes.",
    "mean": "The velocity is a running mean (the gradient is weighted by 1 - momentum), so steps are 1 - momentum "
    "times as long as in the usual form.",
}
EPSILONS = {
    "outside": "epsilon stands outside the roots.",
    "inside": "epsilon stands inside the root, under the squares.",
    "hat": "The bias corrections are folded into the rate, so epsilon is added to the uncorrected root (the "
    "paper's epsilon hat, as in Keras).",
    "floor": "epsilon is a lower limit of the root instead of being added to it.",
}


@dataclass(frozen=True)
class Form:
    """A rule as one school writes it.

    rate: where it stands in momentum and Nesterov, "inside" the velocity, "outside" it, or outside a velocity
    that is a running "mean". epsilon: "outside" the root, "inside" it, "hat" (Adam: outside the uncorrected
    root), "floor" (the root is at least epsilon). start: of Adagrad's sum. decay: "coupled" (added to the
    gradient), "decoupled" (w shrinks before the step) or "after" (w shrinks after it).
    """

    rule: str
    rate: str = "inside"
    epsilon: str = "outside"
    start: float = 0.0
    decay: str = "coupled"

    def texts(self, decays: bool, momentum: bool = True) -> list[str]:
        """What to say of a form that is not the most usual; decays, momentum: whether any run has them."""
        said = []
        if self.rule in ("momentum", "nesterov") and momentum and self.rate != "inside":
            said.append(PLACES[self.rate])
        if self.epsilon != ("inside" if self.rule == "adadelta" else "outside"):
            said.append(EPSILONS[self.epsilon])
        if self.start:
            said.append(f"The sum of squares starts at {self.start:g} instead of 0.")
        if decays and self.decay != "coupled" and self.rule not in ("adamw", "sgd"):
            said.append("Weight decay is decoupled: w shrinks by rate * decay * w, apart from the rule.")
        if decays and self.decay == "after":
            said.append("Weight decay shrinks w after the step instead of before it.")
        return said


def forms(rule: str, decays: bool = True, starts: tuple[float, ...] = ()) -> Iterator[Form]:
    """All forms of a rule, the most usual first."""
    usual = Form(rule, decay="decoupled" if rule == "adamw" else "coupled")
    some = [usual]
    if rule in ("momentum", "nesterov"):
        some += [replace(usual, rate="outside"), replace(usual, rate="mean")]
    if rule in ("adagrad", "rmsprop", "adam", "adamw"):
        some += [replace(usual, epsilon=e) for e in ("inside", "floor")]
    if rule in ("adam", "adamw"):
        some.insert(1, replace(usual, epsilon="hat"))
    if rule == "adadelta":
        some = [replace(usual, epsilon="inside"), usual]
    if rule == "adagrad":
        some += [replace(form, start=start) for start in starts for form in some]
    if decays:
        others = ("after",) if rule == "adamw" else ("decoupled", "after")
        some += [replace(form, decay=decay) for decay in others for form in some]
    yield from some


class Update:
    """One rule, started afresh. h: hyperparameters by their canonical names; dtype: of all arithmetic."""

    def __init__(self, form: Form, h: dict[str, float], dtype: Any = np.float64) -> None:
        self.form, self.dtype = form, dtype
        self.h = {name: dtype(value) for name, value in self.hyper(dict(h)).items()}
        self.memory: dict[str, Array] = {}
        self.t, self.lr = 0, dtype(0)

    def run(self, w: Array, gradients: Array, rates: Array) -> Array:
        """w after every step (steps, ...)."""
        w, path = np.asarray(w, self.dtype), []
        self.first_w, self.first_rate = w, self.dtype(rates[0])
        self.g_before = np.zeros_like(w)
        with np.errstate(all="ignore"):
            for g, rate in zip(gradients, rates, strict=True):
                self.t += 1
                w = self.step(w, np.asarray(g, self.dtype), self.used(self.dtype(rate)))
                path.append(w)
        return np.array(path)

    def step(self, w: Array, g: Array, lr: Any) -> Array:
        self.lr, self.w, decay = lr, w, self.form.decay
        seen = self.seen(g)
        self.g_before, self.plain = g, seen
        wanted = bool(self.h.get("weight_decay"))
        if wanted and decay == "coupled":
            seen = seen + self.penalty(w)
        move = self.move(seen, lr)
        if wanted and decay == "decoupled":
            w = w - lr * self.penalty(w)
        w = self.apply(w, move)
        return w - lr * self.penalty(w) if wanted and decay == "after" else w

    def hyper(self, h: dict[str, float]) -> dict[str, float]:
        """The hyperparameters that are used."""
        return h

    def used(self, rate: Any) -> Any:
        """The learning rate that is used."""
        return rate

    def seen(self, g: Array) -> Array:
        """The gradient that is used."""
        return g

    def penalty(self, w: Array) -> Array:
        return self.h["weight_decay"] * w

    def apply(self, w: Array, move: Array) -> Array:
        return w - move

    def move(self, g: Array, lr: Any) -> Array:
        """What is subtracted from w."""
        return lr * g

    def recall(self, slot: str, like: Array) -> Array:
        return self.memory.get(slot, self.begin(slot, like))

    def begin(self, slot: str, like: Array) -> Array:
        """The memory before the first step."""
        return np.zeros_like(like)

    def keep(self, slot: str, value: Array) -> None:
        self.memory[slot] = value


class SGD(Update):
    """w - lr g"""


class Momentum(Update):
    """v = m v + lr g, w - v (inside) or v = m v + g, w - lr v (outside)"""

    def move(self, g: Array, lr: Any) -> Array:
        old = self.recall("v", g)
        new = self.velocity(old, g, lr)
        self.keep("v", new)
        return self.advance(old, new, g, lr)

    def velocity(self, v: Array, g: Array, lr: Any) -> Array:
        return self.h["momentum"] * v + self.weight(lr) * g

    def weight(self, lr: Any) -> Any:
        """Of the gradient in the velocity."""
        return {"inside": lr, "outside": self.dtype(1), "mean": 1 - self.h["momentum"]}[self.form.rate]

    def outer(self, lr: Any) -> Any:
        """The factor of the velocity in the step."""
        return self.dtype(1) if self.form.rate == "inside" else lr

    def advance(self, old: Array, v: Array, g: Array, lr: Any) -> Array:
        return self.outer(lr) * v


class Nesterov(Momentum):
    """The step looks ahead by one more m v."""

    def advance(self, old: Array, v: Array, g: Array, lr: Any) -> Array:
        return self.outer(lr) * (self.h["momentum"] * v + self.weight(lr) * g)


class Adagrad(Update):
    """a += g^2, w - lr g / (sqrt(a) + eps)"""

    def move(self, g: Array, lr: Any) -> Array:
        old = self.recall("a", g)
        new = self.accumulate(old, self.square(g))
        self.keep("a", new)
        return lr * self.ratio(g, old, new)

    def ratio(self, g: Array, old: Array, a: Array) -> Array:
        return g / self.root(a)

    def begin(self, slot: str, like: Array) -> Array:
        return np.full_like(like, self.form.start)

    def square(self, g: Array) -> Array:
        return g * g

    def accumulate(self, a: Array, q: Array) -> Array:
        return a + q

    def root(self, a: Array) -> Array:
        eps = self.h["epsilon"]
        match self.form.epsilon:
            case "inside":
                return np.sqrt(a + eps)
            case "floor":
                return np.maximum(np.sqrt(a), eps)
            case _:
                return np.sqrt(a) + eps


class RMSprop(Adagrad):
    """a = r a + (1 - r) g^2, w - lr g / (sqrt(a) + eps)"""

    def accumulate(self, a: Array, q: Array) -> Array:
        rho = self.h["rho"]
        return rho * a + (1 - rho) * q


class Adadelta(RMSprop):
    """d = g sqrt(s + eps) / sqrt(a + eps), w - lr d, with running means a of g^2 and s of d^2"""

    def ratio(self, g: Array, old: Array, a: Array) -> Array:
        s = self.recall("s", g)
        d = self.root(s) / self.root(a) * g
        self.keep("s", self.remember(s, d, g))
        return d

    def remember(self, s: Array, d: Array, g: Array) -> Array:
        rho = self.h["rho"]
        return rho * s + (1 - rho) * d * d


class Adam(Adagrad):
    """Bias-corrected running means m of g and a of g^2, w - lr m' / (sqrt(a') + eps)"""

    def move(self, g: Array, lr: Any) -> Array:
        self.old_m, self.old_a = self.recall("m", g), self.recall("a", g)
        self.m = m = self.mean(self.old_m, g)
        a = self.accumulate(self.old_a, self.square(g))
        self.keep("m", m)
        self.keep("a", a)
        self.g = g
        return lr * self.fraction(m, a)

    def mean(self, m: Array, g: Array) -> Array:
        beta = self.h["beta_1"]
        return beta * m + (1 - beta) * g

    def accumulate(self, a: Array, q: Array) -> Array:
        beta = self.h["beta_2"]
        return beta * a + (1 - beta) * q

    def fraction(self, m: Array, a: Array) -> Array:
        first, second = self.first(), self.second()
        if self.form.epsilon == "hat":
            return np.sqrt(second) / first * m / self.root(a)
        return m / first / self.root(a / second)

    def first(self) -> Any:
        return 1 - self.h["beta_1"] ** self.count()

    def second(self) -> Any:
        return 1 - self.h["beta_2"] ** self.count()

    def count(self) -> int:
        """The number of the step in the bias corrections."""
        return self.t


RULES: dict[str, type[Update]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adadelta": Adadelta,
    "adam": Adam,
    "adamw": Adam,
}


Method = Callable[..., Any]


@dataclass(frozen=True)
class Fault:
    """One mistake. methods: what it replaces in the class of the rule."""

    cause: str
    text: str
    methods: dict[str, Method] = field(default_factory=dict)

    def of(self, rule: type[Update]) -> type[Update]:
        return type("Fault", (rule,), dict(self.methods))


def fault(cause: str, text: str, **methods: Method) -> Fault:
    return Fault(cause, text, methods)
