"""`gradparity check submissions/*.py --csv marks.csv`: many files at once, one row each in the order given.

Every file runs in a process of its own with its own limits, so that one which hangs or crashes is one row.
"""

import argparse
import csv
import io
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare import console
from compare.destination import destination
from compare.diagnosis.causes import family
from compare.interrupts import heard
from compare.referees import FRAMEWORKS, Referees
from compare.report import counted, listed
from compare.submission import request as asking
from compare.submission import sandbox, show
from compare.submission.judge import GOOD, Checked
from compare.submission.request import Answer, Request
from compare.sweep import cores
from compare.verdict import VERDICTS, overall
from scratch import files
from scratch.errors import GradparityError, UsageError

SCHEMA = "gradparity/marks/1"
TICK = 0.1  # seconds between two looks at signals and at what is done
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")  # what a spreadsheet would take for one, wide signs too


@dataclass(frozen=True)
class Row:
    """One file. points: one for each tensor, of all that the file has, whose gradient is right."""

    file: str
    verdict: str
    first_wrong: str = ""
    cause: str = ""
    points: int = 0
    of: int = 0
    tensors: str = ""  # the points one by one, "W2 1; b2 1; W1 0; b1 0"
    seconds: float = 0.0  # that its process took
    message: str = ""


def write(path: str, requests: Sequence[Request], arguments: argparse.Namespace) -> int:
    """Check the files, write their rows to `path`, show them; 0 when all were judged, whatever the verdicts.

    arguments: jobs, hint_level, json; report and repro, which are for one file. Raises UsageError for those,
    and KeyboardInterrupt where a signal came, with the rows that were done by then written and shown.
    """
    if arguments.report or arguments.repro:
        which = "--report" if arguments.report else "--repro"
        raise UsageError(f"{which} is about one file, but --csv came, which is for many; leave one out.")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, but {arguments.jobs} came.")
    # That the name must end so keeps `--csv submissions/*.py` from replacing the first submission.
    place = destination(path, "the table of marks", (".csv",))
    with console.progress() as progress:
        names = tuple(dict.fromkeys(n for r in requests for n in r.frameworks if n in FRAMEWORKS))
        if names:
            progress(f"loading {', '.join(names)}")
            Referees(names)
        with heard(once=True) as signals:
            rows = check(requests, arguments.jobs or cores(), arguments.hint_level, signals, progress)
    done = f"{len(rows)} of {counted(len(requests), 'file')}"
    if not rows:
        raise KeyboardInterrupt(f"{done} were done; nothing was written.")
    try:
        with files.writing(f"the table of marks {path}"):
            files.write_atomically(place, table(rows))
        print(f"marks: {path}", file=sys.stderr)
    finally:  # they are not lost on a full disk
        if arguments.json:
            document = {"schema": SCHEMA, "rows": [asdict(row) for row in rows]}
            print(json.dumps(document, allow_nan=False))
        else:
            present(rows, console.stdout())
    if len(rows) < len(requests):
        raise KeyboardInterrupt(f"{done} were done; their rows are in {path}.")
    return 0


def check(
    requests: Sequence[Request],
    jobs: int,
    hint_level: int,
    signals: Sequence[int] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """A row for each request, in their order; for those that were done when something stands in `signals`.

    The files run at the same time, `jobs` of them; they are judged here, one by one, as they end.
    """
    stop, stages, rows = threading.Event(), dict[int, str](), dict[int, Row]()
    with futures.ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_run, r, i, stages, stop): i for i, r in enumerate(requests)}
        try:
            while waiting and not signals:
                progress(_line(len(rows), requests, stages))
                done, _ = futures.wait(waiting, TICK, futures.FIRST_COMPLETED)
                for future in sorted(done, key=waiting.__getitem__):
                    if not signals:
                        number = waiting.pop(future)
                        rows[number] = _row(requests[number], future, hint_level)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)  # waits until every process is gone
    return [rows[number] for number in sorted(rows)]


class _StoppedError(Exception):
    """Told to stop while a file runs."""


def _run(
    request: Request, number: int, stages: dict[int, str], stop: threading.Event
) -> tuple[sandbox.Result, float]:
    """What the file's process brought back, and after how many seconds. In a thread, which only waits."""

    def look(stage: str) -> None:
        stages[number] = stage
        if stop.is_set():
            raise _StoppedError

    began = time.monotonic()
    try:
        look("")
        result = sandbox.run(request.job(), request.seconds, request.memory, look)
    finally:
        stages.pop(number, None)
    return result, time.monotonic() - began


