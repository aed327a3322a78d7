"""`gradparity check --selftest`: does the check catch every planted bug, and name its tensor?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.check import Options, Part, architecture, load_data, parts, run
from compare.mutants import catalogue
from compare.planting import Mutant, expected, planted
from compare.referees import Referees
from compare.verdict import Target
from scratch import ops, optimizers
from scratch.errors import GradparityError
from scratch.learner import Architecture
from scratch.regularizers import Penalty

SCHEMA = "gradparity/selftest/1"


@dataclass(frozen=True)
class Outcome:
    """What the check said with one bug planted. by: the referees each of which alone would have caught it."""

    mutant: Mutant
    caught: bool
    named: bool
    by: tuple[str, ...]
    first: str  # the first divergence, as the check names it

    def document(self) -> dict[str, Any]:
        return {
            "name": self.mutant.name,
            "target": f"{self.mutant.operation}.{self.mutant.argument}",
            "caught": self.caught,
            "named": self.named,
            "by": list(self.by),
            "first_divergence": self.first,
        }


def selftest(
    referees: Referees,
    options: Options | None = None,
    progress: Callable[[Outcome, int, int], None] = lambda *_: None,
    mutants: list[Mutant] | None = None,
) -> list[Outcome]:
    """Plant every bug of the catalogue, one at a time, and run the parts of the check that can meet it.

    A part that never calls what is made wrong would repeat its clean result, so it is left out, and so is a
    bug that no part of what `options` and `referees` choose can meet: by default there is none.
    Raises GradparityError where the check disagrees with the code as it stands, without any bug.
    """
    options = options or Options()
    dataset = load_data(options)
    architectures = {
        target: architecture(options, target, dataset.train, dataset.classes)
        for target in options.targets
        if target != "ops" and dataset is not None
    }
    chain = [part for part in parts(options, referees, dataset) if part.judged]
    touched = [_touched(part) for part in chain]
    mutants = catalogue() if mutants is None else mutants
    met = [mutant for mutant in mutants if any(mutant.operation in used for used in touched)]
    outcomes = []
    for number, mutant in enumerate(met, start=1):
        meeting = [part for part, used in zip(chain, touched, strict=True) if mutant.operation in used]
        with planted(mutant), np.errstate(all="ignore"):
            results = [result for part in meeting for result in run(part)]
        outcomes.append(_outcome(mutant, results, architectures))
        progress(outcomes[-1], number, len(met))
    return outcomes


def document(outcomes: list[Outcome], referees: Referees) -> dict[str, Any]:
    """The JSON document of a self-test."""
    return {
        "schema": SCHEMA,
        "referees": list(referees.names),
        "planted": len(outcomes),
        "caught": sum(outcome.caught for outcome in outcomes),
        "named": sum(outcome.named for outcome in outcomes),
        "mutants": [outcome.document() for outcome in outcomes],
    }


def passed(document: dict[str, Any]) -> bool:
    """Every bug caught, and the right tensor named for at least 95 %."""
    planted, caught, named = document["planted"], document["caught"], document["named"]
    return planted > 0 and caught == planted and named >= 0.95 * planted


def _outcome(mutant: Mutant, results: list[Target], architectures: dict[str, Architecture]) -> Outcome:
    wrong = [result for result in results if result.verdict == "disagree"]
    firsts = [(result, result.first_divergence) for result in wrong]
    named = [
        first is not None
        and expected(mutant, result.target, architectures.get(result.target))(first.name, first.note)
        for result, first in firsts
    ]
    by = tuple(
        dict.fromkeys(
            name
            for result in results
            for name in result.referees
            if result.seen_by(name).verdict == "disagree"
        )
    )
    first = next((f"{result.target} {q.name} {q.kind}" for result, q in firsts if q is not None), "")
    return Outcome(mutant, bool(wrong), bool(named) and all(named), by, first)


def _touched(part: Part) -> set[str]:
    """What of scratch a part calls while nothing is planted; its references are computed on the way."""
    with _watching() as seen:
        results = part.run()
    for result in results:
        if result.verdict == "disagree":
            first = result.first_divergence
            raise GradparityError(
                f"the self-test needs code that agrees, but {result.target} in {result.dtype} disagrees "
                f"({first.name if first else 'loss'}) before any bug is planted; run gradparity check."
            )
    return seen


@contextmanager
def _watching() -> Iterator[set[str]]:
    """Records the names of the operations, rules and penalties that are called inside."""
    seen: set[str] = set()
    watched: list[tuple[Any, str, str]] = [
        (ops, name, name) for name in ops.__dict__ if name in {m.operation for m in catalogue()}
    ]
    watched += [(Penalty, "gradient", "penalty")]
    watched += [(rule, "rule", name) for name, rule in optimizers.OPTIMIZERS.items()]
    originals = [(owner, attribute, vars(owner).get(attribute)) for owner, attribute, _ in watched]
    for owner, attribute, name in watched:
        setattr(owner, attribute, _recording(getattr(owner, attribute), name, seen))
    try:
        yield seen
    finally:
        for owner, attribute, original in originals:
            if original is None:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, original)


def _recording(function: Callable[..., Any], name: str, seen: set[str]) -> Callable[..., Any]:
    def record(*args: Any, **options: Any) -> Any:
        seen.add(name)
        return function(*args, **options)

    return record
