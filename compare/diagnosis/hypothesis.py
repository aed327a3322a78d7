"""What a hypothesis is: a cause, and the gradients it predicts; and how well a prediction fits.

A hypothesis is accepted only where it predicts the wrong tensor to the accuracy of the arithmetic, in every
trial, and leaves the right tensors as they are. Nothing else is ever called a cause.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from compare.diagnosis.replay import Model
from compare.submission.evidence import Evidence, Trial

Array = np.ndarray
Prediction = dict[str, Array]
FITS = 1e-6  # of the residual that may be left unexplained
ROUGH = 0.02  # the same where the truth itself is known no better
SMALL = 1e-9  # of a tensor's rms: closer than that is the same


@dataclass(frozen=True)
class Hypothesis:
    """predict(trial): the gradients that the mistake gives; what it does not name stays right.

    text: one sentence that says what to change. whole: it explains the first wrong tensor and all behind it.
    """

    cause: str
    text: str
    predict: Callable[[Trial], Prediction]


@dataclass(frozen=True)
class Finding:
    """An accepted cause. tensor: the first it explains; explained: all; residual: left, relative."""

    cause: str
    tensor: str
    text: str
    explained: tuple[str, ...] = ()
    residual: float | None = None
    evidence: str = ""

    def document(self) -> dict[str, Any]:
        return {"cause": self.cause, "tensor": self.tensor, "text": self.text, "evidence": self.evidence}


@dataclass
class Case:
    """One subject with something wrong. wrong: tensors in backward order; truth(trial, name): the right one."""

    evidence: Evidence
    model: Model | None
    wrong: list[str]
    truths: dict[tuple[str, str], Array] = field(repr=False)  # by (trial's label, tensor)
    problems: list[str] = field(default_factory=list)  # hypotheses that failed themselves

    @cached_property
    def trials(self) -> list[Trial]:
        return [t for t in self.evidence.trials if any((t.label, n) in self.truths for n in self.names)]

    @property
    def names(self) -> list[str]:
        return self.evidence.order

    def truth(self, trial: Trial, name: str) -> Array | None:
        return self.truths.get((trial.label, name))

    def claim(self, trial: Trial, name: str) -> Array | None:
        return trial.claims.get(name)

    def pairs(self, name: str) -> Iterator[tuple[Trial, Array, Array]]:
        """(trial, claim, truth) wherever both have the shape of the tensor."""
        for trial in self.trials:
            claim, truth = self.claim(trial, name), self.truth(trial, name)
            if claim is not None and truth is not None and claim.shape == truth.shape:
                if np.isfinite(claim).all():
                    yield trial, np.asarray(claim, np.float64), truth

    def everywhere(
        self, change: Callable[[Trial, str, Array], Array | None]
    ) -> Callable[[Trial], Prediction]:
        """Predicts change(trial, name, truth) for every tensor that has a truth."""

        def predict(trial: Trial) -> Prediction:
            out = {}
            for name in self.names:
                truth = self.truth(trial, name)
                found = None if truth is None else change(trial, name, truth)
                if found is not None:
                    out[name] = found
            return out

        return predict


Generator = Callable[[Case], Iterator[Hypothesis]]
REGISTRY: list[tuple[tuple[str, ...], Generator]] = []


def hypothesis(*kinds: str) -> Callable[[Generator], Generator]:
    """Registers a function that yields hypotheses on evidence of these kinds; first come, first believed."""

    def register(generator: Generator) -> Generator:
        REGISTRY.append((kinds, generator))
        return generator

    return register


def weigh(case: Case, one: Hypothesis) -> Finding | None:
    """The hypothesis as a finding, if it predicts what is wrong and spoils nothing that is right."""
    explained: dict[str, float] = {}
    failed: set[str] = set()
    for trial in case.trials:
        try:
            with np.errstate(all="ignore"):
                predicted = one.predict(trial)
        except (ValueError, IndexError, KeyError, np.linalg.LinAlgError):  # the mistake fits no such shapes
            continue
        for name in case.names:
            claim, truth = case.claim(trial, name), case.truth(trial, name)
            if claim is None or truth is None or name in failed:
                continue
            guess = np.asarray(predicted.get(name, truth))
            if guess.shape != claim.shape:
                failed.add(name)
                continue
            left, size = _distance(claim, guess), _size(truth)
            residual = _distance(claim, truth) if claim.shape == truth.shape else np.inf
            known = _accuracy(case, trial, name)
            small = max(SMALL, known / 10)
            if np.isfinite(residual) and residual <= small * size:  # right here: must be predicted as right
                if not left <= 10 * small * size + 1e-300:
                    failed.add(name)
                continue
            fit = left / (residual if np.isfinite(residual) else max(size, _size(guess), 1e-300))
            within = known * size / max(residual, 1e-300)
            if not fit <= min(max(FITS, within), ROUGH):
                failed.add(name)
            elif name in case.wrong:
                explained[name] = max(explained.get(name, 0.0), fit)
    good = tuple(name for name in case.wrong if name in explained and name not in failed)
    spoiled = failed - set(case.wrong)
    if not good or spoiled:
        return None
    worst = max(explained[name] for name in good)
    text = f"predicts {_listed(good)} to {worst:.0e} of what is wrong, in {len(case.trials)} trials"
    return Finding(one.cause, good[0], one.text, good, worst, text)


def _accuracy(case: Case, trial: Trial, name: str) -> float:
    """How well the truth itself is known, relative to its rms."""
    derivative = trial.derivatives.get(name)
    base = 1e-5 if case.evidence.facts.get("float32") else 1e-9
    if derivative is None or derivative.method == "complex":
        return base
    errors = derivative.error[np.isfinite(derivative.error)]
    size = _size(derivative.value)
    return max(base, 3 * float(errors.max(initial=0.0)) / size if size else base)


def _distance(a: Array, b: Array) -> float:
    with np.errstate(all="ignore"):
        d = np.asarray(a, np.float64) - b
        return float(np.sqrt(np.mean(d * d))) if d.size else 0.0


def _size(a: Array) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(a, np.float64))))) if np.size(a) else 0.0


def _listed(names: tuple[str, ...]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
