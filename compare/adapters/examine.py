"""Calls a subject at its points and records what it does: claims, derivatives, noise, what lingers.

The order of the calls is the point: new objects tell what the code computes, one object over several
batches tells what it forgets to forget.
"""

import contextlib
import itertools
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from compare.adapters import transcript
from compare.adapters.derivatives import derivative, moved
from compare.adapters.subject import Point, Subject, source_of
from compare.submission.evidence import Derivative, Evidence, Trial
from scratch.errors import GradparityError, UsageError

Array = np.ndarray
UNIT = 2.0**-53
BLUR = 5.0  # times how far a derivative moves with its inputs' last digits
HUGE = (30.0, 1000.0, -1000.0)
BOUNDED = ("sigmoid", "tanh")  # operations that have a value for any input
BUDGET, SECONDS = 40_000, 8.0  # for the derivatives of one subject: evaluations of its forward, time
Stage = Callable[[str], None]


class CheckedCodeError(GradparityError):
    """The user's own code raised; `__cause__` is what it raised."""


def examine(subject: Subject, stage: Stage = lambda _: None) -> Evidence:
    """The evidence on one subject. Raises CheckedCodeError where the user's code fails at its first call."""
    if (record := getattr(subject, "record", None)) is not None:  # an update rule has no derivatives
        scripts = transcript.listen(subject) if subject.scripted else {}
        evidence = record(stage)
        evidence.facts["scripts"] = scripts
        return evidence
    rng = np.random.default_rng(0)
    points = subject.points(rng)
    found = Evidence(subject.style, subject.kind, subject.name)
    stage(f"{subject.name}: forward and backward")
    first: CheckedCodeError | None = None
    for point in points:
        try:
            found.trials.append(_trial(subject, subject.start(point.build), point))
        except CheckedCodeError as error:
            first = first or error
            found.facts.setdefault("failed", {})[point.label] = _one_line(error.__cause__ or error)
    if not found.trials and first is not None:
        raise first
    found.order, found.description = list(subject.order), dict(subject.description)
    found.notes += subject.notes
    found.facts["scale_is_convention"] = subject.scale_is_convention
    found.sources = {n: s for n in subject.order if (s := source_of(subject.source(n)))}
    good = [p for p in points if p.label in {t.label for t in found.trials}]
    _sequence(subject, good, found)
    stage(f"{subject.name}: derivatives of its own forward pass")
    single = any(
        a is not None and a.dtype == np.float32 for t in found.trials for a in t.claims.values()
    ) or any(_coarse_inside(subject, point) for point in good)
    found.facts["float32"] = single
    wide = single and _widens(subject, good[0])
    wide = wide and not any(_coarse_inside(subject, point, wide=True) for point in good)
    evaluations = _affordable(subject, good[0])
    for point, trial in zip(good, found.trials, strict=True):
        evaluations = _differentiate(subject, point, trial, (single, wide), evaluations, found)
        _noise(subject, point, trial, single)
    if (huge := _overflow(subject, good[0])) is not None:
        found.facts["overflow"] = huge
    try:
        found.facts |= subject.extra(rng)
    except Exception as error:
        found.notes.append(f"a further look failed: {_one_line(error)}")
    if subject.scripted:
        transcript.write(subject, good, found, calling)
    return found


@contextlib.contextmanager
def calling(seed: int, wide: bool = False, namespaces: Sequence[dict[str, Any]] = ()) -> Iterator[None]:
    """Around every call of the user's code: the same hidden randomness, no noise on the terminal.

    wide: np.float32 is float64 meanwhile, in these namespaces under any name, so that code that computes in
    float32 can be differentiated.
    """
    narrow = np.float32
    aliases = [(space, n) for space in namespaces for n, o in space.items() if o is narrow] if wide else []
    if wide:
        np.float32 = np.float64  # type: ignore[assignment]
    for space, name in aliases:
        space[name] = np.float64
    state, other = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    make = np.random.default_rng
    drawn = itertools.count(
        1
    )  # not 0, which seeds like no number at all; generators without a seed get one each: two of them must not agree
    np.random.default_rng = lambda given=None, *rest: make(
        [seed, next(drawn)] if given is None else given, *rest
    )
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except (KeyboardInterrupt, MemoryError, SystemExit, RecursionError):
        raise
    except GradparityError:
        raise
    except Exception as error:
        raise CheckedCodeError(_one_line(error)) from error
    finally:
        np.float32 = narrow
        for space, name in aliases:
            space[name] = narrow
        np.random.default_rng = make
        np.random.set_state(state)
        random.setstate(other)


