"""How a worker ended that brought nothing back, as a failure in one sentence, by what it has left."""

import signal
from contextlib import suppress
from pathlib import Path

from compare.submission import progress
from compare.submission.complaints import GUARD
from compare.submission.culprit import NOBODY, Culprit, of_dump
from compare.submission.evidence import Failure
from compare.submission.source import within
from compare.submission.worker import FAILURE, FAULT, TRACEBACK
from scratch import files
from scratch.errors import DataError

NAMES = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "abort",
    "SIGBUS": "bus error",
    "SIGFPE": "arithmetic fault",
    "SIGILL": "illegal instruction",
}
DEEP = 90  # calls in a dump, which shows at most 100


def failure(folder: Path, path: Path, code: int, late: bool, seconds: float, startup: float) -> Failure:
    """code: of the worker's process. late: it had to be ended. startup: seconds it had for its own start."""
    with suppress(DataError, TypeError):
        return Failure(**files.read_json(folder / FAILURE))
    name, stage = path.name, progress.read(folder)
    dumped, fault = (_text(folder / file) for file in (TRACEBACK, FAULT))
    if late and not stage:
        sentence = f"the process that is to run {name} was not ready within {startup:g} s"
        return Failure("start", f"{sentence}; try again when the machine is less busy.")
    if late or dumped or _signal(code) == "SIGXCPU":
        found = of_dump(dumped, path.parent)
        return Failure("hang", _hang(path, found, stage, seconds), *found)
    during = "" if stage == progress.LOADING else f" during {stage!r}"
    if _signal(code) == "SIGKILL":
        sentence = (
            f"{name} was killed by the system{during}, most likely because memory ran out; have it need less."
        )
        return Failure("memory", sentence)
    if code < 0:
        found = of_dump(fault, path.parent)
        what = NAMES.get(_signal(code), _signal(code))
        deep = ", calls nested too deeply" if fault.count("\n  File ") > DEEP else ""
        where = f" {at}" if (at := within(found, path)) else during
        sentence = f"{name} crashes Python ({what}{deep}){where}; correct what is called there."
        return Failure("crash", sentence, *found)
    if not stage:
        return Failure("internal", f"gradparity's own process failed before it ran {name}; please report it.")
    return Failure("exit", f"{name} ends the process with code {code}{during}; take out what does.")


def _hang(path: Path, found: Culprit, stage: str, seconds: float) -> str:
    sentence = f"{path.name} did not finish within {seconds:g} s"
    if found != NOBODY:
        sentence += f"; it was {within(found, path)}"
    if stage == progress.LOADING:
        return f"{sentence}, while it is loaded; put what a check does not need {GUARD}, or raise --timeout."
    return f"{sentence}, during {stage!r}; raise --timeout if it is no endless loop."


def _signal(code: int) -> str:
    """The name of the signal that ended a process with this code; empty where none did."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}" if code < 0 else ""


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text("utf-8", "replace")
    return ""
