"""Making objects of the user's classes: which sizes their constructors take, and which activations."""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters import chains
from compare.adapters.parameters import sizes as sizes_in_attributes
from compare.adapters.subject import Context, positional
from scratch.errors import UsageError

ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu")
SPELLINGS = {  # of an activation's name, in the order in which they are tried
    "relu": ("relu", "ReLU", "Relu"),
    "tanh": ("tanh", "Tanh"),
    "sigmoid": ("sigmoid", "Sigmoid", "logistic"),
    "leaky_relu": ("leaky_relu", "leakyrelu", "LeakyReLU", "lrelu"),
}
ACTIVATION = re.compile(r"activation|act(_?fun|_?fn)?(_?type)?$|nonlin|hidden_act", re.I)
LIST = re.compile(r"sizes|layers|dims|shape|units|widths|architecture", re.I)
INPUT = re.compile(r"^(d|d_in|n_?in|in|input|inputs|nin|.*input.*|.*feature.*|in_.*|.*_in)$", re.I)
HIDDEN = re.compile(r"^(h\d?|n_?h|nhid.*|.*hidden.*)$", re.I)
OUTPUT = re.compile(r"^(c|k|m|d_out|n_?out|out|nout|.*output.*|.*class.*|out_.*|.*_out)$", re.I)


@dataclass
class Builder:
    """Makes one kind of object. label: what it is called; activation: as far as the user's code says.

    fixed: the object is there already and has the sizes it has. others: makers that spell the activation's
    name otherwise, should its class not know this one.
    """

    kind: Any
    label: str
    make: Callable[[tuple[int, ...]], Any]
    activation: str | None = None
    fixed: bool = False
    sizes: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    others: list[Callable[[tuple[int, ...]], Any]] = field(default_factory=list)

    def __call__(self, sizes: tuple[int, ...]) -> Any:
        return self.make(sizes)


def builders(
    context: Context, fits: Callable[[Any], bool], given: Callable[[type], dict[str, Any]] = lambda _: {}
) -> Iterator[Builder]:
    """One for each class, object and factory that `fits`, and for each activation that its class takes.

    given(class): arguments of its constructor that are neither sizes nor activations.
    """
    for name, kind in context.classes().items():
        if fits(kind):
            yield from _of_class(name, kind, context, given(kind))
    for name, thing in context.instances().items():
        if fits(thing):
            yield Builder(type(thing), name, _copier(thing), fixed=True, sizes=_sizes_of(thing))
    if context.wanted:
        for name, factory in context.functions().items():
            yield from _of_factory(name, factory, fits)


def _copier(thing: Any) -> Callable[[tuple[int, ...]], Any]:
    return lambda _: copy.deepcopy(thing)


