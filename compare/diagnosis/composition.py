"""Mistakes in how modules are put together: predicted by the user's own modules, called by hand with one mistake.

The predictions are made where the code runs (adapters.module_tape). What the proper pass lacks of the right
gradient, such as a penalty that the composition adds, is added to each of them; or nothing is, where it lacks
only an epsilon in the loss.
"""

from collections.abc import Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.submission.evidence import Trial


@hypothesis("network")
def one_wrong_call(case: Case) -> Iterator[Hypothesis]:
    """One backward is called with the wrong value, left out, or called twice."""
    replays = case.evidence.facts.get("replays") or []
    if len(replays) < 2:
        return
    proper = replays[0]["claims"]
    for replay in replays[1:]:
        for besides in (True, False):

            def predict(
                trial: Trial, claims: dict = replay["claims"], besides: bool = besides
            ) -> dict[str, Array]:
                out = {}
                for name, guess in claims[trial.label].items():
                    truth, right = case.truth(trial, name), proper[trial.label].get(name)
                    if truth is not None and right is not None and truth.shape == right.shape == guess.shape:
                        out[name] = guess + (truth - right if besides else 0.0)
                return out

            yield Hypothesis(replay["cause"], replay["text"], predict)


@hypothesis("network")
def wrong_penalty(case: Case) -> Iterator[Hypothesis]:
    """The L2 term of some gradients is missing or has another factor, by what the loss itself was seen to have."""
    measured = case.evidence.facts.get("penalty") or {}
    penalised = list(dict.fromkeys(n for trial in measured.values() for n, c in trial.items() if c))
    if not penalised:
        return
    groups = [[n for n in case.wrong if n in penalised], *([n] for n in penalised)]
    for names in groups:
        for factor in (0.0, 2.0, 0.5, -1.0, "N", "1/N"):

            def predict(
                trial: Trial, names: list[str] = names, factor: float | str = factor
            ) -> dict[str, Array]:
                n = trial.examples
                times = {"N": n, "1/N": 1 / n}[factor] if isinstance(factor, str) else factor
                return {
                    name: truth + (times - 1) * measured[trial.label].get(name, 0.0) * trial.inputs[name]
                    for name in names
                    if (truth := case.truth(trial, name)) is not None
                }

            if factor == 0.0:
                text = f"The loss has an L2 term, but the gradient of {', '.join(names)} lacks it: add its derivative."
                yield Hypothesis("missing-regularizer", text, predict)
            else:
                text = (
                    f"The L2 term of the gradient of {', '.join(names)} is {factor} times that of the loss."
                )
                yield Hypothesis("regularizer-factor", text, predict)
    yield from _of_too_much(case, measured, penalised)


def _of_too_much(
    case: Case, measured: dict[str, dict[str, float]], penalised: list[str]
) -> Iterator[Hypothesis]:
    """A tensor that the loss does not penalise is penalised in the gradient."""
    for name in case.wrong:
        if name in penalised:
            continue

        def predict(trial: Trial, name: str = name) -> dict[str, Array]:
            truth, others = case.truth(trial, name), measured[trial.label]
            strength = max(others.values(), key=abs, default=0.0)
            return {} if truth is None else {name: truth + strength * np.asarray(trial.inputs[name])}

        text = f"The gradient of {name} has an L2 term, but the loss does not penalise it."
        yield Hypothesis("regularizer-factor", text, predict)
