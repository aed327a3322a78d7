"""Mistakes that any update rule can have: each replaces one step of a rule, and predicts w over all steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compare.diagnosis.update_faults_adaptive import adadelta, bias_correction, moments, squares
from compare.diagnosis.update_faults_velocity import velocity
from compare.diagnosis.update_rules import Adadelta, Adam, Array, Fault, Form, Momentum, Update, fault

PLACEMENT = "optimizer-learning-rate-placement"
MISMATCH = "loss-mismatch"
STALE = "stale-activations"


def faults(
    form: Form,
    rule: type[Update],
    given: Sequence[str],
    constants: Sequence[float],
    ratio: float,
    rate: float,
    named: bool = True,
) -> Iterator[Fault]:
    """All mistakes in this form of a rule, the plainest first.

    given: hyperparameters that the caller has set; constants: numbers in the code; ratio: of the first step to
    the right one; rate: the learning rate with which the first step would be right. named: the rule is known by
    its name; where it is not, a change of the gradient may well be meant.
    """
    yield from _direction()
    yield from _memory(rule)
    if "weight_decay" in given:
        yield from _decay(form, rule)
    if issubclass(rule, Momentum):
        yield from velocity(form)
    if issubclass(rule, Adam):
        yield from bias_correction()
        yield from moments()
    if hasattr(rule, "root"):
        yield from squares(rule)
    if issubclass(rule, Adadelta):
        yield from adadelta()
    yield from _rate(rate)
    yield from _exchanged(given)
    if named:
        yield from _constants(given, constants)
        yield from _scale(ratio)
        yield from _gradient(constants)


def _direction() -> Iterator[Fault]:
    up = "optimizer-sign"
    yield fault(up, "It goes uphill: the step must be subtracted.", apply=lambda self, w, move: w + move)
    yield fault(up, "The sign of the gradient is wrong: it goes uphill.", seen=lambda self, g: -g)
    yield fault(
        up, "It follows the gradient's absolute value: the sign is lost.", seen=lambda self, g: np.abs(g)
    )
    for sign in (-1, 1):
        yield fault(
            up,
            "The difference is taken the wrong way round: w changes its sign in every step.",
            apply=lambda self, w, move, sign=sign: sign * move - w,
        )
    yield fault(
        "returns-early",
        "The weights stay what they are: the new value is never stored (is a copy updated, or is something returned "
        "too early?).",
        apply=lambda self, w, move: w,
    )
    for sign in (-1, 1):
        yield fault(
            "swapped-tensors",
            "What is returned as w is the step alone: return w with the step added.",
            apply=lambda self, w, move, sign=sign: sign * move,
        )

    yield fault(
        "wrong-cached-value", "The step uses w where the gradient should be.", seen=lambda self, g: self.w
    )
    yield fault(
        "swapped-tensors",
        "w and its gradient are exchanged.",
        step=lambda self, w, g, lr: Update.step(self, g, w, lr),
    )


def _memory(rule: type[Update]) -> Iterator[Fault]:
    """What the rule should remember from step to step."""
    slots: list[str] = list(_slots(rule))
    names = {"v": "velocity", "m": "mean of gradients", "a": "mean of squares", "s": "mean of squared steps"}
    for lost in (*([slots] if slots else []), *([[s] for s in slots] if len(slots) > 1 else [])):
        what = " and ".join(names[s] for s in lost)

        def forget(self: Update, slot: str, value: Array, lost: list[str] = lost) -> None:
            if slot not in lost:
                self.memory[slot] = value

        def once(self: Update, slot: str, value: Array, lost: list[str] = lost) -> None:
            if slot not in lost or slot not in self.memory:
                self.memory[slot] = value

        def again(self: Any) -> int:
            return 1

        counts = {"count": again} if issubclass(rule, Adam) and lost == slots else {}
        text = f"The {what} is not kept: every step starts from nothing; store it for the next call."
        yield fault(STALE, text, keep=forget, **counts)
        if counts:
            yield fault(STALE, f"The {what} is not kept, so every step starts from nothing.", keep=forget)
        yield fault(STALE, f"The {what} of the first step is kept for ever: store the new one.", keep=once)
    if issubclass(rule, Adam):

        def crossed(self: Update, slot: str, value: Array) -> None:
            self.memory[{"m": "a", "a": "m"}.get(slot, slot)] = value

        yield fault(
            "swapped-tensors", "The two running means are stored under each other's name.", keep=crossed
        )
        yield fault(
            STALE,
            "The step uses the running means of the step before: update them first.",
            move=_adam_late,
        )
    elif issubclass(rule, Momentum):
        yield fault(
            STALE,
            "The step uses the velocity of the step before: update the velocity first.",
            advance=lambda self, old, v, g, lr: self.outer(lr) * old,
        )
    elif hasattr(rule, "root"):
        yield fault(
            STALE,
            "The step divides by the squares of the step before: add the new squares first.",
            ratio=lambda self, g, old, a: g / self.root(old),
        )
    yield fault(STALE, "It uses the gradient of the call before.", seen=lambda self, g: self.g_before)
    yield fault(
        "stale-weights",
        "Every step starts from the first weights instead of the present ones.",
        apply=lambda self, w, move: self.first_w - move,
    )


def _slots(rule: type[Update]) -> tuple[str, ...]:
    if issubclass(rule, Momentum):
        return ("v",)
    if issubclass(rule, Adam):
        return ("m", "a")
    if issubclass(rule, Adadelta):
        return ("a", "s")
    return ("a",) if hasattr(rule, "root") else ()


def _adam_late(self: Any, g: Array, lr: Any) -> Array:
    m, a = self.recall("m", g), self.recall("a", g)
    self.keep("m", self.mean(m, g))
    self.keep("a", self.accumulate(a, self.square(g)))
    return lr * self.fraction(m, a)


def _decay(form: Form, rule: type[Update]) -> Iterator[Fault]:
    yield fault(
        "weight-decay-ignored",
        "Weight decay is ignored: add weight_decay * w to the gradient (or shrink w by it).",
        penalty=lambda self, w: np.zeros_like(w),
    )
    yield fault(
        "optimizer-sign",
        "Weight decay has the wrong sign: it makes the weights grow.",
        penalty=lambda self, w: -self.h["weight_decay"] * w,
    )
    for factor, text in ((np.float32(2.0), "twice"), (np.float32(0.5), "half")):  # which change no dtype
        yield fault(
            "regularizer-factor",
            f"Weight decay is {text} what it should be: the penalty 1/2 lambda w^2 adds lambda w to the gradient.",
            penalty=lambda self, w, f=factor: f * self.h["weight_decay"] * w,
        )
    yield fault(
        "regularizer-factor",
        "Weight decay is divided by the number of rows of w.",
        penalty=lambda self, w: self.h["weight_decay"] * w / len(w),
    )
    yield fault(
        "regularizer-factor",
        "Weight decay is divided by the number of entries of w.",
        penalty=lambda self, w: self.h["weight_decay"] * w / w.size,
    )
    yield fault(
        PLACEMENT,
        "Weight decay is not multiplied by the learning rate.",
        penalty=lambda self, w: self.h["weight_decay"] * w / self.lr,
    )
    yield fault(
        PLACEMENT,
        "Weight decay is multiplied by the learning rate twice.",
        penalty=lambda self, w: self.h["weight_decay"] * w * self.lr,
    )
    yield fault(
        "regularizer-factor",
        "The penalty follows the sign of w (that is L1), not w.",
        penalty=lambda self, w: self.h["weight_decay"] * np.sign(w),
    )
    yield fault(
        "regularizer-factor",
        "The penalty follows the square of w, not w.",
        penalty=lambda self, w: self.h["weight_decay"] * w * w,
    )
    yield fault(
        "regularizer-factor",
        "The strength of weight decay is squared.",
        penalty=lambda self, w: self.h["weight_decay"] ** 2 * w,
    )
    yield fault(
        "regularizer-factor",
        "w itself is added to the gradient, without the strength of weight decay.",
        penalty=lambda self, w: w,
    )
    yield fault(
        "stale-weights",
        "Weight decay uses the weights of the first step instead of the present ones.",
        penalty=lambda self, w: self.h["weight_decay"] * self.first_w,
    )
    yield fault(
        PLACEMENT,
        "Weight decay stands beside the step, with neither its sign nor its learning rate: parentheses are missing.",
        penalty=lambda self, w: -self.h["weight_decay"] * w / self.lr,
    )
    if hasattr(rule, "root"):
        yield fault(
            "weight-decay-ignored",
            "Weight decay is missing in the gradient that is squared.",
            square=lambda self, g: self.plain * self.plain,
        )
    if form.rule == "adamw":

        def twice(self: Any, w: Array, g: Array, lr: Any) -> Array:
            self.lr = lr
            shrunk = w - lr * self.penalty(w)
            return shrunk - self.move(g + self.h["weight_decay"] * w, lr)

        yield fault(
            "regularizer-factor",
            "Weight decay enters twice: added to the gradient, and by shrinking w; AdamW only shrinks w.",
            step=twice,
        )

        def coupled(self: Any, w: Array, g: Array, lr: Any) -> Array:
            self.lr = lr
            return w - self.move(g + self.h["weight_decay"] * w, lr)

        yield fault(
            MISMATCH,
            "Weight decay is added to the gradient, which is Adam with L2: AdamW shrinks w by rate * decay * w "
            "apart from the running means.",
            step=coupled,
        )


def _rate(own: float) -> Iterator[Fault]:
    yield fault(PLACEMENT, "The learning rate is missing in the step.", used=lambda self, rate: self.dtype(1))
    yield fault(PLACEMENT, "The learning rate enters twice.", used=lambda self, rate: rate * rate)
    yield fault(PLACEMENT, "It divides by the learning rate.", used=lambda self, rate: 1 / rate)
    yield fault(PLACEMENT, "The root of the learning rate is used.", used=lambda self, rate: np.sqrt(rate))
    yield fault(
        PLACEMENT,
        "The learning rate of the first step is used for ever: read it from the config in every call.",
        used=lambda self, rate: self.first_rate,
    )
    yield fault(
        PLACEMENT,
        f"The learning rate of the caller is not used: it is {own:.6g}, whatever is given.",
        used=lambda self, rate: self.dtype(own),
    )


def _exchanged(given: Sequence[str]) -> Iterator[Fault]:
    names = [n for n in given if n != "learning_rate"]
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            yield fault(
                "swapped-tensors",
                f"{_said(one)} and {_said(two)} are exchanged.",
                hyper=lambda self, h, a=one, b=two: h | {a: h[b], b: h[a]},
            )
    for one in names:
        for two in names:
            if one != two:
                yield fault(
                    "constant-factor",
                    f"{_said(two)} is used where {_said(one)} should be.",
                    hyper=lambda self, h, a=one, b=two: h | {a: h[b]},
                )


def _constants(given: Sequence[str], constants: Sequence[float]) -> Iterator[Fault]:
    """A hyperparameter of the caller is not used."""
    for name in given:
        for value in dict.fromkeys(
            (*constants, 0.9, 0.99, 0.999, 0.95, 0.5, 1e-8, 1e-7, 1e-6, 1e-10, 0.0, 1.0)
        ):
            cause = "weight-decay-ignored" if name == "weight_decay" else "constant-factor"
            yield fault(
                cause,
                f"{_said(name)} of the caller is not used: {value:g} is, whatever is given.",
                hyper=lambda self, h, n=name, v=value: h | {n: v},
            )


def _scale(ratio: float) -> Iterator[Fault]:
    yield fault("batch-scale", "The step is divided by the number of rows of w.", used=lambda self, rate: rate / len(self.first_w))  # fmt: skip
    yield fault("batch-scale", "The step is divided by the number of entries of w.", used=lambda self, rate: rate / self.first_w.size)  # fmt: skip
    text = f"The step is {ratio:.6g} times what it should be."
    yield fault("constant-factor", text, used=lambda self, rate: self.dtype(ratio) * rate)


def _gradient(constants: Sequence[float]) -> Iterator[Fault]:
    """What is done to the gradient before the rule."""
    yield fault(
        "transpose",
        "The gradient is read column by column and w row by row: use the same order for both.",
        seen=lambda self, g: g.ravel(order="F").reshape(g.shape),
    )
    limits = [c for c in dict.fromkeys((*map(abs, constants), 1.0, 5.0, 0.5, 0.1)) if c > 0]
    for c in limits:
        yield fault(
            "gradient-clipped",
            f"The gradient is cut off at {c:g}.",
            seen=lambda self, g, c=c: np.clip(g, -self.dtype(c), self.dtype(c)),
        )
        yield fault(
            "gradient-clipped",
            f"The gradient is shortened to length {c:g}.",
            seen=lambda self, g, c=c: g * min(self.dtype(1), self.dtype(c) / np.linalg.norm(g)),
        )
    yield fault(
        "gradient-clipped",
        "The gradient is divided by its length.",
        seen=lambda self, g: g / np.linalg.norm(g),
    )
    yield fault("gradient-clipped", "Only the gradient's sign is used.", seen=lambda self, g: np.sign(g))
    yield fault(
        "gradient-clipped", "Only positive gradients are used.", seen=lambda self, g: np.maximum(g, 0)
    )
    for axis, what in ((None, "all entries"), (0, "one axis"), (-1, "one axis")):
        for name, total in (("mean", np.mean), ("sum", np.sum)):
            yield fault(
                "bias-reduction",
                f"The {name} of the gradient over {what} is used for every entry.",
                seen=lambda self, g, total=total, axis=axis: total(g, axis=axis, keepdims=True) + 0 * g,
            )


def _said(name: str) -> str:
    return {"beta_1": "beta1", "beta_2": "beta2", "weight_decay": "Weight decay"}.get(name, name)
