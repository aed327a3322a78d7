"""What a file has that is made of modules: classes, what factories make, objects at the top of the file."""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from compare.adapters import build
from compare.adapters.composition_calls import BACKWARD, FORWARD, LOSSES
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.hidden_randomness import drawing
from compare.adapters.module_build import LAYERS, Maker, makers
from compare.adapters.module_calls import calls_of
from compare.adapters.module_shapes import arrays_in
from compare.adapters.module_signatures import GRADIENT, TARGET, pair_of, parameters, required
from compare.adapters.module_tape import modules_in
from compare.adapters.subject import Context
from scratch.errors import UsageError

FACTORY = re.compile(
    r"_?(make|build|create|init|initiali[sz]e|new|get|construct|set_?up|define|prepare)_?\w*|_?(model|net|network|mlp|nn|layers|modules)\w*|\w*_(model|net|network|layers|mlp)",
    re.I,
)
OTHERWISE = re.compile(
    r"train|test|main|run|fit|check|grad|loss|backward|forward|data|load|save|plot|accura|predict|update|step|batch|param",
    re.I,
)


@dataclass
class Model:
    """Something that holds modules. make: a new one; origin: class, factory, object or globals."""

    name: str
    make: Callable[[], Any]
    origin: str
    kind: type


def module_classes(context: Context) -> dict[str, type]:
    """Classes with forward and backward, by name; not those that are whole networks by themselves."""
    pairs = {n: o for n, o in context.objects.items() if inspect.isclass(o) and pair_of(o) is not None}
    return {n: o for n, o in pairs.items() if _made_of(o, set(pairs)) or not _is_network(o)}


def _is_network(kind: type) -> bool:
    """Whether it has what only a network has: a loss of x and y, prediction, backward with targets."""
    for name in dir(kind):
        method = getattr(kind, name, None)
        if not inspect.isfunction(method):
            continue
        if re.fullmatch(r"fit\w*|predict\w*|sgd|update_mini_?batch|accuracy|score", name, re.I):
            return True
        needed = [p.name for p in required(method)]
        if len(needed) >= 2 and (LOSSES.fullmatch(name) or re.fullmatch("train|calculate_loss|step", name)):
            return not any(LOSSES.search(base.__name__) for base in kind.__mro__)
    forward, backward = (getattr(kind, name) for name in pair_of(kind) or ())
    aims = [any(TARGET.fullmatch(p.name) for p in parameters(f)[1:]) for f in (forward, backward)]
    return aims == [False, True] and not any(GRADIENT.fullmatch(p.name) for p in parameters(backward))


def models(context: Context, kinds: dict[str, type]) -> list[Model]:
    """Objects of classes made of modules, what factories make, and what lies at the top of the file."""
    found: list[Model] = []
    names = set(kinds)
    for name, kind in context.objects.items():
        if inspect.isclass(kind) and _made_of(kind, names) and not required(kind.__init__):
            _add(found, Model(name, _seeded(kind), "class", kind))
        elif inspect.isclass(kind) and _made_of(kind, names):
            for sizes in ((6, 5, 4), (6, 5, 5, 4), (6, 4)):
                maker = _of_sizes(name, kind, sizes)
                if _add(found, Model(name, _seeded(maker), "class", kind)):
                    break
    for name, function in context.objects.items():
        if inspect.isfunction(function) and _is_factory(name, function, names, context):
            _add(found, Model(name, _seeded(function), "factory", object))
    for name, thing in context.objects.items():
        if not (inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing)):
            _add(found, Model(name, lambda thing=thing: copy.deepcopy(thing), "object", type(thing)))  # type: ignore[misc]
    if not any(model.origin != "object" for model in found):
        found += _stacks(kinds)
    return found


def _add(found: list[Model], model: Model) -> bool:
    """Where it can be made, and has modules in it."""
    try:
        with calling(0):
            thing = model.make()
            inner = modules_in(thing)
    except (CheckedCodeError, UsageError):
        return False
    if inner and not (len(inner) == 1 and next(iter(inner.values())) is thing):
        model.kind = type(thing)
        found.append(model)
        return True
    return False


def _seeded(make: Callable[[], Any]) -> Callable[[], Any]:
    """The same object every time, whatever its constructor draws."""

    def made() -> Any:
        with drawing(0):
            return make()

    return made


