"""Style `loss-and-grads`: a class with a dict `params` and `loss(X, y, reg) -> (loss, grads)`."""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from compare.adapters import chains
from compare.adapters.build import Builder, builders
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.subject import Claims, Context, Point, Subject, draw, positional
from compare.adapters.targets import Targets
from scratch.errors import UsageError

Array = np.ndarray
STYLE = "loss-and-grads"
EXAMPLE = """\
class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, std=1e-1):
        self.params = {"W1": std * np.random.randn(input_size, hidden_size), ...}

    def loss(self, X, y=None, reg=0.0):
        ...                          # scores where y is None
        return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}"""
PENALTIES = ("reg", "lam", "lambda", "l2", "weight_decay", "wd", "alpha", "decay")
REG = 0.3


def find(context: Context) -> Iterator[Subject]:
    """Every class, factory and object whose `params` is a dict and whose `loss` takes X and y."""
    for builder in builders(context, _fits):
        yield LossAndGrads(builder, context)


def _fits(thing: Any) -> bool:
    loss = getattr(thing, "loss", None)
    if not callable(loss) or len(positional(loss)) < 2:
        return False
    return inspect.isclass(thing) or isinstance(getattr(thing, "params", None), dict)


class LossAndGrads(Subject):
    """One class in one of its activations; `build` holds (D, H ..., C)."""

    style, kind = STYLE, "network"

    def __init__(self, builder: Builder, context: Context) -> None:
        self.builder, self.name = builder, builder.label
        self.takes = (builder.kind.__name__, builder.label)
        self.sizes = tuple(context.options.get("sizes") or builder.sizes or (6, 5, 4))
        self.targets = Targets()
        self.labels = 0  # how many there are; 0: as many as outputs
        self.loss, self.reg = context.options.get("loss"), context.options.get("l2", REG)
        self.order, self.description = [], {}

    def points(self, rng: np.random.Generator) -> list[Point]:
        asked, square = self.sizes, (5,) * len(self.sizes)
        sizes, shapes = self._shapes(asked)
        many, few = _unlike(7, sizes), _unlike(3, sizes)  # targets must not be broadcast to scores by chance
        plan = [
            (f"a batch of {many}", many, asked, self.reg),
            (f"another batch of {many}", many, asked, self.reg),
            ("one example", 1, asked, 0.0),
            (f"a batch of {few} without penalty", few, asked, 0.0),
            ("square shapes", 5, square, self.reg),
        ]
        zeros = {name: np.zeros(shape) for name, shape in shapes.items()}
        layers = chains.layers_of(zeros, sizes[0], sizes[-1])
        self.order = chains.backward_order(layers) if layers else [*reversed(shapes)]
        self.description = {
            "layers": layers,
            "activation": self.builder.activation,
            "loss": self.loss,
            "penalty": self._penalty(self.start({"sizes": asked})) is not None,
        }
        if sizes[-1] == 1 and not self._takes(1, rng):
            self.labels = 1
        points = [self._point(*call, rng) for call in plan[:-1]]
        if not self.builder.fixed and self._shapes(square)[1] != shapes:
            points.append(self._point(*plan[-1], rng))
        return points

    def _shapes(self, asked: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
        """The sizes that an object has, and its parameters' shapes: not every class takes sizes."""
        shapes = {name: np.shape(w) for name, w in self.start({"sizes": asked}).params.items()}
        zeros = {name: np.zeros(shape) for name, shape in shapes.items()}
        known = chains.layers_of(zeros, asked[0], asked[-1])
        return (asked if known else chains.sizes_of(zeros) or asked), shapes

    def _point(
        self, label: str, n: int, asked: tuple[int, ...], reg: float, rng: np.random.Generator
    ) -> Point:
        """Weights of N(0, 0.7^2), smaller in larger layers: the outputs shall not all be 0 or 1."""
        sizes, shapes = self._shapes(asked)
        inputs = {}
        for name, shape in shapes.items():
            wide = max(*shape, 8) if len(shape) > 1 else 8
            inputs[name] = draw(rng, *shape, scale=0.7 * float(np.sqrt(8 / wide)))
        t = rng.integers(self.labels or max(sizes[-1], 2), size=n)
        data = {"x": draw(rng, n, sizes[0]), "t": t, "reg": reg, "classes": sizes[-1]}
        return Point(label, inputs, data, {"sizes": asked})

    def _takes(self, label: int, rng: np.random.Generator) -> bool:
        """Whether a network of one output may be told this label: softmax of one score knows 0 only."""
        point = self._point("", 3, self.sizes, self.reg, rng)
        point.data["t"][:] = label
        try:
            with calling(0):
                self._call(self.start(point.build), point)
        except CheckedCodeError:
            return False
        return True

    def start(self, build: dict[str, Any]) -> Any:
        thing = self.builder(build["sizes"])
        if not isinstance(getattr(thing, "params", None), dict):
            raise UsageError(f"{self.name} has no dict `params` of its parameters once it is made.")
        return thing

    def value(self, state: Any, point: Point) -> Any:
        return self._split(self._call(state, point))[0]

    def claims(self, state: Any, point: Point) -> tuple[Any, Claims]:
        loss, grads = self._split(self._call(state, point))
        for name, value in point.inputs.items():  # what the call has changed is to be seen
            if not np.array_equal(state.params[name], value):
                point.inputs[name] = np.array(state.params[name])
        return loss, {name: grads.get(name) for name in point.inputs}

    def output(self, state: Any, point: Point) -> Array | None:
        self._load(state, point)
        try:
            scores = state.loss(point.data["x"])
        except Exception:  # there are classes whose loss always needs targets
            return None
        return scores if isinstance(scores, np.ndarray) else None

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        x, t = (p.name for p in positional(self.start({"sizes": self.sizes}).loss)[:2])
        return {"data_names": {"x": x, "t": t}}

    def source(self, tensor: str) -> Any:
        return getattr(self.builder.kind, "loss", None)

    def _load(self, state: Any, point: Point) -> None:
        """In place where that keeps every digit, so that aliases of the arrays stay what they are."""
        for name, value in point.inputs.items():
            old = state.params[name]
            if isinstance(old, np.ndarray) and old.dtype == value.dtype and old.shape == value.shape:
                old[...] = value
            else:
                state.params[name] = value

    def _call(self, state: Any, point: Point) -> Any:
        self._load(state, point)
        x, t, reg = point.data["x"], point.data["t"], point.data["reg"]
        penalty = self._penalty(state)
        options = {penalty: reg} if penalty and penalty != "(attribute)" else {}
        if penalty == "(attribute)":
            state.reg = reg
        shapes = {name: np.shape(w) for name, w in point.inputs.items()}

        def loss(y: Array) -> Any:
            given = y.copy()
            result = state.loss(x, y, **options)
            if not np.array_equal(y, given):
                point.data["t"] = y
            return result

        return self.targets.call(loss, t, point.data["classes"], lambda result: _fit(result, shapes))

    def _penalty(self, thing: Any) -> str | None:
        """The name of the parameter that takes the strength of L2, if there is one."""
        for parameter in positional(thing.loss)[2:]:
            if any(word in parameter.name.lower() for word in PENALTIES):
                return parameter.name
        return "(attribute)" if hasattr(thing, "reg") else None

    def _split(self, result: Any) -> tuple[Any, dict[str, Any]]:
        if isinstance(result, tuple):
            grads = next((part for part in result if isinstance(part, dict)), None)
            loss = next((part for part in result if np.ndim(part) == 0 and not isinstance(part, dict)), None)
            if grads is not None and loss is not None:
                return loss, grads
        raise UsageError(
            f"{self.name}.loss(X, y) must return (loss, grads) with a dict of gradients, "
            f"but {_shape_of(result)} came."
        )


def _unlike(n: int, sizes: tuple[int, ...]) -> int:
    """n, or the next number that is none of the sizes."""
    return next(m for m in range(n, n + len(sizes) + 1) if m not in sizes)


def _fit(result: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether there are gradients and they have the parameters' shapes."""
    parts = result if isinstance(result, tuple) else ()
    grads: Any = next((part for part in parts if isinstance(part, dict)), {})
    return all(np.shape(grads.get(name)) == shape for name, shape in shapes.items())


def _shape_of(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return "None (is the return missing?)" if result is None else type(result).__name__
