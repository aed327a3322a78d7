"""What the user's code draws: from np.random, and from generators that it keeps in its objects or its module.

NumPy's global generator is what students use, so it must be steered here.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_fresh = itertools.count(1)


@contextlib.contextmanager
def drawing(seed: int | None = None) -> Iterator[None]:
    """np.random begins at `seed`, if there is one, and goes on as before afterwards."""
    state = np.random.get_state()
    if seed is not None:
        np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@contextlib.contextmanager
def rewound(found: Iterable[Any], seed: int) -> Iterator[None]:
    """Every one of these generators begins at `seed`, and goes on as before afterwards."""
    before = []
    for number, own in enumerate(found):
        if isinstance(own, np.random.Generator):
            before.append((own, own.bit_generator.state))
            own.bit_generator.state = type(own.bit_generator)(seed + number).state
        else:
            before.append((own, own.get_state()))
            own.seed(seed + number)
    try:
        yield
    finally:
        for own, state in before:
            if isinstance(own, np.random.Generator):
                own.bit_generator.state = state
            else:
                own.set_state(state)


@contextlib.contextmanager
def unforeseeable() -> Iterator[None]:
    """What is drawn inside is another at every call: in a backward pass that must draw nothing."""
    state, make, seed = np.random.get_state(), np.random.default_rng, 10_000 + next(_fresh)
    np.random.seed(seed)
    np.random.default_rng = lambda given=None, *rest: make(seed if given is None else given, *rest)
    try:
        yield
    finally:
        np.random.default_rng = make
        np.random.set_state(state)


def generators(things: Iterable[Any]) -> list[Any]:
    """Generators and RandomStates in attributes of the objects, of their classes, and in their modules."""
    found: dict[int, Any] = {}
    for thing in things:
        spaces = [getattr(thing, "__dict__", {})]
        for kind in type(thing).__mro__[:-1]:
            spaces.append(dict(vars(kind)))
            spaces += [f.__globals__ for f in vars(kind).values() if hasattr(f, "__globals__")]
        for space in spaces:
            for value in list(space.values()):
                if isinstance(value, np.random.Generator | np.random.RandomState):
                    found.setdefault(id(value), value)
    return [*found.values()]