def _line(done: int, requests: Sequence[Request], stages: dict[int, str]) -> str:
    """`3 of 20 files done; a.py (TwoLayerNet: forward and backward), b.py (running the file)`."""
    running = [f"{Path(requests[i].target).name} ({stage or 'starting'})" for i, stage in [*stages.items()]]
    return f"{done} of {len(requests)} files done; {', '.join(running)}"


def _row(request: Request, ran: "futures.Future[tuple[sandbox.Result, float]]", hint_level: int) -> Row:
    """Whatever went wrong with one file is said in its row."""
    seconds = 0.0
    try:
        result, seconds = ran.result()
        return row(asking.answer(request, result), hint_level, seconds)
    except GradparityError as error:  # nothing in it to judge, say
        return Row(request.target, "error", seconds=round(seconds, 2), message=_one_line(str(error)))
    except Exception as error:
        what = _one_line(f"gradparity itself failed with {type(error).__name__}: {error}; please report it.")
        return Row(request.target, "error", seconds=round(seconds, 2), message=what)


def row(answer: Answer, hint_level: int = 3, seconds: float = 0.0) -> Row:
    """The row of one file; lower hint levels say no more in it than they do elsewhere."""
    subjects, verdict = answer.subjects, overall(answer.subjects)
    several = len(subjects) > 1
    marks = {_label(c, n, several): int(_is_right(c, n)) for c in subjects for n in show.tensor_names(c)}
    first = cause = ""
    if verdict not in GOOD:
        bad = next(c for c in subjects if c.verdict == verdict)
        tensors = [*show.wrong_tensors(bad), *(f.tensor for f in bad.diagnosis if f.tensor)]
        first = _label(bad, tensors[0], several) if tensors else ""
        cause = next((f.cause for f in bad.diagnosis), "")
    return Row(
        answer.target,
        verdict,
        first,
        ("", family(cause) if cause else "", cause)[hint_level - 1],
        sum(marks.values()),
        len(marks),
        "; ".join(f"{name} {mark}" for name, mark in marks.items()),
        round(seconds, 2),
        _one_line(" ".join(_message(c, several, hint_level) for c in subjects)),
    )


def _label(checked: Checked, tensor: str, several: bool) -> str:
    """A tensor's name, with its owner's where there are several and the name alone does not tell."""
    told = not several or tensor.startswith(f"{checked.target}/")
    return tensor if told else f"{checked.target}: {tensor}"


def _is_right(checked: Checked, tensor: str) -> bool:
    """Its numbers are right, and no mistake is known of it that numbers of one call do not show."""
    accused = {n for f in checked.diagnosis if f.cause for n in (f.tensor, *f.explained)}
    return show.tensor_verdict(checked, tensor) == "agree" and tensor not in accused


def _message(checked: Checked, several: bool, hint_level: int) -> str:
    """What to tell the author of the file about one subject; empty where all is well."""
    said = [checked.error] if checked.error else []
    if not checked.error and hint_level == 3:
        said += [f"{_label(checked, f.tensor, several)}: {f.text}" for f in checked.diagnosis]
    if not checked.error:
        said += checked.conventions
        names = [n for n in show.tensor_names(checked) if show.tensor_verdict(checked, n) == "untested"]
        said += [f"{listed(names)} could not be judged."] if names and checked.verdict not in GOOD else []
    return " ".join(said)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def table(rows: Sequence[Row]) -> bytes:
    """The CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows([_safe(value) for value in asdict(row).values()] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _safe(value: str | int | float) -> str | int | float:
    """A spreadsheet shows text that begins like a formula as text when an apostrophe stands before it."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def present(rows: Sequence[Row], console: Console) -> None:
    """The rows for people, why files could not be judged, and how many had which verdict."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for header in ("file", "verdict", "points", "first wrong", "cause", "s"):
        shown.add_column(header, justify="right" if header in ("points", "s") else "left", overflow="fold")
    for r in rows:
        verdict = Text(r.verdict, show.COLOURS.get(r.verdict, ""))
        points = f"{r.points}/{r.of}" if r.of else ""
        shown.add_row(Text(r.file), verdict, points, Text(r.first_wrong), Text(r.cause), f"{r.seconds:.1f}")
    console.print(shown)
    for r in rows:
        if r.verdict == "error":
            console.print(Text(f"{r.file}: {r.message}"), soft_wrap=not console.is_terminal)
    counts = Counter(r.verdict for r in rows)
    verdicts = ", ".join(f"{counts[v]} {v}" for v in reversed(VERDICTS) if counts[v])
    console.print(Text(f"\n{counted(len(rows), 'file')}: {verdicts}"), soft_wrap=not console.is_terminal)
