"""Mistakes in rules that divide by the root of squared gradients: Adagrad, RMSprop, Adadelta, Adam."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compare.diagnosis.update_rules import Adam, Array, Fault, Method, Update, fault

PLACEMENT = "optimizer-learning-rate-placement"
CORRECTION = "optimizer-bias-correction"
MISMATCH = "loss-mismatch"


def bias_correction() -> Iterator[Fault]:
    """Adam's bias corrections 1 - beta^t."""
    one: Method = lambda self: self.dtype(1)  # noqa: E731
    yield fault(CORRECTION, "The bias correction is missing: divide m by 1 - beta1^t and v by 1 - beta2^t.", first=one, second=one)  # fmt: skip
    yield fault(
        CORRECTION, "The step count t does not advance: store it for the next call.", count=lambda self: 1
    )
    for off, text in ((-1, "one too small: advance t before the corrections"), (1, "one too large")):
        yield fault(
            CORRECTION,
            f"The step count t in the bias corrections is {text}; the first step has t = 1.",
            count=lambda self, off=off: self.t + off,
        )
    yield fault(
        CORRECTION,
        "The step count t advances with every entry of w instead of every step.",
        count=lambda self: (self.t - 1) * self.w.size + np.arange(1, self.w.size + 1).reshape(self.w.shape),
    )
    yield fault(CORRECTION, "The step count t advances by two a step.", count=lambda self: 2 * self.t)
    yield fault(CORRECTION, "The step count t advances by two a step.", count=lambda self: 2 * self.t - 1)
    yield fault(
        CORRECTION,
        "The bias-corrected means are stored: keep the uncorrected ones for the next call.",
        fraction=_stores(True, True),
    )
    yield fault(
        CORRECTION, "The bias-corrected m is stored: keep the uncorrected one.", fraction=_stores(True, False)
    )
    yield fault(
        CORRECTION, "The bias-corrected v is stored: keep the uncorrected one.", fraction=_stores(False, True)
    )
    yield fault(
        CORRECTION,
        "The bias corrections have each other's beta.",
        first=lambda self: 1 - self.h["beta_2"] ** self.count(),
        second=lambda self: 1 - self.h["beta_1"] ** self.count(),
    )
    for method, own, other, what in (("first", "beta_1", "beta_2", "m"), ("second", "beta_2", "beta_1", "v")):
        beta = own.replace("_", "")
        wrong: dict[str, Method] = {
            "is missing": lambda self: self.dtype(1),
            f"uses {other.replace('_', '')} for {beta}": lambda self, b=other: 1 - self.h[b] ** self.count(),
            "multiplies instead of dividing": lambda self, b=own: 1 / (1 - self.h[b] ** self.count()),
            f"is 1 - {beta} in every step, without the power t": lambda self, b=own: 1 - self.h[b],
            f"uses {beta} * t instead of {beta}^t": lambda self, b=own: 1 - self.h[b] * self.t,
            f"uses {beta}^(t - 1)": lambda self, b=own: 1 - self.h[b] ** (self.t - 1),
            f"uses {beta}^(t + 1)": lambda self, b=own: 1 - self.h[b] ** (self.t + 1),
            f"is 1 + {beta}^t instead of 1 - {beta}^t": lambda self, b=own: 1 + self.h[b] ** self.count(),
            f"is {beta}^t instead of 1 - {beta}^t": lambda self, b=own: self.h[b] ** self.count(),
            f"is {beta}^t - 1: its sign is wrong": lambda self, b=own: self.h[b] ** self.count() - 1,
            f"is (1 - {beta})^t instead of 1 - {beta}^t": lambda self, b=own: (1 - self.h[b]) ** self.count(),
            "stands under a root": lambda self, b=own: np.sqrt(1 - self.h[b] ** self.count()),
            "stands outside the root": lambda self, b=own: (1 - self.h[b] ** self.count()) ** 2,
        }
        for text, correction in wrong.items():
            yield fault(CORRECTION, f"The bias correction of {what} {text}.", **{method: correction})
    yield fault(
        CORRECTION,
        "The bias corrections multiply instead of dividing.",
        first=lambda self: 1 / (1 - self.h["beta_1"] ** self.count()),
        second=lambda self: 1 / (1 - self.h["beta_2"] ** self.count()),
    )


def _stores(mean: bool, squares: bool) -> Method:
    def fraction(self: Any, m: Array, a: Array) -> Array:
        rule: Any = type(self).__mro__[1]
        result = rule.fraction(self, m, a)
        if mean:
            self.keep("m", m / self.first())
        if squares:
            self.keep("a", a / self.second())
        return result

    return fraction


