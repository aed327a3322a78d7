"""Mistakes in a dropout: its scale, its mask on the way back, how often it keeps a unit, what evaluation does.

A dropout can be consistent, so that no derivative shows anything, and still be wrong. So some of this comes from
statistics over many draws (facts["dropout"], see adapters.module_dropout) instead of predictions.
"""

import re
from collections.abc import Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Finding, Hypothesis, hypothesis
from compare.submission.evidence import Evidence, Trial

CERTAIN = 6.0  # standard deviations of a share over many draws
TINY = 1e-9
KEEP = re.compile(r"keep|retain", re.I)  # names under which the rate is that of what is kept
DROP = re.compile(r"drop|^r$|^rate$|ratio", re.I)
MEANWHILE = "E[y] must be x in training as in evaluation"


def findings(evidence: Evidence) -> Iterator[Finding]:
    """What many draws show, one finding at most: the rest follows from it."""
    facts = evidence.facts.get("dropout")
    if not facts or not facts.get("entries"):
        return
    name = evidence.order[-1] if evidence.order else ""
    found = next(_behaviour(facts), None)
    if found is not None:
        cause, text = found
        yield Finding(cause, name, text, (), evidence=_evidence(facts))


def conventions(evidence: Evidence) -> Iterator[str]:
    """Dropout that scales in evaluation instead of in training."""
    facts = evidence.facts.get("dropout")
    if facts and _scales_in_evaluation(facts):
        yield (
            f"It scales by {facts['eval_scale']:.3g} in evaluation instead of by the inverse in training; PyTorch and "
            "Keras scale in training."
        )
    if facts and (facts.get("whole_rows") or facts.get("whole_columns")):
        what = "example" if facts.get("whole_rows") else "feature"
        yield f"One draw decides about a whole {what}, in all of its entries; usual is one draw for each entry."


def _behaviour(facts: dict) -> Iterator[tuple[str, str]]:
    rate, keep = facts.get("rate"), _keep_rate(facts)
    kept, scale = facts["kept"], facts["kept_mean"]
    evaluated = facts.get("eval_identity")
    error = _error(facts)
    if facts["kept"] == 0:
        yield (
            "dropout-keep-drop-swapped",
            "Nothing is ever kept: compare the draw with the rate the other way round.",
        )
        return
    if facts["kept_spread"] > 1e-6 * abs(scale) and len(facts["values"]) > 2:
        yield (
            "dropout-distribution",
            "What is kept is multiplied by random numbers instead of one scale: the mask is whether a uniform draw "
            "is at least the rate, not the draw itself.",
        )
        return
    if facts["draws"] == 1 and kept < 1:
        yield (
            "dropout-distribution",
            "The mask is the same in every pass: draw it anew in every forward pass.",
        )
        return
    if evaluated is False and not _scales_in_evaluation(facts):
        yield _in_evaluation(facts, keep)
        return
    if keep is None:
        if not _scales_in_evaluation(facts) and abs(kept * scale - 1) > CERTAIN * error * abs(scale) + TINY:
            yield (
                "dropout-scale",
                f"{kept:.3f} of the units are kept and scaled by {scale:.4g}: {MEANWHILE}; scale by 1 / (share kept).",
            )
        return
    off = abs(kept - keep) > CERTAIN * error
    swapped = abs(kept - (1 - keep)) <= CERTAIN * error
    said = f"{facts['rate_name']} = {rate:g}" if facts.get("rate_name") else f"the rate is {rate:g}"
    if off and swapped:
        yield (
            "dropout-keep-drop-swapped",
            f"{kept:.3f} of the units are kept, though {said}, which should keep {keep:.3g}: keep where the draw is at least the rate.",
        )
    elif off:
        yield (
            "dropout-distribution",
            f"{kept:.3f} of the units are kept, though {said}, which should keep {keep:.3g}: draw from the uniform "
            "distribution on [0, 1).",
        )
    elif not _scales_in_evaluation(facts) and abs(scale * keep - 1) > 1e-6:
        yield (
            "dropout-scale",
            f"What is kept is scaled by {scale:.4g}, but it is {keep:.3g} of the units: scale by 1 / {keep:.3g} = {1 / keep:.4g}, "
            f"so that {MEANWHILE}.",
        )


def _in_evaluation(facts: dict, keep: float | None) -> tuple[str, str]:
    if facts["eval_spread"] > 1e-6:
        return (
            "dropout-active-in-eval",
            "Units are dropped in evaluation too: there dropout must return its input as it is.",
        )
    if keep is not None and abs(facts["eval_scale"] * keep - 1) < 1e-6:
        return (
            "dropout-active-in-eval",
            f"The scale 1 / {keep:.3g} is applied in evaluation too: there dropout must return its input as it is.",
        )
    return (
        "dropout-scale",
        f"Evaluation multiplies by {facts['eval_scale']:.4g}, though training keeps the mean at {facts['mean']:.3g} of the input: {MEANWHILE}.",
    )


