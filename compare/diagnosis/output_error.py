"""Mistakes in the error of the output layer, with which every backward pass begins."""

from collections.abc import Callable, Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.replay import ACTIVATIONS, Backward, sigmoid, softmax

Delta = Callable[[Backward], Array]


@hypothesis("network")
def wrong_output_error(case: Case) -> Iterator[Hypothesis]:
    """The error of the last layer is computed by another formula."""
    if (model := case.model) is None:
        return
    for cause, text, delta in formulas():
        fault = type("Fault", (Backward,), {"delta": delta})
        yield Hypothesis(cause, text, lambda trial, fault=fault: fault(model, trial).gradients())
    if model.loss not in ("quadratic", "squared") or model.output == "softmax":
        return
    factor = 1.0 if model.loss == "quadratic" else 2.0
    for cause, text, delta in formulas():
        if cause in ("onehot-not-subtracted", "onehot-wrong-rows", "label-shift"):
            sloped = lambda b, delta=delta: factor * delta(b) * b.slope_out()  # noqa: E731
            fault = type("Fault", (Backward,), {"delta": sloped})
            yield Hypothesis(cause, text, lambda trial, fault=fault: fault(model, trial).gradients())


def formulas() -> Iterator[tuple[str, str, Delta]]:
    """(cause, text, wrong error of the output layer)."""
    yield (
        "wrong-loss-delta",
        "The output error is that of the quadratic cost, (a - y) * f'(z): under cross-entropy it is a - y alone.",
        lambda b: _residual(b) * _slope(b) if "entropy" in b.model.loss else np.full_like(b.p, np.nan),
    )
    yield (
        "wrong-loss-delta",
        "The output error is a - y, which belongs to cross-entropy: under this cost it is (a - y) * f'(z).",
        lambda b: _residual(b),
    )
    yield (
        "wrong-loss-delta",
        "The output error is twice that of this loss, or half of it: 1/2 (a - y)^2 and (a - y)^2 are mixed.",
        lambda b: _mixed(b),
    )
    yield (
        "onehot-not-subtracted",
        "The targets are never subtracted: the output error is p - onehot(y), here it is p.",
        lambda b: b.p / b.count,
    )
    yield (
        "onehot-not-subtracted",
        "The probabilities are missing: the output error is p - onehot(y), here it is -onehot(y).",
        lambda b: -b.one_hot / b.count,
    )
    for shift in (1, -1):
        yield (
            "label-shift",
            "1 is subtracted in the column next to the target's: check whether labels start at 0 or at 1.",
            lambda b, shift=shift: (b.p - np.roll(b.one_hot, shift, axis=1)) / b.count,
        )
    for what, wrong in _wrong_one_hot().items():
        yield (
            "onehot-wrong-rows",
            f"1 is subtracted {what}: index rows and columns together, p[np.arange(N), y] -= 1.",
            lambda b, wrong=wrong: (b.p - wrong(b)) / b.count,
        )
    yield (
        "softmax-applied-twice",
        "Softmax is applied to what is already a probability: the output error wants softmax(z) - onehot(y).",
        lambda b: (softmax(b.p) - b.one_hot) / b.count,
    )
    yield (
        "softmax-applied-twice",
        "The forward pass applies softmax to what is already a probability: the loss is not that of softmax(z), "
        "of which p - onehot(y) would be the gradient.",
        lambda b: (
            (b.p - b.one_hot) / b.count if b.model.loss.endswith("twice") else np.full_like(b.p, np.nan)
        ),
    )
    yield (
        "softmax-applied-twice",
        "The derivative of softmax is applied again: p - onehot(y) is the derivative with respect to z already.",
        lambda b: _softmax_backward(b.p, b.p - b.one_hot) / b.count,
    )


def _wrong_one_hot() -> dict[str, Delta]:
    def columns(b: Backward) -> Array:
        out = np.zeros_like(b.p)
        out[:, np.asarray(b.trial.data["t"], int)] = 1
        return out

    def first(b: Backward) -> Array:
        out = np.zeros_like(b.p)
        out[0] = b.one_hot[0]
        return out

    def last(b: Backward) -> Array:
        out = np.zeros_like(b.p)
        out[-1] = b.one_hot[-1]
        return out

    def row(b: Backward) -> Array:
        out = np.zeros_like(b.p)
        out[0, np.asarray(b.trial.data["t"], int)] = 1
        return out

    def first_column(b: Backward) -> Array:
        out = np.zeros_like(b.p)
        out[:, 0] = 1
        return out

    return {
        "in the target columns of every row": columns,
        "in the first row only": first,
        "in the last row only": last,
        "in all target columns of the first row": row,
        "in the first column": first_column,
        "at the first example's target in every row": lambda b: np.repeat(b.one_hot[:1], len(b.p), axis=0),
        "at the last example's target in every row": lambda b: np.repeat(b.one_hot[-1:], len(b.p), axis=0),
        "everywhere": lambda b: np.ones_like(b.p),
        "in the rows in reverse order": lambda b: b.one_hot[::-1],
        "in the rows shifted by one": lambda b: np.roll(b.one_hot, 1, axis=0),
        "in the rows shifted back by one": lambda b: np.roll(b.one_hot, -1, axis=0),
    }


def _residual(b: Backward) -> Array:
    return (b.p - b.one_hot) / b.count


def _mixed(b: Backward) -> Array:
    if b.model.loss not in ("quadratic", "squared"):
        return np.full_like(b.p, np.nan)
    return Backward.delta(b) * (2.0 if b.model.loss == "quadratic" else 0.5)


def _slope(b: Backward) -> Array:
    """f'(z) of the output; for softmax what is mistaken for it, p (1 - p)."""
    if b.model.output == "softmax":
        return b.p * (1 - b.p)
    if b.model.output == "linear":
        return sigmoid(b.z[-1]) * (1 - sigmoid(b.z[-1]))
    return ACTIVATIONS[b.model.output][1](b.z[-1])


def _softmax_backward(p: Array, d: Array) -> Array:
    return p * (d - (d * p).sum(axis=1, keepdims=True))
