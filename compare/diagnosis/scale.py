"""Wrong by a factor: the sign, the number of examples, another constant, the base of a logarithm."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.replay import Backward
from compare.submission.evidence import Trial

LOGARITHMS = {"log2": float(np.log(2.0)), "log10": float(np.log(10.0))}
ALL = ("network", "operation")
Factor = Callable[[Trial], float]
MEAN = "the loss is a mean over the {n} examples and this gradient is a sum; divide it by N."
TWICE = "the gradient is divided by N once more than the loss."


@hypothesis(*ALL)
def one_factor(case: Case) -> Iterator[Hypothesis]:
    """All wrong tensors, or the first alone, by -1, N, 1/N, the base of a logarithm, or what fits."""
    for names in _groups(case):
        for cause, text, factor in known_factors(case):
            yield Hypothesis(cause, text, case.everywhere(_times(factor, names)))
        if (constant := _fitted(case, names)) is not None:
            text = f"The gradient is {constant:.6g} times the right one, in every batch."
            yield Hypothesis("constant-factor", text, case.everywhere(_times(lambda _: constant, names)))


@hypothesis("network")
def one_step_scaled(case: Case) -> Iterator[Hypothesis]:
    """A factor at one step of the backward pass, the penalty being right."""
    if (model := case.model) is None:
        return
    last = len(model.layers) - 1

    def scaled(step: str, where: int | None, factor: Factor) -> type[Backward]:
        right = getattr(Backward, step)

        def wrong(self: Backward, *args: object) -> Array:
            hit = where is None or args[0] == where
            return right(self, *args) * (factor(self.trial) if hit else 1.0)

        return type("Scaled", (Backward,), {step: wrong})

    steps: list[tuple[str, int | None, str]] = [("delta", None, "the output error")]
    for number in range(last, -1, -1):
        name = model.layers[number]
        steps += [("weight", number, name["W"]), ("bias", number, str(name["b"]))]
        steps += [("behind", number, f"what is passed on behind {name['W']}")] if number else []
        steps += (
            [("slope", number - 1, f"the derivative of the activation before {name['W']}")] if number else []
        )
    for step, where, what in steps:
        factors = [*known_factors(case)]
        constant = _fitted_step(case, scaled(step, where, lambda _: 0.0), scaled(step, where, lambda _: 1.0))
        if constant is not None:
            text = f"{what} is {constant:.6g} times what it should be."
            factors.append(("constant-factor", text[0].upper() + text[1:], lambda _, c=constant: c))
        for cause, text, factor in factors:
            fault = scaled(step, where, factor)
            yield Hypothesis(cause, text, lambda trial, fault=fault: fault(model, trial).gradients())


def known_factors(case: Case) -> Iterator[tuple[str, str, Factor]]:
    """(cause, text, factor of a trial)."""
    yield "sign", "The sign is wrong: this is minus the gradient.", lambda _: -1.0
    if len({t.examples for t in case.trials}) > 1:
        yield "batch-scale", f"N times too large: {MEAN.format(n='N')}", lambda t: float(t.examples)
        yield "batch-scale", f"N times too small: {TWICE}", lambda t: 1.0 / t.examples
    if all(t.data.get("classes") for t in case.trials):
        yield (
            "batch-scale",
            "It is divided by the number of classes C instead of the number of examples N: look at the axis of shape.",
            lambda t: t.examples / t.data["classes"],
        )
        yield (
            "constant-factor",
            "It is divided by the number of classes C.",
            lambda t: 1.0 / t.data["classes"],
        )
        text = "It is not divided by the number of classes C, though the loss is a mean over all entries."
        yield "constant-factor", text, lambda t: float(t.data["classes"])
    for name, factor in LOGARITHMS.items():
        text = f"The loss and the gradient use logarithms of another base ({name} against log): use np.log in both."
        yield "log-base", text, lambda _, f=factor: f
        yield "log-base", text, lambda _, f=factor: 1 / f


def _groups(case: Case) -> list[Sequence[str]]:
    return [case.wrong] if len(case.wrong) == 1 else [case.wrong, *([name] for name in case.wrong)]


def _times(factor: Factor, names: Sequence[str]) -> Callable[[Trial, str, Array], Array | None]:
    return lambda trial, name, truth: factor(trial) * truth if name in names else None


def _fitted(case: Case, names: Sequence[str]) -> float | None:
    """The median over trials of the factor that fits best; None where it is 1 or 0."""
    factors = [
        float(np.vdot(truth, claim) / np.vdot(truth, truth))
        for name in names
        for _, claim, truth in case.pairs(name)
        if truth.any()
    ]
    return _worth(factors)


def _fitted_step(case: Case, off: type[Backward], on: type[Backward]) -> float | None:
    """The same for a step: gradients are linear in its factor."""
    factors = []
    for trial in case.trials:
        base, full = off(case.model, trial).gradients(), on(case.model, trial).gradients()  # type: ignore
        for name in case.wrong[:1]:
            claim = case.claim(trial, name)
            if claim is None or claim.shape != full[name].shape:
                continue
            per_unit = full[name] - base[name]
            if per_unit.any():
                factors.append(float(np.vdot(per_unit, claim - base[name]) / np.vdot(per_unit, per_unit)))
    return _worth(factors)


def _worth(factors: list[float]) -> float | None:
    if not factors or not np.isfinite(factors).all():
        return None
    factor = float(np.median(factors))
    return None if abs(factor - 1) < 1e-9 or abs(factor) < 1e-9 else factor
