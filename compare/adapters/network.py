"""Style `network`: lists `weights` and `biases`, and `backprop(x, y) -> (nabla_b, nabla_w)`."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compare.adapters import costs, network_call, parameters, three_layer, unpacking
from compare.adapters.batches import Batches, divides
from compare.adapters.build import Builder, builders
from compare.adapters.cost_choice import choose
from compare.adapters.costs import Cost
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.hidden_randomness import unforeseeable
from compare.adapters.known import Known
from compare.adapters.network_call import BACKWARD, Calls, backward_of
from compare.adapters.parameters import Home, Parameters
from compare.adapters.roles import parameters as all_parameters
from compare.adapters.roles import role
from compare.adapters.subject import Claims, Context, Point, Subject, draw
from scratch.errors import UsageError

Array = np.ndarray
STYLE = "network"
EXAMPLE = """\
class Network:
    def __init__(self, sizes, cost=CrossEntropyCost):
        self.weights = [np.random.randn(m, n) for n, m in zip(sizes, sizes[1:])]
        self.biases = [np.random.randn(m, 1) for m in sizes[1:]]

    def feedforward(self, a):        # a column
        ...
    def backprop(self, x, y):        # two columns
        return nabla_b, nabla_w      # lists like biases and weights"""
SIZES, DEEP = (6, 5, 4), (7, 6, 5, 4)
HUGE = (800.0, 50.0)


def find(context: Context) -> Iterator[Subject]:
    """Every class and object with lists of weights and a backward pass; failing that, such a function."""
    given = lambda kind: _cost_argument(kind, context)  # noqa: E731
    known = Known(context)
    for builder in builders(context, lambda thing: backward_of(thing) is not None, given):
        method = backward_of(builder.kind)
        if method is not None and not known.again(builder) and _has_lists(builder):
            yield from _subjects(builder, context, method, known)
    if not known.kinds:
        for name, function in _functions(context):
            holder = next(_holders(context, given), None)
            yield from _subjects(holder or _without_class(name), context, function, known)


def _functions(context: Context) -> Iterator[tuple[str, Callable]]:
    """Module functions that take x, y, weights and biases."""
    everything = context.functions() or {n: o for n, o in context.objects.items() if inspect.isfunction(o)}
    for name, function in everything.items():
        known = {role(p.name) for p in all_parameters(function)}
        if {"x", "y", "weights", "biases"} <= known and (BACKWARD.fullmatch(name) or context.wanted == name):
            yield name, function


def _holders(context: Context, given: Callable) -> Iterator[Builder]:
    """Classes whose objects have the lists of weights that such a function is given."""
    everything = Context(context.objects, None, context.folder, context.options)
    for builder in builders(everything, lambda thing: inspect.isclass(thing), given):
        if _has_lists(builder):
            yield builder


def _has_lists(builder: Builder) -> bool:
    try:
        with calling(0):
            thing = builder(builder.sizes or SIZES)
            return parameters.is_network(thing) and not three_layer.takes(thing, builder.sizes or SIZES)
    except (CheckedCodeError, UsageError):
        return False


def _without_class(name: str) -> Builder:
    return Builder(None, name, network_call.NAMESPACES[0])


def _cost_argument(kind: type, context: Context) -> dict[str, Any]:
    """A cost for a constructor that must be given one: the first of the file."""
    needed = [p for p in all_parameters(kind.__init__) if p.default is p.empty and role(p.name) == "cost"]  # type: ignore[misc]
    if not needed:
        return {}
    found = [o for o in context.objects.values() if inspect.isclass(o) and costs.is_cost(o)]
    return {needed[0].name: found[0] if found else "cross_entropy"}


def _subjects(
    builder: Builder, context: Context, backward: str | Callable, known: Known
) -> Iterator[Subject]:
    """The network with its own cost, with the file's other costs, and with one more hidden layer."""
    first = NetworkSubject(builder, context, backward)
    default = builder.kind not in known.kinds
    if not known.is_new(builder, first.fingerprint):
        return
    yield NetworkSubject(builder, context, backward)
    if context.options.get("sizes") or builder.fixed or not default:
        return
    for cost in first.other_costs():
        yield NetworkSubject(builder, context, backward, cost=cost)
    if first.makes(DEEP):
        yield NetworkSubject(builder, context, backward, deep=True)


