"""Is training well? What is not finite ends it; dead or saturated units and the like are said once."""

import math
from collections.abc import Iterator, Mapping

from scratch.errors import GradparityError
from scratch.tally import Tally

UNITS = 0.5  # of a layer dead, or of its outputs saturated, from which on it is said
VANISHING, EXPLODING = 1e-5, 1e3  # rms of a layer's backpropagated error, relative to the output layer's


class TrainingFailed(GradparityError):
    """The loss or a tensor is not finite.

    step: the number of the step; tensor: a tag such as `conv1/W_gradient`, or `train/loss`;
    layer: `conv1`, or empty where no tensor was looked at.
    """

    def __init__(self, step: int, tensor: str, what: str, layer: str = "") -> None:
        super().__init__(
            f"training stopped at step {step}: {tensor} {what}; "
            "lower the learning rate or choose another initialisation."
        )
        self.step, self.tensor, self.layer = step, tensor, layer


class Health:
    """Remembers what has been said of a run, so that every (layer, kind) is said once."""

    def __init__(self) -> None:
        self.said: set[tuple[str, str]] = set()

    def finite(self, step: int, tallies: Mapping[str, Tally], scalars: Mapping[str, float]) -> None:
        """Raise TrainingFailed where a tensor or a scalar is not finite, naming the first of the tensors."""
        if bad := [tag for tag, known in tallies.items() if known.nonfinite]:
            tag, known = bad[0], tallies[bad[0]]
            which = f"is not finite in {known.nonfinite:,} of {known.nonfinite + known.count:,} elements"
            others = f", nor are {len(bad) - 1} of the tensors after it" if len(bad) > 1 else ""
            raise TrainingFailed(step, tag, which + others, _layer(tag))
        for tag, value in scalars.items():
            if not math.isfinite(value):
                raise TrainingFailed(step, tag, f"is {value}")

    def warnings(self, step: int, tallies: Mapping[str, Tally], fractions: Mapping[str, float]) -> list[str]:
        """What is new to say, a sentence each.

        tallies: by tag, such as `fc1/W`, with the `<layer>/net_input_gradient` in backward order, the output
        layer first; fractions: `<layer>/dead_fraction` and `<layer>/saturated_fraction`.
        """
        new = []
        for tag, kind, sentence in (*_units(fractions), *_errors(tallies), *_constant(tallies)):
            if (_layer(tag), kind) not in self.said:
                self.said.add((_layer(tag), kind))
                new.append(f"{_layer(tag)} at step {step}: {sentence}")
        return new


Finding = tuple[str, str, str]  # tag, kind, sentence


def _layer(tag: str) -> str:
    return tag.partition("/")[0]


def _units(fractions: Mapping[str, float]) -> Iterator[Finding]:
    for tag, fraction in fractions.items():
        if fraction <= UNITS:
            continue
        if tag.endswith("/dead_fraction"):
            yield tag, "dead", f"{fraction:.0%} of the units are dead, active for no example of the batch."
        else:
            yield tag, "saturated", f"{fraction:.0%} of the outputs are saturated: their slope is next to 0."


def _errors(tallies: Mapping[str, Tally]) -> Iterator[Finding]:
    tags = [tag for tag in tallies if tag.endswith("/net_input_gradient")]
    reference = tallies[tags[0]].rms if tags else 0.0
    if not reference > 0:
        return
    for tag in tags[1:]:
        rms = tallies[tag].rms
        text = f"(rms {rms:.1e}, {rms / reference:.1e} of that at {_layer(tags[0])})."
        if rms / reference < VANISHING:
            yield tag, "vanishing", f"the backpropagated error vanishes {text}"
        elif rms / reference > EXPLODING:
            yield tag, "exploding", f"the backpropagated error explodes {text}"


def _constant(tallies: Mapping[str, Tally]) -> Iterator[Finding]:
    for tag, known in tallies.items():
        if tag.endswith("/W") and known.count > 1 and known.min == known.max:
            yield tag, "constant", f"all {known.count:,} weights are {known.min:g}: its units stay alike."
