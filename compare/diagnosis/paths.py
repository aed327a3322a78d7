"""One term of a derivative is missing or wrong by a factor, the others being right; and elementwise derivatives.

The adapter has measured, for expressions of the user's own source, how much of the derivative goes through
each of them (see compare.adapters.function_paths); here it is told what a wrong share of it means.
"""

import re
from collections.abc import Callable, Iterator

import numpy as np

from compare.diagnosis.functions import Prediction, is_pointwise
from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.submission.evidence import Trial

EVEN = 1e-6
RECTIFIER = re.compile(r"maximum|relu|clip|clamp|max\(", re.I)
MEAN = re.compile(r"\b(mean|average|avg|mu|center(ed)?)\b|reduce_mean", re.I)
SPREAD = re.compile(
    r"\*\* ?2|square|\b(var|std|sigma|norm|norms|linalg|inv_?std|rms|sqrt|rsqrt|hypot|length|scale)\b|reduce_std|reduce_variance",
    re.I,
)


@hypothesis("operation")
def elementwise(case: Case) -> Iterator[Hypothesis]:
    """The derivative of an elementwise function is missing, or taken at the wrong place."""
    slopes = case.evidence.facts.get("slope_at_output", {})
    for name in case.wrong:
        if not is_pointwise(case, name):
            continue

        def missing(trial: Trial, name: str = name) -> Prediction:
            return {name: np.asarray(trial.data["dy"], float)}

        def at_output(trial: Trial, name: str = name) -> Prediction:
            return {name: trial.data["dy"] * slopes[trial.label][name]}

        yield Hypothesis(
            "activation-derivative-missing",
            "The derivative is missing: dy is handed on as it comes.",
            missing,
        )
        yield Hypothesis(
            "activation-derivative-wrong-argument",
            f"The derivative is taken at the function's value instead of at {name} (the function is applied twice).",
            at_output,
        )


@hypothesis("operation")
def wrong_penalty(case: Case) -> Iterator[Hypothesis]:
    """The term of a penalty is missing, or counted with a wrong factor."""
    for part in case.evidence.facts.get("parts", []):
        if _is_penalty(case, part):
            yield from _of_part(case, part)


@hypothesis("operation")
def repaired(case: Case) -> Iterator[Hypothesis]:
    """A small change of the user's own lines makes all gradients right: the adapter has tried it."""
    for repair in case.evidence.facts.get("repairs", []):
        cause = _cause(case, repair)
        text = (
            f"Line {repair['line']}, {repair['function']}: `{repair['before']}` should be `{repair['after']}`"
        )
        if repair["what"] == "statement":
            text = f"Line {repair['line']}, {repair['function']}: `{repair['before']}` should not be there"

        def same(trial: Trial) -> Prediction:
            return {n: claim for n in case.wrong if (claim := case.claim(trial, n)) is not None}

        yield Hypothesis(cause, f"{text}; with that every gradient is right.", same)


@hypothesis("operation")
def wrong_term(case: Case) -> Iterator[Hypothesis]:
    """What goes through one expression is missing, or counted with a wrong factor."""
    for part in case.evidence.facts.get("parts", []):
        yield from _of_part(case, part)


def _of_part(case: Case, part: dict) -> Iterator[Hypothesis]:
    shares = part["parts"]
    factors = [_factor(case, t, part["tensor"], shares) for t in case.trials]
    known = [f for f in factors if f is not None]
    if not known:
        return
    for said, factor in _factors(case, known):
        cause, text = _meaning(case, part, said, factor)
        for names in (case.wrong, [part["tensor"]]):
            yield Hypothesis(cause, text, _predicted(case, shares, names, factor))


