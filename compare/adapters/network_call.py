"""How the code of a network with lists of weights is called: layout, form of the targets, forward pass."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from types import SimpleNamespace
from typing import Any

import numpy as np

from compare.adapters import costs, parameters, roles
from compare.adapters.parameters import Home, Parameters
from compare.adapters.returned import Returned, described, leaves
from compare.adapters.subject import positional
from scratch.errors import UsageError

Array = np.ndarray
Forward = Callable[[Any, Array], Any]  # (the network, x)
BACKWARD = re.compile(
    r"_?(back_?prop\w*|bp|backward\w*|back_?pass|compute_?grad\w*|gradients?|calc_?grad\w*)", re.I
)
FORWARD = (
    *("feedforward", "feed_forward", "forward", "forward_pass", "forwardpass", "forward_prop", "forwardprop"),
    *("forward_propagation", "forward_propagate", "propagate", "predict_proba", "probabilities", "activate"),
    *("output", "outputs", "predict", "run", "evaluate", "compute", "inference", "__call__"),
)
LAYOUTS: dict[str, Callable[[Array], Array]] = {  # of a matrix whose rows are examples
    "columns": lambda m: np.ascontiguousarray(m.T),
    "rows": lambda m: m.copy(),
    "vectors": lambda m: m[0].copy(),
}
BATCHED = ("columns", "rows")
TARGETS = ("one-hot", "integers", "an integer")


@dataclass
class Calls:
    """backward: a method's name, or a function that is given the lists; the rest is found by `probe`."""

    backward: str | Callable
    functions: dict[str, Callable]  # of the file, where the network is no class
    layout: str = "columns"
    target: str = "one-hot"
    forward: Forward | None = None  # None: the cost of the backward pass is listened to
    returned: Returned = field(default_factory=Returned)

    @property
    def what(self) -> str:
        return self.backward if isinstance(self.backward, str) else self.backward.__name__

    def function(self, thing: Any) -> Callable:
        return getattr(thing, self.backward) if isinstance(self.backward, str) else self.backward

    def given(self, x: Array, t: Array, classes: int) -> tuple[Array, Any]:
        """The examples as the code takes them; x (N, D), t (N,)."""
        place = LAYOUTS[self.layout]
        if self.target == "one-hot":
            return place(x), place(np.eye(classes)[t])
        return place(x), t.copy() if self.target == "integers" else int(t[0])

    def one_hot(self, t: Array, like: Any) -> Array:
        """Targets as the outputs lie."""
        classes = np.size(like) // len(t)
        y = np.eye(classes)[t]
        return (y.T if self.layout == "columns" else y).reshape(np.shape(like))

    def call(self, thing: Any, x: Array, y: Any, found: Parameters, cost: Any = None) -> Any:
        """What the backward function returns."""
        if isinstance(self.backward, str):
            values = {"x": x, "y": y, "reg": 0.0, **({} if cost is None else {"cost": cost})}
            if cost is not None and (name := costs.attribute(thing)):
                setattr(thing, name, cost)
        else:
            values = {"x": x, "y": y, **self.shared(thing, found), "cost": cost or self.cost_of(thing)}
        return roles.call(self.function(thing), self.what, ("x", "y"), values)

    def shared(self, thing: Any, found: Parameters) -> dict[str, Any]:
        """What a function that is no method is given of the network."""
        widths = [len(thing.sizes)] if hasattr(thing, "sizes") else [len(found.layers) + 1]
        lists = {}
        for role, part in (("weights", "W"), ("biases", "b")):
            name = found.layers[0][part]
            if name is not None:
                lists[role] = getattr(thing, found.paths[name][0][1:])
        return {
            **lists,
            "layers": getattr(thing, "num_layers", widths[0]),
            "sizes": getattr(thing, "sizes", None),
        }

    def cost_of(self, thing: Any) -> Any:
        """The cost that the network has, or one in its place."""
        name = costs.attribute(thing)
        return getattr(thing, name) if name else Substitute()

    def output(self, thing: Any, x: Array, y: Any, found: Parameters, size: int) -> Any:
        """The network's outputs, `size` numbers. Raises UsageError where its code gives none."""
        if self.forward is not None:
            if (a := outputs_in(self.forward(thing, x), x, size)) is not None:
                return a
            raise UsageError(f"the forward pass must return {size} outputs, but something else came.")
        spy = Spy(self.cost_of(thing), y)
        kept = costs.attribute(thing)
        try:
            self.call(thing, x, y, found, cost=spy)
        finally:
            if kept:
                setattr(thing, kept, spy.cost)
        if spy.heard is None or np.size(spy.heard) != size:
            raise UsageError(
                f"a forward pass is needed beside {self.what} to compare it with; add `feedforward(x)` that "
                "returns the outputs."
            )
        return spy.heard

    def read(self, thing: Any, result: Any, found: Parameters, shapes: dict[str, tuple[int, ...]]) -> dict:
        """The gradients that were returned, or else left in attributes."""
        if any(leaf is not None for _, leaf in leaves(result)) and self.returned.places:
            return self.returned.read(result, shapes)
        stored = parameters.stored_gradients(thing, found)
        return {name: stored.get(name) for name in shapes}


def backward_of(thing: Any) -> str | None:
    """The name of the method that takes x and y and returns gradients."""
    names = [n for n in dir(thing) if BACKWARD.fullmatch(n) and callable(getattr(thing, n))]
    names.sort(key=lambda n: ("prop" not in n, n.startswith("_"), len(n)))
    return next((n for n in names if len(positional(getattr(thing, n))) >= 2), None)