def _of_sizes(name: str, kind: type, sizes: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: build._construct(name, kind, parameters(kind.__init__), sizes, {})  # type: ignore[misc]


def _made_of(kind: type, names: set[str]) -> bool:
    """Whether its constructor makes modules of these classes."""
    used: set[str] = set()
    for base in kind.__mro__[:-1]:
        for function in vars(base).values():
            if inspect.isfunction(function) and (
                function.__name__ == "__init__" or function.__name__ in _called(kind)
            ):
                used |= names_in(function.__code__)
    return bool(used & (names - {kind.__name__}))


def _called(kind: type) -> set[str]:
    init = inspect.getattr_static(kind, "__init__", None)
    return set(init.__code__.co_names) if inspect.isfunction(init) else set()


def names_in(code: Any) -> set[str]:
    """Every global and attribute that a function mentions, inner functions and comprehensions included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            found |= names_in(constant)
    return found


def _is_factory(name: str, function: Callable, names: set[str], context: Context) -> bool:
    if name == context.wanted and not required(function):
        return not (FORWARD.search(name) or BACKWARD.search(name))
    if required(function) or not FACTORY.fullmatch(name) or OTHERWISE.search(name):
        return False
    composed = {n for n, o in context.objects.items() if inspect.isclass(o)}
    return bool(names_in(function.__code__) & (names | composed))


def _stacks(kinds: dict[str, type]) -> Iterator[Model]:
    """A class that takes modules, or has a method to add one, and is never given any: it gets some."""
    for name, kind in kinds.items():
        init = inspect.getattr_static(kind, "__init__", None)
        own = required(init) if inspect.isfunction(init) else []
        add = next(
            (n for n in ("add", "append", "add_layer", "push") if inspect.isfunction(getattr(kind, n, None))),
            None,
        )
        star = inspect.isfunction(init) and any(LAYERS.fullmatch(n) for n in _stars(init))
        listed = len(own) == 1 and LAYERS.fullmatch(own[0].name)
        if not (star or listed or (add and not own)) or not (inner := _inner(kinds, kind)):
            continue

        def stacked(
            kind: Any = kind, inner: Any = inner, add: Any = add, star: bool = star, listed: Any = listed
        ) -> Any:
            parts = [make({"d": d, "m": m}) for make, d, m in inner]
            if star or listed:
                return kind(*parts) if star else kind(parts)
            thing = kind()
            for part in parts:
                getattr(thing, add)(part)
            return thing

        found: list[Model] = []
        if _add(found, Model(name, _seeded(stacked), "class", kind)):
            yield from found


def _stars(function: Callable) -> tuple[str, ...]:
    """The name of *args, if it has them."""
    code = function.__code__
    at = code.co_argcount + code.co_kwonlyargcount
    return code.co_varnames[at : at + 1] if code.co_flags & inspect.CO_VARARGS else ()


def _inner(kinds: dict[str, type], stack: type) -> list[tuple[Maker, int, int]]:
    """A dense layer, an activation, a dense layer."""
    dense = activation = None
    for name, kind in kinds.items():
        if kind is stack:
            continue
        maker = next(makers(name, kind, []))
        try:
            if calls_of(kind).loss or "drop" in name.lower():
                continue
            module = maker({})
        except Exception:  # not one that can be made
            continue
        arrays = arrays_in(module)
        if arrays and dense is None and re.search("linear|dense|affine|fc|full|layer", name, re.I):
            dense = maker
        elif not arrays and activation is None and re.search("relu|tanh|sigm|act|logistic", name, re.I):
            activation = maker
    if dense is None:
        return []
    middle = [(activation, 5, 5)] if activation is not None else []
    return [(dense, 6, 5), *middle, (dense, 5, 4)]


def instances(found: list[Model], context: Context) -> dict[type, list[Any]]:
    """Modules by class that the file makes itself: for classes whose constructor says too little."""
    out: dict[type, list[Any]] = {}
    for model in found:
        with calling(0):
            for module in modules_in(model.make()).values():
                out.setdefault(type(module), []).append(module)
    for thing in context.objects.values():
        if not inspect.isclass(thing) and pair_of(type(thing)) is not None:
            out.setdefault(type(thing), []).append(thing)
    return out


def is_composite(kind: type, kinds: dict[str, type], own: list[Any]) -> bool:
    """Whether it is made of other modules, or takes them."""
    if _made_of(kind, set(kinds)):
        return True
    init = inspect.getattr_static(kind, "__init__", None)
    if inspect.isfunction(init):
        if any(
            LAYERS.fullmatch(p.name) and (p.default is p.empty or p.default is None) for p in parameters(init)
        ):
            return True
        if any(LAYERS.fullmatch(name) for name in _stars(init)):
            return True
    return any(modules_in(thing) and next(iter(modules_in(thing).values())) is not thing for thing in own)
