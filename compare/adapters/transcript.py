"""What gradparity calls in the user's code, written down as lines of Python that call the same without it.

While a subject is called, every call that enters the user's file is noted, with what was set in the user's
objects before it. compare.submission.repro makes a script of it; where something has no words, there is none.
"""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import numpy as np

from compare.adapters.subject import Point, Subject
from compare.adapters.transcript_state import Spoken, Unspeakable, leaves
from compare.submission.evidence import Evidence

Array = np.ndarray
GIVEN = "given"
GENERATOR = 0x20 | 0x80 | 0x200  # flags of code that does not return at once
SILENT = ("__repr__", "__str__", "__eq__", "__hash__", "__len__", "__iter__", "__deepcopy__", "__getattr__")
COSTS = {  # of outputs a and one-hot targets y, as compare.adapters.costs has them
    "-np.sum({y} * np.log({a}) + (1 - {y}) * np.log(1 - {a}))": lambda a, y: (
        -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))
    ),
    "0.5 * np.sum(({a} - {y}) ** 2)": lambda a, y: 0.5 * np.sum((a - y) ** 2),
    "np.sum(({a} - {y}) ** 2)": lambda a, y: np.sum((a - y) ** 2),
    "-np.sum({y} * np.log({a}))": lambda a, y: -np.sum(y * np.log(a)),
}


@dataclass
class Line:
    """One statement. defines: the variable that it makes; touches: those whose objects it may change.

    problem: why it has no words, which matters only where it is needed.
    """

    text: str
    defines: str = ""
    uses: set[str] = field(default_factory=set)
    touches: set[str] = field(default_factory=set)
    problem: str = ""


def write(subject: Subject, points: list[Point], found: Evidence, calling: Callable) -> None:
    """Put {label: {seed, given, value, gradients}} into the facts; nothing for points that have no words.

    given: arrays by name; value, gradients[tensor]: lines of functions of `given` and of `load`.
    """
    scripts = {}
    for point in points:
        try:
            scripts[point.label] = _of_point(subject, point, calling)
        except Exception as error:  # the check stands without it
            found.facts["no_script"] = str(error) if isinstance(error, Unspeakable) else ""
    found.facts["scripts"] = scripts


def _of_point(subject: Subject, point: Point, calling: Callable) -> dict[str, Any]:
    own, space = point.copy(), subject.namespaces[0]
    folder = os.path.dirname(os.path.realpath(space["__file__"]))
    spoken = Spoken(space, own.inputs)
    backward = Recorder(folder, spoken)
    with calling(point.seed), backward:
        _, claims = subject.claims(subject.start(point.build), own)
    own = point.copy()
    again = spoken.afresh(own.inputs)
    forward = Recorder(folder, again)
    with calling(point.seed), forward:
        value = subject.value(subject.start(point.build), own)
    gradients = {}
    for name, claim in claims.items():
        if claim is not None and name in point.inputs:
            place = backward.place_of(np.asarray(claim), bool(point.data.get("reg")))
            gradients[name] = backward.body(place)
    return {
        "seed": point.seed,
        "value": forward.body(forward.value_of(float(np.real(value)), point)),
        "gradients": gradients,
        "given": dict(spoken.given),
    }


def listen(subject: Subject) -> dict[str, Any]:
    """For an update rule, whose steps have no gradient: scripts of every walk that it takes from here on."""
    scripts: dict[str, Any] = {}
    walk, space = subject._walk, subject.namespaces[0]  # type: ignore[attr-defined]

    def walked(label: str, w: Any, *rest: Any, **more: Any) -> Any:
        spoken = Spoken(space, {"w": w})
        with Recorder(os.path.dirname(os.path.realpath(space["__file__"])), spoken) as recorder:
            trial = walk(label, w, *rest, **more)
        with suppress(Exception):
            (path,) = trial.claims.values()
            lines = recorder.body(recorder.place_of(path[-1]))
            scripts.setdefault(label, {"seed": 0, "value": lines, "given": dict(spoken.given)})
        return trial

    subject._walk = walked  # type: ignore[attr-defined]
    return scripts


def _renamed(lines: list[str]) -> list[str]:
    """Variables numbered as they come, without gaps."""
    names: dict[str, str] = {}
    for line in lines:
        variable, equals, _ = line.partition(" = ")
        if equals and variable.isidentifier():
            base = re.sub(r"_\d+$", "", variable)
            count = sum(re.sub(r"_\d+$", "", n) == base for n in names)
            names.setdefault(variable, f"{base}_{count + 1}" if count else base)
    pattern = re.compile("|".join(rf"\b{name}\b" for name in names) or "(?!)")
    return [pattern.sub(lambda found: names[found[0]], line) for line in lines]


