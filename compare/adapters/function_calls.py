"""How a function and its gradient are called: what the gradient function wants, and where dy goes.

A Caller hides in which way the gradients are had: from a second function, from the function itself, or from a
framework. It takes plain arrays by the function's own argument names and gives plain arrays.
"""

import contextlib
import functools
import inspect
import linecache
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from compare.adapters.function_pairs import Pair
from compare.adapters.hidden_randomness import unforeseeable
from compare.adapters.subject import positional
from scratch.errors import UsageError

Array = np.ndarray
Given = dict[str, Any]
EMPTY = inspect.Parameter.empty
STRONG = re.compile(  # what the gradient that arrives is called
    r"d_?(y|out|outs|output|outputs|z|a|o|f|h|s|l|p|loss|value|val|result|res|upstream|next|top|up|score|scores|x_?out)"
    r"|d[A-Z]|dl_?d\w+|dloss\w*|upstream\w*|incoming\w*|grads?_?(out|output|outputs|y|z|a|o|f|h|top|up|upstream|l|loss|in)"
    r"|(out|output|top|upstream|y|loss|incoming)_?(grads?|gradients?|diff|bar|adjoint|cotangent)|top_diff|g_?(y|out|o|z|output)"
    r"|cotangents?|co_?tangent|ct|cts|adjoints?|adj|\w+_bar|[yzaofs]bar|seed|head_?grads?|delta\w*|grads?|gradients?",
    re.I,
)
WEAK = re.compile(r"d|g|v|u|w|t|c|e|err|error|up|top|out", re.I)
CACHE = re.compile(
    r"cache\w*|\w*_cache|ctx|context|saved\w*|residuals?|memo|tape|stash|aux|intermediates?", re.I
)
VALUE = re.compile(
    r"y|a|s|z|o|p|q|h|f|fx|out\w*|act\w*|res(ult)?|val(ue)?|probs?|sm|soft\w*|sig\w*|y_?\w*", re.I
)


class Caller:
    """parameters: those of the function; text: all that its author says of them, the nearest first."""

    name: str
    parameters: list[inspect.Parameter]
    texts: list[str]
    takes_dy = False  # whether the gradients are those of <dy, y>
    by_output = False  # whether a derivative is asked for at the function's value instead of at x
    may_be_by_output = False
    framework = ""

    def value(self, given: Given) -> list[Array]:
        """The function's outputs, mostly one."""
        raise TypeError(f"{type(self).__name__} has no value.")

    def value_of(self, function: Callable, given: Given) -> list[Array]:
        """The outputs of another function that is written like this one."""
        raise TypeError(f"{type(self).__name__} has one function.")

    def gradients(self, given: Given, dys: Sequence[Array]) -> Any:
        """What the user's gradient function gives, as it comes. It is given the arrays themselves."""
        raise TypeError(f"{type(self).__name__} has no gradients.")

    def gradient_functions(self) -> Iterator[tuple[Any, Callable[[Any], None], bool]]:
        """(function, how to put another in its place or None for itself again, whether only inner ones count)."""
        yield from ()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Around many calls of which most may fail: nothing is said about each."""
        yield

    def hands_on(self, option: str) -> bool:
        """Whether the gradients know of an option of the function."""
        return True

    def source(self) -> Any:
        """The user's function that makes the gradients."""
        return None

    def body(self) -> Any:
        """The user's function that computes the value, in Python."""
        return None


