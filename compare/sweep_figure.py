"""One picture of a sweep: the error against the step, a panel for every setting that varies."""

import io
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from compare import grid
from compare.sweep import Run, Sweep
from compare.sweep_report import ranked_by
from scratch import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
DASHES = ("-", "--", ":")  # where there are more values than colours
GAP = 0.068  # between two labels, of a panel's height
Curve = list[tuple[float, float]]  # (step, error)


def write(sweep: Sweep) -> Path | None:
    """summary.png in the sweep's folder; None where no run has been evaluated."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measure = ranked_by(sweep.runs)
    curves = {run: _curve(run, measure) for run in sweep.runs}
    errors = [error for curve in curves.values() for _, error in curve]
    if not errors:
        return None
    floor = min((error for error in errors if error > 0), default=0.01) / 2  # 0 is drawn there
    steps = sorted({step for curve in curves.values() for step, _ in curve})
    bounds = max(min(errors), floor) / 1.08, max(max(errors), floor) * 1.08
    panels = [name for name in sweep.runs[0].point.varied if name != "seed"] or [""]  # one over all runs
    columns = len(panels) if len(panels) < 4 else 2 if len(panels) == 4 else 3
    rows = math.ceil(len(panels) / columns)
    figure = Figure((4.9 * columns + 0.5, 3.4 * rows + 0.6), dpi=110, layout="constrained")
    figure.suptitle(_title(sweep), fontsize=10, x=0.01, ha="left")
    grid_of_axes = figure.subplots(rows, columns, squeeze=False)
    for unused in grid_of_axes.flat[len(panels) :]:
        unused.set_axis_off()
    what = f"{measure.removesuffix('_error').replace('_', ' ')} error"
    what += f" (0 drawn at {floor:.2%})" if min(errors) == 0 else ""
    for axes, name in zip(grid_of_axes.flat, panels, strict=False):
        _scales(axes, steps, bounds)
        _panel(axes, name, curves, floor)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=11, fontweight="bold")
        axes.set(xlabel="step" if len(steps) > 1 else f"after step {steps[0]}", ylabel=what)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    path = sweep.folder / "summary.png"
    with files.writing(str(path)):
        files.write_atomically(path, buffer.getvalue())
    return path


def _curve(run: Run, measure: str) -> Curve:
    records = run.metrics.evaluations
    return [(r["step"], r[measure]) for r in records if r.get(measure) is not None]


def _title(sweep: Sweep) -> str:
    runs, done = len(sweep.runs), sum(run.finished for run in sweep.runs)
    unfinished = f", {runs - done} of them not finished (x)" if done < runs else ""
    title = f"{sweep.folder.name}: {runs} run{'s' * (runs > 1)} of {sweep.runs[0].point.options.model}"
    return f"{title}{unfinished}; thick: the mean of the finished ones"


def _panel(axes: "Axes", name: str, curves: Mapping[Run, Curve], floor: float) -> None:
    """Thin lines for runs, a thick one for the mean of the finished runs with a value, named at its end."""
    values = list(dict.fromkeys(run.point.varied.get(name) for run in curves))
    alone = len({step for curve in curves.values() for step, _ in curve}) == 1
    alpha = min(0.5, max(0.15, 20 / len(curves)))
    labels: list[tuple[float, str, Any]] = []
    for i, (value, (colour, dashes)) in enumerate(zip(values, _styles(values), strict=True)):
        place = (i + 1) / (len(values) + 1) - 1  # where there is one step only, the values stand side by side
        draw = partial(_draw, axes, floor, place * alone, color=colour, linestyle=dashes)
        mine = {run: curve for run, curve in curves.items() if run.point.varied.get(name) == value}
        for run, curve in mine.items():
            if curve:
                draw(curve, ".", alpha=alpha, lw=0.9)
            if curve and not run.finished:
                draw(curve[-1:], "x", ms=5, mew=1.4)
        mean = _mean([curve for run, curve in mine.items() if run.finished])
        if mean:
            width = 3.4 - 1.6 * i / max(len(values) - 1, 1)  # of means that are the same, each is seen
            _draw(axes, floor, place * alone, mean, "", color="white", lw=width + 2, zorder=3)
            draw(mean, "o", lw=width, ms=6, zorder=4)
        text = f"{grid.text(value)}  " if name else "mean  "
        end = mean or next((curve for curve in mine.values() if curve), [(0, axes.get_ylim()[1])])
        height = max(end[-1][1], floor)
        labels.append((height, text + (f"{mean[-1][1]:.2%}" if mean else "none finished"), colour))
    _label(axes, labels)


def _draw(axes: "Axes", floor: float, shift: float, curve: Curve, mark: str, **style: Any) -> None:
    steps, errors = zip(*((step + shift, max(error, floor)) for step, error in curve), strict=True)
    axes.plot(steps, errors, marker=mark if len(curve) < 3 else None, clip_on=False, **style)


def _mean(curves: Sequence[Curve]) -> Curve:
    """Over the steps at which all were evaluated."""
    found = [dict(curve) for curve in curves]
    steps = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    return [(step, fmean(curve[step] for curve in found)) for step in steps]


def _styles(values: Sequence[Any]) -> list[tuple[Any, str]]:
    """(colour, dashes) of each value; numbers, from three on, from dark to light in their order."""
    from matplotlib import colormaps

    if len(values) > 2 and all(isinstance(value, int | float) for value in values):
        order = sorted(values)
        return [(colormaps["viridis"](0.82 * order.index(v) / (len(order) - 1)), "-") for v in values]
    n = len(COLOURS)
    return [(COLOURS[i % n], DASHES[i // n % len(DASHES)]) for i in range(len(values))]


def _label(axes: "Axes", labels: Sequence[tuple[float, str, Any]]) -> None:
    """Texts beside the panel, each as near to its height as the others let it be."""
    low, high = map(math.log, axes.get_ylim())
    labels = sorted(labels, key=lambda label: label[0])
    gap = min(GAP, 1 / len(labels))
    places: list[float] = []
    for error, _, _ in labels:
        wanted = (math.log(error) - low) / (high - low)
        places.append(max(wanted, places[-1] + gap) if places else max(wanted, 0.0))
    ceiling = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    for (error, text, colour), place in zip(labels, places, strict=True):
        end = (math.log(error) - low) / (high - low)
        lead = axes.plot([1.0, 1.04], [end, place], color=colour, lw=0.8, transform=axes.transAxes)[0]
        lead.set_clip_on(False)
        axes.text(1.05, place, text, color=colour, fontsize=9, va="center", transform=axes.transAxes)


def _scales(axes: "Axes", steps: Sequence[float], bounds: tuple[float, float]) -> None:
    """The same for every panel: steps, and errors on a log scale with readable ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = bounds
    axes.set_yscale("log")
    axes.set_xlim(steps[0] - (len(steps) == 1), steps[-1])
    axes.set_ylim(low, high)
    ticks: list[tuple[float, Sequence[float]]] = [  # by how much there is to show
        (20, (1, 2, 5)),
        (4, (1, 2, 3, 5, 7)),
        (1.5, (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
        (1, [i / 10 for i in range(10, 100)]),
    ]
    every = next(subs for ratio, subs in ticks if high / low > ratio)
    axes.yaxis.set_major_locator(LogLocator(subs=every, numticks=99))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * error:.3g}%"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True) if len(steps) > 1 else NullLocator())
    axes.grid(color="#e5e5e5", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
