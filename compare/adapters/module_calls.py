"""How the methods of one class of modules are called, and what they give back.

forward returns y (or leaves it in an attribute), a loss returns one number or one per example; backward
returns dx, or leaves it in an attribute, or returns it with the gradients of the parameters.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters import module_signatures as signatures
from compare.adapters.module_build import rate_for
from compare.adapters.module_slots import Slot, attributes
from scratch.errors import UsageError

Array = np.ndarray
OUTPUTS = (
    "output",
    "outputs",
    "out",
    "y",
    "a",
    "z",
    "h",
    "activation",
    "result",
    "loss",
    "probs",
    "prob",
    "p",
    "probabilities",
)
INPUT_GRADIENTS = re.compile(
    r"_?(d_?(x|inputs?|in|z|u|a|h|prev)|grad_?(x|inputs?|in)|(x|inputs?|in)_?grad|dX|dA|dZ|delta)", re.I
)
LR = 1.0  # of a backward pass that changes the parameters: the change is then minus the gradient
CLEAR = re.compile(r"(zero|clear|reset)_?\w*grad\w*", re.I)


@dataclass
class Memory:
    """What a forward pass leaves for the backward pass to be given."""

    x: Any
    y: Any
    t: Any = None
    cache: Any = None


@dataclass
class Calls:
    """One class. loss: its forward takes targets too. arriving: what a loss's backward gets as gradient."""

    kind: type
    forward_name: str
    backward_name: str
    forward_roles: dict[str, str]
    backward_roles: dict[str, str]
    arriving: str = "one"
    per_example: str = ""  # sum or mean: of a loss that gives one number for each example
    order: list[str] = field(
        default_factory=list
    )  # of the parameters, where backward returns their gradients

    @property
    def loss(self) -> bool:
        return "t" in self.forward_roles.values()

    @property
    def trains(self) -> bool:
        """Whether forward is told if this is training."""
        return "train" in self.forward_roles.values()

    def forward(self, module: Any, x: Any, t: Any = None, train: bool = True) -> Memory:
        values = {"x": x, "t": t}
        given = {}
        function = getattr(module, self.forward_name)
        own = {p.name: p for p in signatures.parameters(function)}
        for name, role in self.forward_roles.items():
            if name in own:
                values |= {"train": signatures.train_flag(own[name], train), "rate": rate_for(name)}
                given[name] = values[role]
        if not self.trains:
            set_training(module, train)
        result = function(**given)
        cache = None
        if isinstance(result, tuple) and result:
            result, cache = result[0], result[1] if len(result) == 2 else result[1:]
        if result is None:
            own_attributes = attributes(module)
            result = next(
                (own_attributes[n] for n in OUTPUTS if isinstance(own_attributes.get(n), np.ndarray)), None
            )
            if result is None:
                raise UsageError(
                    f"{self.kind.__name__}.{self.forward_name} returns None; is the return missing?"
                )
        return Memory(x, result, t, cache)

    def scalar(self, memory: Memory) -> Any:
        """The loss as one number; complex where the input was."""
        y = np.asarray(memory.y)
        if y.size == 1:
            return y.reshape(())[()]
        return np.sum(y) / (len(y) if self.per_example == "mean" else 1)

    def backward(self, module: Any, memory: Memory, dy: Any) -> Any:
        """What the user's backward returns. dy: the gradient that arrives; for a loss it is 1."""
        probabilities = (
            memory.cache if memory.cache is not None else attributes(module).get("output", memory.x)
        )
        if self.loss:
            dy = {"one": 1.0, "output": probabilities, "x": memory.x}[self.arriving]
        values = {
            "x": memory.x,
            "output": memory.y,
            "t": memory.t,
            "grad": dy,
            "cache": memory.cache,
            "probabilities": probabilities,
            "lr": LR,
        }
        given = {name: values[role] for name, role in self.backward_roles.items()}
        return getattr(module, self.backward_name)(**given)

    def input_gradient(self, module: Any, returned: Any, x: Array) -> Any:
        """dx from what backward returned, else from an attribute; None where there is none."""
        if isinstance(returned, dict):
            returned = next(
                (returned[k] for k in ("x", "dx", "dX", "input", "X", "inputs") if k in returned), None
            )
        if isinstance(returned, tuple | list):
            fitting = [a for a in returned if np.shape(a) == np.shape(x)]
            return fitting[0] if fitting else (returned[0] if returned else None)
        if returned is not None:
            return returned
        own = attributes(module)
        found = [a for n, a in own.items() if INPUT_GRADIENTS.fullmatch(n) and isinstance(a, np.ndarray)]
        return next((a for a in found if a.shape == np.shape(x)), found[0] if found else None)

    @property
    def updates(self) -> bool:
        """Whether the backward pass takes a learning rate and changes the parameters itself."""
        return "lr" in self.backward_roles.values()

    def gradients(
        self, module: Any, returned: Any, slots: list[Slot], x: Array, before: dict[str, Array] | None = None
    ) -> dict[str, Any]:
        """By parameter: from where the module leaves them, else from what backward returned.

        before: the parameters before a backward pass that updates them.
        """
        out = {slot.name: slot.gradient(module) for slot in slots}
        if self.updates and before is not None:
            for slot in slots:
                if not slot.gradient_home:
                    out[slot.name] = (before[slot.name] - slot.read(module)) / LR
            return out
        missing = [slot for slot in slots if not slot.gradient_home]
        if missing and isinstance(returned, dict):
            for slot in missing:
                keys = [
                    k for k in returned if str(k).lower().removeprefix("d").strip("_") == slot.name.lower()
                ]
                out[slot.name] = returned[keys[0]] if keys else None
        elif missing and isinstance(returned, tuple | list):
            dx = self.input_gradient(module, returned, x)
            left = [a for a in returned if a is not dx]
            for slot in sorted(missing, key=lambda s: -s.read(module).ndim):
                shape = slot.read(module).shape
                match = next((i for i, a in enumerate(left) if np.shape(a) == shape), 0 if left else None)
                out[slot.name] = None if match is None else left.pop(match)
        return out