class PairCaller(Caller):
    """f and one or several gradient functions of it. Raises UsageError where their arguments do not fit."""

    def __init__(self, pair: Pair, texts: list[str]) -> None:
        self.name, self.pair, self.texts = pair.name, pair, texts
        self.parameters = arguments_of(pair.f)
        self.wants = [bind(pair.f, g) for g, _ in pair.gradients]
        self.takes_dy = any("dy" in wants.values() for wants in self.wants)
        self.may_be_by_output = _of_value(pair)
        self.functions = [g for g, _ in pair.gradients]

    def value(self, given: Given) -> list[Array]:
        return outputs_of(self._forward(given)[0])

    def value_of(self, function: Callable, given: Given) -> list[Array]:
        return outputs_of(self._forward(given, function)[0])

    def gradients(self, given: Given, dys: Sequence[Array]) -> Any:
        copies, before = copied(given), copied(given)
        value, cache = self._forward(copies)  # as its caller would have done, and for what it may keep
        found = []
        for g, wants in zip(self.functions, self.wants, strict=True):
            left = list(dys)
            own: dict[str, Any] = {}
            for q, what in wants.items():
                if what == "dy":
                    own[q] = scalar(left.pop(0) if len(left) > 1 else left[0])
                elif what == "(cache)":
                    own[q] = cache
                elif what == "(value)" or (self.by_output and what in copies and len(wants) == 1):
                    own[q] = value
                elif what in given:
                    own[q] = scalar(given[what])
                elif arguments_by_name(g)[q].default is EMPTY:
                    own[q] = arguments_by_name(self.pair.f)[what].default
            with unforeseeable():
                found.append(_call(g, own))
        for name, a in copies.items():
            if isinstance(a, np.ndarray) and not np.array_equal(
                a, before[name], equal_nan=a.dtype.kind == "f"
            ):
                given[name][...] = a  # f has changed its argument: to be noticed, not to spoil the gradients
        parts = [a for _, a in self.pair.gradients]
        return found[0] if parts == [None] else dict(zip(parts, found, strict=True))

    def _forward(self, given: Given, function: Callable | None = None) -> tuple[Any, Any]:
        result = _call(function or self.pair.f, {n: scalar(a) for n, a in given.items()})
        if result is None:
            raise UsageError(
                f"{self.name} returns None; it should return its value (is the return missing?)."
            )
        several = sum(what == "dy" for wants in self.wants for what in wants.values()) > 1
        if isinstance(result, tuple) and len(result) > 1 and not several:
            return result[0], result[1] if len(result) == 2 else result[1:]
        return result, None

    def gradient_functions(self) -> Iterator[tuple[Any, Callable[[Any], None], bool]]:
        for i, (g, _) in enumerate(self.pair.gradients):

            def install(other: Any, i: int = i, g: Any = g) -> None:
                self.functions[i] = g if other is None else other

            yield g, install, False

    def hands_on(self, option: str) -> bool:
        return all(option in wants.values() for wants in self.wants)

    def source(self) -> Any:
        return self.pair.gradients[0][0]

    def body(self) -> Any:
        return self.pair.f


class BothCaller(Caller):
    """One function that gives (value, gradients), or (value, backward)."""

    def __init__(self, pair: Pair, texts: list[str]) -> None:
        self.name, self.pair, self.texts = pair.name, pair, texts
        self.parameters = arguments_of(pair.f)
        self.takes_dy = pair.how == "closure"
        self.function: Callable = pair.f

    def value(self, given: Given) -> list[Array]:
        return outputs_of(self._call(given)[0])

    def gradients(self, given: Given, dys: Sequence[Array]) -> Any:
        _, *rest = self._call(given, self.function)
        if self.takes_dy:
            return rest[0](*(scalar(dy) for dy in dys))
        return rest[0] if len(rest) == 1 else tuple(rest)

    def gradient_functions(self) -> Iterator[tuple[Any, Callable[[Any], None], bool]]:
        def install(other: Any) -> None:
            self.function = self.pair.f if other is None else other

        yield self.pair.f, install, self.takes_dy

    def value_of(self, function: Callable, given: Given) -> list[Array]:
        return outputs_of(self._call(given, function)[0])

    def body(self) -> Any:
        return self.pair.f

    def _call(self, given: Given, function: Callable | None = None) -> tuple:
        result = _call(function or self.pair.f, {n: scalar(a) for n, a in given.items()})
        if (
            not isinstance(result, tuple | list)
            or len(result) < 2
            or (self.takes_dy and not callable(result[1]))
        ):
            what = "(value, backward)" if self.takes_dy else "(value, gradients)"
            raise UsageError(f"{self.name} must return {what}, but {type(result).__name__} came.")
        return tuple(result)

    def source(self) -> Any:
        return self.pair.f


