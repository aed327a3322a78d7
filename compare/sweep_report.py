"""What a sweep says: a table while it runs, the ranking of its settings, one JSON document."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from compare import grid
from compare.sweep import LOOK, Run, Sweep

COLOURS = {"running": "cyan", "failed": "red", "interrupted": "yellow", "finished": "green"}
URGENT = ("running", "failed", "interrupted", "finished", "skipped", "waiting")  # where not all rows fit


@contextmanager
def watching() -> Iterator[Callable[[Sweep], None]]:
    """On stderr: a table of the runs on a terminal, a line for every start and end elsewhere."""
    console = Console(stderr=True, highlight=False)
    said: dict[str, str] = {}

    def say(sweep: Sweep) -> None:
        for run in sweep.runs:
            if said.get(run.point.name, "waiting") != run.state:
                said[run.point.name] = run.state
                console.print(Text(_line(run, sweep)), soft_wrap=True)
        if sweep.stopping and said.setdefault("", "") == "":
            said[""] = "stopping"
            console.print(_stopping(sweep))

    if not console.is_terminal:
        yield say
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown = -math.inf

        def show(sweep: Sweep) -> None:
            nonlocal shown
            if time.monotonic() - shown > LOOK:
                shown = time.monotonic()
                live.update(_table(sweep, console.height), refresh=True)

        yield show


def ranked_by(runs: Sequence[Run]) -> str:
    """The error that ranks: of the validation part, where there is one; never of the test part."""
    records = [record for run in runs for record in run.metrics.evaluations]
    validated = not records or any("validation_error" in record for record in records)
    return "validation_error" if validated else "train_eval_error"


def ranking(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row for each setting, over its seeds, the best first; equal ones share a rank.

    error: the mean of `ranked_by` after the last step, over the finished runs; half_range: of these, where
    there are several. Settings without a finished run come last and have no rank.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(_setting(run)), []).append(run)
    measure = ranked_by(runs)
    rows = [_group(group, measure) for group in groups.values()]
    rows.sort(key=lambda row: math.inf if row["error"] is None else row["error"])
    for row in rows:
        if row["error"] is not None:
            row["rank"] = 1 + sum(r["error"] is not None and r["error"] < row["error"] for r in rows)
    return rows


def document(sweep: Sweep, figure: Path | None) -> dict[str, Any]:
    """The JSON document; errors are fractions."""
    return {
        "schema": "gradparity/sweep/1",
        "sweep_dir": str(sweep.folder),
        "figure": figure and str(figure),
        "runs": [
            {
                "name": run.point.name,
                "options": run.point.varied,
                "state": "finished" if run.finished else run.state,
                "steps": run.metrics.last.get("step", 0),
                "train_loss": run.metrics.last.get("train_loss"),
                "validation_error": final(run, "validation_error"),
                "test_error": final(run, "test_error"),
                "seconds": run.seconds,
                "reason": run.reason,
                "run_dir": str(run.path),
            }
            for run in sweep.runs
        ],
        "ranked_by": ranked_by(sweep.runs),
        "ranking": ranking(sweep.runs),
    }


def show(sweep: Sweep, figure: Path | None, console: Console) -> None:
    """The ranking, why runs are missing in it, and where to look on."""
    rows, measure = ranking(sweep.runs), ranked_by(sweep.runs).removesuffix("_error").replace("_", " ")
    table = Table(box=None, pad_edge=False)
    options = list(rows[0]["options"])
    several = any(row["half_range"] is not None for row in rows)
    table.add_column("rank", justify="right")
    for option in options:
        table.add_column(option.replace("_", " "), overflow="fold")
    table.add_column("runs", justify="right")
    for header in (f"{measure} error{' ± half range' if several else ''}", "test error", "seconds"):
        table.add_column(header, justify="right")
    for row in rows:
        spread = "" if row["half_range"] is None else f" ± {100 * row['half_range']:.2f}"
        table.add_row(
            "-" if row["rank"] is None else str(row["rank"]),
            *(Text(grid.text(row["options"][option])) for option in options),
            f"{row['finished']}/{row['runs']}",
            _percent(row["error"]) + spread,
            _percent(row["test_error"]),
            "-" if row["seconds"] is None else f"{row['seconds']:.1f}",
        )
    console.print(table)
    if measure != "validation":
        console.print("There is no validation part: ranked by the error on the training examples.")
    missing = [run for run in sweep.runs if not run.finished and run.state != "waiting"]
    for run in missing:
        console.print(Text(f"{run.state}: {run.point.name}: {run.reason}"), soft_wrap=True)
    if waiting := sum(run.state == "waiting" for run in sweep.runs):
        console.print(f"not started: {waiting} of {len(sweep.runs)} runs", highlight=False)
    if figure:
        console.print(Text(f"figure: {figure}"), soft_wrap=True)
    console.print(Text(f"runs and logs: {sweep.folder}"), soft_wrap=True)
    console.print(
        Text(f"gradparity board --runs-dir {sweep.folder} opens them in TensorBoard"), soft_wrap=True
    )


def final(run: Run, error: str) -> float | None:
    """An error of the run's last evaluation."""
    return run.metrics.evaluations[-1].get(error) if run.metrics.evaluations else None