def _late(old_m: bool, old_a: bool) -> Method:
    def fraction(self: Any, m: Array, a: Array) -> Array:
        rule: Any = type(self).__mro__[1]
        return rule.fraction(self, self.old_m if old_m else m, self.old_a if old_a else a)

    return fraction


def moments() -> Iterator[Fault]:
    """Adam's running means."""
    cached = "wrong-cached-value"
    means: list[tuple[str, str, Callable[[Any, Array, Array], Array]]] = [
        ("constant-factor", "1 - beta1 is missing before the gradient in m.", lambda b, m, g: b * m + g),
        ("constant-factor", "beta1 is missing before the old m.", lambda b, m, g: m + (1 - b) * g),
        ("constant-factor", "beta1 and 1 - beta1 are exchanged in m.", lambda b, m, g: (1 - b) * m + b * g),
        (
            "constant-factor",
            "beta1 multiplies the gradient as well as the old m.",
            lambda b, m, g: b * m + b * g,
        ),
        ("optimizer-sign", "The gradient's sign in m is wrong.", lambda b, m, g: b * m - (1 - b) * g),
        ("optimizer-sign", "The old m is subtracted.", lambda b, m, g: -b * m + (1 - b) * g),
        (cached, "m is the mean of squared gradients.", lambda b, m, g: b * m + (1 - b) * g * g),
    ]
    yield fault(
        "swapped-tensors",
        "beta1 and beta2 are exchanged in the running means.",
        mean=lambda self, m, g: self.h["beta_2"] * m + (1 - self.h["beta_2"]) * g,
        accumulate=lambda self, a, q: self.h["beta_1"] * a + (1 - self.h["beta_1"]) * q,
    )
    yield fault(
        "constant-factor",
        "m is a mean with beta2 instead of beta1.",
        mean=lambda self, m, g: self.h["beta_2"] * m + (1 - self.h["beta_2"]) * g,
    )
    yield fault(
        "constant-factor",
        "v is a mean with beta1 instead of beta2.",
        accumulate=lambda self, a, q: self.h["beta_1"] * a + (1 - self.h["beta_1"]) * q,
    )
    for cause, text, make in means:
        yield fault(cause, text, mean=lambda self, m, g, make=make: make(self.h["beta_1"], m, g))
    yield fault(
        cached,
        "The step uses the gradient itself instead of its running mean m.",
        fraction=lambda self, m, a: self.g / self.root(a / self.second()),
    )
    for what, old_m, old_a in (("m", True, False), ("v", False, True)):
        yield fault(
            "stale-activations",
            f"The step uses {what} of the step before: update it first.",
            fraction=_late(old_m, old_a),
        )
    yield fault(
        cached,
        "v is the mean of m^2 instead of the squared gradients.",
        square=lambda self, g: self.m * self.m,
    )
    yield fault(
        MISMATCH,
        "There is no division by the root of v.",
        fraction=lambda self, m, a: m / self.first(),
    )