def _cause(case: Case, repair: dict) -> str:
    """What kind of mistake a change undoes."""
    what, name = repair["what"], case.wrong[0]
    pointwise, like = is_pointwise(case, name), _is_map(case, name)
    old, new = str(repair["old"]), str(repair["new"])
    broadcast = any(name in found for found in case.evidence.facts.get("spread", {}).values())
    gradients = re.compile(r"d[A-Za-z_]?\w*|g\w*|\w*grad\w*|upstream|delta\w*", re.I)
    match what:
        case "mask":
            return "relu-mask-inverted"
        case "rectifier":
            return "relu-mask-missing"
        case "compared":
            return (
                "relu-mask-of-gradient"
                if gradients.fullmatch(old)
                else "activation-derivative-wrong-argument"
            )
        case "flip":
            return "conv-kernel-not-flipped"
        case "swap":
            return "swapped-tensors"
        case "assigned":
            return "overlap-assigned"
        case "added":
            return "accumulated-gradients"
        case "centred":
            return "batchnorm-mean-term"
        case "index" | "indexed":
            return (
                "label-shift"
                if re.search(r"\b(y|t|labels?|targets?|idx)\b", repair["before"])
                else "single-entries"
            )
        case "statement":
            return "gradient-clipped" if "clip" in old else "wrong-cached-value"
        case "derivative":
            return "activation-derivative-missing"
        case "function":
            return "activation-derivative-wrong-argument" if pointwise or like else "wrong-cached-value"
        case "name" if gradients.fullmatch(old) and gradients.fullmatch(new):
            return "wrong-cached-value" if pointwise else "activation-derivative-missing"
        case "name":
            squared = re.search(
                rf"1 - {re.escape(old)}\b|\b{re.escape(old)} \* \(1|\b{re.escape(old)} \*\* 2",
                repair["before"],
            )
            return "activation-derivative-wrong-argument" if squared or pointwise else "wrong-cached-value"
        case "sum" | "axis" if broadcast:
            return "bias-reduction"
        case _ if pointwise and (what != "sign" or _is_alone(case)):
            return "activation-derivative-wrong"
        case "sign" | "transpose":
            return what
        case "sum" if like:
            return "batchnorm-variance-term" if "*" in old else "batchnorm-mean-term"
        case "sum" | "size":
            return "batch-scale"
        case "axis":
            return "activation-derivative-wrong" if like else "bias-reduction"
        case "more" if re.search(r"1 - ", repair["before"]) and not re.search(r"1 - ", repair["after"]):
            return "wrong-loss-delta"
        case "term" | "one":
            return "loss-mismatch"
    return "constant-factor"


def _is_alone(case: Case) -> bool:
    """Whether one argument alone is an array: that of an activation, the others being its parameters."""
    return sum(a.ndim > 0 for a in case.trials[0].inputs.values()) < 2


def _is_map(case: Case, name: str) -> bool:
    """Whether the value has the argument's own shape, as an activation's or a normalisation's has."""
    return all(np.shape(t.data.get("dy", 0.0)) == t.inputs[name].shape for t in case.trials) and any(
        t.inputs[name].ndim for t in case.trials
    )


def _factors(case: Case, known: list[float]) -> Iterator[tuple[str, Callable[[Trial], float]]]:
    """("missing", "N" or "" for a constant, the factor of a trial)."""
    constant = float(np.median(known))
    if abs(constant) < EVEN:
        yield "missing", lambda _: 0.0
        return
    yield "", lambda _: constant
    yield "N", lambda t: float(t.examples)
    yield "1/N", lambda t: 1.0 / t.examples
    sizes = case.evidence.facts.get("sizes", {})
    for symbol in dict.fromkeys(s for found in sizes.values() for s in found):
        yield symbol, lambda t, s=symbol: float(sizes[t.label][s])
        yield f"1/{symbol}", lambda t, s=symbol: 1.0 / sizes[t.label][s]
        yield f"sqrt({symbol})", lambda t, s=symbol: float(sizes[t.label][s]) ** 0.5
        yield f"1/sqrt({symbol})", lambda t, s=symbol: float(sizes[t.label][s]) ** -0.5


def _factor(case: Case, trial: Trial, name: str, shares: dict) -> float | None:
    claim, truth, share = (
        case.claim(trial, name),
        case.truth(trial, name),
        shares.get(trial.label, {}).get(name),
    )
    if claim is None or truth is None or share is None or claim.shape != truth.shape or not np.any(share):
        return None
    return 1 + float(np.vdot(share, claim - truth) / np.vdot(share, share))


def _predicted(
    case: Case, shares: dict, names: list[str], factor: Callable[[Trial], float]
) -> Callable[[Trial], Prediction]:
    def predict(trial: Trial) -> Prediction:
        found = {n: case.truth(trial, n) for n in names}
        return {
            n: g + (factor(trial) - 1) * shares[trial.label][n] for n, g in found.items() if g is not None
        }

    return predict