def _keep_rate(facts: dict) -> float | None:
    """The share that should be kept; a rate whose name leaves it open is taken as whichever fits."""
    rate, name = facts.get("rate"), facts.get("rate_name") or ""
    if rate is None or not 0 <= rate <= 1:
        return None
    if KEEP.search(name):
        return float(rate)
    if DROP.search(name):
        return 1.0 - float(rate)
    consistent = (
        abs(facts["kept"] - rate) <= CERTAIN * _error(facts) and abs(facts["kept_mean"] * rate - 1) < 1e-6
    )
    if consistent:  # a keep rate, and all else follows from it
        return float(rate)
    return 1.0 - float(rate)


def _scales_in_evaluation(facts: dict) -> bool:
    """Plain dropout: no scale in training, times the share kept in evaluation."""
    if facts.get("eval_scale") is None or facts.get("eval_identity") or abs(facts["kept_mean"] - 1) > 1e-6:
        return False
    fits = abs(facts["eval_scale"] - facts["kept"]) <= CERTAIN * _error(facts)
    return bool(facts["eval_spread"] < 1e-6 and fits and facts["eval_scale"] < 1)


def _error(facts: dict) -> float:
    """Standard deviation of the share kept; more where one draw decides about several entries."""
    share = min(max(facts["kept"], 0.01), 0.99)
    together = 40 if facts.get("whole_rows") or facts.get("whole_columns") else 1
    return float(np.sqrt(share * (1 - share) * together / facts["entries"]))


def _evidence(facts: dict) -> str:
    text = f"{facts['entries']} draws: {facts['kept']:.4f} kept, scaled by {facts['kept_mean']:.4g}"
    if facts.get("eval_max_change") is not None:
        text += f"; evaluation changes its input by up to {facts['eval_max_change']:.3g}"
    return text


@hypothesis("operation")
def wrong_mask(case: Case) -> Iterator[Hypothesis]:
    """The backward pass has another mask, or another scale, than the forward pass."""
    if case.evidence.description.get("op") != "dropout":
        return
    (name,) = (
        n for n in case.names if n.endswith("/x") or n in case.evidence.description["arguments"].values()
    )
    for cause, text, wrong in (
        (
            "dropout-scale",
            "The scale is missing on the way back: the gradient is multiplied by the same scaled mask as x.",
            lambda d, mask, dy: dy * (mask != 0),
        ),
        (
            "dropout-scale",
            "The mask is missing on the way back: what was dropped gets no gradient, what was kept is scaled.",
            lambda d, mask, dy: dy,
        ),
        (
            "dropout-scale",
            "Mask and scale are applied twice on the way back.",
            lambda d, mask, dy: dy * mask * mask,
        ),
        (
            "dropout-scale",
            "The scale is there on the way back, the mask is not.",
            lambda d, mask, dy: dy * mask.max(),
        ),
        (
            "dropout-scale",
            "The gradient is divided by the scale on the way back instead of multiplied.",
            lambda d, mask, dy: np.where(mask != 0, dy / np.where(mask != 0, mask, 1), 0),
        ),
        (
            "dropout-keep-drop-swapped",
            "The gradient passes where units were dropped: the mask is the wrong way round on the way back.",
            lambda d, mask, dy: dy * (mask == 0) * _scale(mask, d, dy),
        ),
        (
            "dropout-scale",
            "The gradient is scaled on the way back, but the forward pass does not scale.",
            lambda d, mask, dy: dy * mask * _scale(mask, d, dy),
        ),
        (
            "dropout-mask-resampled",
            "The backward pass draws a new mask: keep the one of the forward pass.",
            lambda d, mask, dy: (
                np.where(_is_mask(d / dy), d, np.nan)
                if _resampled(d / dy, mask)
                else np.full(dy.shape, np.nan)
            ),
        ),
        (
            "dropout-mask-resampled",
            "The backward pass uses another mask than the forward pass of the same call.",
            lambda d, mask, dy: d if _is_mask(d / dy).all() else np.full(dy.shape, np.nan),
        ),
    ):

        def predict(trial: Trial, wrong=wrong, name=name) -> dict[str, Array]:
            x, y = np.asarray(trial.inputs[name], float), np.asarray(trial.output, float)
            claim = trial.claims[name]
            if claim is None or claim.shape != x.shape or y.shape != x.shape:
                return {}
            return {name: wrong(np.asarray(claim, float), y / x, np.asarray(trial.data["dy"], float))}

        yield Hypothesis(cause, text, predict)


def _scale(mask: Array, d: Array, dy: Array) -> float:
    """The one factor that the claim has where it is not zero; of the forward mask where there is none."""
    ratio = np.abs((d / dy)[np.abs(d) > TINY])
    return float(np.median(ratio)) if ratio.size else float(mask.max())


def _is_mask(ratio: Array) -> Array:
    """Where the claim is 0 or one common factor times what arrived."""
    factor = np.median(ratio[np.abs(ratio) > TINY]) if (np.abs(ratio) > TINY).any() else 1.0
    return (np.abs(ratio) <= TINY) | np.isclose(ratio, factor, rtol=1e-6)


def _resampled(ratio: Array, mask: Array) -> bool:
    return bool(_is_mask(ratio).all() and ((np.abs(ratio) > TINY) != (np.abs(mask) > TINY)).any())
