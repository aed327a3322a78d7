"""The user's objects in words: where an array lies in them, and what was set in them since a last look."""

import inspect
import keyword
import re
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

Array = np.ndarray
DEEP = 6
PLAIN = (bool, int, float, str, type(None), complex)
SHORT = 12  # numbers of a list that is written out


class Unspeakable(Exception):
    """Something cannot be said in a script; the text says what."""


def text_of_key(key: Any) -> str | None:
    return repr(key) if isinstance(key, str | int | bool) or _plain_tuple(key) else None


def _plain_tuple(key: Any) -> bool:
    return isinstance(key, tuple) and all(isinstance(part, str | int) for part in key)


def leaves(thing: Any, text: str, depth: int = 0, seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """(words, value) of everything in containers and objects of the user's, containers included."""
    seen = set() if seen is None else seen
    yield text, thing
    if depth > DEEP or isinstance(thing, (*PLAIN, np.ndarray, np.generic, ModuleType, type)):
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, dict):
        inner = [(f"{text}[{k}]", v) for key, v in thing.items() if (k := text_of_key(key)) is not None]
    elif isinstance(thing, list | tuple):
        inner = [(f"{text}[{i}]", v) for i, v in enumerate(thing)]
    elif _is_object(thing):
        inner = [(f"{text}.{name}", v) for name, v in attributes(thing).items()]
    else:
        return
    for words, value in inner:
        yield from leaves(value, words, depth + 1, seen)


def attributes(thing: Any) -> dict[str, Any]:
    own = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__[:-1]:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                own.setdefault(name, getattr(thing, name))
    return own


def _is_object(thing: Any) -> bool:
    module = type(thing).__module__.partition(".")[0]
    return module not in ("builtins", "numpy", "functools", "random") and not callable_only(thing)


def callable_only(thing: Any) -> bool:
    return isinstance(thing, FunctionType | MethodType) or inspect.isroutine(thing)


