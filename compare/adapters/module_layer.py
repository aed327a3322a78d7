"""A layer by itself: forward(x) -> y and a backward that gets the gradient dy of its output."""

import re
from typing import Any

import numpy as np

from compare.adapters import module_calls, module_dropout, module_ops
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.hidden_randomness import generators, rewound
from compare.adapters.module_build import rate_for
from compare.adapters.module_shapes import Shape, shapes_for
from compare.adapters.module_slots import slots
from compare.adapters.module_subject import Module
from compare.adapters.opnames import FURTHER, Call
from compare.adapters.subject import Point, draw
from scratch.errors import UsageError

Array = np.ndarray


class Layer(Module):
    """shape: in which layout it takes x, and the sizes in which it is called."""

    shape: Shape

    def _probe(self, rng: np.random.Generator) -> None:
        """The first layout in which forward and backward run."""
        first: Exception | None = None
        halfway: Shape | None = None
        for shape in shapes_for(self.maker):
            build, x = shape.build(0), draw(rng, *shape.x(0))
            try:
                module = self.maker(build)
                memory = self.calls.forward(module, x)
                y = np.asarray(memory.y)
                if y.dtype.kind not in "fc" or not np.isfinite(y).all() or y.ndim == 0:
                    raise UsageError(f"forward gives {y.dtype} of shape {y.shape} for x of shape {x.shape}.")
            except Exception as error:
                first = first or error
                continue
            try:
                self.calls.backward(module, memory, draw(rng, *y.shape))
            except Exception:  # another layout, or the user's own mistake
                halfway = halfway or shape
                continue
            self.shape, self.slots = shape, slots(module, self.maker(build))
            if not shape.pooling or self._is_pooling(module, x, y):
                break
            halfway = halfway or shape
        else:
            if halfway is None:
                assert first is not None
                raise first
            self.shape = halfway  # examine shows in which line the backward pass fails
            self.slots = slots(self.maker(halfway.build(0)))
        self._identify(rng)

    def _is_pooling(self, module: Any, x: Array, y: Array) -> bool:
        """Whether it pools in this layout: both run, whichever axes are those of the image."""
        op = module_ops.known(self.label, x, y, {})
        return self.shape.matches(op, module, x, y, {})

    def _identify(self, rng: np.random.Generator) -> None:
        build = self.shape.build(0)
        module = self.maker(build)
        arrays = {slot.name: draw(rng, *slot.read(module).shape) for slot in self.slots}
        for slot in self.slots:
            slot.put(module, arrays[slot.name])
        x = draw(rng, *self.shape.x(0))
        outputs = [np.asarray(self.calls.forward(module, x.copy()).y) for _ in range(2)]
        self.random = not np.array_equal(outputs[0], outputs[1])
        masks = self.random and not arrays and _is_mask(outputs[0], x)
        if re.search("drop", self.label, re.I) or masks:
            self.op = module_ops.Known("dropout")
        elif not self.random:
            self.op = module_ops.known(self.label, x, outputs[0], arrays)
            self.shape.settle(self.op, module, x, outputs[0], arrays)

    def _points(self, rng: np.random.Generator) -> list[Point]:
        found = []
        for number, label in enumerate(self.shape.labels):
            build = self.shape.build(number)
            module = self.maker(build)
            inputs = {f"{self.label}/x": draw(rng, *self.shape.x(number))}
            for slot in self.slots:
                drawn = draw(rng, *slot.read(module).shape, scale=0.7)
                gain = self.op.roles.get(slot.name) == "gamma"
                inputs[f"{self.label}/{slot.name}"] = 1 + 0.3 * drawn if gain else drawn
            data = self.op.options | self.shape.options(number, module)
            data["examples"] = self.shape.examples(number)
            data["initial"] = {
                f"{self.label}/{slot.name}": np.array(slot.read(module), np.float64) for slot in self.slots
            }
            point = Point(label, inputs, data, build, seed=5 + number)
            try:
                with calling(point.seed):
                    point.data["dy"] = draw(rng, *np.shape(self.forward(self.start(build), point).y))
            except CheckedCodeError:
                if not number:
                    raise
                continue  # a shape that it does not take
            found.append(point)
        return found

    def output(self, state: Any, point: Point) -> Array | None:
        return np.asarray(self.forward(state, point).y)

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        found = super().extra(rng)
        if self.op.op == "dropout":
            return found | self._dropout()
        if self.op.op in FURTHER:
            found |= FURTHER[self.op.op](Call(self.op.op, self.name, self.op.roles, self._apply), rng)
        return found

    def _apply(self, inputs: dict[str, Array], data: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
        """(y, gradients) by canonical argument, with a new object."""
        sizes = {k: v for k, v in data.items() if k in ("size", "stride")}
        module = self.maker(self.shape.build(0) | sizes)
        memory = self.calls.forward(module, inputs["x"])
        returned = self.calls.backward(module, memory, data.get("dy", np.ones(np.shape(memory.y))))
        dx = self.calls.input_gradient(module, returned, inputs["x"])
        return np.asarray(memory.y), {"x": np.asarray(dx)}

    def _dropout(self) -> dict[str, Any]:
        """Statistics over many draws, with a rate that is known where a parameter takes it."""
        module = self.maker({})
        given = next((n for n, role in self.calls.forward_roles.items() if role == "rate"), "")
        name = self.maker.rate_name or given
        known = given or (self.maker.rate_name and not self.maker.fixed)
        rate = rate_for(name) if known else module_dropout.rate_of(module, name)

        def train(x: Array, seed: int) -> tuple[Any, Any]:
            own = self.maker({})
            with calling(seed), rewound(generators([own]), seed):
                memory = self.calls.forward(own, x)
                y = np.array(memory.y)
                returned = self.calls.backward(own, memory, np.ones(x.shape))
                return y, self.calls.input_gradient(own, returned, x)

        def evaluate(x: Array) -> Any:
            with calling(1):
                return self.calls.forward(self.maker({}), x, train=False).y

        told = module_calls.told(module, self.calls)
        return module_dropout.facts(train, evaluate if told else None, rate, name)


def _is_mask(y: Array, x: Array) -> bool:
    """Whether every entry is 0 or one common factor times x."""
    ratio = (y / x)[y != 0] if y.shape == x.shape else np.zeros(0)
    return bool(ratio.size and (y == 0).any() and np.allclose(ratio, ratio.flat[0]))
