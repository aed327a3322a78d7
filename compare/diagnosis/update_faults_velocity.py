"""Mistakes in momentum and Nesterov's rule: in the velocity, and in the step made of it."""

from collections.abc import Callable, Iterator
from typing import Any

from compare.diagnosis.update_rules import Array, Fault, Form, fault

PLACEMENT = "optimizer-learning-rate-placement"
MISMATCH = "loss-mismatch"
STALE = "stale-activations"


def _stored_weights(self: Any, v: Array, g: Array, lr: Any) -> Array:
    stored = (-self.w if self.form.rate == "inside" else self.w) if self.t > 1 else v
    return self.h["momentum"] * stored + self.weight(lr) * g


def _stored_step(self: Any, old: Array, v: Array, g: Array, lr: Any) -> Array:
    step = self.h["momentum"] * v + self.weight(lr) * g
    self.keep("v", step)
    return self.outer(lr) * step


def velocity(form: Form) -> Iterator[Fault]:
    """Momentum and Nesterov: mistakes in the velocity v = m v + c g, then in the step made of it."""
    outside = "It should stand before the gradient alone (or outside the whole velocity)."
    yield fault(
        PLACEMENT,
        f"The learning rate multiplies the old velocity as well. {outside}",
        velocity=lambda self, v, g, lr: lr * (self.h["momentum"] * v + g),
        outer=lambda self, lr: self.dtype(1),
        weight=lambda self, lr: lr,
    )
    yield fault(
        PLACEMENT,
        "The learning rate stands inside the velocity and once more outside: it enters twice.",
        velocity=lambda self, v, g, lr: self.h["momentum"] * v + lr * g,
        outer=lambda self, lr: lr,
    )
    yield fault(
        PLACEMENT,
        "The learning rate multiplies the old velocity only, not the gradient.",
        velocity=lambda self, v, g, lr: lr * self.h["momentum"] * v + g,
        outer=lambda self, lr: self.dtype(1),
        weight=lambda self, lr: self.dtype(1),
    )
    yield fault(
        PLACEMENT,
        "The learning rate multiplies the old velocity as well as the step.",
        velocity=lambda self, v, g, lr: lr * self.h["momentum"] * v + self.weight(lr) * g,
    )
    yield fault(
        "wrong-cached-value",
        "The new weights are stored as the velocity.",
        velocity=_stored_weights,
    )
    if form.rule == "nesterov":
        yield fault(
            "wrong-cached-value",
            "The step is stored instead of the velocity.",
            advance=_stored_step,
        )
        yield fault(
            PLACEMENT,
            "The learning rate is missing before the velocity in the step.",
            advance=lambda self, old, v, g, lr: self.h["momentum"] * v + lr * g,
        )
        yield fault(
            PLACEMENT,
            "The learning rate is missing before the gradient in the step.",
            advance=lambda self, old, v, g, lr: self.outer(lr) * self.h["momentum"] * v + g,
        )
        yield fault(
            PLACEMENT,
            "The learning rate multiplies the velocity once more in the step.",
            advance=lambda self, old, v, g, lr: lr * (self.h["momentum"] * v + g),
        )
    yield fault(
        "optimizer-sign",
        "The old velocity is subtracted: momentum * v must be added.",
        velocity=lambda self, v, g, lr: -self.h["momentum"] * v + self.weight(lr) * g,
    )
    yield fault(
        "stale-weights",
        "The momentum term is the way from the first weights, not from the weights one step ago.",
        velocity=lambda self, v, g, lr: self.h["momentum"] * (self.first_w - self.w) + self.weight(lr) * g,
    )
    coefficients: dict[str, Callable[[Any, Array, Array], Array]] = {
        "The old velocity is not multiplied by the momentum, so it never decays.": lambda m, v, g: v + g,
        "The gradient is multiplied by the momentum instead of the old velocity.": lambda m, v, g: v + m * g,
        "The momentum multiplies the gradient as well as the old velocity.": lambda m, v, g: m * (v + g),
        "The old velocity is multiplied by 1 - momentum instead of the momentum.": lambda m, v, g: (
            (1 - m) * v + g
        ),
        "1 - momentum and the momentum are exchanged.": lambda m, v, g: (1 - m) * v + m * g,
        "1 - momentum multiplies the gradient.": lambda m, v, g: m * v + (1 - m) * g,
        "1 - momentum multiplies the whole velocity.": lambda m, v, g: (1 - m) * (v + g),
        "The momentum is squared.": lambda m, v, g: m * m * v + g,
    }
    for text, make in coefficients.items():
        yield fault(
            "constant-factor",
            text,
            velocity=lambda self, v, g, lr, make=make: make(self.h["momentum"], v, self.weight(lr) * g),
        )
    if form.rule == "momentum":
        yield fault(
            MISMATCH,
            "The step looks ahead by one more momentum * v: that is Nesterov's rule.",
            advance=lambda self, old, v, g, lr: (
                self.outer(lr) * (self.h["momentum"] * v + self.weight(lr) * g)
            ),
        )
        return
    # Nesterov's step by w = m, v = the new velocity, o = the old one, g = the gradient times its weight
    steps: list[tuple[str, str, Callable[[Any, Array, Array, Array], Array]]] = [
        (MISMATCH, "There is no look-ahead: this is plain momentum.", lambda m, v, o, g: v),
        ("optimizer-sign", "The sign of the old velocity's term is wrong.", lambda m, v, o, g: m * o + (1 + m) * v),
        ("optimizer-sign", "The sign of the gradient's term is wrong.", lambda m, v, o, g: m * v - g),
        ("optimizer-sign", "The sign of the look-ahead is wrong.", lambda m, v, o, g: v - m * (v - o)),
        ("optimizer-sign", "The sign of the look-ahead is wrong.", lambda m, v, o, g: -m * v + g),
        ("optimizer-sign", "The sign of the momentum is wrong.", lambda m, v, o, g: -m * o + (1 - m) * v),
        (STALE, "The old velocity stands where the new one should.", lambda m, v, o, g: -m * o + (1 + m) * o),
        (STALE, "The new velocity stands where the old one should.", lambda m, v, o, g: -m * v + (1 + m) * v),
        (STALE, "The look-ahead uses the old velocity.", lambda m, v, o, g: v + m * o),
        ("constant-factor", "The old velocity's term is missing.", lambda m, v, o, g: (1 + m) * v),
        ("constant-factor", "The gradient's term is missing.", lambda m, v, o, g: m * v),
        ("constant-factor", "The momentum is missing before the velocity.", lambda m, v, o, g: v + g),
        ("constant-factor", "The momentum is missing in 1 + momentum.", lambda m, v, o, g: -m * o + v),
        ("constant-factor", "1 is missing in 1 + momentum.", lambda m, v, o, g: -m * o + m * v),
        ("constant-factor", "The momentum is missing before the old velocity.", lambda m, v, o, g: -o + (1 + m) * v),
        ("constant-factor", "The momentum is squared in the step.", lambda m, v, o, g: m * m * v + g),
        ("constant-factor", "The velocity's coefficient is 2 instead of 1 + momentum.", lambda m, v, o, g: 2 * v - m * o),
    ]  # fmt: skip
    for cause, text, make_step in steps:
        yield fault(
            cause,
            f"{text} Nesterov's step is momentum * v - rate * dw with the new v.",
            advance=lambda self, old, v, g, lr, make=make_step: (
                self.outer(lr) * make(self.h["momentum"], v, old, self.weight(lr) * g)
            ),
        )
