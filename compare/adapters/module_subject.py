"""One class of modules by itself as a subject: what layers and losses have in common.

Its tensors are called class/parameter, such as `Linear/W`; `Linear/x` is what its backward returns.
"""

from typing import Any

import numpy as np

from compare.adapters import module_calls, module_clearing, module_ops
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.hidden_randomness import generators, rewound, unforeseeable
from compare.adapters.module_build import Maker
from compare.adapters.module_slots import Slot
from compare.adapters.subject import Claims, Context, Point, Subject
from scratch.errors import UsageError

Array = np.ndarray


class Module(Subject):
    """problem: why it cannot be called; random: its forward pass draws numbers; op: what it computes."""

    style, kind = "modules", "operation"

    def __init__(self, maker: Maker, context: Context, calls: module_calls.Calls) -> None:
        self.maker, self.name, self.context, self.calls = maker, maker.label, context, calls
        self.label = maker.kind.__name__
        self.takes = (self.label,)
        self.problem: Exception | None = None
        self.slots: list[Slot] = []
        self.random = self.cleared = False
        self.op = module_ops.Known()
        self.order, self.description = [], {}
        self.first: Point | None = None

    def probe(self) -> None:
        """Find out how it is called; what does not work is kept as the problem."""
        try:
            with calling(0):
                self._probe(np.random.default_rng(3))
        except UsageError as error:
            self.problem = error
        except CheckedCodeError as error:
            own = isinstance(error.__cause__, NameError | NotImplementedError)
            tried = UsageError(f"its forward pass cannot be called as gradparity tries: {error}")
            self.problem = error if own else tried

    @property
    def unclear(self) -> bool:
        """Whether it may be right, and only gradparity does not know how to call it."""
        return self.problem is not None and not isinstance(self.problem, CheckedCodeError)

    def _probe(self, rng: np.random.Generator) -> None:
        raise TypeError(f"{type(self).__name__} has no _probe.")

    def _points(self, rng: np.random.Generator) -> list[Point]:
        raise TypeError(f"{type(self).__name__} has no _points.")

    def points(self, rng: np.random.Generator) -> list[Point]:
        if self.problem is not None:
            raise self.problem
        self.cleared = module_clearing.clears(self.context, self.maker.kind)
        self.order = [*(f"{self.label}/{slot.name}" for slot in self.slots), f"{self.label}/x"]
        roles = {role: f"{self.label}/{name}" for name, role in self.op.roles.items()}
        self.description = {
            "op": self.op.op,
            "arguments": {**roles, "x": f"{self.label}/x"},
            "layout": self.op.layout,
            "loss": self.calls.loss,
        }
        found = self._points(rng)
        self.first = found[0] if found else None
        return found

    def start(self, build: dict[str, Any]) -> Any:
        return self.maker(build)

    def value(self, state: Any, point: Point) -> Any:
        return self._value(self.forward(state, point), point)

    def claims(self, state: Any, point: Point) -> tuple[Any, Claims]:
        module_calls.clear(state)
        if self.cleared:
            module_clearing.set_to_zero(state, self.slots)
        memory = self.forward(state, point)
        value = self._value(memory, point)
        with rewound(generators([state]), point.seed + 1000) if self.random else unforeseeable():
            returned = self.calls.backward(state, memory, point.data["dy"])
        x = point.inputs[f"{self.label}/x"]
        before = {slot.name: point.inputs[f"{self.label}/{slot.name}"] for slot in self.slots}
        gradients = self.calls.gradients(state, returned, self.slots, x, before)
        if not self.calls.updates:
            for slot in self.slots:  # so that a change of the parameters is seen
                point.inputs[f"{self.label}/{slot.name}"] = slot.read(state)
        claims = {f"{self.label}/{name}": g for name, g in gradients.items()}
        return value, claims | {f"{self.label}/x": self.calls.input_gradient(state, returned, x)}

    def source(self, tensor: str) -> Any:
        return getattr(self.maker.kind, self.calls.backward_name)

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        given = {role: name for name, role in self.calls.backward_roles.items()}
        found: dict[str, Any] = {
            "changed_tensor": f"{self.label}/x",
            "data_names": {"dy": given.get("grad", "dout")},
        }
        if self.cleared and self._adds_up():
            found["conventions"] = ["Gradients add up until the file's own code sets them to zero."]
        return found

    def forward(self, module: Any, point: Point) -> module_calls.Memory:
        """With the parameters of the point."""
        for slot in self.slots:
            slot.put(module, point.inputs[f"{self.label}/{slot.name}"])
        x, t = point.inputs[f"{self.label}/x"], self._targets(point)
        if not self.random:
            return self.calls.forward(module, x, t)
        with rewound(generators([module]), point.seed):
            return self.calls.forward(module, x, t)

    def _targets(self, point: Point) -> Any:
        return None

    def _value(self, memory: module_calls.Memory, point: Point) -> Any:
        return np.sum(memory.y * point.data["dy"])

    def _adds_up(self) -> bool:
        """Whether a second backward pass leaves twice the gradient of the first."""
        if not self.slots or not self.first:
            return False
        module = self.maker(self.first.build)
        sums: list[list[Array]] = []
        with calling(0):
            for _ in range(2):
                memory = self.forward(module, self.first.copy())
                self.calls.backward(module, memory, self.first.data["dy"])
                sums.append([np.array(slot.gradient(module), float) for slot in self.slots])
        return all(np.allclose(twice, 2 * once) for once, twice in zip(*sums, strict=True))
