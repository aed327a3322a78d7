"""A wrong tensor as three heat maps: the user's gradient, the right one, and how far they are apart."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator

from compare import html

Array = np.ndarray
VALUES = colormaps["RdBu_r"].with_extremes(bad="black")
ROWS, COLUMNS = (
    12,
    6,
)  # up to which the numbers stand in the map, and the worst one in a box instead of a ring
DARK = 0.6  # of the largest value: numbers on it are white
WIDTH = 11.0  # inches


def draw(name: str, mine: Array, theirs: Array, allowed: float, worst: tuple[int, ...] | None) -> Figure:
    """mine, theirs: of one shape; a plane with the worst entry where they have more than two axes."""
    error = html.error_of(mine, theirs, allowed)
    if worst is None or len(worst) != error.ndim:
        worst = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    planes = [_plane(np.asarray(a, np.float64), worst) for a in (mine, theirs, error)]
    height, width = planes[0].shape
    figure = Figure((WIDTH, float(np.clip(1.3 + WIDTH / 3.6 * height / max(width, 2), 2.1, 4.6))), dpi=110)
    figure.set_layout_engine("constrained")
    cut = f"[{', '.join(map(str, worst[:-2]))}, :, :]" if error.ndim > 2 else ""
    figure.suptitle(f"{name}{cut}".encode("ascii", "replace").decode(), parse_math=False)
    left, middle, right = figure.subplots(1, 3)
    finite = np.concatenate([p[np.isfinite(p)] for p in planes[:2]])
    limit = float(np.abs(finite).max(initial=0.0)) or 1.0
    shared = Normalize(-limit, limit)
    for axes, title, plane in ((left, "your gradient", planes[0]), (middle, "right gradient", planes[1])):
        image = _map(axes, title, plane, plane, VALUES, shared, worst)
        _numbers(axes, plane, limit)
    middle.tick_params(labelleft=False)
    figure.colorbar(image, ax=[left, middle], shrink=0.9)
    low, high = html.scale(error)
    shown, _ = html.pixels(planes[2], low)
    image = _map(right, "apart", planes[2], shown, html.COLOURS, LogNorm(low, high), worst)
    bar = figure.colorbar(image, ax=right, label="error / allowed", extend="min", shrink=0.9)
    if low < 1 < high:
        bar.ax.axhline(1, color="red", linewidth=2)
    return figure


def _plane(a: Array, worst: tuple[int, ...]) -> Array:
    """Two axes of a tensor, those of the worst entry; a vector is one row."""
    return a[worst[:-2]] if a.ndim > 2 else a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(1, 1)


def _map(
    axes: Axes, title: str, plane: Array, shown: Array, colours: Any, norm: Any, worst: tuple[int, ...]
) -> Any:
    height, width = plane.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    image = axes.imshow(shown, cmap=colours, norm=norm, extent=extent, aspect="auto", interpolation="nearest")
    row, column = (worst[-2] if len(worst) > 1 else 0, worst[-1] if worst else 0)
    for colour, thickness in (("black", 3.5), ("white", 1.5)):
        if _is_small(plane):
            box = Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, ec=colour, lw=thickness, fill=False)
            axes.add_patch(box)
        else:
            axes.plot(column, row, "o", ms=11, mfc="none", mec=colour, mew=thickness, clip_on=False)
    axes.set(title=title, xlim=extent[:2], ylim=extent[2:])
    for axis, length in ((axes.yaxis, height), (axes.xaxis, width)):
        axis.set_major_locator(MaxNLocator(5, integer=True) if length > 1 else FixedLocator([0]))
    return image


def _is_small(plane: Array) -> bool:
    return plane.shape[0] <= ROWS and plane.shape[1] <= COLUMNS


def _numbers(axes: Axes, plane: Array, limit: float) -> None:
    if not _is_small(plane):
        return
    for (i, j), value in np.ndenumerate(plane + 0.0):  # no -0
        dark = not np.isfinite(value) or abs(value) > DARK * limit
        axes.text(
            j, i, f"{value:.2g}", ha="center", va="center", fontsize=8, color="white" if dark else "black"
        )
