"""A record of what the modules of a composition were called with; and passes over them with one mistake.

A composition is right if every backward gets what its module's forward got and what the next one passed back.
So the backward pass is done again with the user's own modules, properly and with one mistake each: what the
mistakes give are predictions, which compare.diagnosis.composition weighs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters.module_calls import Calls, Memory, calls_of
from compare.adapters.module_signatures import pair_of
from compare.adapters.module_slots import Slot, attributes
from scratch.errors import UsageError

Array = np.ndarray


@dataclass
class Step:
    """One forward call of a module."""

    path: str
    module: Any
    memory: Memory
    roles: dict[str, Any] = field(default_factory=dict)


@dataclass
class Tape:
    """Every forward call of the modules inside `root`, in order."""

    steps: list[Step] = field(default_factory=list)
    passed: dict[str, dict[str, Any]] = field(default_factory=dict)  # what backward got, by path and role
    moved: dict[str, list[tuple[Slot, Array]]] = field(
        default_factory=dict
    )  # what the pass has changed, by path

    def fold(self) -> None:
        """Of several equal passes, such as that of a backward which begins with a forward, keep the last."""
        paths = [step.path for step in self.steps]
        once = len(set(paths))
        if once and len(paths) % once == 0 and paths == paths[:once] * (len(paths) // once):
            self.steps = self.steps[-once:]

    def chain(self) -> bool:
        """Whether each module is called once, with what the one before it gave."""
        paths = [step.path for step in self.steps]
        if len(set(paths)) != len(paths):
            return False
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return all(np.array_equal(np.asarray(a.memory.y), np.asarray(b.memory.x)) for a, b in pairs)


def modules_in(root: Any, name: str = "layers") -> dict[str, Any]:
    """The modules inside an object, a dict or a list, by the path under which the user finds them."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(path: str, thing: Any, top: bool = False) -> bool:
        """Whether there was a module in it."""
        if id(thing) in seen or isinstance(thing, type):
            return False
        seen.add(id(thing))
        if isinstance(thing, dict):
            return any([visit(_join(path, str(key)), one) for key, one in thing.items()])
        if isinstance(thing, list | tuple):
            return any([visit(f"{path or name}[{i}]", one) for i, one in enumerate(thing)])
        if pair_of(type(thing)) is None and not top:
            return False
        inner = [
            visit("" if isinstance(one, dict) and not path else _join(path, attribute), one)
            for attribute, one in attributes(thing).items()
            if not isinstance(one, np.ndarray)
        ]
        if any(inner):
            return True
        if pair_of(type(thing)) is not None and not top:
            found[path] = thing
            return True
        return False

    visit("", root, top=True)
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def record(modules: dict[str, Any]) -> Tape:
    """From now on the forward calls of these modules are written down."""
    tape = Tape()
    for path, module in modules.items():
        try:
            calls = calls_of(type(module))
        except UsageError:  # what it takes is not known: it is called, not recorded
            continue
        own = getattr(module, calls.forward_name)

        def recorded(
            *args: Any,
            own: Callable = own,
            calls: Calls = calls,
            path: str = path,
            module: Any = module,
            **named: Any,
        ) -> Any:
            given = dict(zip(calls.forward_roles.values(), args, strict=False))
            given |= {calls.forward_roles.get(k, k): v for k, v in named.items()}
            before = {role: _kept(v) for role, v in given.items()}
            result = own(*args, **named)
            y, cache = (
                (result[0], result[1] if len(result) == 2 else result[1:])
                if isinstance(result, tuple)
                else (result, None)
            )
            if y is None:
                y = next((a for n, a in attributes(module).items() if n in ("output", "out", "y")), None)
            memory = Memory(before.get("x"), _kept(y), before.get("t"), cache)
            if not tape.passed:  # a backward that calls a forward is no step of the forward pass
                tape.steps.append(Step(path, module, memory, before))
            return result

        back = getattr(module, calls.backward_name)

        def passed(
            *args: Any, back: Callable = back, calls: Calls = calls, path: str = path, **named: Any
        ) -> Any:
            given = dict(zip(calls.backward_roles.values(), args, strict=False))
            given |= {calls.backward_roles.get(k, k): v for k, v in named.items()}
            tape.passed[path] = {role: _kept(v) for role, v in given.items()}
            return back(*args, **named)

        object.__setattr__(module, calls.forward_name, recorded)
        object.__setattr__(module, calls.backward_name, passed)
    return tape


