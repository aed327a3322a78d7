"""The gradient is right, but for another loss or another forward pass than the code's own."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from compare.diagnosis.hypothesis import Case, Hypothesis, hypothesis
from compare.diagnosis.recognise import PENALTIES, candidates
from compare.diagnosis.replay import Backward, Model, Penalty
from compare.submission.evidence import Trial

SAME = 1e-8


@hypothesis("network")
def of_another_network(case: Case) -> Iterator[Hypothesis]:
    """Of a network that this code could be, whose loss it does not have."""
    if case.model is not None:
        return
    for model in candidates(case.evidence):
        if case.evidence.facts.get("sums"):
            model = replace(model, times_n=True)
        if not _fits(case, model):
            continue
        penalised = any(t.data.get("reg") for t in case.trials)
        for penalty in (Penalty(), *(PENALTIES if penalised else ())):
            own = replace(model, penalty=penalty)
            yield Hypothesis(
                "loss-mismatch",
                f"These are the gradients of another function ({own}), not of the loss that the code returns: "
                "look for what the forward pass or the loss has besides, or lacks.",
                lambda trial, own=own: Backward(own, trial).gradients(),
            )


@hypothesis("operation")
def of_another_operation(case: Case) -> Iterator[Hypothesis]:
    """Of the operation that the name says, while the forward pass computes something else."""
    from compare.submission.operations import right

    op = case.evidence.description.get("op")

    def predict(trial: Trial) -> dict[str, np.ndarray]:
        return right(case.evidence, trial)

    yield Hypothesis(
        "loss-mismatch",
        f"This is the gradient of {op}, but the forward pass computes something else: compare it with {op}.",
        predict,
    )


def _fits(case: Case, model: Model) -> bool:
    """Whether the last layer's weight is that of the model: cheap, and enough to go on."""
    for trial in ([t for t in case.trials if not t.data.get("reg")] or case.trials)[:1]:
        try:
            guess = Backward(model, trial).gradients()
        except (ValueError, IndexError):
            return False
        for name in case.wrong[:1]:
            claim = case.claim(trial, name)
            if claim is None or claim.shape != guess[name].shape:
                return False
            if np.abs(claim - guess[name]).max() > SAME * max(float(np.abs(claim).max()), 1e-300):
                return trial.data.get("reg") not in (None, 0.0)
    return True