def _of_class(name: str, kind: type, context: Context, given: dict[str, Any]) -> Iterator[Builder]:
    parameters = [p for p in _all(kind) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    asked = context.options.get("activation")
    slot = next((p.name for p in _all(kind) if ACTIVATION.search(p.name)), None)
    if slot is None:
        yield Builder(kind, name, lambda sizes: _construct(name, kind, parameters, sizes, given), asked)
        return
    default = next((p.default for p in _all(kind) if p.name == slot), None)
    if callable(default) or (default is not inspect.Parameter.empty and not isinstance(default, str | None)):
        yield Builder(kind, name, lambda sizes: _construct(name, kind, parameters, sizes, given), asked)
        return
    seen = 0
    for activation in (asked,) if asked else _default_first(default):
        works: list[Builder] = []
        for spelling in _spellings(activation, default):
            options = {**given, slot: spelling}

            def make(sizes: tuple[int, ...], options: dict[str, Any] = options) -> Any:
                return _construct(name, kind, parameters, sizes, options)

            if _works(make):
                works.append(Builder(kind, f"{name}({activation})", make, activation, options=options))
        if works:
            seen += 1
            works[0].others = [other.make for other in works[1:]]
            yield works[0]
    if not seen:
        yield Builder(kind, name, lambda sizes: _construct(name, kind, parameters, sizes, given), asked)


def _spellings(activation: str, default: Any) -> list[str]:
    """Of its name, those in capitals or not as the class's own default is before the others."""
    lower = not isinstance(default, str) or default.islower()
    return sorted(SPELLINGS.get(activation, (activation,)), key=lambda s: s.islower() != lower)


def _default_first(default: Any) -> list[str]:
    """The activations, the one that a class takes by itself before the others."""
    return sorted(ACTIVATIONS, key=lambda a: default not in SPELLINGS[a])


def _of_factory(name: str, factory: Callable, fits: Callable[[Any], bool]) -> Iterator[Builder]:
    """A function that makes such objects, asked for by name."""
    parameters = positional(factory)
    required = [p for p in parameters if p.default is inspect.Parameter.empty]
    try:
        thing = factory() if not required else _construct(name, factory, parameters, (6, 5, 4), {})
    except Exception:  # it makes something else, then
        return
    if fits(thing) and not inspect.isclass(thing):
        if required:
            yield Builder(type(thing), name, lambda sizes: _construct(name, factory, parameters, sizes, {}))
        else:
            yield Builder(type(thing), name, lambda _: factory(), fixed=True, sizes=_sizes_of(thing))


def _works(make: Callable[[tuple[int, ...]], Any]) -> bool:
    try:
        make((6, 5, 4))
    except Exception:
        return False
    return True


def _construct(
    name: str, kind: Any, parameters: list[inspect.Parameter], sizes: tuple[int, ...], options: dict[str, Any]
) -> Any:
    """Call the constructor with sizes where their names, or failing that their places, ask for them."""
    d, *hidden, c = sizes
    given: dict[str, Any] = dict(options)
    left = list(hidden)
    required = [p for p in parameters if p.default is inspect.Parameter.empty and p.name not in given]
    for p in parameters:
        needed = p in required
        if p.name in given:
            continue
        if LIST.search(p.name) and needed:
            given[p.name] = list(hidden) if HIDDEN.match(p.name) else list(sizes)
        elif INPUT.match(p.name) and (needed or isinstance(p.default, int)):
            given[p.name] = d
        elif HIDDEN.match(p.name) and (needed or isinstance(p.default, int)) and left:
            given[p.name] = left.pop(0)
        elif OUTPUT.match(p.name) and (needed or isinstance(p.default, int)):
            given[p.name] = c
        elif HIDDEN.match(p.name) and isinstance(p.default, list | tuple):
            given[p.name] = list(hidden)
        elif (
            LIST.search(p.name)
            and _are_sizes(p.default)
            and not (INPUT.match(p.name) or OUTPUT.match(p.name))
        ):
            given[p.name] = list(sizes)
    missing = [p.name for p in required if p.name not in given]
    if missing and len(missing) == len(required) and len(required) == len(sizes):
        given |= dict(zip(missing, sizes, strict=True))
        missing = []
    if missing and len(required) == 1:
        given[missing[0]] = list(sizes)
        missing = []
    if missing:
        raise UsageError(
            f"{name} needs {', '.join(missing)}, and gradparity does not know what to give; "
            f"write a function without arguments that makes one, and name it: FILE.py:FUNCTION."
        )
    return kind(**given)


def _are_sizes(default: Any) -> bool:
    return isinstance(default, list | tuple) and len(default) > 1 and all(type(n) is int for n in default)


def _all(kind: type) -> list[inspect.Parameter]:
    try:
        return [p for p in inspect.signature(kind).parameters.values()]
    except (TypeError, ValueError):
        return []


def _sizes_of(thing: Any) -> tuple[int, ...] | None:
    """The sizes of an object that is there already, by the shapes of its weights."""
    params = getattr(thing, "params", None)
    if not isinstance(params, dict):
        return sizes_in_attributes(thing)
    return chains.sizes_of({name: np.zeros(np.shape(w)) for name, w in params.items()})