def bind(f: Callable, g: Callable) -> dict[str, str]:
    """What each parameter of g is given: an argument of f, "dy", "(value)" or "(cache)".

    Raises UsageError where that cannot be told.
    """
    own = [p.name for p in arguments_of(f)]
    needed = [p.name for p in arguments_of(f) if p.default is EMPTY]
    theirs = arguments_of(g)
    wants: dict[str, str] = {p.name: p.name for p in theirs if p.name in own}
    if not wants:
        low = {n.lower(): n for n in own}
        wants = {p.name: low[p.name.lower()] for p in theirs if p.name.lower() in low}
    open_ = [p for p in theirs if p.name not in wants and (p.default is EMPTY or STRONG.fullmatch(p.name))]
    alone = not wants and len(open_) == len(needed) and not any(CACHE.fullmatch(p.name) for p in open_)
    for p in [p for p in open_ if CACHE.fullmatch(p.name)]:
        wants[p.name] = "(cache)"
    for p in [p for p in open_ if p.name not in wants and STRONG.fullmatch(p.name)]:
        if not (alone and len(p.name) < 3 and len(needed) > 1):
            wants[p.name] = "dy"
    rest = [p for p in open_ if p.name not in wants]
    free = [n for n in needed if n not in wants.values()]
    if len(rest) == len(free) + 1 and "dy" not in wants.values():
        ends = [p for p in (theirs[0], theirs[-1]) if p in rest]
        weak = next((p for p in ends if WEAK.fullmatch(p.name)), ends[0] if ends and wants else None)
        if weak is not None:
            wants[weak.name] = "dy"
            rest.remove(weak)
    if rest and len(rest) == len(free) and not set(wants.values()) - {"dy"}:
        wants |= {p.name: n for p, n in zip(rest, free, strict=True)}
        rest = []
    for p in list(rest):
        if VALUE.fullmatch(p.name) and "(value)" not in wants.values():
            wants[p.name] = "(value)"
            rest.remove(p)
        elif WEAK.fullmatch(p.name) and "dy" not in wants.values():
            wants[p.name] = "dy"
            rest.remove(p)
    if rest:
        names = " and ".join(p.name for p in rest)
        raise UsageError(
            f"{g.__name__}{inspect.signature(g)} should take the arguments of {f.__name__}{inspect.signature(f)} "
            f"and at most one more, the gradient dy that arrives; what {names} is to be cannot be told: "
            "give it the name that it has there, or call it dy."
        )
    return {p.name: wants[p.name] for p in theirs if p.name in wants}


def _of_value(pair: Pair) -> bool:
    """Whether f'(x) may be written in terms of y = f(x), as a (1 - a) is: by its argument's name, or its callers."""
    g = pair.gradients[0][0]
    theirs, own = arguments_of(g), arguments_of(pair.f)
    if len(pair.gradients) > 1 or len(theirs) != 1 or len(own) != 1:
        return False
    if theirs[0].name != own[0].name:
        return True
    try:
        file = inspect.getsource(inspect.getmodule(g) or g)
    except (OSError, TypeError):
        file = "".join(linecache.getlines(g.__code__.co_filename))
    return len(re.findall(rf"\b{g.__name__}\s*\(", file)) > 1


def arguments_of(function: Callable) -> list[inspect.Parameter]:
    """Positional parameters and those that must be given by name."""
    found = positional(function)
    try:
        every = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return found
    return found + [p for p in every if p.kind is p.KEYWORD_ONLY]


def arguments_by_name(function: Callable) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in arguments_of(function)}


def outputs_of(value: Any) -> list[Array]:
    """The values of a function as arrays. Raises UsageError for what is no number."""
    parts = list(value) if isinstance(value, tuple) else [value]
    out = []
    for part in parts:
        a = np.asarray(part)
        if a.dtype.kind not in "biufc":
            raise UsageError(
                f"the value must be a number or an array of numbers, but {type(part).__name__} came."
            )
        out.append(a)
    return out


def copied(given: Mapping[str, Any]) -> dict[str, Any]:
    return {n: np.array(a) if isinstance(a, np.ndarray) else a for n, a in given.items()}


def scalar(a: Any) -> Any:
    """A number for an array without axes: what people write takes it as one."""
    return a[()] if isinstance(a, np.ndarray) and a.ndim == 0 else a


@functools.lru_cache(maxsize=64)
def _names(function: Callable) -> tuple[str, ...]:
    return tuple(p.name for p in positional(function))


def _call(function: Callable, given: Mapping[str, Any]) -> Any:
    first = _names(function)
    positions = []
    for name in first:
        if name not in given:
            break
        positions.append(given[name])
    return function(*positions, **{n: v for n, v in given.items() if n not in first[: len(positions)]})
