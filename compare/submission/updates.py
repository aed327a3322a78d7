"""The verdict on an update rule: w after every step, against the rule in the forms in which it is right."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compare import tolerance
from compare.diagnosis.hypothesis import Finding
from compare.diagnosis.update_causes import cause, entries, nearest, unexplained
from compare.diagnosis.update_fit import Block, Fit, blocks, candidates, claim_of, fits, noise, rounding
from compare.submission import update_references
from compare.submission.evidence import Evidence
from compare.submission.hyperparameters import values
from compare.submission.judge import Checked, _badness
from compare.verdict import Quantity

Array = np.ndarray
KNOWN = "sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam and adamw"
OPTIONAL = ("a vector",)  # runs that a rule for matrices alone need not survive


def judge(evidence: Evidence, frameworks: Sequence[str] = ()) -> Checked:
    """The verdict on one update function."""
    (tensor,) = evidence.order
    result = Checked(evidence.name, "float64", ("formula",))
    result.style, result.sources, result.notes = evidence.style, evidence.sources, list(evidence.notes)
    result.evidence = evidence
    behaviour = [*_behaviour(evidence, tensor, result.notes)]
    found = blocks(evidence)
    if len({b.label for b in found}) < len(evidence.trials):
        result.diagnosis = [*_wrong_shape(evidence, tensor), *behaviour]
        return result
    constants = list(evidence.description.get("constants", ()))
    rules = _rules(evidence)
    if rules:  # first those whose hyperparameters are all known
        found.sort(key=lambda block: len(candidates(block, rules[0], constants)))
    single = False
    tried: list[Fit] = []
    for single in (False, True) if evidence.facts.get("float32") else (False,):
        tried = [fit for rule in rules for fit in fits(rule, found, constants, single)]
        if any(fit.whole for fit in tried):
            break
    if not tried:
        result.reason = f"{evidence.name} is a rule that gradparity does not know; it knows {KNOWN}."
        result.diagnosis = behaviour
        return result
    result.dtype = "float32" if single else "float64"
    whole = [fit for fit in tried if fit.whole]
    fit = whole[0] if whole else nearest(tried)
    main: list[Finding] = []
    if evidence.facts.get("nondeterministic"):  # which explains all but entries that are left unset
        unset = None if whole else entries(tensor, fit, found)
        result.diagnosis = [*([unset] if unset else []), *behaviour]
        return result
    if whole:
        _conventions(result, fit, evidence, single)
        main = [*_declared(evidence, fit, tensor)]
    else:
        named = evidence.description.get("rule") is not None
        why = cause(tensor, found, tried, constants, single, named)
        if why is None and not named:
            result.reason = (
                f"the name {evidence.name} tells no rule, and what it does is none of {KNOWN}; "
                "name it after the rule that it should be."
            )
            result.diagnosis = behaviour
            return result
        main = [why or _lost(evidence, tensor) or unexplained(tensor, fit, found)]
    result.examples = len(found)
    compared = _compared(fit, found, frameworks)
    result.quantities = _quantities(tensor, fit, found, compared, single)
    result.tensors = lambda q: compared.get((q.referee, q.note))
    result.referees = tuple(dict.fromkeys(q.referee for q in result.quantities))
    if any(f.cause == "crash" for f in behaviour):  # which is what a user meets first
        main, behaviour = [*behaviour], [f for f in main if f.cause != "unexplained"]
    if behaviour and any(f.cause == "unexplained" for f in main):
        main, behaviour = behaviour, main
    result.diagnosis = [*main, *behaviour]
    return result


def _rules(evidence: Evidence) -> list[str]:
    """Those that it may be, by its name, else by its hyperparameters."""
    known, rule = evidence.description, evidence.description.get("rule")
    if "rules" in known:
        return list(known["rules"])
    configs = [trial.data["config"] for trial in evidence.trials]
    if rule == "":
        return []
    if rule == "sgd":
        if any("momentum" in values(config, "momentum") for config in configs):
            return ["momentum", "nesterov"]
        return ["sgd", "momentum", "nesterov"] if known.get("memory") else ["sgd"]
    if rule is not None:
        return [rule]
    names = set().union(*(values(config, None) for config in configs))
    if names & {"beta_1", "beta_2"}:
        return ["adam", "adamw"]
    if names & {"rho", "epsilon"}:
        return ["rmsprop", "adagrad", "adadelta", "adam"]
    if "momentum" in names:
        return ["momentum", "nesterov", "rmsprop"]
    return ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam"]


def _conventions(result: Checked, fit: Fit, evidence: Evidence, single: bool) -> None:
    if single:
        result.conventions.append("It computes in float32, and is judged at that precision.")
    decays = any(h.get("weight_decay") for h in fit.h)
    result.conventions += fit.form.texts(decays, any(h.get("momentum") for h in fit.h))
    named = evidence.description.get("rule")
    if named != fit.form.rule and (named, fit.form.rule) != ("sgd", "momentum"):
        result.notes.append(f"{evidence.name} is judged as {fit.form.rule}, which is what it does.")


def _declared(evidence: Evidence, fit: Fit, tensor: str) -> Iterator[Finding]:
    """A formula in the docstring settles which form of momentum is meant."""
    said = evidence.description.get("declared") or {}
    if fit.form.rule not in ("momentum", "nesterov") or not any(h.get("momentum") for h in fit.h):
        return
    seen = "predicts w over all steps, before and after the learning rate changes"
    if "rate" in said and (fit.form.rate == "inside") != (said["rate"] == "inside"):
        is_now = "inside" if fit.form.rate == "inside" else "outside"
        text = (
            f"The learning rate stands {is_now} the velocity, while the docstring has it {said['rate']}; the "
            "two part when the rate changes."
        )
        yield Finding("optimizer-learning-rate-placement", tensor, text, (tensor,), evidence=seen)
    decays = any(h.get("weight_decay") for h in fit.h)
    if decays and said.get("decay") == "coupled" and fit.form.decay != "coupled":
        text = (
            "The velocity ignores weight decay, which only shrinks w, while the docstring's formula has it "
            "in the velocity."
        )
        yield Finding("weight-decay-ignored", tensor, text, (tensor,), evidence=seen)


def _lost(evidence: Evidence, tensor: str) -> Finding | None:
    """Hyperparameters of the caller that are not in the config that comes back."""
    if not (lost := evidence.facts.get("lost")):
        return None
    text = (
        f"The config that is returned lacks {', '.join(lost)}, which the caller has set: from the second "
        "step on the defaults count. Return the config that came, with the new memory in it."
    )
    return Finding("returns-early", tensor, text, (tensor,), evidence="compared after the first step")


def _behaviour(evidence: Evidence, tensor: str, notes: list[str]) -> Iterator[Finding]:
    """What lingers, what is changed, what is random, what is returned."""
    facts = evidence.facts
    if facts.get("nondeterministic"):
        yield Finding(
            "nondeterministic",
            tensor,
            "The same start and the same gradients give other weights: there is randomness in the rule.",
            evidence="two fresh starts with other random numbers",
        )
    else:
        yield from _leaks(evidence, tensor)
    if facts.get("returned") == "swapped":
        text = "It returns (config, w): the callers expect (next_w, config)."
        yield Finding("swapped-tensors", tensor, text)
    if facts.get("returned") == "w alone":
        notes.append(f"{evidence.name} returns w alone, not (next_w, config).")
    for label, text in facts.get("failed", {}).items():
        if label in OPTIONAL:
            notes.append(f"{evidence.name} fails for {label}: {text}")
        else:
            yield Finding("crash", tensor, f"It fails in the run `{label}`: {text}", evidence=text)
    if "rate changed" in facts:
        text = f"{evidence.name} changes the learning rate in the config."
        if facts["rate changed"]:
            yield Finding("mutates-input", tensor, f"{text} It belongs to the caller.", (tensor,))
        else:
            notes.append(text)
    names = {name for trial in evidence.trials for name in trial.changed}
    words = {"dw": "the gradient", "w": "the weights w"}
    if names:
        what = " and ".join(words[n] for n in words if n in names)
        text = f"The call changes {what}; that is the caller's: work on a copy."
        seen = f"compared before and after each step of {len(evidence.trials)} runs"
        yield Finding("mutates-input", tensor, text, (tensor,), evidence=seen)


def _leaks(evidence: Evidence, tensor: str) -> Iterator[Finding]:
    one, two = (*evidence.sequence, None, None)[:2]
    advice = (
        "What an earlier start has left is used again: keep the memory in the config that is returned, not "
        "in a default argument or a global (`config=None`, then `config = {}` inside)."
    )
    if one is not None and "failed_in_sequence" in evidence.facts:
        text = evidence.facts["failed_in_sequence"]
        yield Finding("accumulated-gradients", tensor, f"A second start fails. {advice}", evidence=text)
    elif one is not None and two is not None and not _same(claim_of(one), claim_of(two)):
        yield Finding(
            "accumulated-gradients", tensor, advice, evidence="a second fresh start gives other weights"
        )


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def _wrong_shape(evidence: Evidence, tensor: str) -> Iterator[Finding]:
    for trial in evidence.trials:
        claim = claim_of(trial)
        if claim.shape != trial.data["gradients"].shape:
            text = f"It returns weights of shape {claim.shape[1:]} for w of shape {trial.inputs['w'].shape}."
            yield Finding("wrong-shape", tensor, text, (tensor,), evidence=trial.label)
            return


def _compared(
    fit: Fit, found: Sequence[Block], frameworks: Sequence[str]
) -> dict[tuple[str, str], tuple[Array, Array]]:
    """{(referee, block): how far w moves by each step (yours, right)}."""
    seen: dict[str, dict[int, Array]] = {"formula": dict(enumerate(fit.paths))}
    seen |= update_references.paths(fit, found, frameworks)
    return {
        (referee, found[number].name): (found[number].moves, path - found[number].w)
        for referee, paths in seen.items()
        for number, path in paths.items()
    }


def _quantities(
    tensor: str, fit: Fit, found: Sequence[Block], compared: dict[tuple[str, str], Any], single: bool
) -> list[Quantity]:
    """Of each referee the worst block."""
    numbers = {block.name: number for number, block in enumerate(found)}
    worst: dict[str, Quantity] = {}
    for (referee, name), (mine, right) in compared.items():
        judged = _judgement(fit, numbers[name], mine, right, found[numbers[name]], single)
        row = Quantity(tensor, "update", referee, judged, note=name)
        if referee not in worst or _badness(row) > _badness(worst[referee]):
            worst[referee] = row
    return list(worst.values())


def _judgement(
    fit: Fit, number: int, mine: Array, right: Array, block: Block, single: bool
) -> tolerance.Judgement:
    path = right + block.w
    allowed = noise(path, block) if np.isfinite(path).all() else np.zeros(path.shape)
    if single:
        spread = rounding(fit.rule, fit.form, fit.h[number], block, fit.paths[number])
        allowed = allowed + spread / tolerance.FLOAT32_NOISE
    return tolerance.judge(mine, right, allowed, "float32" if single else "float64")
