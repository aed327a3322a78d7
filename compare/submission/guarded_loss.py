"""log(p + epsilon) in a softmax loss by itself, differentiated as log p: right but for the epsilon.

The same for a whole network: see conventions.
"""

from collections.abc import Callable

import numpy as np

from compare.diagnosis.operation import of, probabilities
from compare.diagnosis.recognise import GUARDS
from compare.submission.evidence import Evidence

Array = np.ndarray
SAME = 1e-9
TINY, UNSEEN = 1e-6, 1e-11  # of a tensor's largest entry: closer than that, and too close to tell


def guarded(evidence: Evidence) -> tuple[str, Callable[[str, str, Array], Array]] | None:
    """(what to say, the change of the right gradient); None where there is no such epsilon to be seen."""
    if evidence.description.get("op") != "softmax_loss":
        return None
    exact: dict[str, Array] = {}
    known: set[float] = set(GUARDS)
    for trial in evidence.trials:
        o = of(evidence, trial)
        p, one_hot = probabilities(o)
        right = (p * one_hot).sum(axis=1)
        if trial.loss is None or not np.isfinite(trial.loss):
            return None
        count = len(p) if _near(trial.loss, -np.mean(np.log(right)), 1e-2) else 1
        known &= {e for e in GUARDS if _near(trial.loss, -np.sum(np.log(right + e)) / count, SAME)}
        exact[trial.label] = o.users(x=(p - one_hot) / count)[o.names["x"]]
    (name,) = evidence.order
    plain = {t.label: t.derivatives[name].value for t in evidence.trials if name in t.derivatives}
    off = {label: np.abs(exact[label] - g).max() / np.abs(g).max() for label, g in plain.items() if g.any()}
    epsilon = min(known, default=0.0)
    if not off or max(off.values()) <= UNSEEN or (max(off.values()) > TINY and not epsilon):
        return None
    claims = {t.label: t.claims.get(name) for t in evidence.trials}

    def nearest(label: str, _: str, truth: Array) -> Array:
        claim, other = claims[label], exact[label]
        if claim is None or not claim.shape == truth.shape == other.shape:
            return truth
        return other if np.abs(claim - other).max() < np.abs(claim - truth).max() else truth

    added = f"{epsilon:g}" if epsilon else "a tiny number"
    return (
        f"The loss adds {added} inside its logarithm, its gradient is that of the logarithm without it: "
        "right but for that.",
        nearest,
    )


def _near(a: float, b: float, within: float) -> bool:
    return bool(abs(a - b) <= within * max(abs(b), 1e-3))
