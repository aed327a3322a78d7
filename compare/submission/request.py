"""A check of a user's file: run in its own process, while the frameworks are loaded here; then judged."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from compare.referees import FRAMEWORKS, Referees
from compare.submission import sandbox
from compare.submission.evidence import Evidence, Failure
from compare.submission.judge import Checked, judge
from scratch.errors import GradparityError, UsageError

ENDINGS = (".py", ".ipynb")
TARGET = re.compile(r"^(?P<path>.+?\.(?:py|ipynb))(?::(?P<object>[^\d\W]\w*))?$")
OURS = ("internal", "start")  # failures that are not the checked code's
SECONDS, MEMORY = 60.0, 4 << 30
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is to be checked and how.

    target: FILE.py, FILE.ipynb, or either with :OBJECT. style: None finds it. options: activation, sizes,
    loss and l2, as far as the user gives them. strict: see conventions. seconds: for the user's code.
    """

    target: str
    style: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    frameworks: Sequence[str] = ()
    strict: bool | None = None
    seconds: float = SECONDS
    memory: int = MEMORY
    script: bool = False  # for compare.submission.repro

    def job(self) -> dict[str, Any]:
        """What the worker is told. Raises UsageError for a target that is no file of the user's."""
        match = TARGET.match(self.target)
        if match is None:
            raise UsageError(
                f"a file must be FILE.py, FILE.ipynb or FILE.py:OBJECT, but {self.target!r} came."
            )
        return {
            "path": os.path.abspath(match["path"]),
            "object": match["object"],
            "style": self.style,
            "options": self.options,
            "script": self.script,
        }


@dataclass
class Answer:
    """The verdicts on a file. printed: what its code printed; notes: on how it was loaded."""

    target: str
    subjects: list[Checked]
    printed: str = ""
    notes: list[str] = field(default_factory=list)


def is_file(target: str) -> bool:
    """Whether a target of `gradparity check` is a user's file."""
    return TARGET.match(target) is not None


def check(request: Request, progress: Progress = lambda _: None) -> Answer:
    """Run, load the frameworks meanwhile, judge. Raises UsageError where the file has nothing to judge."""
    job = request.job()
    with sandbox.start(job, request.seconds, request.memory) as running:
        frameworks = tuple(name for name in request.frameworks if name in FRAMEWORKS)
        if frameworks:
            progress(f"loading {', '.join(frameworks)}")
            Referees(frameworks)
        result = running.result(lambda stage: progress(stage or "starting"))
    return answer(request, result, progress)


def answer(request: Request, result: sandbox.Result, progress: Progress = lambda _: None) -> Answer:
    """The verdicts on what the process brought back. Raises UsageError where there is nothing to judge."""
    if result.failure is not None:
        if result.failure.kind in ("usage", "load-file"):
            raise UsageError(result.failure.sentence)
        if result.failure.kind in OURS:
            raise GradparityError(result.failure.sentence)
        return Answer(request.target, [failed(request.target, result.failure)], result.printed, result.notes)
    assert result.evidence is not None
    subjects = judged(result.evidence, request, progress)
    if not subjects:
        raise UsageError(nothing_found(request))
    return Answer(request.target, subjects, result.printed, result.notes)


def judged(found: Sequence[Evidence], request: Request, progress: Progress = lambda _: None) -> list[Checked]:
    """The verdict on every subject."""
    out = []
    for evidence in found:
        progress(f"judging {evidence.name}")
        out.append(judge(evidence, request.frameworks, request.strict))
    return out


def failed(target: str, failure: Failure) -> Checked:
    """A file that could not be judged at all."""
    name = os.path.basename(target)
    return judge(Evidence(style="", kind="network", name=name, failure=failure))


def nothing_found(request: Request) -> str:
    """Where no adapter knew anything in the file: what was looked for."""
    what = f"of the style {request.style}" if request.style else "that gradparity knows how to call"
    return (
        f"{request.target} has no hand-written gradient {what}; `gradparity check --styles` shows how code "
        "of each style looks, FILE.py:OBJECT names what to check."
    )
