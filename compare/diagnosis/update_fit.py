"""How well a form of an update rule fits what the checked code made of w, block by block.

A block is one trial of a rule, or one parameter in one trial of a minibatch step. Hyperparameters that no
config tells are looked for among the numbers in the code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np

from compare.diagnosis.update_rules import RULES, Array, Form, Update, forms
from compare.submission.evidence import Evidence, Trial
from compare.submission.hyperparameters import RATE, ROLES, values

CLOSE = 1e-11  # of the rms of how far w moves
ULPS = 64.0  # units of roundoff of w
UNIT, UNIT32 = 2.0**-53, 2.0**-24
CANDIDATES = 400
USUAL = {  # values of hyperparameters that the code does not tell, after those that stand in it
    RATE: (1.0, 0.1, 0.01, 0.001),
    "momentum": (0.9,),
    "rho": (0.9, 0.99, 0.95, 0.999),
    "beta_1": (0.9,),
    "beta_2": (0.999,),
    "epsilon": (1e-8, 1e-7, 1e-6, 1e-10, 1e-5),
    "weight_decay": (0.01, 0.004),
}
RANGES = {
    RATE: (0, 2),
    "momentum": (0.1, 1),
    "rho": (0.1, 1),
    "beta_1": (0.1, 1),
    "beta_2": (0.1, 1),
    "epsilon": (0, 0.1),
}


@dataclass
class Block:
    """claim: w after every step as the code has it. h: hyperparameters, as far as known."""

    label: str
    part: str
    w: Array
    gradients: Array
    rates: Array
    claim: Array
    config: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.label}, {self.part}" if self.part else self.label

    @property
    def moves(self) -> Array:
        return self.claim - self.w


@dataclass
class Fit:
    """What a form (or a mistake in it) predicts for every block, and which entries it predicts right."""

    form: Form
    rule: type[Update]
    h: list[dict[str, float]]
    paths: list[Array]
    right: list[Array]

    @property
    def whole(self) -> bool:
        return all(bool(mask.all()) for mask in self.right)

    @property
    def count(self) -> int:
        return sum(int(mask.sum()) for mask in self.right)


def blocks(evidence: Evidence) -> list[Block]:
    """Of all trials whose claims have the shape of w."""
    found = []
    for trial in evidence.trials:
        claim = claim_of(trial)
        w, gradients = trial.inputs["w"], trial.data["gradients"]
        if claim.shape != gradients.shape:
            continue
        common = (trial.data["rates"], trial.data["config"])
        if "parts" not in trial.data:
            found.append(Block(trial.label, "", w, gradients, common[0], claim, common[1]))
            continue
        start = 0
        for name, shape in trial.data["parts"]:
            where = slice(start, start := start + int(np.prod(shape)))
            path = (len(gradients), *shape)
            found.append(
                Block(
                    trial.label,
                    name,
                    w[where].reshape(shape),
                    gradients[:, where].reshape(path),
                    common[0],
                    claim[:, where].reshape(path),
                    common[1],
                )
            )
    return found


def claim_of(trial: Trial) -> Array:
    """w after every step; NaN nowhere but where the code has it."""
    (claim,) = trial.claims.values()
    return np.asarray(claim, np.float64)


def fits(rule: str, found: Sequence[Block], constants: Sequence[float], single: bool) -> Iterator[Fit]:
    """Every form of the rule, the most usual first."""
    decays = any(_decay(block, rule) for block in found)
    starts = tuple(dict.fromkeys(c for c in (0.1, float(np.float32(0.1)), *constants) if 0 < c <= 1))
    for form in forms(rule, decays, starts if rule == "adagrad" else ()):
        kind, chosen, paths, right = RULES[rule], [], [], []
        for block in found:
            h, path, mask = max(
                (_try(kind, form, h, block, single) for h in candidates(block, rule, constants)),
                key=lambda one: int(one[2].sum()),
            )
            chosen.append(h)
            paths.append(path)
            right.append(mask)
        yield Fit(form, kind, chosen, paths, right)


def _try(
    kind: type[Update], form: Form, h: dict[str, float], block: Block, single: bool
) -> tuple[dict, Array, Array]:
    path = run(kind, form, h, block)
    spread = rounding(kind, form, h, block, path) if single else 0.0
    return h, path, close(path, block, spread)


def _decay(block: Block, rule: str) -> bool:
    return rule == "adamw" or bool(values(block.config, rule).get("weight_decay"))


def candidates(block: Block, rule: str, constants: Sequence[float]) -> list[dict[str, float]]:
    """The hyperparameters that the config tells, with every choice of those that it does not."""
    known = {n: v for n, v in values(block.config, rule).items() if n != RATE}
    known.setdefault("weight_decay", 0.0)
    missing = [
        n for n in ROLES[rule] if n not in known and not (n == RATE and np.isfinite(block.rates).all())
    ]
    if rule == "adamw" and "weight_decay" not in values(block.config, rule):
        missing.append("weight_decay")
    choices = []
    for name in missing:
        low, high = RANGES.get(name, (0, 1))
        choices.append(list(dict.fromkeys([*(c for c in constants if low < c < high), *USUAL[name]])))
    return [
        known | dict(zip(missing, choice, strict=True)) for choice in islice(product(*choices), CANDIDATES)
    ]


def run(kind: type[Update], form: Form, h: dict[str, float], block: Block, dtype: Any = np.float64) -> Array:
    """w after every step of a block."""
    rates = np.full(len(block.rates), h[RATE]) if RATE in h else block.rates
    return kind(form, h, dtype).run(block.w, block.gradients, rates)


def rounding(kind: type[Update], form: Form, h: dict[str, float], block: Block, path: Array) -> float:
    """What float32 arithmetic does to a path."""
    coarse = np.asarray(run(kind, form, h, block, np.float32), np.float64)
    with np.errstate(all="ignore"):
        sizes = np.nan_to_num([np.abs(path).ravel(), np.abs(coarse - path).ravel()], posinf=0.0)
    largest, off = sizes.max(axis=1, initial=0.0)
    return 10 * float(off) + 4 * UNIT32 * len(path) * float(largest)


def noise(path: Array, block: Block) -> Array:
    """What float64 arithmetic does to a path."""
    return ULPS * UNIT * (np.abs(path) + np.abs(block.w))


def close(path: Array, block: Block, spread: float = 0.0) -> Array:
    """Which entries of the claim a path predicts."""
    claim = block.claim
    with np.errstate(all="ignore"):
        moves = path - block.w
        finite = moves[np.isfinite(moves)]
        size = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
        allowed = CLOSE * size + noise(path, block) + spread
        near = np.abs(path - claim) <= allowed
    ours, theirs = np.isfinite(path), np.isfinite(claim)
    return (near & ours & theirs) | (~ours & ~theirs)
