"""From wrong tensors to causes: every hypothesis is weighed, and what none explains is said to be unexplained."""

import numpy as np

from compare.diagnosis import (  # noqa: F401  importing them registers their hypotheses, the most specific first
    activations,
    behaviour,
    composition,
    convolution,
    dense,
    dropout,
    entries,
    facts,
    functions,
    mismatch,
    normalisation,
    output_error,
    paths,
    scale,
    single,
    sums,
)
from compare.diagnosis.hypothesis import REGISTRY, Case, Finding, weigh
from compare.diagnosis.replay import HIDDEN

ORDER = (
    *(
        "composition",
        "output_error",
        "activations",
        "dense",
        "single",
        "sums",
        "convolution",
        "dropout",
        "normalisation",
    ),
    *("functions", "mismatch", "entries", "scale", "paths"),
)

POINTWISE = (*HIDDEN, "selu", "gelu", "swish", "silu", "softsign")


def diagnose(case: Case) -> list[Finding]:
    """The causes, the one of the first wrong tensor first; for every wrong tensor a cause or `unexplained`."""
    lingering = list(behaviour.findings(case))
    changed = [f for f in lingering if f.cause == "mutates-input"]
    if any(f.cause == "nondeterministic" or f.explained for f in lingering):
        return lingering
    found: list[Finding] = []
    left = list(case.wrong)
    if left:
        every = [finding for one in _hypotheses(case) if (finding := weigh(case, one))]
        while left:
            fits = [f for f in every if left[0] in f.explained]
            if fits:
                best = max(fits, key=lambda f: len(set(f.explained) & set(left)))  # the first of equals
                found.append(best)
                left = [name for name in left if name not in best.explained]
            else:
                if not any(f.cause == "unexplained" for f in found):
                    found.append(_unexplained(case, left[0]))
                left = left[1:]
    found = [_shape(case, f) for f in found]
    seen = [f for f in facts.findings(case.evidence) if f.tensor not in case.wrong]
    if changed and all(f.cause in ("unexplained", "loss-mismatch") for f in found):  # the change explains it
        return [*changed, *found, *seen, *(f for f in lingering if f not in changed)]
    return [*found, *seen, *(f for f in lingering if f not in changed), *changed]


def _hypotheses(case: Case):
    def place(entry: tuple) -> int:
        return ORDER.index(entry[1].__module__.rsplit(".", 1)[-1])

    for kinds, generate in sorted(REGISTRY, key=place):
        if case.evidence.kind in kinds:
            try:
                with np.errstate(all="ignore"):
                    yield from generate(case)
            except Exception as error:  # one hypothesis less, and it is said: the verdict stands without it
                what = f"{type(error).__name__}: {error}"
                case.problems.append(f"the hypothesis {generate.__name__} failed ({what}); please report it.")


def _shape(case: Case, finding: Finding) -> Finding:
    """What is unexplained because there is no tensor of the right shape to explain."""
    if finding.cause != "unexplained":
        return finding
    name = finding.tensor
    for trial in case.trials:
        claim, truth = case.claim(trial, name), case.truth(trial, name)
        if truth is None:
            continue
        if claim is None:
            text = "It is never computed: the code gives None, or nothing, in its place."
            return Finding("returns-early", name, text, (name,), evidence=trial.label)
        if claim.shape != truth.shape:
            text = f"Its shape is {claim.shape}, but that of the tensor, and so of its gradient, is {truth.shape}."
            return Finding("wrong-shape", name, text, (name,), evidence=trial.label)
        if not np.isfinite(claim).all():
            text = f"It has {int((~np.isfinite(claim)).sum())} entries that are NaN or infinite."
            return Finding("overflow", name, text, (name,), evidence=trial.label)
    return finding


def _unexplained(case: Case, name: str) -> Finding:
    worst = ""
    pairs = sorted(case.pairs(name), key=lambda p: -float(np.abs(p[1] - p[2]).max(initial=0.0)))
    for trial, claim, truth in pairs:
        off = np.abs(claim - truth)
        at = np.unravel_index(int(off.argmax()), off.shape) if off.ndim else ()
        index = tuple(int(i) for i in at)
        worst = f"worst at {index}: yours {claim[index]:.6g}, right {truth[index]:.6g} ({trial.label})"
        break
    if case.evidence.description.get("op") in POINTWISE:  # dy f'(z): nothing else can be wrong in it
        text = f"The derivative is wrong: {worst}."
        return Finding("activation-derivative-wrong", name, text, (name,), evidence=worst)
    return Finding(
        "unexplained",
        name,
        "None of the known mistakes gives this gradient. "
        + (worst[0].upper() + worst[1:] + "." if worst else ""),
        (name,),
        evidence=worst,
    )
