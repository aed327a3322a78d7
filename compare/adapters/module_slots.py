"""Where a module keeps its parameters and leaves their gradients.

Dicts (`params["W"]`, `gradient["W"]` or `grads["dW"]`), attributes (`W` and `dW`, `weight` and
`grad_weight`), objects with a value and a gradient (`self.W.data`, `self.W.grad`), or lists (`params[0]`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
PARAMS = re.compile(r"_?(params?|parameters|weights|theta|learnables?|trainables?)", re.I)
GRADIENTS = re.compile(
    r"_?(gradients?|grads?|d_?params?|d_?weights|(param|weight)_?(grads?|gradients?)|dtheta|deltas?)", re.I
)
VALUE, GRADIENT = ("data", "value", "val", "array", "v", "w"), ("grad", "gradient", "g", "d", "dw")
BUFFER = re.compile(
    r"running|moving|mean|var\b|velocity|^v[WB_]|^m[WB_]|momentum|mask|cache|saved|^_?(x|in|out|p|prob\w*)$",
    re.I,
)
CACHED = re.compile(
    r"_?(last_?|prev_?|cur\w*_)?(x|z|a|h|u|y|s|t|e|p|out\w*|in\w*|.*input.*|.*output.*|prob\w*|scores?|logits?|act\w*)\d?_?",
    re.I,
)
KNOWN = re.compile(
    r"_?(W[a-z]?|w[a-z]?|b|bias(es)?|weights?|gamma|beta|theta|kernels?|filters?|gain|shift|K|U|V)"
)
BEFORE = (
    "d",
    "d_",
    "grad_",
    "grad",
    "g_",
    "g",
    "gradient_",
    "nabla_",
    "delta_",
    "dL_d",
    "dL",
    "del_",
    "D",
    "dl_d",
)
BEHIND = ("_grad", "grad", "_gradient", "Grad", "_g", "_delta")


@dataclass(frozen=True)
class Slot:
    """One parameter of a module: how to read and set it, and where its gradient is after a backward pass.

    home and key: `getattr(module, home)[key]`; key None: the attribute itself; part: of an object there.
    """

    name: str
    home: str
    key: Any = None
    part: str = ""
    gradient_home: str = ""
    gradient_key: Any = None
    gradient_part: str = ""

    def read(self, module: Any) -> Array:
        return np.asarray(_get(module, self.home, self.key, self.part))

    def put(self, module: Any, value: Array) -> None:
        """In place where that keeps every digit, so that other names of the array stay what they are."""
        old = _get(module, self.home, self.key, self.part)
        if (
            isinstance(old, np.ndarray)
            and old.dtype == value.dtype
            and old.shape == value.shape
            and old.flags.writeable
        ):
            old[...] = value
            return
        owner = getattr(module, self.home)
        if self.key is not None and self.part:
            setattr(owner[self.key], self.part, np.array(value))
        elif self.key is not None:
            owner[self.key] = np.array(value)
        elif self.part:
            setattr(owner, self.part, np.array(value))
        else:
            setattr(module, self.home, np.array(value))

    def gradient(self, module: Any) -> Any:
        """None where there is none (yet)."""
        if not self.gradient_home:
            return None
        try:
            return _get(module, self.gradient_home, self.gradient_key, self.gradient_part)
        except (AttributeError, KeyError, IndexError, TypeError):
            return None


def slots(module: Any, fresh: Any = None) -> list[Slot]:
    """The parameters of a module that has run forward and backward: matrices first, then vectors.

    fresh: the like of it that has not: what a pass has left behind is no parameter.
    """
    found: dict[int, Slot] = {}
    fresh = module if fresh is None else fresh
    before = {n for n, a in attributes(fresh).items() if a is not None}
    every = (*_in_dicts(module), *_in_lists(module), *_in_objects(module), *_in_attributes(module))
    for slot in (s for s in every if s.home in before):
        found.setdefault(id(_get(module, slot.home, slot.key, slot.part)), slot)
    own = _without_copies(list(found.values()), fresh)
    return sorted(own, key=lambda slot: (max(slot.read(module).squeeze().ndim, 1) < 2, own.index(slot)))


def _without_copies(found: list[Slot], fresh: Any) -> list[Slot]:
    """Arrays without a gradient are no parameters where they only repeat one that has one."""
    with_gradient = [slot.read(fresh) for slot in found if slot.gradient_home]
    return [
        slot
        for slot in found
        if slot.gradient_home
        or not any(np.array_equal(slot.read(fresh), a) and np.any(a) for a in with_gradient)
    ]


def _in_dicts(module: Any) -> Iterator[Slot]:
    own = attributes(module)
    homes = [n for n, a in own.items() if isinstance(a, dict) and GRADIENTS.fullmatch(n)]
    for name, values in own.items():
        if not (isinstance(values, dict) and PARAMS.fullmatch(name)):
            continue
        for key, a in values.items():
            if not _is_array(a):
                continue
            place = next(
                ((home, k) for home in homes for k in (key, *_spellings(str(key))) if k in own[home]),
                next(((n, None) for n in _spellings(str(key)) if n in own), None),
            )
            if place is None and BUFFER.search(str(key)):
                continue
            home, k = place or (homes[0] if homes else "", key)
            yield Slot(str(key), name, key, gradient_home=home, gradient_key=k)


def _in_lists(module: Any) -> Iterator[Slot]:
    own = attributes(module)
    home = next((n for n, a in own.items() if isinstance(a, list) and GRADIENTS.fullmatch(n)), "")
    for name, values in own.items():
        if home and isinstance(values, list) and PARAMS.fullmatch(name):
            for i, a in enumerate(values):
                if _is_array(a):
                    yield Slot(f"{name}[{i}]", name, i, gradient_home=home, gradient_key=i)


def _in_objects(module: Any) -> Iterator[Slot]:
    """Attributes, or entries of `params`, that are objects with a value and a gradient."""
    for name, thing in attributes(module).items():
        entries = thing.items() if isinstance(thing, dict) and PARAMS.fullmatch(name) else [(None, thing)]
        for key, one in entries:
            fields = attributes(one)
            value = next((f for f in VALUE if _is_array(fields.get(f))), None)
            gradient = next((f for f in GRADIENT if f in fields and f != value), None)
            if value is not None and gradient is not None and not callable(getattr(one, "forward", None)):
                yield Slot(str(name if key is None else key), name, key, value, name, key, gradient)


def _in_attributes(module: Any) -> Iterator[Slot]:
    own = attributes(module)
    for name, a in own.items():
        if not _is_array(a) or np.ndim(a) == 0 or GRADIENTS.fullmatch(name):
            continue
        if not KNOWN.fullmatch(name) and (BUFFER.search(name) or CACHED.fullmatch(name)):
            continue
        gradient = next((n for n in _spellings(name) if n in own), "")
        if gradient and (own[gradient] is None or _fits(own[gradient])):
            yield Slot(name, name, gradient_home=gradient)
        elif KNOWN.fullmatch(name) and not any(name in _spellings(n) for n in own):
            homes = [n for n, d in own.items() if isinstance(d, dict) and GRADIENTS.fullmatch(n)]
            place = next(
                ((h, k) for h in homes for k in (name, *_spellings(name)) if k in own[h]), ("", None)
            )
            yield Slot(name, name, gradient_home=place[0], gradient_key=place[1])


def attributes(thing: Any) -> dict[str, Any]:
    """Of the object, and dicts of parameters that are its class's; the object's own first."""
    if (
        isinstance(thing, np.ndarray | np.generic | str | int | float | list | tuple | dict | type)
        or thing is None
    ):
        return {}
    own = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__[:-1]:
        slotted = getattr(kind, "__slots__", ())
        for name in (slotted,) if isinstance(slotted, str) else slotted:
            if hasattr(thing, name):
                own.setdefault(name, getattr(thing, name))
        for name, a in vars(kind).items():
            if isinstance(a, dict) and (PARAMS.fullmatch(name) or GRADIENTS.fullmatch(name)):
                own.setdefault(name, a)
    return own


def _spellings(name: str) -> list[str]:
    """What the gradient of a parameter of this name is called."""
    plain = name.strip("_")
    short = {"weight": "w", "weights": "w", "bias": "b", "biases": "b"}.get(plain.lower())
    cores = [name, plain, plain[:1].lower() + plain[1:], plain[:1].upper() + plain[1:]]
    cores += [short, short.upper()] if short else []
    return [
        *dict.fromkeys(
            [b + core for core in cores for b in BEFORE] + [core + b for core in cores for b in BEHIND]
        )
    ]


def _get(module: Any, home: str, key: Any, part: str) -> Any:
    found = getattr(module, home)
    found = found if key is None else found[key]
    return getattr(found, part) if part else found


def _is_array(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind in "fc"


def _fits(gradient: Any) -> bool:
    return isinstance(gradient, np.ndarray | float | int | list)