def _setting(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.point.varied.items() if name != "seed"}


def _group(runs: Sequence[Run], measure: str) -> dict[str, Any]:
    finished = [run for run in runs if run.finished]
    errors, tests = ([final(run, name) for run in finished] for name in (measure, "test_error"))
    known = [error for error in errors if error is not None]
    return {
        "rank": None,
        "options": _setting(runs[0]),
        "runs": len(runs),
        "finished": len(finished),
        "error": _mean(known),
        "half_range": (max(known) - min(known)) / 2 if len(known) > 1 else None,
        "test_error": _mean([error for error in tests if error is not None]),
        "seconds": _mean([run.seconds for run in finished]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{error:.2%}"


def _line(run: Run, sweep: Sweep) -> str:
    """What has just become of a run, where there is no table."""
    done = sum(r.finished for r in sweep.runs)
    if run.state == "running":
        return f"running {run.point.name}{f': {run.reason}' if run.reason else ''}"
    error = final(run, "validation_error")
    what = run.reason or ("" if error is None else f"validation error {error:.2%}")
    took = f"after {run.seconds:.1f} s ({done} of {len(sweep.runs)} done)"
    return f"{run.state} {run.point.name} {took}{f': {what}' if what else ''}"


def _stopping(sweep: Sweep) -> str:
    return "stopping: running runs finish their step and save; Ctrl-C again kills them"


def _table(sweep: Sweep, height: int) -> Table:
    """One row a run, in the order of the grid; where they do not fit, those that are under way or failed."""
    room = max(height - 4, 1)
    urgent = sorted(sweep.runs, key=lambda run: URGENT.index(run.state))[:room]
    counts = Counter(run.state for run in sweep.runs)
    told = ", ".join(f"{counts[state]} {state}" for state in URGENT if counts[state])
    table = Table(box=None, pad_edge=False, caption=_stopping(sweep) if sweep.stopping else told)
    table.caption_justify = "left"
    for header in ("run", "state", "step", "train loss", "validation error", "seconds"):
        table.add_column(header, justify="left" if header in ("run", "state") else "right", no_wrap=True)
    for run in (run for run in sweep.runs if run in urgent):
        last = run.metrics.last
        table.add_row(*_cells(run, last))
    return table


def _cells(run: Run, last: Mapping[str, Any]) -> tuple[Text | str, ...]:
    loss = last.get("train_loss")
    return (
        Text(run.point.name),
        Text(run.state, COLOURS.get(run.state, "")),
        f"{last.get('step', 0)}/{run.point.steps}",
        "-" if loss is None else f"{loss:.4f}",
        _percent(final(run, "validation_error")),
        f"{run.seconds:.0f}" if run.seconds else "-",
    )