class NetworkSubject(Subject):
    """One class, or one function beside a class; `build` holds the sizes."""

    style, kind = STYLE, "network"

    def __init__(
        self,
        builder: Builder,
        context: Context,
        backward: str | Callable,
        cost: type | None = None,
        deep: bool = False,
    ) -> None:
        self.builder, self.context, self.replaced = builder, context, cost
        label = builder.label if isinstance(backward, str) else backward.__name__
        self.name = (
            label + (f" with {cost.__name__}" if cost else "") + (", one more hidden layer" if deep else "")
        )
        self.sizes = tuple(context.options.get("sizes") or builder.sizes or (DEEP if deep else SIZES))
        self.deep = deep
        self.takes = _names(builder.kind, backward, context)
        functions: dict[str, Callable] = {n: o for n, o in context.objects.items() if inspect.isfunction(o)}
        self.calls = Calls(backward, functions)
        around = unpacking.functions_of(builder.kind, functions.values())
        self.calls.returned.promised = unpacking.names(around, self.calls.what)
        self.calls.returned.direct = unpacking.in_order(around, self.calls.what)
        self.cost_of: Callable[[Any], Cost] = lambda _: costs.STANDARD[0]
        self.batches = Batches()
        self.order, self.description, self.notes = [], {}, []
        self.parameters: Parameters | None = None

    # what the adapter needs to know before it can call anything

    def makes(self, sizes: tuple[int, ...]) -> bool:
        """Whether the class makes networks of as many layers as it is asked for."""
        try:
            found = self._find(sizes)
        except (CheckedCodeError, UsageError):
            return False
        return found is not None and len(found.layers) == len(sizes) - 1

    def fingerprint(self) -> float:
        """The outputs at one point in one number, by which activations are told apart."""
        with calling(0):
            self.parameters = self._find(self.sizes)
            x, t = draw(np.random.default_rng(3), 1, self.sizes[0]), np.array([1])
            network_call.probe(self.calls, lambda: self._home(self.sizes), self._known, x, t, self.sizes[-1])
            point = self._point(np.random.default_rng(3), "fingerprint", 1, self.sizes)
            outputs = np.ravel(self.outputs(self.start(point.build), point)[0])
            return float(outputs @ np.sqrt(1.0 + np.arange(outputs.size)))

    def other_costs(self) -> list[type]:
        """The file's other cost classes that make sense after sigmoid outputs, if the class takes one."""
        try:
            with calling(0):
                thing = self._make(self.sizes)
        except (CheckedCodeError, UsageError):
            return []
        own = getattr(thing, costs.attribute(thing) or "", None)
        if not inspect.isclass(own) or not costs.is_cost(own) or self.context.options.get("loss"):
            return []
        others = [o for o in self.context.objects.values() if inspect.isclass(o) and costs.is_cost(o)]
        after_sigmoid = ("cross-entropy", "quadratic")

        def known(kind: type) -> bool:
            cost = costs.of(kind)
            return cost is not None and costs.identified(cost) in after_sigmoid

        return [o for o in others if o is not own and known(o)] if known(own) else []

    def points(self, rng: np.random.Generator) -> list[Point]:
        self._prepare()
        if self.batches.taken:
            last = ("a batch of 3", 3) if self.deep else ("one example", 1)
            plan = [("a batch of 7", 7), ("another batch of 7", 7), last]
        else:
            plan = [("one example", 1), ("another example", 1), *((f"example {k}", 1) for k in (3, 4, 5))]
        points = [self._point(rng, label, n, self.sizes) for label, n in plan[: 3 if self.deep else None]]
        if not self.builder.fixed and not self.deep:
            n = 5 if self.batches.taken else 1
            points.append(self._point(rng, "square shapes", n, (5,) * len(self.sizes)))
        return points

    def _point(self, rng: np.random.Generator, label: str, n: int, sizes: tuple[int, ...]) -> Point:
        initial = self._known.read(self.start({"sizes": sizes}).thing)
        inputs = {name: draw(rng, *np.shape(a), scale=0.7) for name, a in initial.items()}
        t = rng.permutation(sizes[-1])[:n] if n <= sizes[-1] else rng.integers(sizes[-1], size=n)
        data = {"x": draw(rng, n, sizes[0]), "t": t, "reg": 0.0, "classes": sizes[-1]}
        data["initial"] = {name: np.array(a, np.float64) for name, a in initial.items()}
        return Point(label, inputs, data, {"sizes": sizes})

    def _prepare(self) -> None:
        """Find the parameters, the layout, minibatches and the cost, with sizes that leave no choice."""
        distinct = len(set(self.sizes)) == len(self.sizes) or self.builder.fixed
        rng = np.random.default_rng(1)
        with calling(0):
            sizes = self.sizes if distinct else _distinct(len(self.sizes))
            try:
                self._probe(sizes, rng, sizes)
            except Exception:  # a mistake that only equal sizes let run
                if distinct:
                    raise
                self._probe(self.sizes, rng, sizes)
                sizes = self.sizes
            self.order = self._known.order
            self.description = {"layers": self._known.layers, "activation": self.builder.activation}
            tries = [self._point(rng, f"try {k}", 1, sizes) for k in range(2)]
            self.cost_of, note = choose(self, tries)
            several = self._point(rng, "try several", 3, sizes)
            self.batches.look(self, several)
        self.notes = [*([note] if note else []), *self.batches.notes]
        self.scale_is_convention = self.batches.sums_beside_mean

    def _probe(self, sizes: tuple[int, ...], rng: np.random.Generator, distinct: tuple[int, ...]) -> None:
        makers = [self.builder]
        if self.builder.kind is None:
            makers = [Builder(None, self.name, make) for make in network_call.NAMESPACES]
        first: Exception | None = None
        for maker in makers:
            self.builder = maker
            self.parameters = self._find(distinct)
            if self.parameters is None:
                raise UsageError(
                    f"{self.name} must have lists `weights` and `biases` for the sizes {list(sizes)}, but no "
                    "chain of layers was found in its attributes; give the sizes that it takes by --sizes."
                )
            x, t = draw(rng, 1, sizes[0]), np.array([1])
            try:
                network_call.probe(self.calls, lambda: self._home(sizes), self.parameters, x, t, sizes[-1])
                return
            except Exception as error:
                first = first or error
        assert first is not None
        raise first

    @property
    def _known(self) -> Parameters:
        assert self.parameters is not None
        return self.parameters

    def _find(self, sizes: tuple[int, ...]) -> Parameters | None:
        with calling(0):
            return parameters.find(self._make(sizes), sizes[0], sizes[-1])

    def _make(self, sizes: tuple[int, ...]) -> Any:
        thing = self.builder(sizes)
        if self.replaced is not None and (name := costs.attribute(thing)):
            setattr(thing, name, self.replaced)
        return thing

    def _home(self, sizes: tuple[int, ...]) -> Home:
        return parameters.home(self._make(sizes), self._known)

    # what is asked of a subject

    def start(self, build: dict[str, Any]) -> Home:
        with calling(0):
            return self._home(build["sizes"])

    def value(self, state: Home, point: Point) -> Any:
        return self.batches.value(self, state, point)

    def claims(self, state: Home, point: Point) -> tuple[Any, Claims]:
        self._known.load(state, point.inputs)
        x, y = self.calls.given(point.data["x"], point.data["t"], point.data["classes"])
        before = np.array(x), np.array(y)
        with unforeseeable():
            result = self.calls.call(state.thing, x, y, self._known)
        shapes = {name: np.shape(a) for name, a in point.inputs.items()}
        claims = self.calls.read(state.thing, result, self._known, shapes)
        for data, now, then in (("x", x, before[0]), ("t", y, before[1])):
            if not np.array_equal(now, then):  # seen by whoever compares the point before and after
                point.data[data] = point.data[data] + 1
        for name, now in self._known.read(state.thing).items():
            if now.shape == shapes[name]:
                point.inputs[name][...] = now
        return None, claims

    def output(self, state: Home, point: Point) -> Array | None:
        return np.asarray(self.outputs(state, point)[0])

    def outputs(self, state: Home, point: Point) -> tuple[Any, Any, Any]:
        """(outputs, x, y) as the code has them."""
        self._known.load(state, point.inputs)
        x, y = self.calls.given(point.data["x"], point.data["t"], point.data["classes"])
        size = len(point.data["x"]) * point.data["classes"]
        return self.calls.output(state.thing, x, y, self._known, size), x, y

    def source(self, tensor: str) -> Any:
        backward = self.calls.backward
        return getattr(self.builder.kind, backward, None) if isinstance(backward, str) else backward

    def divides_updates(self) -> bool:
        """Whether the code around the backward pass divides gradients by the number of examples."""
        around = unpacking.functions_of(self.builder.kind, self.calls.functions.values())
        return divides(around, self.calls.what)

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        facts: dict[str, Any] = {"overflow": self._overflow(rng)}
        if self.batches.taken:
            facts["sums"] = self.batches.gradients == "sum" and self.batches.loss == "mean"
        return facts

    def _overflow(self, rng: np.random.Generator) -> dict[str, Any] | None:
        """A gradient that is not finite where the outputs are."""
        for size in HUGE:
            point = self._point(rng, "huge", 1, self.sizes)
            point.data["x"] *= size
            try:
                with calling(0):
                    _, claims = self.claims(self.start(point.build), point.copy())
                    finite = np.isfinite(self.outputs(self.start(point.build), point)[0]).all()
            except (CheckedCodeError, UsageError):
                continue
            for name in self.order if finite else ():
                if (claim := claims.get(name)) is not None and not np.isfinite(claim).all():
                    bad = float(claim[~np.isfinite(claim)].flat[0])
                    return {"tensor": name, "size": size, "found": str(bad)}
        return None


def _names(kind: Any, backward: str | Callable, context: Context) -> list[str]:
    """The file's names for the class, its function and its costs."""
    own = [kind, backward]
    return [
        name
        for name, o in context.objects.items()
        if any(o is one for one in own) or (inspect.isclass(o) and costs.is_cost(o)) or type(o) is kind
    ]


def _distinct(length: int) -> tuple[int, ...]:
    return tuple(range(3 + length, 3, -1))
