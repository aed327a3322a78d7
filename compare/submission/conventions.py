"""What is right by another convention: recognised, said, and not held against the code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compare.diagnosis import facts
from compare.diagnosis.recognise import computes
from compare.diagnosis.replay import Backward, Model
from compare.submission import guarded_loss
from compare.submission.evidence import Evidence

Array = np.ndarray
Truths = dict[tuple[str, str], Array]
SAME = 1e-8
TINY, UNSEEN = 1e-6, 1e-11  # of a tensor's largest entry


@dataclass
class Used:
    """The conventions of a subject. adjust(trial, name, truth): the right gradient under them."""

    texts: list[str] = field(default_factory=list)
    changes: list[Callable[[str, str, Array], Array]] = field(default_factory=list)
    times_n: bool = False  # the gradients are those of N times the loss

    def adjust(self, label: str, name: str, truth: Array) -> Array:
        for change in self.changes:
            truth = change(label, name, truth)
        return truth

    def applied(self, truths: Truths) -> Truths:
        return {(label, name): self.adjust(label, name, g) for (label, name), g in truths.items()}


def apply(evidence: Evidence, model: Model | None, truths: Truths, strict: bool | None = None) -> Used:
    """Those that this code follows. strict: True takes no factor N for one, False takes it in every style."""
    used = Used([*evidence.facts.get("conventions", []), *facts.conventions(evidence)])
    if evidence.facts.get("float32"):
        used.texts.append("It computes in float32, and is judged at that precision.")
    customary = evidence.facts.get("customary", [])  # in this style: not worth a word
    if model is not None:
        _loss(model, used, customary)
        columns = [
            str(layer["b"])
            for layer in model.layers
            if layer["b"] and np.ndim(evidence.trials[0].inputs[layer["b"]]) == 2 and not layer["transposed"]
        ]
        if columns and "bias rows" not in customary:
            used.texts.append(f"Biases are matrices of one row ({', '.join(columns)}).")
    allowed = evidence.facts.get("scale_is_convention", False) if strict is None else not strict
    sums = evidence.facts.get("sums")  # seen by the adapter, whatever is wrong besides
    examples = {t.label: t.examples for t in evidence.trials}
    guard = None if model is None else _Guard(evidence, model)
    if allowed and (_times_n(evidence, _guarded(guard, truths, examples)) if sums is None else sums):
        used.times_n = True
        used.texts.append(
            f"It is right up to the constant factor N = {evidence.trials[0].examples}: the loss is a mean "
            "over the examples, the gradients are sums."
        )
    factors = examples if used.times_n else dict.fromkeys(examples, 1)
    if guard is not None and guard.matters(truths, factors):
        used.changes.append(lambda label, name, truth: guard.nearest(label, name, truth, factors[label]))
        used.texts.append(guard.text)
    if used.times_n:
        used.changes.append(lambda label, name, truth: truth * examples[label])
    if (found := guarded_loss.guarded(evidence)) is not None:
        text, change = found
        used.texts.append(text)
        used.changes.append(change)
    return used


def _loss(model: Model, used: Used, customary: Sequence[str]) -> None:
    if model.sum:
        used.texts.append("The loss is a sum over the examples, and so are the gradients.")
    rule = model.penalty
    if rule.factor == 1.0:
        used.texts.append("L2 is lambda * sum W^2 without the 1/2; loss and gradient match.")
    if rule.per_example and rule.factor and "penalty per example" not in customary:
        used.texts.append("L2 is divided by the number of examples; loss and gradient match.")
    if rule.biases and rule.factor:
        used.texts.append("L2 covers the biases too; loss and gradient match.")


class _Guard:
    """log(p + epsilon) differentiated as log p: each tensor may be the gradient of either.

    An epsilon that is too small to show in the loss may show in its gradient.
    """

    def __init__(self, evidence: Evidence, model: Model) -> None:
        self.known, self.claims = model.guard, {t.label: t.claims for t in evidence.trials}
        self.right: dict[str, list[dict[str, Array]]] = {}
        for trial in evidence.trials:
            if trial.loss is not None and computes(model, trial, evidence):
                models = (model, replace(model, guard=0.0)) if model.guard else (model,)
                self.right[trial.label] = [Backward(m, trial).gradients() for m in models]
        added = f"{model.guard:g}" if model.guard else "a tiny number"
        self.text = (
            f"The loss adds {added} inside its logarithm, its gradient is that of the "
            "logarithm without it: right but for that."
        )

    def nearest(self, label: str, name: str, truth: Array, factor: float = 1.0) -> Array:
        """Which of them the claim is, divided by `factor`."""
        claim, best = self.claims[label].get(name), truth
        if claim is None or claim.shape != truth.shape:
            return truth
        for found in self.right.get(label, []):
            other = found.get(name, np.zeros(0))
            if other.shape != truth.shape or (not self.known and _off(other, truth) > TINY * _size(truth)):
                continue
            if _off(claim / factor, other) < _off(claim / factor, best):
                best = other
        return best

    def matters(self, truths: Truths, factors: dict[str, int]) -> bool:
        """Whether the epsilon shows at all."""
        return bool(self.known) or any(
            _off(self.nearest(label, name, g, factors[label]), g) > UNSEEN * _size(g)
            for (label, name), g in truths.items()
        )


def _guarded(guard: _Guard | None, truths: Truths, factors: dict[str, int]) -> Truths:
    if guard is None:
        return truths
    return {(label, n): guard.nearest(label, n, g, factors[label]) for (label, n), g in truths.items()}


def _off(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max(initial=0.0))


def _size(a: Array) -> float:
    return float(np.abs(a).max(initial=0.0))


def _times_n(evidence: Evidence, truths: Truths) -> bool:
    """Whether every tensor is N times what it should be, in every batch, of which one has N > 1."""
    several = False
    for trial in evidence.trials:
        for name in evidence.order:
            claim, truth = trial.claims.get(name), truths.get((trial.label, name))
            if claim is None or truth is None or claim.shape != truth.shape:
                return False
            scaled = truth * trial.examples
            if np.abs(claim - scaled).max(initial=0.0) > SAME * max(
                float(np.abs(scaled).max(initial=0.0)), 1e-300
            ):
                return False
            several |= trial.examples > 1 and bool(truth.any())
    return several
