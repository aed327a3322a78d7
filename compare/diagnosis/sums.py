"""The gradient of a vector is a sum over the examples, whatever the operation: mistakes in that sum."""

from collections.abc import Callable, Iterator

import numpy as np

from compare.diagnosis.dense import BIAS_SUMS
from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.submission.evidence import Trial

SAME = 1e-8
Share = Callable[[Trial], Array]


@hypothesis("operation")
def wrong_sum(case: Case) -> Iterator[Hypothesis]:
    """Of a shift, whose share in each example is dy, or of a gain, whose share is dy * x or dy * (y - shift) / gain."""
    inputs = [n for n in case.names if n.endswith("/x")]
    if len(inputs) != 1 or any(np.ndim(t.data.get("dy", 0.0)) != 2 for t in case.trials):
        return
    shares: dict[str, Share] = {
        "dout": lambda t: np.asarray(t.data["dy"], float),
        "dout * x": lambda t: np.asarray(t.data["dy"], float) * t.inputs[inputs[0]],
    }
    columns = str(case.evidence.description.get("layout") or "").startswith("columns")
    for name in case.wrong:
        if case.evidence.kind != "operation" or name == inputs[0]:
            continue
        for what, share in shares.items():
            rows = (lambda t, s=share: s(t).T) if columns else share
            if not _is_sum(case, name, rows):
                continue
            for how, total in BIAS_SUMS.items():

                def predict(
                    trial: Trial, name: str = name, rows: Share = rows, total=total
                ) -> dict[str, Array]:
                    g = np.asarray(total(rows(trial)))
                    shape = np.shape(trial.inputs[name])
                    return {name: g.reshape(shape) if g.size == np.prod(shape) else g}

                text = f"The gradient of {name} is {how}: sum {what} over the examples."
                yield Hypothesis("bias-reduction", text, predict)


def _is_sum(case: Case, name: str, rows: Share) -> bool:
    for trial in case.trials:
        truth = case.truth(trial, name)
        try:
            total = rows(trial).sum(axis=0)
        except ValueError:
            return False
        if truth is None or total.size != truth.size:
            return False
        if np.abs(total - truth.ravel()).max() > SAME * max(float(np.abs(total).max()), 1e-300):
            return False
    return True