class Recorder:
    """Notes calls into the user's folder for as long as the context lasts."""

    def __init__(self, folder: str, spoken: Spoken) -> None:
        self.folder, self.spoken = folder + os.sep, spoken
        self.lines: list[Line] = []
        self._frame: FrameType | None = None
        self._users: dict[CodeType, bool] = {}
        self._pending: Line | None = None
        self._rates: set[float] = set()  # numbers that were given

    def __enter__(self) -> "Recorder":
        self._before = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)
        self._sync()

    def _event(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and self._frame is None and self._is_users(frame.f_code):
            self._frame = frame
            self._pending = None
            if frame.f_code.co_name not in SILENT:
                self._sync()
                self._begin(frame)
        elif event == "return" and frame is self._frame:
            self._frame = None
            self._end(arg)

    def _is_users(self, code: CodeType) -> bool:
        if code not in self._users:
            file = code.co_filename  # "<string>" of a dataclass, say
            self._users[code] = os.path.isabs(file) and os.path.realpath(file).startswith(self.folder)
        return self._users[code]

    def _begin(self, frame: FrameType) -> None:
        """Before the call runs, while its arguments are as they were given."""
        code, values = frame.f_code, dict(frame.f_locals)
        names = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        first = values.get(names[0]) if names else None
        if code.co_name == "__init__":
            variable = self.spoken.new_object(first)
            self._pending = Line("", variable)
            try:
                kind = self.spoken.name_of(type(first))
                init = next(vars(k)["__init__"] for k in type(first).__mro__ if "__init__" in vars(k))
                text, uses = self._call(kind, code, init, names[1:], values)
            except Unspeakable as problem:
                self._pending.problem = str(problem)
                return
            self._pending.text, self._pending.uses = f"{variable} = {text}", uses
            return
        try:
            function, owner = self.spoken.function_of(code, first)
        except Unspeakable as problem:
            self._pending = Line("", self.spoken.new_result(), problem=str(problem))
            return
        if function is None:  # a property's getter
            return
        if owner is not None and not isinstance(owner, type) and self.spoken.is_new(owner):
            self._make(owner)
        uses: set[str] = set()  # type: ignore[no-redef]
        try:
            callee, uses = self.spoken.callee(function, owner)
            text, more = self._call(callee, code, function, names[owner is first :], values)
            if code.co_flags & GENERATOR:
                raise Unspeakable(f"{code.co_name} is a generator")
        except Unspeakable as problem:
            self._pending = Line("", self.spoken.new_result(), uses, uses, str(problem))
            return
        variable, uses = self.spoken.new_result(), uses | more
        changed = uses | {GIVEN} if f"{GIVEN}[" in text else uses
        self._pending = Line(f"{variable} = {text}", variable, uses, changed)

    def _make(self, thing: Any) -> None:
        """An object that was made while nobody looked."""
        variable = self.spoken.new_object(thing)
        try:
            self.lines.append(Line(f"{variable} = {self.spoken.made_anew(thing)}", variable))
        except Unspeakable as problem:
            self.lines.append(Line("", variable, problem=str(problem)))
        self.spoken.remember()

    def _call(
        self, callee: str, code: CodeType, function: Any, names: list[str], values: dict[str, Any]
    ) -> tuple[str, set[str]]:
        """(the call in words, the variables in it); defaults are left out."""
        function = getattr(function, "__func__", function)
        positional = code.co_varnames[: code.co_argcount]
        defaults = dict(
            zip(reversed(positional), reversed(getattr(function, "__defaults__", None) or ()), strict=False)
        )
        defaults |= getattr(function, "__kwdefaults__", None) or {}
        at = code.co_argcount + code.co_kwonlyargcount
        rest: tuple[Any, ...] = ()
        if code.co_flags & 0x04:
            rest, at = values.get(code.co_varnames[at], ()), at + 1
        more = values.get(code.co_varnames[at], {}) if code.co_flags & 0x08 else {}
        words, uses = [], set[str]()
        for name in names:
            value = values[name]
            if name in defaults and (value is defaults[name]) and not rest:
                continue
            text, own = self.spoken.text_of(value, name)
            if isinstance(value, float) and value > 0:
                self._rates.add(value)
            by_place = bool(rest) or name in code.co_varnames[: code.co_posonlyargcount]
            words.append(text if by_place else f"{name}={text}")
            uses |= own
        for value in rest:
            text, own = self.spoken.text_of(value, "array")
            words.append(text)
            uses |= own
        for name, value in more.items():
            text, own = self.spoken.text_of(value, name)
            words.append(f"{name}={text}")
            uses |= own
        return f"{callee}({', '.join(words)})", uses

    def _end(self, result: Any) -> None:
        if self._pending is not None:
            line = self._pending
            if line.touches or not self.spoken.is_object(line.defines):
                self.spoken.keep_result(line.defines, result)
            self.lines.append(line)
        self.spoken.remember()

    def _sync(self) -> None:
        """What gradparity has set in the user's objects since they were last seen."""
        for text, root, problem in self.spoken.changes():
            self.lines.append(Line(text, "", set(), {root}, problem))

    # what comes of it

    def body(self, found: tuple[str, set[str]]) -> list[str]:
        """The lines that the expression needs, and the return of it. Raises Unspeakable."""
        text, needed = found[0], set(found[1])
        kept = []
        for line in reversed(self.lines):
            if line.defines in needed or line.touches & needed:
                if line.problem:
                    raise Unspeakable(line.problem)
                kept.append(line.text)
                needed |= line.uses | line.touches - {GIVEN}
        return _renamed([*reversed(kept), f"return {text}"])

    def place_of(self, claim: Array, penalised: bool = False) -> tuple[str, set[str]]:
        """Where the gradient stands: in what a call returned, or in an object. Raises Unspeakable.

        penalised: there is a penalty, whose part of it may be added only where the weights are updated.
        """
        places = [
            (text, a, root)
            for root, thing in self.spoken.roots(last_first=True)
            for text, a in leaves(thing, root)
            if isinstance(a, np.ndarray | np.generic | float)
        ]
        for name, w in self.spoken.inputs.items() if penalised else ():  # by one step of a training method
            for text, a, root in places if w.shape == claim.shape else ():
                for rate in self._rates if np.shape(a) == claim.shape else ():
                    if np.allclose((w - a) / rate, claim, rtol=1e-9, atol=1e-12):
                        return f"(given[{name!r}] - {text}) / {rate!r}", {root}
        places += [(text, a, GIVEN) for a, text in self.spoken.spoken_arrays()]  # changed in place
        for text, a, root in places:
            if a is claim or (
                isinstance(a, np.ndarray) and np.shares_memory(a, claim) and a.shape == claim.shape
            ):
                return text, {root}
        for text, a, root in places:
            if np.shape(a) == claim.shape and np.array_equal(a, claim, equal_nan=True):
                return text, {root}
        for text, a, root in places:
            if np.size(a) == claim.size and claim.size:
                if np.array_equal(np.ravel(a), claim.ravel(), equal_nan=True):
                    return f"np.reshape({text}, {claim.shape})", {root}
                if np.ndim(a) == 2 and np.array_equal(np.transpose(a), claim, equal_nan=True):
                    return f"{text}.T", {root}
        for text, a, root in places:
            if np.shape(a) == claim.shape and claim.size > 1 and (factor := _factor(np.asarray(a), claim)):
                return f"{factor!r} * {text}", {root}
        raise Unspeakable("the gradient is put together from what several calls return")

    def value_of(self, value: float, point: Point) -> tuple[str, set[str]]:
        """The expression whose gradient is claimed. Raises Unspeakable."""
        places = [
            (text, np.asarray(a), root)
            for root, thing in self.spoken.roots(last_first=True)
            if not self.spoken.is_object(root)
            for text, a in leaves(thing, root)
            if isinstance(a, np.ndarray | np.generic | float | int) and np.asarray(a).dtype.kind in "fiu"
        ]

        def same(number: Any) -> bool:
            return bool(np.isfinite(number)) and abs(float(number) - value) <= 1e-13 * max(abs(value), 1e-12)

        for text, a, root in places:
            if a.size == 1 and same(a.reshape(())):
                return (text if a.ndim == 0 else f"np.sum({text})"), {root}
        dy = point.data.get("dy")
        for text, a, root in places:
            if dy is not None and np.shape(dy) == a.shape and same(np.sum(a * dy)):
                name = self.spoken.literal(np.asarray(dy, np.float64), "dout")
                return f"np.sum({text} * {name})", {root}
        for text, a, root in places:
            for function, number in (("np.sum", a.sum()), ("np.mean", a.mean() if a.size else np.nan)):
                if same(number):
                    return f"{function}({text})", {root}
        return self._cost(places, point, same)

    def _cost(
        self, places: list[tuple[str, Array, str]], point: Point, same: Callable[[Any], bool]
    ) -> tuple[str, set[str]]:
        """A usual cost of the outputs, where the file has none of its own."""
        t, classes = point.data.get("t"), point.data.get("classes")
        if t is None or classes is None:
            raise Unspeakable("its value is put together from what several calls return")
        for text, a, root in places:
            if a.size != len(t) * classes:
                continue
            rows = np.eye(classes)[np.asarray(t, int)]
            y = (rows.T if a.shape == rows.T.shape and a.shape != rows.shape else rows).reshape(a.shape)
            with np.errstate(all="ignore"):
                for words, cost in COSTS.items():
                    for factor, divisor in (("", 1), (f" / {a.size}", a.size), (f" / {len(t)}", len(t))):
                        if same(cost(a, y) / divisor):
                            name = self.spoken.literal(y, "one_hot")
                            return words.format(a=text, y=name) + factor, {root}
        raise Unspeakable("its value is put together from what several calls return")


def _factor(a: Array, claim: Array) -> float:
    """The one number that takes a to the claim; 0 where there is none."""
    if not (np.isfinite(a).all() and np.isfinite(claim).all() and a.any()):
        return 0.0
    factor = float(np.vdot(a, claim) / np.vdot(a, a))
    return factor if np.allclose(factor * a, claim, rtol=1e-12, atol=0) else 0.0
