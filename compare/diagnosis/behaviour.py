"""Mistakes that one call does not show: what lingers from call to call, what is changed, what is random.

New objects were right; one object called in a row was not. These look at the record of the calls, so they
give findings at once instead of predictions.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Finding
from compare.submission.evidence import Evidence, Trial

CLOSE = 1e-7


def findings(case: Case) -> Iterator[Finding]:
    """What the calls in a row say, first tensor first."""
    evidence = case.evidence
    yield from _changed(evidence)
    firsts = {t.label: t for t in evidence.trials}
    if not evidence.sequence or not evidence.trials:
        return
    alone = evidence.trials[0]
    if finding := _kept_outside(case):
        yield finding
        return
    if first := _differs(evidence, evidence.sequence[0], alone):
        yield Finding(
            "nondeterministic",
            first,
            "Two new objects give different gradients for the same weights and batch: there is randomness "
            "in the pass; draw it once in the forward pass and keep it for the backward pass.",
        )
        return
    total = {n: np.asarray(a, float) for n, a in evidence.sequence[0].claims.items() if a is not None}
    before = evidence.sequence[0]
    for trial in evidence.sequence[1:]:
        own = _alone(trial, alone, firsts)
        if own is None:
            continue
        if first := _differs(evidence, trial, own):
            yield _lingering(first, trial, own, before, total, evidence)
            return
        for name, claim in trial.claims.items():
            if claim is not None and name in total and total[name].shape == claim.shape:
                total[name] = total[name] + claim
        before = trial


def _kept_outside(case: Case) -> Finding | None:
    """What is kept outside of the objects, in the module: each call adds its own gradient to all before."""
    calls = case.evidence.sequence
    for name in case.names:
        steps = []
        for before, after in pairwise(calls):
            a, b, truth = before.claims.get(name), after.claims.get(name), _truth(case, after, name)
            if a is None or b is None or truth is None or not a.shape == b.shape == truth.shape:
                continue
            if not truth.any():
                continue  # two calls that are equally wrong differ by that, too
            steps.append(_near(np.asarray(b, float) - a, truth) and not _near(b, truth))
        if steps and all(steps):
            return Finding(
                "accumulated-gradients",
                name,
                "Every call adds its gradient to those of all calls before: set it to zero, or assign instead "
                "of +=, at the start of every backward pass.",
                (name,),
                evidence=f"the difference of two calls is the right gradient, {len(steps)} times",
            )
    return None


def _truth(case: Case, trial: Trial, name: str) -> Array | None:
    alone = _alone(trial, case.evidence.trials[0], {t.label: t for t in case.evidence.trials})
    return None if alone is None else case.truth(alone, name)


def _lingering(
    first: str, trial: Trial, own: Trial, before: Trial, total: dict[str, Array], evidence: Evidence
) -> Finding:
    claim, right, old = (np.asarray(t.claims[first], float) for t in (trial, own, before))
    if claim.shape == right.shape == total[first].shape and _near(claim, total[first] + right):
        return Finding(
            "accumulated-gradients",
            first,
            "The gradients of earlier calls are still in it: set them to zero (or assign instead of +=) "
            "at the start of every backward pass.",
            evidence=f"{trial.label}: the sum of all calls so far",
        )
    if claim.shape == old.shape and _near(claim, old) and not _near(old, right):
        return Finding(
            "stale-activations",
            first,
            "The gradient is that of the batch before: something kept from an earlier forward pass is used.",
            evidence=f"{trial.label}: equal to the call before",
        )
    return Finding(
        "stale-activations" if trial.label != evidence.sequence[1].label else "accumulated-gradients",
        first,
        "The first call of an object is right, a later one is not: something from an earlier call is used "
        "again, such as a cached activation, a cached weight or a sum that is not cleared.",
        evidence=f"{trial.label}: wrong, though a new object is right",
    )


def _alone(trial: Trial, first: Trial, firsts: dict[str, Trial]) -> Trial | None:
    """The same call by a new object."""
    label = trial.label.removeprefix("after it, ")
    return firsts.get(label) or (first if label.startswith("the ") else None)


def _changed(evidence: Evidence) -> Iterator[Finding]:
    names = list(dict.fromkeys(n for t in evidence.trials for n in t.changed))
    if names:
        called = {"x": "x", "t": "y", "dy": "dout"} | evidence.facts.get("data_names", {})
        words = {"x": "the input", "t": "the targets", "dy": "the gradient that arrives,"}
        what = ", ".join(f"{words[n]} {called[n]}" if n in words else n for n in names)
        yield Finding(
            "mutates-input",
            (names[0] in called and evidence.facts.get("changed_tensor")) or called.get(names[0], names[0]),
            f"The call changes {what}, which belongs to the caller: work on a copy.",
            evidence=f"compared before and after each of {len(evidence.trials)} calls",
        )


def _differs(evidence: Evidence, trial: Trial, own: Trial) -> str | None:
    """The first tensor that differs between two calls that should give the same."""
    for name in evidence.order:
        a, b = trial.claims.get(name), own.claims.get(name)
        if (a is None) != (b is None):
            return name
        if a is not None and b is not None and not _near(a, b):
            return name
    return None


def _near(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.array_equal(a, b, equal_nan=True)
    size = float(np.sqrt(np.mean(np.square(b)))) if b.size else 0.0
    return bool(np.abs(np.asarray(a, float) - b).max(initial=0.0) <= CLOSE * size + 1e-300)