def _kept(value: Any) -> Any:
    return np.array(value) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class Mistake:
    """At step `at`: another value for what forward got, other parameters, another module, more calls."""

    cause: str
    text: str
    at: int
    given: Array | None = None
    moved: tuple[tuple[Slot, Array], ...] = ()  # parameters that have other values by then
    through: int | None = None
    times: int = 1


def mistakes(
    tape: Tape, ops: dict[str, str], every: dict[str, Calls], columns: bool = False
) -> Iterator[Mistake]:
    """What a composition may get wrong, each text once. ops: the operation of each module by path."""
    for number in range(len(tape.steps) - 1, -1, -1):
        step = tape.steps[number]
        x, op = step.memory.x, ops.get(step.path, "unknown")
        by_output = "output" in every[step.path].backward_roles.values()
        own = step.memory.y if by_output else x
        if isinstance(own, np.ndarray):
            for what, value in _others(tape, number, columns, by_output):
                if value.shape == own.shape and not np.array_equal(value, own):
                    cause = "softmax-applied-twice" if what == "softmax of it" else "wrong-cached-value"
                    text = (
                        f"{step.path}'s backward is called with {what} instead of what its forward "
                        f"{'returned' if by_output else 'received'}: pass the value of the same module."
                    )
                    yield Mistake(cause, text, number, value)
        if step.path in tape.moved:
            text = f"The gradient is passed back through {step.path} after its update: update at the end."
            yield Mistake("stale-weights", text, number, moved=tuple(tape.moved[step.path]))
        if np.shape(step.memory.y) != np.shape(x) or np.ndim(x) == 0:
            continue
        cause = {"relu": "relu-mask-missing", "dropout": "dropout-scale"}.get(
            op, "activation-derivative-missing"
        )
        yield Mistake(
            cause, f"{step.path} is left out on the way back: call its backward too.", number, times=0
        )
        twice = "dropout-scale" if op == "dropout" else "activation-derivative-wrong"
        yield Mistake(twice, f"The gradient passes through {step.path} twice.", number, times=2)
        for other, another in enumerate(tape.steps):
            if other != number and np.shape(another.memory.x) == np.shape(x) == np.shape(another.memory.y):
                same = type(another.module) is type(step.module)
                yield Mistake(
                    "wrong-cached-value" if same else "activation-derivative-wrong",
                    f"The gradient goes back through {another.path} where it should go through {step.path}.",
                    number,
                    through=other,
                )


def _others(tape: Tape, number: int, columns: bool, by_output: bool) -> Iterator[tuple[str, Array]]:
    """Every other value of the forward pass, named; and what the user's backward was given."""
    own = tape.steps[number]
    mine = own.memory.x if by_output else own.memory.y
    if isinstance(mine, np.ndarray):
        yield f"its own {'input' if by_output else 'output'}", mine
    for step in tape.steps:
        for what, value in (("input", step.memory.x), ("output", step.memory.y)):
            if step is not own and isinstance(value, np.ndarray):
                yield f"the {what} of {step.path}", value
    if own.memory.t is not None and isinstance(own.memory.x, np.ndarray) and own.memory.x.ndim == 2:
        axis = 0 if columns else 1
        e = np.exp(own.memory.x - own.memory.x.max(axis=axis, keepdims=True))
        yield "softmax of it", e / e.sum(axis=axis, keepdims=True)
    given = tape.passed.get(own.path, {}).get("output" if by_output else "x")
    if isinstance(given, np.ndarray):
        yield "another value", given


def backward(tape: Tape, arriving: Any, every: dict[str, Calls], mistake: Mistake | None = None) -> Any:
    """The backward pass by hand; every: how the modules are called, by path. Gives dx of the first module."""
    grad = arriving
    for number in range(len(tape.steps) - 1, -1, -1):
        here = mistake if mistake is not None and mistake.at == number else None
        step = tape.steps[number if here is None or here.through is None else here.through]
        calls, memory = every[step.path], step.memory
        if here is not None and here.given is not None:
            if "output" in calls.backward_roles.values():
                memory = Memory(memory.x, here.given, memory.t, memory.cache)
            else:
                memory = Memory(here.given, memory.y, memory.t, memory.cache)
        for slot, value in () if here is None else here.moved:
            slot.put(step.module, value)
        for _ in range(1 if here is None else here.times):
            returned = calls.backward(step.module, memory, grad)
            grad = calls.input_gradient(step.module, returned, np.asarray(memory.x))
    return grad
