"""The calls at which a function is looked at: two of one shape, other sizes, a batch of one, square shapes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters.examine import calling
from compare.adapters.function_calls import copied
from compare.adapters.function_ops import describe
from compare.adapters.function_shapes import ANY, symbols_of
from compare.adapters.function_trials import Attempt, Trials
from compare.adapters.function_values import SHAPES_OF_ANY, Layout, Sizes
from compare.adapters.subject import Point, draw

Array = np.ndarray
LESS, OPTIONS = 0.6, 3  # of an option that is varied once; so many are
ROWS = ("N", "n", "B", "b", "m", "batch", "batch_size")
STRETCH = 3.0  # so that thresholds are met


@dataclass
class Plan:
    """points, and for each by its label the sizes of its symbols; symmetric: arguments taken as such."""

    layout: Layout
    points: list[Point] = field(default_factory=list)
    sizes: dict[str, Sizes] = field(default_factory=dict)
    symmetric: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    batch: str | None = None  # the symbol of the number of examples
    problem: str = ""  # why the gradients could not be had at the first point


def plan(trials: Trials, rng: np.random.Generator) -> Plan:
    """Find out how to call the function, and where. Raises UsageError where that cannot be found out."""
    base = trials.find(rng)
    layout = base.layout
    out = Plan(layout, outputs=len(base.outputs), problem=base.error if base.quality < 2 else "")
    out.symmetric = _symmetric(trials, base)
    symbols = layout.symbols()
    out.batch = batch = _batch(layout, base)
    wanted: list[tuple[str, Sizes, float]] = [("", base.sizes, 1.0), ("another point: ", base.sizes, 1.0)]
    if any(d == ANY for d in layout.dims.values()):
        wanted += [("", base.sizes | {"...": i}, 1.0) for i in range(1, len(SHAPES_OF_ANY))]
    elif symbols:
        wanted.append(("", _others(base.sizes), 1.0))
        if len(symbols) > 1:
            wanted.append(("square shapes: ", dict.fromkeys(symbols, 4), 1.0))
        wanted.append(("a batch of one: ", base.sizes | {str(batch): 1}, 1.0))
    else:
        wanted += [
            (f"{which} point: ", base.sizes, 1.0) for which in ("a third", "a fourth", "a fifth", "a sixth")
        ]
    wanted.append(("larger numbers: ", base.sizes, STRETCH))
    for prefix, sizes, stretch in wanted:
        first = not out.points
        one = trials.attempt(layout, sizes, rng, stretch)
        needed = (
            1 if layout.documented else 3
        )  # shapes that were found by trying are not held against the code
        if not first and (one.quality < needed or one.flat):
            continue
        _add(out, trials, one, prefix + _shapes(one), rng)
    alone = all(np.size(a) == 1 for a in base.given.values())  # few numbers: several draws meet more branches
    for options in _options(trials):
        for again in ("", "again ", "once more ") if alone else ("",):
            one = trials.attempt(layout, base.sizes, rng, STRETCH, options)
            if one.quality >= (1 if layout.documented else 3) and not one.flat:
                one.given = {n: a for n, a in one.given.items() if n in layout.dims}
                said = ", ".join(f"{n} = {v:g}" for n, v in options.items())
                _add(out, trials, one, f"{again}with {said}", rng, **options)
    trials.attempt(layout, base.sizes, np.random.default_rng(0))  # what it has learned is that of the base
    out.notes.insert(0, _note(trials, out))
    out.description = describe(trials.caller, out.points, trials.returned.names)
    return out


def _add(
    out: Plan, trials: Trials, one: Attempt, label: str, rng: np.random.Generator, **options: Any
) -> None:
    if label in out.sizes:
        return
    inputs = {n: np.asarray(a) for n, a in one.given.items() if n in trials.returned.names}
    data: dict[str, Any] = {n: a for n, a in one.given.items() if n not in inputs}
    data |= {p.name: p.default for p in trials.caller.parameters if _is_number(p.default)} | options
    many = any(y.ndim for y in one.outputs)
    if trials.caller.takes_dy or (many and trials.mode != "sum"):
        for i, y in enumerate(one.outputs, start=1):
            data["dy" if i == 1 else f"dy{i}"] = np.asarray(draw(rng, *y.shape))
    elif many:
        data["dy"] = np.ones(one.outputs[0].shape)
    if "examples" not in one.given:
        batch = out.batch
        shapes = [np.shape(a) for a in one.given.values() if np.ndim(a)]
        data["examples"] = one.sizes[batch] if batch in one.sizes else shapes[0][0] if shapes else 1
    out.points.append(Point(label, inputs, data))
    out.sizes[label] = {s: n for s, n in one.sizes.items() if s != "..."}


def _batch(layout: Layout, base: Attempt) -> str | None:
    """The symbol of the number of examples: rows that several arguments, or the value, have in common."""
    firsts = [
        (symbols_of(d[:1])[0], len(d)) for d in layout.dims.values() if d and d != ANY and symbols_of(d[:1])
    ]
    rows = [symbol for symbol, rank in firsts if rank > 1] or [symbol for symbol, _ in firsts]
    value = base.outputs[0].shape[:1]

    def weight(symbol: str) -> float:
        shared = sum(s == symbol for s, _ in firsts)
        return shared + 1.5 * (value == (base.sizes.get(symbol),)) + 0.5 * (symbol in ROWS)

    return max(dict.fromkeys(rows), key=weight, default=None)


def _others(known: Sizes) -> Sizes:
    """Other sizes, in the order of the known ones, and even where those are: what had to be larger still is."""
    return {s: n + 2 for s, n in known.items()}


def _symmetric(trials: Trials, base: Attempt) -> list[str]:
    """Matrices that are meant to be symmetric: said to be, or f looks at one half of them alone."""
    found = []
    for name, domain in base.layout.domains.items():
        if domain not in ("spd", "symmetric"):
            continue
        if trials.said[name].domain in ("spd", "symmetric"):
            found.append(name)
            continue
        moved = base.given[name].copy()
        halves = []
        for i, j in ((0, 1), (1, 0)):
            other = moved.copy()
            other[..., i, j] += 1e-3
            with calling(0):
                y = trials.caller.value(copied(base.given | {name: other}))[0]
            halves.append(bool(np.any(y != base.outputs[0])))
        if halves[0] != halves[1]:
            found.append(name)
    return found


def _options(trials: Trials) -> list[dict[str, Any]]:
    """Numbers with a default that f and its gradient take, each changed once."""
    found = []
    for p in trials.caller.parameters:
        if _is_number(p.default) and trials.caller.hands_on(p.name):
            found.append({p.name: p.default + 1 if isinstance(p.default, int) else p.default * LESS or LESS})
    return found[:OPTIONS]


def _is_number(default: Any) -> bool:
    return isinstance(default, int | float) and not isinstance(default, bool)


def _shapes(one: Attempt) -> str:
    arrays = [f"{n} {np.shape(a)}" for n, a in one.given.items() if np.ndim(a)]
    return (
        ", ".join(arrays[:4])
        or ", ".join(f"{n} = {float(a):.3g}" for n, a in one.given.items())
        or "no arguments"
    )


def _note(trials: Trials, out: Plan) -> str:
    """Which shapes were used, and how they were found."""
    base = out.points[0].inputs | {n: a for n, a in out.points[0].data.items() if n in trials.order}
    words = {
        "positive": "positive",
        "small": "positive",
        "unit": "between 0 and 1",
        "above one": "above 1",
        "spd": "symmetric and positive definite",
        "symmetric": "symmetric",
        "distribution": "rows that sum to 1",
        "labels": "integers",
        "pm1": "-1 or 1",
        "binary": "0 or 1",
        "onehot": "one-hot",
        "mask": "boolean",
    }
    parts = []
    for n, a in base.items():
        what = words.get(out.layout.domains.get(n, ""), "")
        parts.append(f"{n} {np.shape(a) if np.ndim(a) else 'a number'}{f', {what}' if what else ''}")
    how = "as its text says" if out.layout.documented else "found by trying"
    return f"{trials.caller.name} is called with {'; '.join(parts)} ({how}), and with {len(out.points) - 1} other sets."
