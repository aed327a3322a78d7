"""`gradparity compare-runs`: what differs between runs, what they shared, and the step at which they part."""

import os
import re
import statistics
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.train import Options
from scratch import files, idx
from scratch.errors import DataError, UsageError
from scratch.optimizers import DIALECTS, OPTIMIZERS
from scratch.rundir import RunDirectory
from scratch.schedules import SCHEDULES

SCHEMA = "gradparity/compare-runs/1"
AVERAGED = 100  # minibatches, the last ones, whose mean loss is told
PARTS = {"bits": 0.0, "1e-6": 1e-6, "1e-2": 1e-2}  # relative differences of two losses
# What changes no update: where data lie, how often is looked; `steps` says what `epochs` came to.
ASIDE = ("threads", "log_every", "eval_every", "checkpoint_every", "epochs", "data_dir")
COLOURS = {"finished": "green", "failed": "red", "interrupted": "yellow"}
STEP_MS = re.compile(rb"time/step_ms\x15(.{4})", re.S)  # tag and value, as an event file holds them

BESIDE = "torch adds epsilon to the bias-corrected root, keras to the uncorrected one"
OUTSIDE = "torch adds epsilon outside the root, keras inside"
LOOKS_BACK = "the velocity sums up gradients in torch, steps in keras"
DIALECT = {  # what no constant makes equal; SGD and Adadelta are the same rule in both
    "adam": BESIDE,
    "adamw": BESIDE,
    "adagrad": OUTSIDE,
    "rmsprop": OUTSIDE,
}


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it.

    settings: those of the training, defaults filled in. order: of its examples. rows: one a logged step.
    """

    name: str
    path: Path
    settings: dict[str, Any]
    order: str | None
    state: str
    reason: str
    step: int
    rows: list[dict[str, Any]]

    @property
    def evaluated(self) -> dict[str, Any]:
        """The record of the last evaluation."""
        return next((row for row in reversed(self.rows) if _errors(row)), {})


def read(paths: Sequence[str]) -> list[Run]:
    """The runs in these folders, also those under way; raises UsageError for fewer than two."""
    if len(paths) < 2:
        raise UsageError(f"two runs or more are needed for a comparison, but {len(paths)} came.")
    found = [RunDirectory.view(path) for path in paths]
    places = [os.path.realpath(run.path) for run in found]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UsageError(f"two different runs are needed for a comparison, but {twice} came twice.")
    names = [os.path.basename(place) for place in places]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [_run(name, run) for name, run in zip(names, found, strict=True)]


def document(runs: Sequence[Run], figure: str) -> dict[str, Any]:
    """All that is said, as JSON values: every run, and every further one against the first."""
    first = runs[0]
    return {
        "schema": SCHEMA,
        "runs": [_told(run) for run in runs],
        "pairs": [pair(first, other) for other in runs[1:]],
        "figure": figure,
    }


def pair(a: Run, b: Run) -> dict[str, Any]:
    """Two runs: settings that differ, what the seeds made them share, where they part, and why they may."""
    differs = {name: [a.settings[name], b.settings[name]] for name in _unequal(a.settings, b.settings)}
    theirs = _origins(b)
    unshared = {kind: _unequal(mine, theirs[kind]) for kind, mine in _origins(a).items()}
    return {
        "a": a.name,
        "b": b.name,
        "differs": differs,
        "shared": {kind: not names for kind, names in unshared.items()},
        "not_shared_for": {kind: names for kind, names in unshared.items() if names},
        "parting": None if any(unshared.values()) else parting(a, b),
        "notes": notes(a.settings, b.settings),
    }


def parting(a: Run, b: Run) -> dict[str, int | None]:
    """The first step whose minibatch losses differ, by PARTS; `of` counts the steps that both have."""
    theirs = {row["step"]: row["train_loss"] for row in b.rows}
    both = [(row["step"], row["train_loss"], theirs[row["step"]]) for row in a.rows if row["step"] in theirs]

    def first(by: float) -> int | None:
        return next((step for step, x, y in both if _apart(x, y, by)), None)

    return {key: first(by) for key, by in PARTS.items()} | {"of": len(both)}


def notes(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Where two dialects of one update rule differ in kind, with the constants that these runs use."""
    name = a["optimizer"]
    if a["dialect"] == b["dialect"] or name != b["optimizer"]:
        return []
    by = {settings["dialect"]: settings for settings in (a, b)}
    rule = OPTIMIZERS[name]
    said = [DIALECT[name]] if name in DIALECT else []
    if "velocity" in rule.slots and any(settings["schedule"] != "constant" for settings in (a, b)):
        said.append(f"{LOOKS_BACK}: they part when the learning rate changes")
    for constant in rule.defaults["torch"]:
        values = [by[dialect].get(constant) for dialect in DIALECTS]
        if constant != "weight_decay" and values[0] != values[1]:
            said.append(f"{constant} is {values[0]:g} in torch, {values[1]:g} in keras")
    said += [f"{slot} starts at 0 in torch, {start:g} in keras" for slot, start in rule.initial.items()]
    told = [f"{name}: {'; '.join(said or ['the same rule in both dialects'])}."]
    if not rule.decoupled and any(settings["weight_decay"] for settings in (a, b)):
        told.append("weight decay: torch adds it to the gradient, keras shrinks the weight by it.")
    return told


