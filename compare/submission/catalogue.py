"""`gradparity check --selftest --style all`: does the check of users' files catch planted bugs, and why?

The catalogue lies in tests/catalogue of the repository: files as people write them, right and unusual ones,
and mutants with one bug each. Its authors had not read the diagnosis; its held-out half was not looked at
while the checker was being written, and is counted apart.
"""

import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.submission.judge import GOOD
from compare.submission.request import Answer, Request, check
from compare.verdict import overall
from scratch.errors import GradparityError, MissingError, UsageError

SCHEMA = "gradparity/selftest-styles/1"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "catalogue"
HELD_OUT = "-held-out"


@dataclass(frozen=True)
class Entry:
    """A file of the catalogue as it is to be checked.

    tensor, cause: any of these is right; edits: (old, new) texts of the planted bug, none in a correct file.
    """

    style: str
    held_out: bool
    name: str
    file: str
    edits: tuple[tuple[str, str], ...] = ()
    tensor: tuple[str, ...] = ()
    cause: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def correct(self) -> bool:
        return not self.edits


@dataclass(frozen=True)
class Outcome:
    """What the check said. found: (tensor, cause) that it names first."""

    entry: Entry
    verdict: str
    found: tuple[str, str] = ("", "")
    message: str = field(default="", repr=False)
    judged: bool = True  # False: the check itself gave up

    @property
    def caught(self) -> bool:
        return self.judged and self.verdict not in GOOD

    @property
    def blamed(self) -> bool:
        return self.entry.correct and self.verdict not in GOOD

    @property
    def named(self) -> bool:
        return self.caught and self.found[0] in self.entry.tensor

    @property
    def explained(self) -> bool:
        return self.caught and self.found[1] in self.entry.cause

    def document(self) -> dict[str, Any]:
        e = self.entry
        out = {"style": e.style, "held_out": e.held_out, "name": e.name, "verdict": self.verdict}
        if e.correct:
            return out | {"correct_code": True, "blamed": self.blamed, "message": self.message}
        return out | {
            "correct_code": False,
            "caught": self.caught,
            "named": self.named,
            "explained": self.explained,
            "tensor": self.found[0],
            "cause": self.found[1],
            "message": self.message,
        }


def entries(style: str = "all") -> list[Entry]:
    """The catalogue, or what it has of one style. Raises MissingError outside of a checkout."""
    files = sorted(FOLDER.glob("*.toml"))
    if not files:
        raise MissingError(
            f"the catalogue of planted bugs is part of the repository and not installed with the package; "
            f"it was looked for in {FOLDER}; run this in a checkout."
        )
    known = sorted({file.stem.removesuffix(HELD_OUT) for file in files})
    if style not in ("all", *known):
        raise UsageError(f"--style must be all or one of {', '.join(known)}, but {style!r} came.")
    return [
        entry for file in files if style in ("all", file.stem.removesuffix(HELD_OUT)) for entry in _read(file)
    ]


def selftest(
    chosen: Sequence[Entry],
    frameworks: Sequence[str],
    jobs: int,
    progress: Callable[[Outcome, int], None] = lambda *_: None,
) -> list[Outcome]:
    """Check every entry as a user's file is checked, in a process of its own; in the order given."""
    done = 0

    def one(entry: Entry) -> Outcome:
        nonlocal done
        outcome = run(entry, frameworks)
        done += 1
        progress(outcome, done)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, chosen))


def run(entry: Entry, frameworks: Sequence[str]) -> Outcome:
    """The check of one entry, written into a folder with the files that lie beside its base."""
    with tempfile.TemporaryDirectory(prefix="gradparity-") as folder:
        target = write(entry, Path(folder))
        request = Request(str(target), None, _options(entry.arguments), frameworks)
        try:
            return judged(entry, check(request))
        except GradparityError as error:
            return Outcome(entry, "error", message=str(error), judged=False)
        except Exception as error:  # ours: counted as neither caught nor right
            return Outcome(entry, "error", message=f"{type(error).__name__}: {error}", judged=False)


def judged(entry: Entry, answer: Answer) -> Outcome:
    """Of several subjects in the file, the first that is not right."""
    bad = [c for c in answer.subjects if c.verdict not in GOOD]
    if not bad:
        return Outcome(entry, overall(answer.subjects))
    finding = bad[0].diagnosis[0] if bad[0].diagnosis else None
    message = f"{bad[0].target}: {bad[0].error or (finding.text if finding else 'untested')}"
    found = (finding.tensor, finding.cause) if finding else ("", "")
    return Outcome(entry, bad[0].verdict, found, message)


def write(entry: Entry, folder: Path) -> Path:
    """The entry's file in a folder. Raises GradparityError where the catalogue does not fit its base."""
    base = ROOT / entry.file
    for beside in base.parent.glob("*.py"):
        shutil.copy(beside, folder)
    text = base.read_text("utf-8")
    for old, new in entry.edits:
        if text.count(old) != 1:
            raise GradparityError(f"{entry.style}, {entry.name}: {old!r} must occur once in {entry.file}.")
        text = text.replace(old, new)
    target = folder / base.name
    target.write_text(text, "utf-8")
    return target


def document(outcomes: Sequence[Outcome], frameworks: Sequence[str]) -> dict[str, Any]:
    """The JSON document of a self-test; `halves` counts the development and the held-out half apart."""
    return {
        "schema": SCHEMA,
        "referees": ["numeric", "scratch", *frameworks],
        **counts(outcomes),
        "halves": {
            name: counts([o for o in outcomes if o.entry.held_out == half])
            for name, half in (("development", False), ("held_out", True))
        },
        "styles": {
            style: counts([o for o in outcomes if o.entry.style == style])
            for style in dict.fromkeys(o.entry.style for o in outcomes)
        },
        "entries": [o.document() for o in outcomes],
    }


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many were planted, caught, named, explained; how many correct files there were, and were blamed."""
    outcomes = list(outcomes)
    mutants = [o for o in outcomes if not o.entry.correct]
    correct = [o for o in outcomes if o.entry.correct]
    return {
        "planted": len(mutants),
        "caught": sum(o.caught for o in mutants),
        "named": sum(o.named for o in mutants),
        "explained": sum(o.explained for o in mutants),
        "correct": len(correct),
        "blamed": sum(o.blamed for o in correct),
    }


def passed(found: dict[str, Any]) -> bool:
    """Every bug caught, no correct file blamed, the right tensor for 95 % and the right cause for 85 %."""
    planted = found["planted"]
    return bool(
        planted
        and found["caught"] == planted
        and not found["blamed"]
        and found["named"] >= 0.95 * planted
        and found["explained"] >= 0.85 * planted
    )


def jobs_here() -> int:
    """As many files at a time as there are cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(file: Path) -> list[Entry]:
    held_out, style = file.stem.endswith(HELD_OUT), file.stem.removesuffix(HELD_OUT)
    found = tomllib.loads(file.read_text("utf-8"))
    return [
        Entry(
            style,
            held_out,
            one["name"],
            one["file"],
            tuple(
                (edit["old"], edit["new"]) for edit in ([one] if "old" in one else []) + one.get("also", [])
            ),
            tuple(one.get("tensor", ())),
            tuple(one.get("cause", ())),
            tuple(one.get("arguments", ())),
        )
        for kind in ("correct", "mutant")
        for one in found.get(kind, [])
    ]


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    """--name value pairs as the options of a Request."""
    options: dict[str, Any] = {}
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        options[name.removeprefix("--")] = [int(n) for n in value.split(",")] if name == "--sizes" else value
    return options
