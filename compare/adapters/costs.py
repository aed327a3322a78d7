"""The cost of a network that is written apart from it: the user's own, or the standard ones to choose from.

A cost is a class with `fn(a, y)`, a function of (a, y), a method of the network, or only a name.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.adapters import roles
from scratch.errors import UsageError

Array = np.ndarray
Function = Callable[[Any, Any], Any]
ATTRIBUTE = re.compile(
    r"_?((cost|loss|error|objective)_?(function|fn|func|class|type|name)?|criterion)", re.I
)
NAMED = re.compile(r"cost|loss|entropy|bce|mse|quadratic|squared?_?err|likelihood|(^|_)nll", re.I)
SLOPE = re.compile(r"deriv|prime|delta|grad|backward|diff|total|plot|print|^d|train|update|history", re.I)
VALUE = (
    "fn",
    "value",
    "cost",
    "loss",
    "f",
    "compute",
    "calculate",
    "evaluate",
    "forward",
    "call",
    "__call__",
)
INPUTS = re.compile(r"x\w*|.*(input|data|image|sample|feature).*", re.I)
FAMILIES = {  # the first that fits
    "log-likelihood": r"likelihood|softmax|categorical|nll",
    "cross-entropy": r"entropy|bce|(^|_)ce($|_)|log_?loss|logistic|binary",
    "quadratic": r"quadratic|mse|squared?|(^|_)(l2|se|sse)($|_)|euclid|mean",
}


@dataclass(frozen=True)
class Cost:
    """label: what it is called; fn(a, y), or fn(x, y) where of_inputs; family: a key of FAMILIES or None.

    own: the user's, in whose form the targets then are; else they are one-hot, as the outputs lie.
    """

    label: str
    fn: Function
    family: str | None = None
    own: bool = True
    of_inputs: bool = False


STANDARD = (
    Cost(
        "the cross-entropy",
        lambda a, y: -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)),
        "cross-entropy",
        False,
    ),
    Cost("the quadratic cost 1/2 sum (a - y)^2", lambda a, y: 0.5 * np.sum((a - y) ** 2), "quadratic", False),
    Cost("the squared error sum (a - y)^2", lambda a, y: np.sum((a - y) ** 2), "quadratic", False),
    Cost("the mean squared error", lambda a, y: np.sum((a - y) ** 2) / y.size, "quadratic", False),
    Cost("the log-likelihood -log a_k", lambda a, y: -np.sum(y * np.log(a)), "log-likelihood", False),
)


def family(name: str) -> str | None:
    """Which cost is meant by a name, such as CrossEntropyCost or `mse`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").replace(" ", "_").lower()
    return next((f for f, words in FAMILIES.items() if re.search(words, spaced)), None)


def asked(option: str) -> str:
    """The family of --loss. Raises UsageError where it names none."""
    if (found := family(option)) is None:
        raise UsageError(
            f"--loss must be one of cross-entropy, quadratic or log-likelihood, but {option!r} came."
        )
    return found


def standard(of: str | None) -> list[Cost]:
    """Those of a family; all where none is known."""
    if of in ("cross-entropy", "log-likelihood"):  # what softmax outputs have is called either
        return [c for c in STANDARD if c.family != "quadratic"]
    return [c for c in STANDARD if of in (None, c.family)]


def of(thing: Any, name: str = "") -> Cost | None:
    """The cost that an object, a class, a function or a word is; None where it has no value to compute."""
    if thing is None or isinstance(thing, bool | int | float | np.ndarray | list | dict):
        return None
    if isinstance(thing, str):
        named = [c for c in STANDARD if c.family == family(thing)]
        return Cost(thing, named[0].fn, named[0].family, own=False) if named else None
    label = getattr(thing, "__name__", type(thing).__name__)
    if inspect.isroutine(thing):
        return _function(thing, name or label)
    for attribute in VALUE:
        function = getattr(thing, attribute, None)
        if not callable(function) or (attribute == "__call__" and inspect.isclass(thing)):
            continue
        if inspect.isclass(thing) and len(roles.required(function)) == 2 and _wants_self(thing, attribute):
            function = _bound(thing, attribute)
        if function is not None and (cost := _function(function, label)) is not None:
            return cost
    return None