def show(document: dict[str, Any], console: Console) -> None:
    """A row a run, then each pair."""
    heads = ("run", "framework", "state", "step", "train loss", "validation error", "test error", "ms/step")
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", justify="left" if head in heads[:3] else "right")
    for run in document["runs"]:
        table.add_row(
            Text(run["name"]),
            run["framework"],
            Text(run["state"], COLOURS.get(run["state"], "")),
            str(run["step"]),
            _text(run["train_loss"], ".4g"),
            _text(run["validation_error"], ".2%"),
            _text(run["test_error"], ".2%"),
            _text(run["milliseconds"], ".3g"),
        )
    console.print(table)
    for run in document["runs"]:
        if run["state"] == "failed":
            console.print(Text(f"{run['name']} failed: {run['reason']}"))
    dropout = bool(document["runs"][0]["settings"]["dropout"])
    for pair in document["pairs"]:
        console.print(Text(f"\n{pair['b']} against {pair['a']}"))
        lines = Table(box=None, pad_edge=False, show_header=False)
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for head, line in _lines(pair, dropout):
            lines.add_row(head, Text(line))
        console.print(lines)


def _lines(pair: dict[str, Any], dropout: bool) -> list[tuple[str, str]]:
    masks = "dropout masks" if dropout or "masks" in pair["not_shared_for"] else "no dropout"
    words = {"weights": "initial weights", "batches": "batches", "masks": masks}
    differs = [
        f"{name} {_setting(theirs)} ({_setting(mine)})" for name, (mine, theirs) in pair["differs"].items()
    ]
    shared = [words[kind] for kind, is_shared in pair["shared"].items() if is_shared]
    unshared = [f"{words[kind]} ({', '.join(names)})" for kind, names in pair["not_shared_for"].items()]
    lines = [("differs", ", ".join(differs) or "no setting")]
    lines += [("shared", ", ".join(shared))] if shared else []
    lines += [("not shared", ", ".join(unshared))] if unshared else []
    if pair["parting"]:
        lines.append(("losses part", _parted(pair["parting"])))
    return lines + [("note", note) for note in pair["notes"]]


def _parted(parting: dict[str, int | None]) -> str:
    if parting["bits"] is None:
        return f"nowhere: the same bits in all {parting['of']} steps that both have"
    words = {"bits": "in their bits", "1e-6": "by more than 1e-6", "1e-2": "by more than 1 %"}
    at = [f"{words[k]} at step {parting[k]}" if parting[k] else f"never {words[k]}" for k in PARTS]
    return f"{', '.join(at)}, of the {parting['of']} steps that both have"


def _run(name: str, run: RunDirectory) -> Run:
    noted: Any = {}
    with suppress(DataError):  # the run itself is whole without it
        noted = files.read_json(run.path / "environment.json")
    rows = [row for row in run.metrics() if "step" in row and "train_loss" in row]
    status = run.status()
    step = rows[-1]["step"] if rows else status["step"]
    order = noted.get("data", {}).get("order")
    return Run(name, run.path, _settings(run.config), order, status["state"], status["reason"], step, rows)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of the training by name; hyperparameters and schedule parameters only where they count."""
    options = asdict(Options.from_config(config).resolved())
    schedule = list(signature(SCHEDULES[options["schedule"]]).parameters.values())[1:]
    defaults = {"weight_decay": 0.0} | OPTIMIZERS[options["optimizer"]].defaults[options["dialect"]]
    del defaults["learning_rate"]
    given = {name: value for name, value in options.items() if value is not None and name not in ASIDE}
    defaults |= {f"schedule_{parameter.name}": parameter.default for parameter in schedule}
    return given | {name: value for name, value in defaults.items() if name not in given}


def _origins(run: Run) -> dict[str, dict[str, Any]]:
    """What decides over the initial weights, the batches and the dropout masks of a run."""
    settings = run.settings

    def of(*names: str) -> dict[str, Any]:
        return {name: settings.get(name) for name in names}

    images = settings["data"] in (*idx.SETS, "mnist-5k")  # all 28 x 28, with 10 classes
    return {
        "weights": of("model", "hidden", "init", "seed", "dtype")
        | {
            "data": "images" if images else settings["data"],
            "activation": settings["activation"] == "maxout",
        },
        "batches": of("data", "split", "batch_size", "seed") | {"order": run.order},
        "masks": of("dropout") | (of("model", "hidden", "batch_size", "seed") if settings["dropout"] else {}),
    }


def _unequal(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Names with two values; what only one has, such as a rule's own constant, follows from another."""
    return [name for name in a if name in b and a[name] != b[name]]


def _apart(x: float | None, y: float | None, by: float) -> bool:
    """Whether two losses differ by more than `by`, relative to the larger; None is one that is not finite."""
    if x is None or y is None:
        return x is not y
    return abs(x - y) > by * max(abs(x), abs(y))


def _errors(row: dict[str, Any]) -> dict[str, Any]:
    return {part: row[part] for part in ("validation_error", "test_error") if part in row}


def _told(run: Run) -> dict[str, Any]:
    losses = [row["train_loss"] for row in run.rows[-AVERAGED:]]
    return {
        "name": run.name,
        "path": str(run.path),
        "framework": run.settings["framework"],
        "state": run.state,
        "reason": run.reason,
        "settings": run.settings,
        "step": run.step,
        "train_loss": statistics.fmean(losses) if losses and None not in losses else None,
        "validation_error": run.evaluated.get("validation_error"),
        "test_error": run.evaluated.get("test_error"),
        "milliseconds": milliseconds(run.path),
    }


def milliseconds(folder: Path) -> float | None:
    """The median time of a training step, from the run's event files."""
    found = [
        time for path in folder.glob("events.out.tfevents.*") for time in STEP_MS.findall(path.read_bytes())
    ]
    return statistics.median(struct.unpack("<f", time)[0] for time in found) if found else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _setting(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
