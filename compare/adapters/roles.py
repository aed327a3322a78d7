"""What a parameter stands for, by its name: so that functions can be called whatever the order of theirs."""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from scratch.errors import UsageError

ROLES = {  # the first that fits
    "weights": r"w|ws|wt|wts|theta|thetas|.*weight.*|.*kernels",
    "biases": r"b|bs|.*bias.*|.*threshold.*",
    "print": r".*(print|verbose|debug|show|log_|plot|monitor).*",
    "cost": r".*(cost|loss|objective|criterion).*",
    "batch": r".*batch.*",
    "sizes": r".*sizes?|dims|.*architecture.*",
    "layers": r"l|.*layers?|n_?l|depth",
    "reg": r".*(reg|lam|lmbd|l2|decay|penalty).*",
    "actFun": r".*act.*|nonlin.*|func?|function|f|sigma|phi",
    "epsilon": r"eps|epsilon|eta|lr|alpha|rate|.*learning.*|step(_?size)?",
    "passes": r".*(pass|epoch|iter|step|round|times).*",
    "y": r"y|ys|t|ts|d|y_?\w*|.*(target|label|truth|desired|expected|one_?hot).*",
    "x": r"x|xs|a|a0|x_?\w*|.*(input|data|image|sample|feature|example).*",
}
PATTERNS = {role: re.compile(pattern, re.I) for role, pattern in ROLES.items()}
OUTPUT = re.compile(r"a\d*|a_?l|o|p|h|out.*|.*(pred|prob|activation|output).*|y_?hat|yh|yp|actual", re.I)
TARGET = re.compile(r"t|ts|d|y_?true|y_?t|.*(target|label|truth|desired|expected|one_?hot|teacher).*", re.I)


@lru_cache(maxsize=2048)
def role(name: str) -> str | None:
    """The role of a parameter of this name; None where the name says nothing."""
    return next((r for r, pattern in PATTERNS.items() if pattern.fullmatch(name.strip("_"))), None)


def parameters(function: Callable) -> list[inspect.Parameter]:
    """All that can be given by name or by position, without self; [] where Python does not know them."""
    plain = getattr(function, "__func__", None)
    try:
        found = _parameters(function if plain is None else plain)
    except TypeError:  # an object that can be called, but not hashed
        found = _parameters.__wrapped__(function)
    return list(found if plain is None else found[1:])


@lru_cache(maxsize=512)
def _parameters(function: Callable) -> tuple[inspect.Parameter, ...]:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))


def required(function: Callable) -> list[inspect.Parameter]:
    return [p for p in parameters(function) if p.default is p.empty and p.name != "self"]


def call(function: Callable, what: str, first: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    """Call it with values by role. first: the roles of those parameters whose names say nothing, in turn.

    An optional parameter is given too where its name says its role. Raises UsageError for a required one that
    is none of them.
    """
    given: dict[str, Any] = {}
    positions: list[Any] = []
    left = list(first)
    unknown = []
    for p in parameters(function):
        own = role(p.name) or ""
        if own in left or (left and own not in values):
            own = own if own in left else left[0]
            left.remove(own)
        if own in values:
            if p.kind is p.POSITIONAL_ONLY:
                positions.append(values[own])
            else:
                given[p.name] = values[own]
        elif p.default is p.empty:
            unknown.append(p.name)
    if unknown:
        wants = ", ".join(unknown)
        raise UsageError(
            f"{what} needs {wants}, and gradparity does not know what to give; give {wants} a default value."
        )
    return function(*positions, **given)


def output_first(function: Callable) -> bool:
    """Whether a cost takes the network's output before the target, as f(a, y), or after it, as f(y, a)."""
    names = [p.name for p in parameters(function)[:2]]
    if len(names) < 2:
        return True
    one, other = names
    if TARGET.fullmatch(one) and not TARGET.fullmatch(other):
        return False
    return not (one.lower() == "y" and OUTPUT.fullmatch(other))
