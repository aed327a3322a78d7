"""How the code of a three-layer network is called: a fresh forward pass before every backward pass."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.adapters import parameters, roles
from compare.adapters.hidden_randomness import unforeseeable
from compare.adapters.network_call import FORWARD, backward_of
from compare.adapters.parameters import Home, Parameters
from compare.adapters.returned import Returned, leaves
from compare.adapters.subject import Claims, Point, positional
from compare.adapters.targets import FORMS, Targets

Array = np.ndarray
LOSS = re.compile(
    r"_?(calc\w*_|compute_|get_|total_|data_)?(loss|cost|error)(_?func\w*|_?fn)?|calculateLoss", re.I
)
ACTIVATION = re.compile(r"_?(act_?fun|activation|activate|act|actfn)\w*", re.I)
NOT_PENALTY = re.compile(r"lr|rate|learn|step", re.I)


class Calls:
    """start(build): a new object. spoiled: what the backward pass changes of what the forward pass keeps."""

    def __init__(
        self, start: Callable[[dict[str, Any]], Home], promised: Sequence[str] | None, direct: bool
    ) -> None:
        self.start = start
        self.targets, self.returned = Targets(), Returned(promised, direct)
        self.found: Parameters | None = None
        self.spoiled: set[str] = set()

    @property
    def parameters(self) -> Parameters:
        assert self.found is not None
        return self.found

    def load(self, state: Home, point: Point) -> None:
        """The parameters and the strength of L2, also where layers have their own copies of it."""
        self.parameters.load(state, point.inputs)
        if "penalties" not in state.kept:
            state.kept["penalties"] = [(part, n) for part in parts(state.thing) for n in penalties(part)]
        for part, name in state.kept["penalties"]:
            old = getattr(part, name)
            setattr(part, name, (type(old) if isinstance(old, np.floating) else float)(point.data["reg"]))

    def maker(self, point: Point) -> Callable[[], Any]:
        """Makes objects with the parameters of a point."""

        def make() -> Any:
            state = self.start(point.build)
            self.load(state, point.copy())
            return state.thing

        return make

    def values(self, point: Point) -> dict[str, Any]:
        """What a method of the network may be given, by role."""
        x = np.array(point.data["x"])
        return {"x": x, "y": self.given_targets(point), "reg": point.data["reg"], "batch": len(x)}

    def given_targets(self, point: Point) -> Array:
        return FORMS[self.targets.form or "integers"](point.data["t"], point.data["classes"])

    def forward(self, state: Home, x: Array) -> Any:
        """A fresh forward pass; None where only the loss runs one."""
        if "forward" not in state.kept:
            state.kept["forward"] = forward_of(state.thing)
        return state.kept["forward"](x)

    def loss(self, state: Home, point: Point) -> Any:
        self.load(state, point)
        if "loss" not in state.kept:
            state.kept["loss"] = str(loss_of(state.thing))
        name, x = state.kept["loss"], point.data["x"]
        method = getattr(state.thing, name)
        self.forward(state, x)

        def call(y: Array) -> Any:
            return roles.call(method, name, ("x", "y"), {"x": x, "y": y, "reg": point.data["reg"]})

        return self.targets.call(call, point.data["t"], point.data["classes"])

    def backward(self, state: Home, point: Point) -> Any:
        """What the backward pass returns after a fresh forward pass."""
        if self.targets.form is None:
            self.loss(self.start(point.build), point.copy())
        self.load(state, point)
        thing, values = state.thing, self.values(point)
        x = values["x"] = point.data["x"]
        if not any(callable(getattr(type(thing), n, None)) for n in FORWARD):
            self.loss(state, point)
        self.forward(state, x)
        cached = [(n, a, a.copy()) for n, a in vars(thing).items() if _is_cache(a, len(x)) and a is not x]
        before, name = np.array(values["y"]), str(backward_of(thing))
        with unforeseeable():
            result = roles.call(getattr(thing, name), name, ("x", "y"), values)
        if not np.array_equal(values["y"], before):
            point.data["t"] = point.data["t"] + 1  # seen by whoever compares the point before and after
        self.spoiled |= {n for n, a, old in cached if not np.array_equal(a, old, equal_nan=True)}
        return result

    def gradients(self, state: Home, result: Any, point: Point) -> Claims:
        """Those that were returned, or else those left in attributes."""
        shapes = {name: np.shape(a) for name, a in point.inputs.items()}
        if self.returned.places and any(leaf is not None for _, leaf in leaves(result)):
            return self.returned.read(result, shapes)
        stored = parameters.stored_gradients(state.thing, self.parameters)
        return {name: stored.get(name) for name in shapes}

    def learn(self, point: Point) -> Any:
        """Find out where the gradients stand; what was returned instead, where they cannot be found."""
        self.loss(self.start(point.build), point.copy())
        state = self.start(point.build)
        result = self.backward(state, point.copy())
        shapes = {name: np.shape(a) for name, a in point.inputs.items()}
        if self.returned.learn(result, shapes) or parameters.stored_gradients(state.thing, self.parameters):
            return None
        return (result,)

    def notes(self) -> list[str]:
        if not self.spoiled:
            return []
        names = ", ".join(f"self.{name}" for name in sorted(self.spoiled))
        return [
            f"The backward pass changes {names} in place: a second one needs another feedforward first (harmless "
            "here, where one always comes before)."
        ]


def loss_of(thing: Any) -> str | None:
    """The name of the method that computes the loss from X and y."""
    names = [n for n in dir(thing) if LOSS.fullmatch(n) and callable(getattr(thing, n))]
    for name in sorted(names, key=lambda n: ("loss" not in n.lower(), -len(n))):
        found = positional(getattr(thing, name))
        if len(found) >= 2 and roles.role(found[0].name) == "x":
            return name
    return None


def parts(thing: Any) -> list[Any]:
    """The object and the objects in its attributes and lists, such as layers."""
    found = [thing]
    for value in getattr(thing, "__dict__", {}).values():
        items = value if isinstance(value, list | tuple) else [value]
        found += [one for one in items if hasattr(one, "__dict__") and not callable(one) and one is not thing]
    return found


def penalties(part: Any) -> list[str]:
    """Attributes that hold the strength of L2."""
    return [
        name
        for name, value in getattr(part, "__dict__", {}).items()
        if roles.role(name) == "reg"
        and not NOT_PENALTY.search(name)
        and isinstance(value, int | float | np.floating)
        and not isinstance(value, bool)
    ]


def forward_of(thing: Any) -> Callable[[Array], Any]:
    """The forward pass as a function of X alone, with the activation that it wants to be given."""
    name = next((n for n in FORWARD if callable(getattr(type(thing), n, None))), None)
    if name is None:
        return lambda x: None
    method = getattr(thing, name)
    values: dict[str, Any] = {}
    needs = [p.name for p in roles.required(method) if roles.role(p.name) == "actFun"]
    if needs:
        words = (v for n, v in vars(thing).items() if ACTIVATION.fullmatch(n) and isinstance(v, str))
        kind = next(words, None)
        own = next((n for n in dir(type(thing)) if ACTIVATION.fullmatch(n)), None)
        if own is None or needs[0].lower().endswith(("type", "name")):
            values["actFun"] = kind
        else:
            function = getattr(thing, own)
            two = len(roles.required(function)) > 1
            values["actFun"] = (lambda z: function(z, kind)) if two else function
    return lambda x: roles.call(method, str(name), ("x",), {"x": x, **values})


def _is_cache(value: Any, n: int) -> bool:
    """Whether it is an array of one row for each example."""
    return isinstance(value, np.ndarray) and value.shape[:1] == (n,)