def calls_of(kind: type) -> Calls:
    """Raises UsageError for parameters whose meaning is not known."""
    pair = signatures.pair_of(kind)
    assert pair is not None
    forward, backward = (getattr(kind, name) for name in pair)
    roles = signatures.layer_forward(forward)
    return Calls(kind, *pair, roles, signatures.layer_backward(backward, "t" in roles.values(), forward))


def set_training(module: Any, on: bool) -> None:
    """By the attribute or the methods train() and eval(), where an object is told so."""
    for name, value in attributes(module).items():
        if signatures.TRAIN.fullmatch(name) and isinstance(value, bool):
            setattr(module, name, on != bool(signatures.OFF.fullmatch(name)))
        elif name == "mode" and isinstance(value, str):
            setattr(module, name, "train" if on else "test")
    switches = [getattr(module, name, None) for name in ("train", "eval")]
    if all(callable(s) and not signatures.required(s) for s in switches):
        switches[0 if on else 1]()  # type: ignore[misc]


def told(module: Any, calls: Calls) -> bool:
    """Whether there is any way to say that this is evaluation."""
    own = attributes(module)
    by_attribute = any(signatures.TRAIN.fullmatch(n) and isinstance(v, bool) for n, v in own.items())
    return (
        calls.trains
        or by_attribute
        or isinstance(own.get("mode"), str)
        or callable(getattr(module, "eval", None))
    )


def clear(module: Any) -> None:
    """Call what sets a module's gradients to zero, where it has such a method."""
    for name in dir(module):
        if (
            CLEAR.fullmatch(name)
            and callable(method := getattr(module, name))
            and not signatures.required(method)
        ):
            method()