def squares(rule: type[Update]) -> Iterator[Fault]:
    """The accumulated squares, and the root of them."""
    beta = "beta_2" if issubclass(rule, Adam) else "rho"
    b, name = ("beta2", "v") if issubclass(rule, Adam) else ("rho", "the mean of squares")
    yield fault(MISMATCH, "The gradient is not squared before it is accumulated.", square=lambda self, g: g)
    yield fault(
        MISMATCH,
        "The gradient's size is accumulated instead of its square.",
        square=lambda self, g: np.abs(g),
    )
    wrong: list[tuple[str, str, Callable[[Any, Array, Array], Array]]] = []
    if rule.__name__ != "Adagrad":
        wrong += [
            ("constant-factor", f"1 - {b} is missing before the squares.", lambda r, a, q: r * a + q),
            (
                "constant-factor",
                f"{b} and 1 - {b} are exchanged in {name}.",
                lambda r, a, q: (1 - r) * a + r * q,
            ),
            ("constant-factor", f"{b} is missing before the old {name}.", lambda r, a, q: a + (1 - r) * q),
            (
                "constant-factor",
                f"{b} multiplies the squares as well as {name}.",
                lambda r, a, q: r * (a + q),
            ),
            (
                "accumulated-gradients",
                "The squares are summed and never decay, as in Adagrad.",
                lambda r, a, q: a + q,
            ),
            ("optimizer-sign", "The new squares are subtracted.", lambda r, a, q: r * a - (1 - r) * q),
        ]
        for cause, text, make in wrong:
            yield fault(cause, text, accumulate=lambda self, a, q, make=make: make(self.h[beta], a, q))
    else:
        for decay in (0.9, 0.99, 0.95, 0.999):
            text = f"The sum decays by {decay:g} a step; Adagrad's never decays."
            yield fault(MISMATCH, text, accumulate=lambda self, a, q, r=decay: r * a + (1 - r) * q)
        yield fault("optimizer-sign", "The squares are subtracted.", accumulate=lambda self, a, q: a - q)
    for what, total in (("mean", np.mean), ("sum", np.sum), ("maximum", np.max)):
        yield fault(
            "bias-reduction",
            f"The {what} of the squares over all entries is used: every entry has its own.",
            square=lambda self, g, total=total: np.full_like(g, total(g * g)),
        )
        for axis in (0, -1):
            yield fault(
                "bias-reduction",
                f"The {what} of the squares over one axis is used: every entry has its own.",
                square=lambda self, g, total=total, axis=axis: total(g * g, axis=axis, keepdims=True) + 0 * g,
            )
    eps: Callable[[Any], Any] = lambda self: self.h["epsilon"]  # noqa: E731
    roots: list[tuple[str, str, Callable[[Any, Array], Array]]] = [
        (MISMATCH, "The root is missing in the denominator.", lambda self, a: a + eps(self)),
        ("overflow", "epsilon is missing: where the gradients are 0, the step is 0 / 0.", lambda self, a: np.sqrt(a)),
        ("optimizer-sign", "epsilon is subtracted.", lambda self, a: np.sqrt(a) - eps(self)),
        ("constant-factor", "epsilon is squared.", lambda self, a: np.sqrt(a) + eps(self) ** 2),
        ("constant-factor", "epsilon is squared.", lambda self, a: np.sqrt(a + eps(self) ** 2)),
        ("constant-factor", "epsilon stands under a root of its own.", lambda self, a: np.sqrt(a) + np.sqrt(eps(self))),
        (MISMATCH, "A fourth root stands where the square root should.", lambda self, a: np.sqrt(np.sqrt(a)) + eps(self)),
        (MISMATCH, "It multiplies by the root instead of dividing.", lambda self, a: 1 / (np.sqrt(a) + eps(self))),
        (MISMATCH, "There is no division by the root of the squares.", lambda self, a: np.ones_like(a)),
    ]  # fmt: skip
    for cause, text, root in roots:
        yield fault(cause, text, root=root)
    yield fault(
        "wrong-cached-value",
        "The root is stored instead of what it is the root of.",
        keep=lambda self, slot, value: self.memory.update({slot: np.sqrt(value) if slot == "a" else value}),
    )
    if not issubclass(rule, Adam):
        yield fault(
            MISMATCH,
            "Only the sign is left: it divides by |g|.",
            ratio=lambda self, g, old, a: g / self.root(g * g),
        )


def adadelta() -> Iterator[Fault]:
    yield fault(
        "wrong-cached-value",
        "The mean of squared steps is fed with gradients instead of steps.",
        remember=lambda self, s, d, g: self.h["rho"] * s + (1 - self.h["rho"]) * g * g,
    )
    yield fault(
        PLACEMENT,
        "The mean of squared steps includes the learning rate.",
        remember=lambda self, s, d, g: self.h["rho"] * s + (1 - self.h["rho"]) * (self.lr * d) ** 2,
    )
    yield fault(
        "constant-factor",
        "1 - rho is missing before the squared steps.",
        remember=lambda self, s, d, g: self.h["rho"] * s + d * d,
    )
    yield fault(
        "constant-factor",
        "rho and 1 - rho are exchanged in the mean of squared steps.",
        remember=lambda self, s, d, g: (1 - self.h["rho"]) * s + self.h["rho"] * d * d,
    )
    yield fault(
        MISMATCH,
        "The steps are accumulated without being squared.",
        remember=lambda self, s, d, g: self.h["rho"] * s + (1 - self.h["rho"]) * d,
    )

    def inverted(self: Any, g: Array, old: Array, a: Array) -> Array:
        s = self.recall("s", g)
        d = self.root(a) / self.root(s) * g
        self.keep("s", self.remember(s, d, g))
        return d

    def no_steps(self: Any, g: Array, old: Array, a: Array) -> Array:
        return g / self.root(a)

    yield fault("swapped-tensors", "The two roots are exchanged.", ratio=inverted)
    yield fault(MISMATCH, "The root of the squared steps is missing: this is RMSprop.", ratio=no_steps)
