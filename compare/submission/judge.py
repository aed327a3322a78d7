"""The verdict on a subject: its claims against arithmetic, the frameworks and scratch; and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compare import tolerance
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.hypothesis import Case, Finding
from compare.diagnosis.recognise import recognise
from compare.diagnosis.replay import Model
from compare.submission import conventions, references
from compare.submission.evidence import Evidence, Source, Trial
from compare.verdict import Quantity, Target

Array = np.ndarray
SPREAD = 16.0  # times how far the claim moves when its inputs move by a rounding
ERRORS = 3.0  # times the estimated error of a difference
ROUNDING = 1e-13  # of the largest entry in any trial
TINY32, TINY64 = 1e-36, 1e-300  # below that numbers have fewer digits
NOTHING = tolerance.Judgement("untested", 0.0, 0.0, 0.0, None, np.nan, np.nan)  # no trial could be judged
GOOD = ("agree", "agree-up-to-convention")


@dataclass
class Checked(Target):
    """A subject as a target of the check: with its style, causes and conventions."""

    style: str = ""
    diagnosis: list[Finding] = field(default_factory=list)
    conventions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    model: Model | None = None
    error: str = ""  # the code could not be judged: why
    evidence: Evidence | None = None

    @property
    def verdict(self) -> str:
        if self.error:
            return "error"
        if any(f.cause for f in self.diagnosis):
            return "disagree"
        plain = Target.verdict.fget(self)  # type: ignore[attr-defined]
        if plain == "agree" and self.untested():
            return "untested"
        return "agree-up-to-convention" if plain == "agree" and self.conventions else plain

    def untested(self) -> list[str]:
        """Tensors that no referee could judge in any trial."""
        said = {q.name for q in self.quantities if q.verdict != "untested"}
        return [n for n in dict.fromkeys(q.name for q in self.quantities) if n not in said]

    def document(self) -> dict[str, Any]:
        where = {n: {"file": s.file, "line": s.line, "function": s.function} for n, s in self.sources.items()}
        return Target.document(self) | {
            "style": self.style,
            "diagnosis": [finding.document() for finding in self.diagnosis],
            "conventions": self.conventions,
            "notes": self.notes,
            "sources": where,
            "network": None if self.model is None else str(self.model),
            "error": self.error,
        }


def judge(evidence: Evidence, frameworks: Sequence[str] = (), strict: bool | None = None) -> Checked:
    """The verdict on one subject. frameworks: those loaded; strict: see conventions."""
    result = Checked(evidence.name, "float32" if evidence.facts.get("float32") else "float64", ("numeric",))
    result.style, result.sources, result.notes = evidence.style, evidence.sources, list(evidence.notes)
    result.evidence = evidence
    if evidence.failure is not None:
        result.error = evidence.failure.sentence
        result.diagnosis = [Finding("crash", "", evidence.failure.sentence)]
        return result
    if evidence.kind == "update":
        from compare.submission import updates  # which needs this module

        return updates.judge(evidence, frameworks)
    failed = evidence.facts.get("failed", {})
    result.notes += [f"not tried: {label} ({text})" for label, text in failed.items()]
    result.model = model = recognise(evidence)
    result.examples = sum(t.examples for t in evidence.trials)
    right = references.gradients(evidence, model, frameworks)
    result.referees = ("numeric", *right)
    truths = _truths(evidence, right)
    used = conventions.apply(evidence, model, truths, strict)
    result.tensors = lambda q: _claim_and_truth(_trial(evidence, q.note), q.name, right.get(q.referee), used)
    for name in evidence.order:
        for referee in result.referees:
            if quantity := _worst(evidence, name, referee, right, used):
                result.quantities.append(quantity)
        if not any(q.name == name for q in result.quantities):
            result.quantities.append(Quantity(name, "gradient", "numeric", NOTHING))
    result.conventions = used.texts
    numeric = {q.name: q.verdict for q in result.quantities if q.referee == "numeric"}
    wrong = [n for n in evidence.order if _is_wrong(result, n, numeric.get(n))]
    if model is not None and used.times_n:
        model = replace(model, times_n=True)
    case = Case(evidence, model, wrong, used.applied(truths))
    result.diagnosis = diagnose(case)
    result.notes += case.problems
    return result


def _truths(evidence: Evidence, right: dict[str, references.Right]) -> dict[tuple[str, str], Array]:
    """The right gradient by (trial, tensor): arithmetic's where it can be judged, else a reference's."""
    truths: dict[tuple[str, str], Array] = {}
    single = evidence.facts.get("float32")
    for trial in evidence.trials:
        for name in evidence.order:
            derivative = trial.derivatives.get(name)
            others = [r[trial.label, name] for r in right.values() if (trial.label, name) in r]
            vague = derivative is None or derivative.method != "complex" or derivative.kinks.any()
            if others and (single or vague):
                truths[trial.label, name] = np.asarray(others[0], np.float64)
            elif derivative is not None and not derivative.kinks.any():
                truths[trial.label, name] = derivative.value
    return truths


def _worst(
    evidence: Evidence, name: str, referee: str, right: dict[str, references.Right], used: conventions.Used
) -> Quantity | None:
    """The tensor as one referee sees it, in the trial where it fits worst."""
    worst: Quantity | None = None
    floor = _floor(evidence, name)
    for trial in evidence.trials:
        judged = _judge(trial, name, referee, right, used, floor, bool(evidence.facts.get("float32")))
        if judged is None:
            continue
        quantity = Quantity(name, "gradient", referee, judged, note=trial.label)
        if worst is None or _badness(quantity) > _badness(worst):
            worst = quantity
    return worst


def _floor(evidence: Evidence, name: str) -> float:
    """What rounding does to a tensor that is tiny in one trial only: 1 - p where p is nearly 1."""
    sizes = []
    for trial in evidence.trials:
        if (found := trial.derivatives.get(name)) is not None:
            sizes.append(float(np.abs(found.value[~found.kinks]).max(initial=0.0)))
    return ROUNDING * max(filter(np.isfinite, sizes), default=0.0)


def _judge(
    trial: Trial,
    name: str,
    referee: str,
    right: dict[str, references.Right],
    used: conventions.Used,
    floor: float,
    single: bool,
) -> tolerance.Judgement | None:
    if (pair := _claim_and_truth(trial, name, right.get(referee), used)) is None:
        return None
    (claim, truth), derivative, error = pair, trial.derivatives.get(name), np.zeros(())
    if trial.claims.get(name) is None:
        return tolerance.judge(claim, truth, 0.0, "float64")
    if referee not in right and derivative is not None:
        times = ERRORS / tolerance.FLOAT32_NOISE if single else ERRORS  # a difference errs as a whole
        error = np.where(derivative.kinks, 0.0, times * derivative.error)
        if derivative.kinks.all() and claim.shape == truth.shape:
            return None
        if derivative.method != "complex":  # the references know better, where they know the function
            for found in right.values():
                if (other := found.get((trial.label, name))) is not None and other.shape == error.shape:
                    error = np.maximum(
                        error, np.where(derivative.kinks, 0.0, np.abs(other - derivative.value))
                    )
    noise = SPREAD * trial.noise.get(name, np.zeros(claim.shape))
    if noise.shape != truth.shape or not np.isfinite(noise).all():
        noise = np.zeros(truth.shape)
    noise = noise + error + floor + (TINY32 if single else TINY64)
    return tolerance.judge(claim, truth, noise, "float32" if single else "float64")


def _claim_and_truth(
    trial: Trial, name: str, right: references.Right | None, used: conventions.Used
) -> tuple[Array, Array] | None:
    """(the user's gradient, what a referee says it should be); right: of a reference, None for arithmetic."""
    derivative, claim = trial.derivatives.get(name), trial.claims.get(name)
    if right is not None:
        truth = right.get((trial.label, name))
    else:
        truth = None if derivative is None else derivative.value
    if truth is None:
        return None
    truth = used.adjust(trial.label, name, np.asarray(truth, np.float64))
    claim = np.full(0, np.nan) if claim is None else np.asarray(claim)
    if right is None and derivative is not None and claim.shape == truth.shape:
        claim = np.where(derivative.kinks, truth, claim)  # at a kink no number is right
    return claim, truth


def _trial(evidence: Evidence, label: str) -> Trial:
    return next(t for t in evidence.trials if t.label == label)


def _badness(quantity: Quantity) -> tuple[int, float]:
    """Of several trials: a disagreement first, then one that says something, the nearest to the limit."""
    return ("untested", "agree", "disagree").index(quantity.verdict), quantity.judgement.ratio


def _is_wrong(result: Checked, name: str, numeric: str | None) -> bool:
    """Arithmetic on the user's own forward decides; where it cannot, the references do."""
    if numeric is not None and numeric != "untested":
        return numeric == "disagree"
    return any(q.verdict == "disagree" for q in result.quantities if q.name == name)
