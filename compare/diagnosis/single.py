"""Mistakes in the backward pass of one dense layer, one activation or one loss by itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from compare.diagnosis.activations import slopes
from compare.diagnosis.dense import BIAS_SUMS
from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.operation import Op, of, ops_of, probabilities
from compare.diagnosis.output_error import formulas
from compare.diagnosis.replay import HIDDEN, activation
from compare.submission.evidence import Trial

Wrong = Callable[[Op], dict[str, Array]]


def _each(case: Case, mistakes: Iterator[tuple[str, str, Wrong]]) -> Iterator[Hypothesis]:
    for cause, text, wrong in mistakes:

        def predict(trial: Trial, wrong: Wrong = wrong) -> dict[str, Array]:
            return wrong(of(case.evidence, trial))

        yield Hypothesis(cause, text, predict)


@hypothesis("operation")
def wrong_affine(case: Case) -> Iterator[Hypothesis]:
    """y = x w + b, and the same with a ReLU behind it."""
    if ops_of(case, "affine", "affine_relu"):
        yield from _each(case, _affine())


@hypothesis("operation")
def other_weights(case: Case) -> Iterator[Hypothesis]:
    """dx goes through another matrix than w: that of the moment when the object was made, or a random one."""
    if not ops_of(case, "affine"):
        return

    def initial(trial: Trial) -> dict[str, np.ndarray]:
        o, first = of(case.evidence, trial), trial.data.get("initial") or {}
        own = of(case.evidence, replace(trial, inputs=trial.inputs | first)) if first else None
        return {} if own is None else o.users(x=o.dy @ own.w.T)

    text = "dx is formed with the weight as it was when the object was made, not as it is now: read it in backward."
    yield Hypothesis("stale-weights", text, initial)
    if (rate := _rate(case)) is not None:

        def updated(trial: Trial) -> dict[str, np.ndarray]:
            o = of(case.evidence, trial)
            return o.users(x=o.dy @ (o.w - rate * (_rows(o).T @ o.dy)).T)

        text = "dx is formed with the weight after its update: compute dx before the weight is changed."
        yield Hypothesis("stale-weights", text, updated)
    matrices = _feedback(case)
    if matrices:
        text = "dx is dout times a fixed matrix that is not the transpose of the weight."

        def predict(trial: Trial) -> dict[str, np.ndarray]:
            o = of(case.evidence, trial)
            return o.users(x=o.dy @ matrices[o.w.shape])  # a shape that came once says nothing: KeyError

        yield Hypothesis("random-feedback", text, predict)


def _rate(case: Case) -> float | None:
    """The learning rate by which the weight must have been moved before dx was formed; None where none fits."""
    rates = []
    for trial in case.trials:
        o = of(case.evidence, trial)
        claim = trial.claims.get(o.names["x"])
        if claim is None or claim.shape != trial.inputs[o.names["x"]].shape:
            return None
        dx = np.asarray(claim, float).T if o.layout.startswith("columns") else np.asarray(claim, float)
        per_rate = -o.dy @ (_rows(o).T @ o.dy).T
        rates.append(
            np.vdot(per_rate, dx.reshape(len(o.dy), -1) - o.dy @ o.w.T) / np.vdot(per_rate, per_rate)
        )
    rate = float(np.median(rates)) if rates else 0.0
    return rate if np.isfinite(rate) and abs(rate) > 1e-9 else None


def _feedback(case: Case) -> dict[tuple[int, ...], np.ndarray]:
    """By shape of the weight, the one matrix through which dout goes in all trials together."""
    rows: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for trial in case.trials:
        o = of(case.evidence, trial)
        claim = trial.claims.get(o.names["x"])
        if claim is None or claim.shape != trial.inputs[o.names["x"]].shape:
            return {}
        dx = np.asarray(claim, float).T if o.layout.startswith("columns") else np.asarray(claim, float)
        rows.setdefault(o.w.shape, []).append((o.dy, dx.reshape(len(o.dy), -1), o.w))
    found = {}
    for shape, own in rows.items():
        dy, dx = np.concatenate([a for a, _, _ in own]), np.concatenate([b for _, b, _ in own])
        weights_change = any(not np.array_equal(own[0][2], w) for _, _, w in own)
        if weights_change and len(dy) > shape[1]:
            found[shape] = np.linalg.lstsq(dy, dx, rcond=None)[0]
    return found


def _affine() -> Iterator[tuple[str, str, Wrong]]:
    def dy(o: Op) -> Array:
        z = _rows(o) @ o.w + o.arrays.get("b", 0.0)
        return o.dy * (z > 0) if o.op == "affine_relu" else o.dy

    for what, total in BIAS_SUMS.items():
        text = f"The gradient of the bias is {what}: sum dout over the examples."
        yield "bias-reduction", text, lambda o, total=total: o.users(b=total(dy(o)))
    yield "transpose", "The transpose of the weight is missing.", lambda o: o.users(x=dy(o) @ o.w)
    yield "transpose", "The gradient of the weight is transposed.", lambda o: o.users(w=dy(o).T @ _rows(o))
    yield "transpose", "The transpose of x is missing.", lambda o: o.users(w=_rows(o) @ dy(o))
    for what, size in {"in": 0, "out": 1}.items():
        text = f"The gradient of the weight is divided by the number of features {what}: look at the axis of shape."
        yield "constant-factor", text, lambda o, size=size: o.users(w=_rows(o).T @ dy(o) / o.w.shape[size])
    shuffles: dict[str, Callable[[Array], Array]] = {
        "in reverse order": lambda a: a[::-1],
        "shifted by one": lambda a: np.roll(a, 1, axis=0),
    }
    for what, shuffle in shuffles.items():
        text = f"The examples are taken {what}."
        yield "wrong-cached-value", text, lambda o, s=shuffle: o.users(w=s(_rows(o)).T @ dy(o))
        yield "wrong-cached-value", text, lambda o, s=shuffle: o.users(x=s(dy(o)) @ o.w.T)
    for cause, text, slope in slopes("relu"):
        yield cause, text, lambda o, slope=slope: _through(o, slope) if o.op == "affine_relu" else {}


def _through(o: Op, slope: Callable[[Array, Array, Array], Array]) -> dict[str, Array]:
    z = _rows(o) @ o.w + o.arrays.get("b", 0.0)
    d = o.dy * slope(z, np.maximum(z, 0), o.dy)
    return o.users(w=_rows(o).T @ d, b=d.sum(axis=0), x=d @ o.w.T)


def _rows(o: Op) -> Array:
    return o.x.reshape(len(o.x), -1)


@hypothesis("operation")
def wrong_activation(case: Case) -> Iterator[Hypothesis]:
    """The backward of an activation by itself."""
    op = str(case.evidence.description.get("op"))
    if op not in HIDDEN or op == "linear":
        return
    leak = next((t.data["slope"] for t in case.trials if "slope" in t.data), 0.01)
    f, derivative = activation(op, leak)
    for cause, text, slope in slopes(op, leak):

        def predict(trial: Trial, slope=slope) -> dict[str, Array]:
            o = of(case.evidence, trial)
            given = trial.output if trial.output is not None else f(o.x)
            return o.users(x=o.dy * slope(o.x, np.asarray(given, float), o.dy))

        yield Hypothesis(cause, text, predict)
        if cause == "activation-derivative-wrong" and "own value" in text:

            def passed(trial: Trial, slope=slope) -> dict[str, Array]:
                o = of(case.evidence, trial)
                return o.users(x=slope(o.x, f(o.x), o.dy))

            yield Hypothesis(cause, "The gradient that arrives is never used.", passed)
    yield Hypothesis(
        "activation-derivative-wrong",
        "The gradient that arrives is never used: multiply the derivative by it.",
        lambda trial: (o := of(case.evidence, trial)).users(x=derivative(o.x)),
    )


@hypothesis("operation")
def wrong_loss(case: Case) -> Iterator[Hypothesis]:
    """Softmax with cross-entropy as one function of the scores."""
    if not ops_of(case, "softmax_loss"):
        return
    for cause, text, delta in formulas():

        def predict(trial: Trial, delta=delta) -> dict[str, Array]:
            o = of(case.evidence, trial)
            p, one_hot = probabilities(o)
            count = _divisor(case, trial)
            model = SimpleNamespace(output="softmax", loss="cross_entropy")
            b = SimpleNamespace(p=p, one_hot=one_hot, count=count, trial=trial, z=[o.x], model=model)
            return o.users(x=delta(b))

        yield Hypothesis(cause, text, predict)


def _divisor(case: Case, trial: Trial) -> float:
    """N for a mean, 1 for a sum: as the right gradient has it."""
    p, one_hot = probabilities(o := of(case.evidence, trial))
    truth = case.truth(trial, case.names[0])
    truth = truth.T if truth is not None and o.layout.startswith("columns") else truth
    if truth is None or not truth.any():
        return float(len(p))
    return float(np.vdot(p - one_hot, p - one_hot) / np.vdot(p - one_hot, truth.reshape(p.shape)))