def _trial(subject: Subject, state: Any, point: Point) -> Trial:
    """One call of the backward pass; what it changes of its arguments is noted."""
    own = point.copy()
    with calling(point.seed):
        loss, claims = subject.claims(state, own)
    changed = [
        name
        for mine, theirs in ((own.inputs, point.inputs), (own.data, point.data))
        for name in theirs
        if isinstance(theirs[name], np.ndarray) and not _same(mine[name], theirs[name])
    ]
    claims = {name: None if a is None else np.array(_array(a)) for name, a in claims.items()}
    with calling(point.seed):
        output = subject.output(subject.start(point.build), point.copy())
        if loss is None:
            loss = subject.value(subject.start(point.build), point.copy())
    return Trial(
        point.label,
        point.inputs,
        point.data,
        None if loss is None else _scalar(loss),
        None if output is None else np.array(_array(output)),
        claims,
        changed=changed,
    )


def _sequence(subject: Subject, points: list[Point], found: Evidence) -> None:
    """One object: the first batch twice, another of its shape, smaller ones, the first again."""
    alike = [p for p in points if p.build == points[0].build]
    try:
        state = subject.start(points[0].build)
        for label, point in [
            ("the first batch", alike[0]),
            ("the same call again", alike[0]),
            *((f"after it, {p.label}", p) for p in alike[1:]),
            ("the first batch once more", alike[0]),
        ]:
            trial = _trial(subject, state, point)
            trial.label = label
            found.sequence.append(trial)
    except CheckedCodeError as error:
        found.facts["failed_in_sequence"] = _one_line(error.__cause__ or error)


def _differentiate(
    subject: Subject, point: Point, trial: Trial, precision: tuple[bool, bool], left: int, found: Evidence
) -> int:
    """Derivatives of the user's own value with respect to every input that is claimed."""
    single, wide = precision
    state = subject.start(point.build)
    stateful = not single and _moves(subject, state, point)

    def function(point: Point, name: str) -> Callable[[Array], Any]:
        def f(value: Array) -> Any:
            nonlocal left
            left -= 1
            own = point.copy()
            own.inputs[name] = np.array(value)
            with calling(point.seed, wide, subject.namespaces):
                result = subject.value(subject.start(point.build) if stateful else state, own)
            return np.asarray(result)[()] if np.ndim(result) == 0 else np.asarray(result).item()

        return f

    for name in subject.order:
        if name not in point.inputs:
            continue
        x = np.asarray(point.inputs[name], np.float64)
        try:
            own = derivative(function(point, name), x, single and not wide, left)
            trial.derivatives[name] = own
            if own.method == "complex" and _in_doubt(trial.claims.get(name), own):
                _blur(own, [(function(p, name), p.inputs[name]) for p in _near(point)])
        except (CheckedCodeError, UsageError) as error:
            found.facts.setdefault("not_differentiated", {})[name] = _one_line(error)
    return left


def _affordable(subject: Subject, point: Point) -> int:
    """How many evaluations of the forward the derivatives may take."""
    state, begun = subject.start(point.build), time.perf_counter()
    with contextlib.suppress(CheckedCodeError), calling(point.seed):
        subject.value(state, point.copy())
    return int(min(BUDGET, SECONDS / max(time.perf_counter() - begun, 1e-9)))


def _in_doubt(claim: Array | None, own: Derivative) -> bool:
    """Whether a claim differs: if by rounding, it may be that of the user's own forward."""
    if claim is None or claim.shape != own.value.shape or not np.isfinite(claim).all():
        return False
    within = 1e-12 * float(np.sqrt(np.mean(np.square(own.value)))) if own.value.size else 0.0
    return bool((np.abs(claim - own.value) > within + own.error)[~own.kinks].any())


def _blur(own: Derivative, near: list[tuple[Callable, Array]]) -> None:
    """The error of a derivative whose function loses digits, as log(1 - p) does: how far they move it."""
    for f, x in near:
        np.maximum(own.error, BLUR * np.abs(moved(f, x, own) - own.value), out=own.error, where=~own.kinks)


def _near(point: Point, unit: float = UNIT) -> list[Point]:
    """The point twice, every input moved by about one unit of the last place."""
    rng, out = np.random.default_rng(1), []
    for _ in range(2):
        own = point.copy()
        for group in (own.inputs, own.data):
            for name, a in group.items():
                if isinstance(a, np.ndarray) and a.dtype.kind == "f":
                    group[name] = a * (1 + unit * rng.standard_normal(a.shape))
        out.append(own)
    return out


