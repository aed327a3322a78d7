"""Planting a bug: one operation, penalty or update rule of scratch is wrong for the length of a `with`."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.structure import stages
from scratch import ops, optimizers
from scratch.learner import Architecture
from scratch.regularizers import Penalty

Array = np.ndarray


@dataclass
class Call:
    """One call of an operation and one of its backward: arguments by name, y, dy and the right gradients."""

    right: Callable[..., tuple[Array, ops.Backward]]  # the operation without the bug
    args: dict[str, Any]
    y: Array
    dy: Array
    gradients: tuple[Array, ...]
    before: dict[str, Any]  # the arguments of the call before, of the same shapes
    latest: dict[str, Any]  # those of the latest call of the same shapes, which may have come after
    total: list[Array]  # the argument's right gradients in all backwards of these shapes so far

    def __getattr__(self, name: str) -> Any:
        return self.args[name]


@dataclass(frozen=True)
class Mutant:
    """A planted bug. operation: `dense`, ..., `penalty` or an optimizer; argument: whose gradient is wrong.

    bug(call) gives the wrong gradient of that argument (for a penalty or a rule, see `planted`).
    """

    operation: str
    argument: str
    bug_name: str
    bug: Callable[..., Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.operation}.{self.argument}: {self.bug_name}"


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """scratch with the bug in it; afterwards it is as it was."""
    owner, attribute, wrong = _replacement(mutant)
    own = vars(owner).get(attribute)  # None where a class inherits it
    setattr(owner, attribute, wrong)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, attribute)
        else:
            setattr(owner, attribute, own)


def _replacement(mutant: Mutant) -> tuple[Any, str, Callable[..., Any]]:
    """(owner, attribute, wrong function)."""
    if mutant.operation == "penalty":
        # bug(penalty, p) gives the gradient of a weight p; bug_name `on biases` widens what is covered
        if mutant.argument == "b":
            return Penalty, "covers", mutant.bug
        return Penalty, "gradient", mutant.bug
    if mutant.operation in optimizers.OPTIMIZERS:
        # bug(optimizer, w, g, right, **hyperparameters) does the update in place of the rule
        owner = optimizers.OPTIMIZERS[mutant.operation]
        attribute = mutant.argument
        right = getattr(owner, attribute)
        return owner, attribute, lambda self, w, g, **h: mutant.bug(self, w, g, right, **h)
    return ops, mutant.operation, _wrong_operation(mutant)


def _wrong_operation(mutant: Mutant) -> Callable[..., tuple[Array, ops.Backward]]:
    right = getattr(ops, mutant.operation)
    signature = inspect.signature(right)
    calls: dict[Any, dict[str, Any]] = {}
    totals: dict[Any, list[Array]] = {}

    def wrong(*args: Any, **options: Any) -> tuple[Array, ops.Backward]:
        y, backward = right(*args, **options)
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        own = dict(bound.arguments)
        key = tuple((np.shape(a), getattr(a, "dtype", None)) for a in own.values())
        before = calls.get(key, own)
        calls[key] = own
        differentiable = [name for name in own if name in ("x", "w", "b", "z")]

        def wrong_backward(dy: Any = 1) -> tuple[Array, ...]:
            gradients = backward(dy)
            total = totals.setdefault(key, [])
            call = Call(right, own, y, dy, gradients, before, calls[key], total)
            if mutant.argument == "all":
                return mutant.bug(call)
            index = differentiable.index(mutant.argument)
            total.append(gradients[index])
            found = np.asarray(mutant.bug(call), gradients[index].dtype)
            return (*gradients[:index], found, *gradients[index + 1 :])

        return y, wrong_backward

    return wrong


STAGE = {"dense": "dense", "conv2d": "conv", "max_pool2d": "pool", "dropout": "dropout", "flatten": "reshape"}


def expected(mutant: Mutant, target: str, architecture: Architecture | None) -> Callable[[str, str], bool]:
    """Whether (tensor, note) of a first divergence names the planted bug in this target."""
    if mutant.operation in optimizers.OPTIMIZERS:
        return lambda tensor, note: re.split("[+,]", note)[0] == mutant.operation
    wanted = mutant.argument
    if target == "ops":
        return lambda tensor, note: (
            tensor.split("/")[0].split(" ")[0] == mutant.operation
            and (wanted == "all" or tensor.endswith(f"/{wanted}"))
        )
    assert architecture is not None
    chain = stages(architecture)
    if mutant.operation.endswith("cross_entropy"):
        return lambda tensor, note: tensor == chain[-1].output
    if mutant.operation == "penalty":
        return lambda tensor, note: tensor == f"{chain[-1].layer}/{mutant.argument}"
    operation = STAGE.get(mutant.operation, "activation")
    last = next(stage for stage in reversed(chain) if stage.op == operation)
    names = {"w": [f"{last.layer}/W"], "b": [f"{last.layer}/b"], "x": [last.source], "z": [last.source]}
    names["all"] = [last.source, f"{last.layer}/W", f"{last.layer}/b"]
    return lambda tensor, note: tensor in names[wanted]