def probe(
    calls: Calls, make: Callable[[], Home], found: Parameters, x: Array, t: Array, classes: int
) -> None:
    """Find out, by one example, how the code wants it. Raises what the first way raised where none works."""
    transposed = found.layers[0]["transposed"]
    order = ("columns", "vectors", "rows") if transposed else ("rows", "vectors", "columns")
    vector = all(np.ndim(found.read(make().thing)[layer["b"]]) == 1 for layer in found.layers if layer["b"])
    if vector and transposed and found.layers[0]["b"]:
        order = ("vectors", "columns", "rows")
    first: Exception | None = None
    for layout, target in product(order, TARGETS):
        calls.layout, calls.target = layout, target
        try:
            if _works(calls, make, found, x, t, classes):
                return
            came = calls.call(make().thing, *calls.given(x, t, classes), found)
        except Exception as error:
            first = first or error
            continue
        if first is None or isinstance(first, UsageError):  # it ran, but this is not what was expected
            first = UsageError(
                f"{calls.what}(x, y) must return the gradients of {', '.join(found.order)}, but "
                f"{described(came)} came."
            )
            break
    assert first is not None
    raise first


def _works(
    calls: Calls, make: Callable[[], Home], found: Parameters, x: Array, t: Array, classes: int
) -> bool:
    own = make()
    shapes = {name: np.shape(a) for name, a in found.read(own.thing).items()}
    given, y = calls.given(x, t, classes)
    result = calls.call(own.thing, given, y, found)
    if not calls.returned.learn(result, shapes):
        stored = parameters.stored_gradients(own.thing, found)
        if not stored or any(a is not None and a.shape != shapes[n] for n, a in stored.items()):
            return False
    calls.forward = None
    for forward in _forwards(calls, own.thing, found):
        try:
            a = outputs_in(forward(make().thing, given.copy()), given, classes)
        except Exception:  # another method, then
            continue
        if a is not None and np.isfinite(a).all():
            calls.forward = forward
            return True
    calls.output(make().thing, given, y, found, classes)
    return True


def _forwards(calls: Calls, thing: Any, found: Parameters) -> Iterator[Forward]:
    for name in FORWARD:
        if callable(getattr(type(thing), name, None)):
            yield partial(_by_method, name)
        function = calls.functions.get(name)
        if function is not None and not isinstance(calls.backward, str):
            yield partial(_by_function, calls, found, function)


def _by_method(name: str, thing: Any, x: Array) -> Any:
    return roles.call(getattr(thing, name), name, ("x",), {"x": x})


def _by_function(calls: Calls, found: Parameters, function: Callable, thing: Any, x: Array) -> Any:
    return roles.call(function, function.__name__, ("x",), {"x": x, **calls.shared(thing, found)})


def outputs_in(result: Any, x: Array, size: int) -> Any:
    """The outputs in what a forward pass returns: the array itself, or the last of the activations."""
    if isinstance(result, np.ndarray) and result.dtype != object:
        return result if result.size == size and result.dtype.kind in "fc" else None
    if not isinstance(result, list | tuple):
        return None
    for part in result:  # a list of activations begins with x
        if isinstance(part, list | tuple) and len(part) and _is(part[0], x):
            return outputs_in(part[-1], x, size)
    if len(result) and _is(result[0], x):
        return outputs_in(result[-1], x, size)
    fits = [leaf for _, leaf in leaves(result) if np.size(leaf) == size and np.ndim(leaf)]
    return outputs_in(np.asarray(fits[-1]), x, size) if fits else None


def _is(value: Any, x: Array) -> bool:
    return isinstance(value, np.ndarray) and value.shape == x.shape and np.array_equal(value, x)


def _namespace(transposed: bool, bias: str, widths: tuple[int, ...]) -> SimpleNamespace:
    """Lists of parameters for a function without a class."""
    rng, pairs = np.random.default_rng(0), list(pairwise(widths))
    shapes = {"column": (-1, 1), "row": (1, -1), "vector": (-1,)}
    return SimpleNamespace(
        weights=[rng.standard_normal((m, n) if transposed else (n, m)) for n, m in pairs],
        biases=[rng.standard_normal(m).reshape(shapes[bias]) for _, m in pairs],
        sizes=list(widths),
        num_layers=len(widths),
    )


NAMESPACES: list[Callable[[tuple[int, ...]], SimpleNamespace]] = [  # in the layouts that people use
    partial(_namespace, transposed, bias)
    for transposed, bias in ((True, "column"), (True, "vector"), (False, "row"), (False, "vector"))
]


class Spy:
    """A cost that passes everything on, and keeps the outputs that it is asked about."""

    def __init__(self, cost: Any, y: Any) -> None:
        self.cost, self.y, self.heard = cost, y, None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.cost, name)
        return self._listening(value) if callable(value) else value

    def __call__(self, *args: Any) -> Any:
        return self._listening(self.cost)(*args)

    def _listening(self, function: Callable) -> Callable:
        def call(*args: Any, **more: Any) -> Any:
            at = next((i for i, a in enumerate(args) if a is self.y), None)
            if at is not None and len(args) > 1:
                self.heard = args[at - 1] if at else args[1]
            return function(*args, **more)

        return call


class Substitute:
    """In place of a cost that the file does not have: the cross-entropy, whatever its methods are called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in costs.VALUE:
            return costs.STANDARD[0].fn
        return lambda *args: args[-2] - args[-1]