class Spoken:
    """Names for what a script has: `given` arrays, objects that were made, results of calls.

    namespace: of the user's file; inputs: what is differentiated, by tensor.
    """

    def __init__(self, namespace: dict[str, Any], inputs: dict[str, Array], given: Any = None) -> None:
        self.namespace, self.inputs = namespace, inputs
        copies = {name: a.copy() for name, a in inputs.items()}
        self.given: dict[str, Array] = copies if given is None else given
        self._objects: dict[str, Any] = {}
        self._results: dict[str, Any] = {}
        self._order: list[str] = []
        self._known: dict[str, tuple[Any, Any]] = {}  # words: (the thing, a copy of it)
        self._given: list[tuple[Array, str]] = []  # by identity: what the user's code may have changed since

    def afresh(self, inputs: dict[str, Array]) -> "Spoken":
        """For another recording with the same given arrays."""
        return Spoken(self.namespace, inputs, self.given)

    # variables

    def new_object(self, thing: Any) -> str:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(thing).__name__).lower().strip("_")
        variable = self._free(name if name.isidentifier() and not keyword.iskeyword(name) else "thing")
        self._objects[variable] = thing
        self._order.append(variable)
        return variable

    def new_result(self) -> str:
        return self._free("result")

    def keep_result(self, variable: str, result: Any) -> None:
        self._results[variable] = result
        self._order.append(variable)

    def _free(self, name: str) -> str:
        taken = {*self._objects, *self._results, "checked", "given", "np", "copy"}
        return next(n for n in (name, *(f"{name}_{k}" for k in range(2, 10_000))) if n not in taken)

    def is_object(self, variable: str) -> bool:
        return variable in self._objects

    def is_new(self, thing: Any) -> bool:
        return self._known_place(thing) is None

    def made_anew(self, thing: Any) -> str:
        """Of an object that was made while nobody looked: a copy of one of the file's, or by no arguments."""
        kind = type(thing)
        for name, other in self.namespace.items():
            if type(other) is kind:
                return f"copy.deepcopy(checked.{name})"
        if kind.__init__ is object.__init__:
            return f"{self.name_of(kind)}()"
        raise Unspeakable(f"how its {kind.__name__} is made is not known")

    def roots(self, last_first: bool = False) -> list[tuple[str, Any]]:
        every = self._objects | self._results
        return [(name, every[name]) for name in (reversed(self._order) if last_first else self._order)]

    # words for values

    def name_of(self, thing: Any) -> str:
        """`checked.Name` of a class or function of the file. Raises Unspeakable."""
        for name, other in self.namespace.items():
            if other is thing:
                return f"checked.{name}"
        raise Unspeakable(f"{getattr(thing, '__name__', 'something')} is no name of the file")

    def function_of(self, code: CodeType, first: Any) -> tuple[Any, Any]:
        """(the function of this code, whose method it is or None); None, None for a property's getter."""
        for kind in type(first).__mro__[:-1] if first is not None else ():
            for value in vars(kind).values():
                if isinstance(value, property) and _has_code(value.fget, code):
                    return None, None
                if isinstance(value, property) and _has_code(value.fset, code):
                    raise Unspeakable("it sets a property")
                if inspect.isfunction(value) and _has_code(value, code):
                    return value, first
        for value in self.namespace.values():
            if _has_code(value, code):
                return value, None
            for inner in vars(value).values() if inspect.isclass(value) else ():
                function = getattr(inner, "__func__", inner)
                if _has_code(function, code):
                    return function, value
        for _, top in self.roots():
            for _, inner in leaves(top, ""):  # a class that an object has, such as a cost
                for own in vars(inner).values() if isinstance(inner, type) else ():
                    function = getattr(own, "__func__", own)
                    if _has_code(function, code):
                        return function, inner
        raise Unspeakable(f"{code.co_name} is no name of the file")

    def callee(self, function: Any, owner: Any) -> tuple[str, set[str]]:
        if owner is None:
            return self.name_of(function), set()
        if inspect.isclass(owner):
            for root, top in self.roots() if owner not in self.namespace.values() else ():
                for text, inner in leaves(top, root):
                    if inner is owner:
                        return f"{text}.{function.__name__}", {root}
            return f"{self.name_of(owner)}.{function.__name__}", set()
        text, uses = self._known_place(owner) or ("", set())
        return f"{text}.{function.__name__}", uses

    def text_of(self, value: Any, name: str) -> tuple[str, set[str]]:
        """A value in words, and the variables in them. Raises Unspeakable."""
        if isinstance(value, PLAIN):
            return repr(value), set()
        if isinstance(value, np.generic):
            return repr(value.item()), set()
        if (known := self._known_place(value)) is not None:
            return known
        if isinstance(value, np.ndarray):
            return self.literal(value, name), set()
        if isinstance(value, dict | list | tuple):
            return self._container(value, name)
        if isinstance(value, MethodType):
            return self.callee(value.__func__, value.__self__)
        if value in (np, None) or inspect.ismodule(value):
            raise Unspeakable("it is given a module")
        if callable(value):
            return self._callable(value)
        raise Unspeakable(f"it is given a {type(value).__name__}")

    def _container(self, value: Any, name: str) -> tuple[str, set[str]]:
        uses: set[str] = set()
        words = []
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            text, own = self.text_of(inner, key if isinstance(key, str) and key.isidentifier() else name)
            uses |= own
            words.append(f"{key!r}: {text}" if isinstance(value, dict) else text)
        if isinstance(value, dict):
            return "{" + ", ".join(words) + "}", uses
        if isinstance(value, list):
            return f"[{', '.join(words)}]", uses
        return f"({', '.join(words)}{',' if len(words) == 1 else ''})", uses

    def _callable(self, value: Any) -> tuple[str, set[str]]:
        name = getattr(value, "__name__", "")
        if getattr(np, name, None) is value:
            return f"np.{name}", set()
        cells = getattr(value, "__closure__", None) or ()
        names = value.__code__.co_freevars if cells else ()
        inner = {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
        if set(inner) == {"function", "kind"}:  # the activation that three_layer hands to feedforward
            text, uses = self.text_of(inner["function"], "")
            return f"lambda z: {text}(z, {inner['kind']!r})", uses
        return self.name_of(value), set()

    def literal(self, value: Array, name: str) -> str:
        """An array among the given ones: an input, one that is there already, or a new one."""
        if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise Unspeakable("it is given an array that is not of finite numbers")
        for a, text in (*self._given, *((a, f"given[{own!r}]") for own, a in self.inputs.items())):
            if a is value:
                return self._said(value, text)
        for own, a in self.given.items():
            if a.shape == value.shape and a.dtype == value.dtype and np.array_equal(a, value):
                return self._said(value, f"given[{own!r}]")
            if a.ndim == 2 and a.T.shape == value.shape and a.size > 1 and np.array_equal(a.T, value):
                return self._said(value, f"given[{own!r}].T")
        key = next(n for n in (name, *(f"{name}_{k}" for k in range(2, 10_000))) if n not in self.given)
        self.given[key] = value.copy()
        return self._said(value, f"given[{key!r}]")

    def _said(self, value: Array, text: str) -> str:
        if not any(a is value for a, _ in self._given):
            self._given.append((value, text))
        return text

    def spoken_arrays(self) -> list[tuple[Array, str]]:
        """Given arrays that calls have got."""
        return self._given

    def _known_place(self, thing: Any) -> tuple[str, set[str]] | None:
        """By identity, in an object or a result; small things that are everywhere the same do not count."""
        if thing is None or isinstance(thing, (*PLAIN, type)):
            return None
        for root, top in self.roots(last_first=True):
            for text, inner in leaves(top, root):
                if inner is thing:
                    return text, {root}
        return None

    # what was set

    def remember(self) -> None:
        """How everything is now: what changes until `changes` was not done by the user's code."""
        self._known = {}
        for root, top in self.roots():
            for text, inner in leaves(top, root):
                if isinstance(inner, np.ndarray):
                    self._known[text] = inner, inner.copy()
                elif isinstance(inner, PLAIN):
                    self._known[text] = inner, inner

    def changes(self) -> list[tuple[str, str, str]]:
        """(statement, the variable whose object it changes, why there is no such statement)."""
        found = []
        for root, top in self.roots():
            for text, inner in leaves(top, root):
                if text == root or not isinstance(inner, (*PLAIN, np.ndarray)):
                    continue
                thing, before = self._known.get(text, (None, None))
                if not _differs(inner, before):
                    continue
                try:
                    found.append((self._set(text, inner, thing), root, ""))
                except Unspeakable as problem:
                    found.append(("", root, str(problem)))
        self.remember()
        return found

    def _set(self, text: str, now: Any, before: Any) -> str:
        """In place where it is the same array as before."""
        if not isinstance(now, np.ndarray):
            return f"{text} = {now!r}"
        words = "0" if now is before and not now.any() else self._array(now)
        return f"{text}[...] = {words}" if now is before else f"{text} = {words}"

    def _array(self, value: Array) -> str:
        for own, a in self.inputs.items():
            if a.shape == value.shape and np.array_equal(a, value):
                return f"given[{own!r}]"
        return self.literal(value, "array")


def _differs(now: Any, before: Any) -> bool:
    if isinstance(now, np.ndarray):
        same = isinstance(before, np.ndarray) and now.shape == before.shape and now.dtype == before.dtype
        return not (same and np.array_equal(now, before, equal_nan=now.dtype.kind == "f"))
    return type(now) is not type(before) or (now != before and not (now != now and before != before))


def _has_code(value: Any, code: CodeType) -> bool:
    if isinstance(value, type):
        return False
    return any(getattr(f, "__code__", None) is code for f in (value, getattr(value, "__wrapped__", None)))
