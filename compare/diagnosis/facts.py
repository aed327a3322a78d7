"""What a further look found where derivatives do not reach: at a kink, at ties, at huge logits."""

from collections.abc import Iterator

import numpy as np

from compare.diagnosis import dropout
from compare.diagnosis.hypothesis import Finding
from compare.submission.evidence import Evidence

FULL = 1 + 1e-9


def findings(evidence: Evidence) -> Iterator[Finding]:
    """Mistakes that the facts of the evidence show by themselves."""
    yield from _failed(evidence)
    yield from dropout.findings(evidence)
    facts, last = evidence.facts, evidence.order[-1] if evidence.order else ""
    if (ties := facts.get("ties")) and sum(ties) > FULL:
        yield Finding(
            "pool-ties-duplicated",
            last,
            f"A window of equal values hands back {sum(ties):g} times what arrives: every maximum gets all of it. "
            "Give it to the first one (argmax), or share it.",
            (last,),
            evidence=f"shares of a window of four equal values: {', '.join(f'{t:g}' for t in ties)}",
        )
    if (tied := facts.get("tied")) is not None:
        yield Finding(
            "pool-ties-duplicated",
            tied["tensor"],
            f"Where all entries of {tied['tensor']} are equal, and are moved together, the value changes at the rate "
            f"{tied['right']:.6g}, but the entries of the gradient sum to {tied['found']:.6g}: of equal values only one "
            "may have the gradient, or they share it.",
            (tied["tensor"],),
            evidence="all entries equal",
        )
    if (huge := facts.get("overflow")) is not None:
        yield Finding(
            "overflow",
            huge["tensor"],
            f"For inputs of about {huge['size']:g} "
            + (
                "the forward pass gives nan: "
                if huge.get("forward")
                else f"the value is finite, but this gradient is {huge['found']}: "
            )
            + "rewrite the formula so that nothing overflows (subtract the maximum, use a and not exp(z)).",
            (huge["tensor"],),
            evidence=f"inputs times {huge['size']:g}",
        )


def _failed(evidence: Evidence) -> Iterator[Finding]:
    """Calls that raise: the first batch must work; square shapes may hide a missing transpose."""
    failed = evidence.facts.get("failed", {})
    labels = [t.label for t in evidence.trials]
    early = [label for label in failed if "another" not in label and not any("another" in x for x in labels)]
    if early:
        text = f"It fails for {early[0]}, though not for {labels[0]}: {failed[early[0]]}."
        yield Finding("crash", "", text, evidence=f"{len(failed)} of {len(failed) + len(labels)} calls fail")


def conventions(evidence: Evidence) -> Iterator[str]:
    """What the facts show to be right by another convention."""
    yield from dropout.conventions(evidence)
    facts = evidence.facts
    if (slope := facts.get("at_zero")) is not None:
        left = 0.0 if evidence.description.get("op") == "relu" else None
        if left is not None and slope != left:
            yield f"The derivative at 0 is {slope:g}; PyTorch and Keras take 0. Anything from 0 to 1 is right there."
    if (ties := facts.get("ties")) and abs(sum(ties) - 1) < 1e-9 and max(ties) < 1:
        yield "A window of equal values shares the gradient; PyTorch and Keras give it to the first."
    if ties and abs(sum(ties) - 1) < 1e-9 and max(ties) == 1 and not np.isclose(ties[0], 1):
        yield "Of equal values in a window a later one takes the gradient; PyTorch and Keras take the first."
