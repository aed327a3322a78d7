"""What a function that updates weights reads, remembers and returns: looked up in its code, and put back.

An update rule may keep its memory where it should not: in a default argument, in a global of its module. It
is put back before every fresh start, so that what leaks from one start to the next shows only where it is
looked for.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from compare.submission.hyperparameters import is_number

KEPT = (dict, list, set, int, float, np.ndarray)  # kinds of globals that can remember something
DECAY = re.compile(r"^_?(lam|lambda|lmbda|wd|weight_?decay|reg|l2|λ)$", re.I)
LARGE = 10**6  # bytes of a global array that is data, not memory
RATE = re.compile(r"^(lr|learning_?rate|l_?rate|rate|eta|step_?size|η)$", re.I)


class Config(dict):
    """A dict whose items are attributes too, for code that reads config.lr."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self:
            raise AttributeError(f"the config has no {name}.", name=name, obj=self)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def missing(error: BaseException | None) -> str | None:
    """The name that a config should have had, where that is what went wrong."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return error.args[0]
    return error.name if isinstance(error, AttributeError) and isinstance(error.obj, Config) else None


class Memory:
    """What the functions of a module remember outside their arguments, as it was when this was made."""

    def __init__(self, function: Callable) -> None:
        function = plain(function)
        self.globals: dict[str, Any] = getattr(function, "__globals__", {})
        self.functions = [
            f for f in self.globals.values() if inspect.isfunction(f) and f.__globals__ is self.globals
        ]
        if inspect.isfunction(function) and function not in self.functions:
            self.functions.append(function)
        kept = {n: v for n, v in self.globals.items() if not n.startswith("__") and _remembers(v)}
        self.saved: tuple[Any, ...] = ({}, [None] * len(self.functions))
        try:
            self.saved = copy.deepcopy((kept, [_own(f) for f in self.functions]))
        except Exception:  # something in it cannot be copied: then nothing is put back
            self.functions = []

    def restore(self) -> None:
        kept, own = copy.deepcopy(self.saved)
        self.globals.update(kept)
        for function, (defaults, keywords, attributes) in zip(self.functions, own, strict=True):
            function.__defaults__, function.__kwdefaults__ = defaults, keywords
            for name in _own(function)[2].keys() - attributes.keys():
                delattr(function, name)
            vars(function).update(attributes)


def plain(function: Any) -> Any:
    """The function itself, without decorators and without the object it is bound to."""
    function = inspect.unwrap(function)
    return getattr(function, "__func__", function)


def _remembers(value: Any) -> bool:
    return isinstance(value, KEPT) and not (isinstance(value, np.ndarray) and value.nbytes > LARGE)


def _own(function: FunctionType) -> tuple[Any, Any, dict[str, Any]]:
    attributes = {n: v for n, v in vars(function).items() if n != "__wrapped__" and not callable(v)}
    return function.__defaults__, function.__kwdefaults__, attributes


def code_of(function: Callable) -> tuple[list[str], list[float], list[type]]:
    """(strings, real numbers, classes) that a function and the functions of its module that it calls name."""
    texts: dict[str, None] = {}
    numbers: dict[float, None] = {}
    classes: dict[type, None] = {}
    seen: set[Any] = set()

    def note(value: Any) -> None:
        if isinstance(value, str) and value.isidentifier():
            texts[value] = None
        elif isinstance(value, float):
            numbers[value] = None
        elif isinstance(value, tuple | frozenset | list):
            for item in value:
                note(item)
        elif isinstance(value, Mapping):
            for item in (*value.keys(), *value.values()):
                note(item)

    def visit(code: CodeType, scope: dict[str, Any]) -> None:
        if code in seen:
            return
        seen.add(code)
        for constant in code.co_consts:
            if inspect.iscode(constant):
                visit(constant, scope)
            else:
                note(constant)
        for name in code.co_names:
            texts.setdefault(f" {name}", None)  # an attribute or a global, such as np.float32
            thing = scope.get(name)
            if inspect.isfunction(thing) and thing.__globals__ is scope:
                read(thing)
            elif inspect.isclass(thing) and thing.__module__ == scope.get("__name__"):
                classes[thing] = None
            else:
                note(thing)

    def read(thing: Callable) -> None:
        thing = plain(thing)
        if inspect.isfunction(thing):
            note(thing.__defaults__ or ())
            note(thing.__kwdefaults__ or {})
            visit(thing.__code__, thing.__globals__)

    read(function)
    return list(texts), list(numbers), list(classes)


def scalars(config: Any) -> dict[str, Any]:
    """The numbers in a config, and pairs of numbers."""
    found: dict[str, Any] = {}
    for name, value in config.items() if isinstance(config, Mapping) else ():
        if not isinstance(name, str):
            continue
        if is_number(value):
            found[name] = float(value)
        elif isinstance(value, tuple | list) and value and all(map(is_number, value)):
            found[name] = [float(v) for v in value]
    return found


def declared(function: Callable) -> dict[str, str]:
    """What the docstring's formula of the velocity settles: {"rate": inside or outside, "decay": "coupled"}.

    Nothing where there is no formula, or several that differ.
    """
    scope = getattr(plain(function), "__globals__", {})
    for text in (inspect.getdoc(function), scope.get("__doc__")):
        found = [*_formulas(text or "")]
        if found:
            rates = {rate for rate, _ in found if rate}
            out = {"rate": rates.pop()} if len(rates) == 1 else {}
            return out | ({"decay": "coupled"} if all(decay for _, decay in found) else {})
    return {}


def _formulas(text: str) -> Iterator[tuple[str, bool]]:
    """For every v = ... in the text: where the learning rate stands, and whether weight decay is in it."""
    for place in re.findall(r"\brate\s+(inside|outside)\s+(?:of )?(?:the )?velocity", text, re.I):
        yield place.lower(), False
    for formula in re.findall(r"\b(?:v|vel|velocity)\w*(?:\[[^\]]*\])?\s*(?:=|<-|←|:=)\s*([^;,:=\n]+)", text):
        words = [w for w in re.findall(r"[^\W\d]\w*", formula) if not re.match(r"(v|vel|velocity)\w*$", w)]
        gradients = [w for w in words if re.match(r"(d\w{0,2}|g\w?|grad\w*)$", w)]
        decay = any(DECAY.match(w) for w in words)
        factors = [w for w in words if w not in gradients and not DECAY.match(w) and w not in ("w", "theta")]
        if any(RATE.match(w) for w in factors):
            yield "inside", decay
        elif gradients and len(factors) == 1:
            yield "outside", decay


def keeps_w(function: Callable) -> bool | None:
    """Whether the docstring says that w is left alone (True) or changed in place (False)."""
    text = " ".join((inspect.getdoc(function) or "").lower().split())
    if re.search(r"in[- ]?place|overwrit", text):
        return bool(re.search(r"not (changed |updated |modified )?(in[- ]?place|overwrit)", text))
    kept = r"(left|leave[sd]?) (as|alone|unchanged|untouched)|un(changed|touched)|not (changed|modified)"
    return True if re.search(f"{kept}|new array", text) else None


def promised(function: Callable) -> set[str]:
    """{"weight_decay"} where the docstring names it, or the module's says that every rule has it."""
    scope = getattr(plain(function), "__globals__", {})
    own, common = inspect.getdoc(function) or "", " ".join((scope.get("__doc__") or "").split())
    if re.search(r"\bweight_decay\b", own):
        return {"weight_decay"}
    sentences = re.split(r"[.;]\s", common)
    said = any("weight_decay" in s and re.search(r"\b(every|all|each)\b", s) for s in sentences)
    return {"weight_decay"} if said else set()