def _meaning(case: Case, part: dict, said: str, factor: Callable[[Trial], float]) -> tuple[str, str]:
    """(cause, text)."""
    constant = factor(case.trials[0])
    what = f"`{part['text']}` (line {part['line']})"
    constant_term = part["how"] == "zero"
    goes = f"the term with {what}" if constant_term else f"what goes through {what}"
    if said == "missing":
        text = f"In the gradient of {part['tensor']} {goes} is missing."
        if not constant_term:
            text += " It is treated as a constant, but it depends on the argument."
    elif said:
        text = f"In the gradient of {part['tensor']} {goes} is {said} times what it should be."
    else:
        text = f"In the gradient of {part['tensor']} {goes} is {constant:.6g} times what it should be."
    if _is_penalty(case, part):
        return "missing-regularizer" if said == "missing" else "regularizer-factor", text
    if part["how"] == "pass":
        text = f"The derivative of {what} is missing on the way to {part['tensor']}: multiply by it."
        return "relu-mask-missing" if RECTIFIER.search(
            part["text"]
        ) else "activation-derivative-missing", text
    if said == "missing":
        if is_pointwise(case, part["tensor"]):
            return "activation-derivative-wrong", text
        if not _is_map(case, part["tensor"]):
            return "loss-mismatch", text
        if SPREAD.search(part["text"]):
            return "batchnorm-variance-term", text
        return "batchnorm-mean-term" if MEAN.search(part["text"]) else "activation-derivative-wrong", text
    if not said and abs(constant + 1) < EVEN:
        return "sign", text
    if is_pointwise(case, part["tensor"]):
        return "activation-derivative-wrong", text
    return "batch-scale" if said in ("N", "1/N") else "constant-factor", text


def _is_penalty(case: Case, part: dict) -> bool:
    """Whether the term is that of a penalty: a multiple of the argument itself, or of its signs."""
    name, several = part["tensor"], False
    for trial in case.trials:
        share = part["parts"].get(trial.label, {}).get(name)
        if share is None:
            return False
        share = np.asarray(share)
        if share.size > 1:
            several = True
            x = np.asarray(trial.inputs[name], float)
            several_signs = len(set(np.sign(x).ravel())) > 1
            there = share != 0  # a penalty may spare some entries
            if not any(_parallel(share, a * there) for a in ((x, np.sign(x)) if several_signs else (x,))):
                return False
    return several


def _parallel(a: Array, b: Array) -> bool:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return size > 0 and abs(abs(float(np.vdot(a, b))) - size) <= 1e-9 * size


@hypothesis("operation")
def unknown_penalty(case: Case) -> Iterator[Hypothesis]:
    """What is missing is a multiple of the argument itself, the same in every trial."""
    for name in case.wrong:
        for what, of in (("it", lambda x: x), ("its signs", np.sign)):
            found = [
                float(
                    np.vdot(of(t.inputs[name]), truth - claim)
                    / max(float(np.vdot(of(t.inputs[name]), of(t.inputs[name]))), 1e-300)
                )
                for t, claim, truth in case.pairs(name)
                if t.inputs[name].size > 1
            ]
            if not found:
                continue
            strength = float(np.median(found))

            def predict(
                trial: Trial, name: str = name, of: Callable = of, strength: float = strength
            ) -> Prediction:
                truth = case.truth(trial, name)
                return (
                    {}
                    if truth is None
                    else {name: truth - strength * of(np.asarray(trial.inputs[name], float))}
                )

            text = f"A term {strength:.6g} times {name if what == 'it' else 'the signs of ' + name} is missing: that of a penalty."
            yield Hypothesis("missing-regularizer", text, predict)


@hypothesis("operation")
def elementwise_otherwise(case: Case) -> Iterator[Hypothesis]:
    """The derivative of an elementwise function, wrong in whatever way: nothing else can be wrong in dy f'(x)."""
    for name in case.wrong:
        if is_pointwise(case, name):

            def any_other(trial: Trial, name: str = name) -> Prediction:
                claim = case.claim(trial, name)
                return {} if claim is None else {name: claim}

            yield Hypothesis("activation-derivative-wrong", _where(case, name), any_other)


def _where(case: Case, name: str) -> str:
    """Where the derivative of an elementwise function is wrong, with one example of both numbers."""
    x, wrong, example = [], [], ""
    for trial, claim, truth in case.pairs(name):
        off = np.abs(claim - truth) > 1e-5 * max(float(np.abs(truth).max(initial=0.0)), 1e-300)
        x.append(np.ravel(trial.inputs[name]))
        wrong.append(np.ravel(off))
        dy = np.broadcast_to(np.asarray(trial.data.get("dy", 1.0)), truth.shape)
        if not example and off.any() and dy.shape == truth.shape:
            at = np.unravel_index(int(np.abs(claim - truth).argmax()), truth.shape) if truth.ndim else ()
            if dy[at]:
                example = f" at {trial.inputs[name][at]:.4g} yours is {claim[at] / dy[at]:.6g}, right is {truth[at] / dy[at]:.6g}"
    if not x:
        return "The derivative is that of another function."
    values, bad = np.concatenate(x), np.concatenate(wrong)
    where = ""
    if not bad.all() and bad.any():
        for text, region in (("negative", values < 0), ("positive", values > 0)):
            if (bad <= region).all() and not (bad & ~region).any():
                where = f" for {text} {name} only"
    return (
        f"The derivative is that of another function{where}:{example}."
        if example
        else "The derivative is that of another function."
    )
