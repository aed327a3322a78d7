"""What a check found: quantities, targets and their verdicts, and the JSON document made of them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from compare.tolerance import Judgement
from scratch.network import Network, Watched

SCHEMA = "gradparity/check/1"
VERDICTS = ("disagree", "error", "untested", "agree-up-to-convention", "agree")  # the gravest first
KINDS = ("value", "gradient", "update")


@dataclass(frozen=True)
class Quantity:
    """One tensor as one referee sees it.

    local: the same layer fed the referee's own input and cotangent: it tells a wrong layer from one that
    only hands on what came in. note: what a reader should know besides.
    """

    name: str
    kind: str
    referee: str
    judgement: Judgement
    local: Judgement | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return self.judgement.verdict

    @property
    def inherited(self) -> bool:
        """Wrong only because of what came in: the layer itself agrees."""
        return self.verdict == "disagree" and self.local is not None and self.local.verdict != "disagree"

    def document(self) -> dict[str, Any]:
        j = self.judgement
        out = {
            "name": self.name,
            "kind": self.kind,
            "referee": self.referee,
            "verdict": self.verdict,
            "error": _number(j.error),
            "allowed": _number(j.allowed),
            "max_abs": _number(j.max_abs),
            "worst_index": None if j.worst_index is None else list(j.worst_index),
            "mine": _number(j.mine),
            "theirs": _number(j.theirs),
        }
        if self.local is not None:
            out |= {
                "local_verdict": self.local.verdict,
                "local_error": _number(self.local.error),
                "local_allowed": _number(self.local.allowed),
            }
        return out | ({"note": self.note} if self.note else {})


@dataclass
class Target:
    """One target in one precision: `mlp`, `dcn`, `ops`."""

    target: str
    dtype: str
    referees: tuple[str, ...]
    loss: dict[str, Judgement] = field(default_factory=dict)  # by referee
    quantities: list[Quantity] = field(default_factory=list)  # in the order in which divergence is sought
    dropped: int = 0  # examples left out because rounding decided a branch
    examples: int = 0
    draws: int = 1
    reason: str = ""  # of an untested verdict
    drift: list[Any] = field(default_factory=list)  # compare.drift.Drift, for the reader: never judged
    tensors: Callable[[Quantity], tuple[np.ndarray, np.ndarray] | None] = lambda _: None  # (mine, theirs)
    passed: tuple[Network, Watched] | None = None  # the checked network and its pass; None for operations

    @property
    def verdict(self) -> str:
        verdicts = {q.verdict for q in self.quantities if q.verdict != "untested"}
        verdicts |= {j.verdict for j in self.loss.values()}
        if "disagree" in verdicts:
            return "disagree"
        return "untested" if self.reason or not verdicts else "agree"

    @property
    def first_divergence(self) -> Quantity | None:
        """The first wrong tensor: values in forward order, then gradients in backward order, then updates."""
        wrong = [q for q in self.quantities if q.verdict == "disagree"]
        return min(wrong, key=lambda q: (KINDS.index(q.kind), self._place(q)), default=None)

    def _place(self, quantity: Quantity) -> int:
        """Where the tensor stands in the order of its kind, whichever referee names it."""
        return next(
            i
            for i, q in enumerate(self.quantities)
            if (q.kind, q.name, q.note) == (quantity.kind, quantity.name, quantity.note)
        )

    def seen_by(self, referee: str) -> "Target":
        """What this referee alone would have said."""
        return Target(
            self.target,
            self.dtype,
            (referee,),
            {name: j for name, j in self.loss.items() if name == referee},
            [q for q in self.quantities if q.referee == referee],
        )

    def unexercised(self) -> list[str]:
        """Parameters and operations whose gradient no referee could judge."""
        judged: dict[tuple[str, str], bool] = {}
        for q in self.quantities:
            if q.kind == "gradient" and (self.target == "ops" or q.name.endswith(("/W", "/b"))):
                key = q.name, q.kind
                judged[key] = judged.get(key, False) or q.verdict != "untested"
        return [name for (name, _), said in judged.items() if not said]

    def document(self) -> dict[str, Any]:
        first = self.first_divergence
        return {
            "target": self.target,
            "dtype": self.dtype,
            "referees": list(self.referees),
            "verdict": self.verdict,
            "reason": self.reason,
            "examples": self.examples,
            "examples_left_out": self.dropped,
            "draws": self.draws,
            "loss": {
                "mine": _number(next((j.mine for j in self.loss.values()), math.nan)),
                "theirs": {name: _number(j.theirs) for name, j in self.loss.items()},
                "verdict": _worst(j.verdict for j in self.loss.values()),
            },
            "quantities": [q.document() for q in self.quantities],
            "drift": [{**asdict(drift), "difference": _number(drift.difference)} for drift in self.drift],
            "first_divergence": None if first is None else first.document(),
        }


def overall(targets: Iterable[Target]) -> str:
    """The verdict over all targets: one disagreement is enough, and so is one thing left untested."""
    return _worst(target.verdict for target in targets)


def document(targets: list[Target], not_checked: tuple[str, ...], **details: Any) -> dict[str, Any]:
    """The JSON document of a check; `not_checked` lists the referees that are not installed."""
    return {
        "schema": SCHEMA,
        "verdict": overall(targets),
        "referees": sorted({name for target in targets for name in target.referees}),
        "not_checked": list(not_checked),
        **details,
        "targets": [target.document() for target in targets],
    }


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next((v for v in VERDICTS if v in found), "untested")


def _number(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