def attribute(net: Any) -> str | None:
    """The attribute in which a network keeps its cost: a class, an object, a function or a word."""
    names = [*getattr(net, "__dict__", {}), *(n for n in dir(type(net)) if not n.startswith("__"))]
    for name in dict.fromkeys(names):
        if ATTRIBUTE.fullmatch(name) and not inspect.ismethod(value := getattr(net, name, None)):
            if (isinstance(value, str) and family(value)) or callable(value) or has_parts(value):
                return name
    return None


def has_parts(value: Any) -> bool:
    """Whether it is an object of a class of the user's own."""
    return hasattr(value, "__dict__") and not isinstance(value, np.ndarray)


def method(net: Any) -> Cost | None:
    """A method of the network that computes its cost from (a, y) or (x, y)."""
    for name in dir(net):
        value = getattr(net, name, None)
        if (
            inspect.isroutine(value)
            and NAMED.search(name)
            and not SLOPE.search(name)
            and not name.startswith("__")
        ):
            if (cost := _function(value, name)) is not None:
                return cost
    return None


def in_module(objects: dict[str, Any], used: set[str]) -> list[Cost]:
    """Costs of the file that the network's code names; failing that, all of them."""
    found = {}
    for name, value in objects.items():
        fits = inspect.isfunction(value) and NAMED.search(name) and not SLOPE.search(name)
        if fits or (inspect.isclass(value) and is_cost(value)):
            if (cost := of(value, name)) is not None and not cost.of_inputs:
                found[name] = cost
    return [c for n, c in found.items() if n in used] or list(found.values())


def is_cost(kind: type) -> bool:
    """Whether a class is a cost: fn beside delta, or a name that says so and something to compute."""
    if hasattr(kind, "backprop") or hasattr(kind, "feedforward"):
        return False
    parts = hasattr(kind, "fn") or (
        NAMED.search(kind.__name__) and any(hasattr(kind, n) for n in VALUE[1:-1])
    )
    return bool(parts)


def names_used(*functions: Any) -> set[str]:
    """Every name that these functions, or the methods of these classes, refer to."""
    found: set[str] = set()
    for function in functions:
        parts = vars(function).values() if inspect.isclass(function) else [function]
        for part in parts:
            code = getattr(getattr(part, "__func__", part), "__code__", None)
            if code is not None:
                found |= set(code.co_names) | {c for c in code.co_consts if isinstance(c, str)}
    return found


def identified(cost: Cost) -> str | None:
    """The family to whose value a user's cost is proportional, tried on two columns."""
    rng = np.random.default_rng(0)
    ratios: dict[str, list[float]] = {}
    for k in (0, 2):
        a, y = rng.uniform(0.1, 0.9, (4, 1)), np.zeros((4, 1))
        y[k] = 1
        try:
            value = float(np.sum(cost.fn(a, y)))
        except Exception:
            return None
        for one in STANDARD:
            ratios.setdefault(str(one.family), []).append(value / float(one.fn(a, y)))
    for name, found in ratios.items():
        step = len(found) // 2
        if all(abs(found[i] / found[i + step] - 1) < 1e-9 for i in range(step)):
            return name
    return None


def _function(function: Callable, label: str) -> Cost | None:
    needed = roles.required(function)
    names = [p.name for p in roles.parameters(function)]
    if len(needed) > 2 or len(names) < 2:
        return None
    if INPUTS.fullmatch(names[0]):
        return Cost(label, function, family(label), of_inputs=True)
    if roles.output_first(function):
        return Cost(label, lambda a, y: function(a, y), family(label))
    return Cost(label, lambda a, y: function(y, a), family(label))


def _wants_self(kind: type, attribute: str) -> bool:
    """Whether a function in a class is written to be called on an object, not on the class as fn(a, y)."""
    raw = inspect.getattr_static(kind, attribute)
    if not inspect.isfunction(raw):
        return False
    names = list(inspect.signature(raw).parameters)
    return bool(names) and names[0] == "self"


def _bound(kind: type, attribute: str) -> Callable | None:
    try:
        return getattr(kind(), attribute)
    except Exception:
        return None
