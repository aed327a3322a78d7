"""The picture of `gradparity compare-runs`: loss and error of several runs over the steps."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compare.compare_runs import Run

Array = np.ndarray
ENDINGS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, told apart by everybody: black, orange, sky blue, green, vermilion, blue, purple.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = "osD^vPX"
STYLES = ("-", "--", ":")  # beyond seven runs
LARGEST = 1e100  # what a log scale can be drawn for
PARTINGS = {"1e-2": "1 %", "1e-6": "1e-6", "bits": "its last bits"}  # what is marked: the first that there is


def draw(runs: Sequence[Run], pairs: Sequence[dict[str, Any]], path: Path) -> bytes:
    """The file's bytes, in the format that the path's ending names. pairs: those of compare_runs.document."""
    from matplotlib.figure import Figure

    figure = Figure((9, 6.4 + 0.2 * len(runs)), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    window = max(1, min(100, max((len(run.rows) for run in runs), default=0) // 20))
    partings = [None, *(_parting(pair) for pair in pairs)]
    shown: dict[str, list[float]] = {"loss": [], "error": []}
    legend = []
    for number, (run, parting) in enumerate(zip(runs, partings, strict=True)):
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
        # Where several runs lie on each other, all are seen: the first are the widest.
        under = (len(runs) - 1 - number) / max(len(runs) - 1, 1)
        marker = {"marker": MARKERS[number % len(MARKERS)], "mfc": "none", "ms": 5 + 6 * under, "mew": 1.5}
        for axes, kind in ((upper, "loss"), (lower, "error")):
            steps, values = _smoothed(run, f"train_{kind}", window)
            axes.plot(steps, values, style, color=colour, linewidth=1 + 2.5 * under)
            at, scores = _evaluations(run, kind)
            axes.plot(at, scores, color=colour, linestyle="none", **marker)
            shown[kind] += [value for value in (*values, *scores) if value > 0]
            if parting:
                same = [n for n, other in enumerate(partings) if other and other[0] == parting[0]]
                turns = 4 * same.index(number), (4, 4 * (len(same) - 1) or 3)  # marks of one step alternate
                axes.axvline(parting[0], color=colour, linestyle=turns, linewidth=1)
        key = upper.plot([], [], style, color=colour, linewidth=1 + 2.5 * under, **marker)
        told = f"{run.name}, parts by {parting[1]} at step {parting[0]}" if parting else run.name
        legend.append((key[0], _plain(told)))
    losses = shown["loss"] or [1.0]
    starts = [row["train_loss"] or 0 for run in runs for row in run.rows[:1]]
    top = min(max(losses), 10 * max(starts, default=0) or LARGEST)  # a loss that explodes leaves the picture
    upper.set_ylim(min(losses) / 1.3, top * 1.3)
    upper.set(ylabel="loss (nats per example)", yscale="log")
    lower.set_yscale("symlog", linthresh=min(shown["error"], default=1.0), linscale=0.3)
    lower.set(ylabel="error (fraction wrong)", xlabel="step")
    lower.set_ylim(0, 1.1 * max(shown["error"], default=1.0))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    lines = "line: minibatch" if window == 1 else f"line: mean of the last {window} minibatches"
    title = f"{lines}; marker: validation, else test; dashed: parts from the first run"
    upper.set_title(title, loc="left", fontsize="medium")
    figure.legend(*zip(*legend, strict=True), loc="outside lower left", frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix[1:])
    return file.getvalue()


def _plain(text: str) -> str:
    """What the font can draw, and no formula."""
    return text.encode("ascii", "replace").decode().replace("$", r"\$")


def _parting(pair: dict[str, Any]) -> tuple[int, str] | None:
    """(step, by how much) of the mark for a run against the first, if they part at all."""
    found = pair["parting"] or {}
    return next(((found[key], words) for key, words in PARTINGS.items() if found.get(key)), None)


def _smoothed(run: Run, key: str, window: int) -> tuple[Array, Array]:
    """Steps, and the mean of the last `window` values at each; what is not finite is left out of it."""
    values = np.array([np.nan if row[key] is None else row[key] for row in run.rows], float)
    finite = np.isfinite(values)
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window) if len(values) else padded[:0, None]
    with np.errstate(all="ignore"):
        means = np.nansum(windows, axis=1) / np.isfinite(windows).sum(axis=1)
    return np.array([row["step"] for row in run.rows]), np.where(finite, np.minimum(means, LARGEST), np.nan)


def _evaluations(run: Run, kind: str) -> tuple[list[int], Array]:
    """Steps and values on the validation set, or on the test set where there is no other."""
    for part in ("validation", "test"):
        found = [row for row in run.rows if row.get(f"{part}_{kind}") is not None]
        if found:
            values = [min(row[f"{part}_{kind}"], LARGEST) for row in found]
            return [row["step"] for row in found], np.array(values)
    return [], np.empty(0)