def _noise(subject: Subject, point: Point, trial: Trial, single: bool) -> None:
    """How far the claims move when every input moves by about one unit of the last place."""
    trial.noise = {n: np.zeros(a.shape) for n, a in trial.claims.items() if a is not None}
    for own in _near(point, 2.0**-24 if single else UNIT):
        try:
            with calling(point.seed):
                _, claims = subject.claims(subject.start(point.build), own)
        except CheckedCodeError:
            return
        for name, noise in trial.noise.items():
            moved = claims.get(name)
            known = trial.claims[name]
            if moved is not None and known is not None and np.shape(moved) == known.shape:
                np.maximum(noise, np.abs(_array(moved) - known), out=noise)


def _moves(subject: Subject, state: Any, point: Point) -> bool:
    """Whether a second call of the forward gives another value: then every call needs a new object."""
    values = []
    for _ in range(2):
        with calling(point.seed):
            values.append(_scalar(subject.value(state, point.copy())))
    return values[0] != values[1]


def _coarse_inside(subject: Subject, point: Point, wide: bool = False) -> bool:
    """Whether the value does not follow small changes as it does larger ones: it is rounded to float32.

    A part of it may follow, such as a penalty on weights that only the forward pass rounds.
    """
    rng = np.random.default_rng(2)
    directions = [point.inputs]
    directions.append({n: np.abs(a) * rng.standard_normal(a.shape) for n, a in point.inputs.items()})
    return all(_steps(subject, point, direction, wide) for direction in directions)


def _widens(subject: Subject, point: Point) -> bool:
    """Whether it computes with more digits where np.float32 is float64."""
    values = []
    for wide in (False, True):
        state = subject.start(point.build)
        with contextlib.suppress(CheckedCodeError), calling(point.seed, wide, subject.namespaces):
            values.append(_scalar(subject.value(state, point.copy())))
    return len(values) == 2 and values[0] != values[1]


def _steps(subject: Subject, point: Point, direction: dict[str, Array], wide: bool) -> bool:
    state, slopes = subject.start(point.build), []
    for h in (1e-10, 1e-7, 1e-4):
        values = []
        for step in (h, -h):
            own = point.copy()
            for n, a in own.inputs.items():
                own.inputs[n] = a + step * direction[n] if a.dtype.kind == "f" else a
            try:
                with calling(point.seed, wide, subject.namespaces):
                    values.append(_scalar(subject.value(state, own)))
            except CheckedCodeError:
                return False
        slopes.append((values[0] - values[1]) / (2 * h))
    small, middle, large = slopes
    within = 1e-3 * (abs(large) + 1) + 1e-4 * abs(values[0])
    return abs(small - large) > within < abs(small - middle)  # a kink may lie between the last two


def _overflow(subject: Subject, point: Point) -> dict[str, Any] | None:
    """For huge inputs, where the value is finite: a gradient that is not."""
    for size in HUGE:
        own = point.copy()
        group = own.data if "x" in own.data else own.inputs
        for name, a in group.items():
            if isinstance(a, np.ndarray) and a.dtype.kind == "f" and name != "dy":
                group[name] = a * size
        try:
            with calling(point.seed):
                loss, claims = subject.claims(subject.start(point.build), own)
                value = _scalar(subject.value(subject.start(point.build), own) if loss is None else loss)
        except CheckedCodeError:
            continue
        if np.isnan(value) and subject.description.get("op") in BOUNDED:
            return {"tensor": subject.order[-1], "size": abs(size), "found": "nan", "forward": True}
        if not np.isfinite(value):
            continue
        for name in subject.order:
            claim = claims.get(name)
            if claim is not None and not np.isfinite(found := _array(claim)).all():
                bad = found[~np.isfinite(found)].flat[0]
                return {"tensor": name, "size": abs(size), "found": str(float(bad))}
    return None


def _same(a: Any, b: Array) -> bool:
    return (
        isinstance(a, np.ndarray)
        and a.shape == b.shape
        and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    )


def _array(value: Any) -> Array:
    a = np.asarray(value)
    if a.dtype.kind == "c" and np.abs(a.imag).max(initial=0.0) <= 1e-9 * np.abs(a).max(initial=0.0):
        a = a.real
    if a.dtype.kind in "biu":
        a = a.astype(np.float64)
    if a.dtype.kind != "f":
        came = "complex numbers" if a.dtype.kind == "c" else type(value).__name__
        raise CheckedCodeError(f"a gradient must be an array of real numbers, but {came} came.")
    return a


def _scalar(value: Any) -> float:
    a = np.asarray(value)
    if a.size != 1 or a.dtype.kind not in "biufc":
        raise CheckedCodeError(
            f"the loss must be one number, but {type(value).__name__} of shape {a.shape} came."
        )
    return float(np.real(a.reshape(())))


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if not isinstance(error, GradparityError) else text
