"""The report as one HTML file that needs nothing else: what differs first, heat maps, tables."""

import base64
import io
import math
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from compare import report
from compare.destination import destination
from compare.verdict import Quantity, Target, overall
from scratch import files

Array = np.ndarray
Index = tuple[int, ...]
Panel = tuple[str, Array, Index | None]  # label, matrix, entry to mark
MAPS = 6
PANELS = 8  # slices of a four-dimensional tensor, the worst first
PIXELS = 120  # a side; larger matrices are reduced by block maximum
DECADES = 8  # of error that the colours span
SMALLEST, LARGEST = 1e-100, 1e100  # what a log scale can be drawn for
COLOURS = colormaps["cividis"].with_extremes(under="white", bad="red")


def write(
    path: str | Path, targets: list[Target], not_checked: tuple[str, ...], details: dict[str, Any]
) -> None:
    """Write the report to `path`, all of it or nothing.

    details: command, data, seed, date (text or numbers) and versions (by name), each if it is known.
    Raises UsageError where no file can be written there, GradparityError on a full disk.
    """
    write_page(path, _page(targets, not_checked), details)


def write_page(path: str | Path, page: dict[str, Any], details: dict[str, Any]) -> None:
    """Write what the template makes of these values; compare.submission.page has them for users' files."""
    place = destination(path, "the report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = resources.files("compare").joinpath("report_template.html").read_text("utf-8")
    facts = [(key, details[key]) for key in ("data", "seed", "date") if key in details]
    facts += details.get("versions", {}).items()
    text = environment.from_string(template).render(command=details.get("command", ""), facts=facts, **page)
    with files.writing(f"the report {path}"):
        files.write_atomically(place, text.encode("utf-8", "backslashreplace"))


def _page(targets: list[Target], not_checked: tuple[str, ...]) -> dict[str, Any]:
    return {
        "own": False,
        "printed": "",
        "verdict": overall(targets),
        "verdict_line": report.verdict_line(targets),
        "remarks": [
            *([report.not_checked_line(not_checked)] if not_checked else []),
            *([line] if (line := report.unjudged_line(targets)) else []),
        ],
        "divergences": [
            {"headline": report.headline(t), "verdict": t.verdict, "lines": lines, "source": "", "rest": []}
            for t in targets
            if (lines := report.divergence(t))
        ],
        "targets": [_target(target) for target in targets],
        "figures": _figures(targets),
    }


def _target(target: Target) -> dict[str, Any]:
    lines = report.loss_line(target), report.drift_line(target), report.untested_line(target)
    return {
        "verdict": target.verdict,
        "headline": report.headline(target),
        "reason": target.reason,
        "lines": [line for line in lines if line],
        "rows": [row(quantity) for quantity in target.quantities],
    }


def row(quantity: Quantity) -> dict[str, str]:
    """One line of a table."""
    judgement = quantity.judgement
    mine, theirs = report.pair(judgement)
    return {
        "name": quantity.name,
        "kind": quantity.kind,
        "referee": quantity.referee,
        "error": report.size(judgement.error),
        "allowed": report.size(judgement.allowed),
        "ratio": report.ratio(judgement),
        "verdict": quantity.verdict,
        "local": quantity.local.verdict if quantity.local else "",
        "place": report.place(judgement),
        "mine": mine,
        "theirs": theirs,
        "note": quantity.note,
    }


def _figures(targets: list[Target]) -> list[dict[str, str]]:
    """Heat maps of the worst tensors whose entries are known: first divergences first, each tensor once."""
    found = [(t, q) for t in targets for q in t.quantities if q.verdict != "untested" and q.judgement.error]
    firsts = {id(t.first_divergence) for t in targets}
    wrong = [(t, q) for t, q in found if q.verdict == "disagree"]
    exact = [(t, q) for t, q in wrong if t.dtype == "float64" or id(q) in firsts]  # where inherited is known
    found = exact or wrong or found
    found.sort(key=lambda pair: (id(pair[1]) not in firsts, pair[1].inherited, -pair[1].judgement.ratio))
    figures: dict[tuple[str, ...], dict[str, str]] = {}
    for target, q in found:
        key = target.target, *report.same_tensor(q)
        tensors = None if key in figures or len(figures) == MAPS else target.tensors(q)
        if tensors is None or np.shape(tensors[0]) != np.shape(tensors[1]) or not np.size(tensors[0]):
            continue
        caption = f"{report.named(q)}, against {q.referee} ({target.target} {target.dtype})"
        figures[key] = {"caption": caption, "uri": picture(_draw(q, target.dtype, *tensors))}
    return list(figures.values())


def _draw(quantity: Quantity, dtype: str, mine: Array, theirs: Array) -> Figure:
    """|mine - theirs| / allowed of one tensor, in colours."""
    allowed = quantity.judgement.allowed
    error, worst = error_of(mine, theirs, allowed), quantity.judgement.worst_index
    if worst is None or len(worst) != error.ndim:
        worst = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    panels, (vertical, horizontal), remark = _panels(quantity.name, error, worst)
    columns = min(len(panels), 4)
    rows = math.ceil(len(panels) / columns)
    size = (8.0, 4.2) if columns == 1 else (9.0, 2.1 * rows + 1.1)
    figure = Figure(size, dpi=110, layout="constrained")
    title = f"{quantity.name}  {quantity.kind}  {quantity.referee}  ({dtype}{remark})"
    figure.suptitle(title.encode("ascii", "replace").decode(), parse_math=False)  # the font knows no more
    low, high = scale(error)
    norm, grid = LogNorm(low, high), figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (label, matrix, mark) in zip(grid.flat, panels, strict=False):
        shown, extent = pixels(matrix, low)
        aspect: Literal["equal", "auto"] = "equal" if error.ndim == 4 else "auto"
        axes.imshow(shown, cmap=COLOURS, norm=norm, extent=extent, aspect=aspect, interpolation="nearest")
        if mark is not None:
            for colour, thickness in (("black", 3.5), ("white", 1.5)):
                axes.plot(mark[1], mark[0], "o", ms=11, mfc="none", mec=colour, mew=thickness, clip_on=False)
        axes.set(title=label, ylabel=vertical, xlabel=horizontal)
        axes.set(xlim=(-0.5, matrix.shape[1] - 0.5), ylim=(matrix.shape[0] - 0.5, -0.5))
        for axis, length in zip((axes.yaxis, axes.xaxis), matrix.shape, strict=True):
            axis.set_major_locator(MaxNLocator(5, integer=True) if length > 1 else FixedLocator([0]))
    unit = f" / allowed{' (rms)' if dtype == 'float32' else ''}" if allowed else ""
    bar = figure.colorbar(
        ScalarMappable(norm, COLOURS), ax=grid, label=f"|mine - theirs|{unit}", extend="min"
    )
    if allowed and low < 1 < high:
        bar.ax.axhline(1, color="red", linewidth=2)
    return figure


def error_of(mine: Array, theirs: Array, allowed: float) -> Array:
    """What the colours stand for; infinite where either side is NaN or infinite."""
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    with np.errstate(all="ignore"):
        error = np.minimum(np.abs(mine - theirs) / (allowed or 1.0), LARGEST)
    return np.where(np.isfinite(mine) & np.isfinite(theirs), error, np.inf)


def _panels(name: str, error: Array, worst: Index) -> tuple[list[Panel], tuple[str, str], str]:
    """(label, matrix, index of the entry to mark) of each picture, (vertical, horizontal) axis, and a remark.

    Kernels (K, K, C, F) and images (N, H, W, C) are cut into planes; those with the largest errors are shown.
    """
    kernel = name.split("/")[1:2] == ["W"]
    if error.ndim != 4:
        matrix = error.reshape(-1, error.shape[-1]) if error.ndim else error.reshape(1, 1)
        flat = int(np.ravel_multi_index(worst, error.shape)) if error.ndim else 0
        names = ("input unit", "output unit") if kernel else ("example" if error.ndim > 1 else "", "unit")
        return [("", matrix, divmod(flat, matrix.shape[1]))], names, ""
    words, order = (("channel", "filter"), (2, 3, 0, 1)) if kernel else (("example", "channel"), (0, 3, 1, 2))
    planes: Array = error.transpose(order)
    peaks: Array = planes.max(axis=(2, 3))
    ranked = np.argsort(-peaks, axis=None, kind="stable")[:PANELS]
    where = tuple(worst[axis] for axis in order)
    chosen = list(dict.fromkeys([where[:2], *(divmod(int(i), peaks.shape[1]) for i in ranked)]))[:PANELS]
    panels: list[Panel] = [
        (f"{words[0]} {i}, {words[1]} {j}", planes[i, j], where[2:] if (i, j) == where[:2] else None)
        for i, j in chosen
    ]
    remark = f", the worst {len(panels)} of {peaks.size} planes" if peaks.size > len(panels) else ""
    return panels, ("row", "column"), remark


def scale(error: Array) -> tuple[float, float]:
    """The ends of a log scale over what is there; below a tenth of what is allowed it may be cut."""
    there = error[(error > 0) & np.isfinite(error)]
    high = max(float(there.max()), SMALLEST) if there.size else 1.0
    low = max(float(there.min()), min(high / 10**DECADES, 0.1)) if there.size else high
    return (low if low < high else high / 10), high


def pixels(matrix: Array, low: float) -> tuple[Array, tuple[float, float, float, float]]:
    """The picture of a matrix, and its edges counted in entries, also where several share a pixel."""
    reduced, (height, width) = _reduced(matrix)
    # What is exact lies below the scale, and what is infinite beside it.
    shown = np.where(reduced > 0, np.maximum(reduced, low), low / 10)
    return shown, (-0.5, reduced.shape[1] * width - 0.5, reduced.shape[0] * height - 0.5, -0.5)


def _reduced(matrix: Array) -> tuple[Array, tuple[int, int]]:
    """At most PIXELS a side, each the maximum of a block: no single wrong entry disappears. And the block."""
    height, width = (math.ceil(n / PIXELS) for n in matrix.shape)
    rows, columns = math.ceil(matrix.shape[0] / height), math.ceil(matrix.shape[1] / width)
    padded = np.zeros((rows * height, columns * width))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded.reshape(rows, height, columns, width).max(axis=(1, 3)), (height, width)


def picture(figure: Figure) -> str:
    """As a page can hold it."""
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
