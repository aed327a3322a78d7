"""Style `three-layer`: `feedforward(X, actFun)`, `calculate_loss(X, y)`, `backprop(X, y) -> dW1, dW2 ...`.

Networks of any number of `layers`, each with its weights, are of this style too. The penalty may be added in
`fit_model`: what one pass of it adds to the gradients is measured (see fit_step).
"""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from compare.adapters import fit_step, parameters, roles, unpacking
from compare.adapters.build import Builder, builders
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.fit_step import FitStep
from compare.adapters.known import Known
from compare.adapters.network_call import backward_of
from compare.adapters.parameters import Home
from compare.adapters.returned import described
from compare.adapters.subject import Claims, Context, Point, Subject, draw
from compare.adapters.three_layer_call import Calls, loss_of, parts, penalties
from scratch.errors import UsageError

Array = np.ndarray
Sizes = tuple[int, ...]
STYLE = "three-layer"
EXAMPLE = """\
class NeuralNetwork:
    def __init__(self, nn_input_dim, nn_hidden_dim, nn_output_dim, actFun_type="tanh", reg_lambda=0.01):
        self.W1, self.b1, self.W2, self.b2 = ...

    def feedforward(self, X, actFun): ...
    def calculate_loss(self, X, y): ...
    def backprop(self, X, y):
        return dW1, dW2, db1, db2
    def fit_model(self, X, y, epsilon=0.01, num_passes=20000): ..."""
SIZES, DEEP = (6, 5, 4), (7, 6, 5, 4)
REG = 0.25  # a float32, so that code that keeps it as one sees the same
HUGE = 1000.0


def find(context: Context) -> Iterator[Subject]:
    """Every class and object with a backward pass and a loss of (X, y), in every activation that it knows."""
    known = Known(context)
    for builder in builders(context, _fits):
        sizes = tuple(context.options.get("sizes") or builder.sizes or SIZES)
        if known.again(builder):
            continue
        try:
            with calling(0):
                if not takes(builder(sizes), sizes):
                    continue
        except (CheckedCodeError, UsageError):
            if not _fully(builder.kind):  # nothing says that it is of this style
                continue
        subject = ThreeLayer(builder, context, default=builder.kind not in known.kinds)
        if not known.is_new(builder, subject.fingerprint):
            continue
        yield subject
        if subject.default and not (context.options.get("sizes") or builder.fixed) and subject.makes(DEEP):
            yield ThreeLayer(builder, context, deep=True)


def takes(thing: Any, sizes: Sizes) -> bool:
    """Whether an object is of this style: rows as examples, its loss a method of (X, y)."""
    if not _fits(thing) or inspect.isclass(thing):
        return False
    found = parameters.find(thing, sizes[0], sizes[-1])
    if found is None or any(layer["transposed"] for layer in found.layers):
        return False
    penalised = any(penalties(part) for part in parts(thing))
    return not parameters.is_network(thing) or penalised or fit_step.find(thing) is not None


def _fits(thing: Any) -> bool:
    return backward_of(thing) is not None and loss_of(thing) is not None


def _fully(kind: Any) -> bool:
    return _fits(kind) and hasattr(kind, "feedforward") and hasattr(kind, "calculate_loss")


class ThreeLayer(Subject):
    """One class in one of its activations; `build` holds the sizes. default: the class's own activation."""

    style, kind = STYLE, "network"
    scale_is_convention = True

    def __init__(self, builder: Builder, context: Context, default: bool = False, deep: bool = False) -> None:
        self.builder, self.default, self.deep = builder, default, deep
        self.name = builder.label + (", one more hidden layer" if deep else "")
        self.sizes = tuple(context.options.get("sizes") or builder.sizes or (DEEP if deep else SIZES))
        self.takes = _names(builder, context)
        # the other activations of a class share its code, but for the activation itself
        self.thorough = default or bool(context.options.get("activation")) or not builder.options
        functions = [o for o in context.objects.values() if inspect.isfunction(o)]
        around = unpacking.functions_of(builder.kind, functions)
        self.backward = str(backward_of(builder.kind))
        promised, direct = unpacking.names(around, self.backward), unpacking.in_order(around, self.backward)
        self.calls, self.fit = Calls(self.start, promised, direct), FitStep()
        self.order, self.description = [], {}

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        return [*self.fit.notes, *self.calls.notes()]

    # what the adapter needs to know before it can call anything

    def fingerprint(self) -> float:
        """The loss at one point, by which activations are told apart."""
        with calling(0):
            self._find(self.sizes)
            point = self._point(np.random.default_rng(3), "fingerprint", 20, self.sizes, 0.0)
            loss = float(np.real(self.value(self.start(point.build), point)))
            self.claims(self.start(point.build), point, whole=False)
        if not np.isfinite(loss):
            raise UsageError(f"its loss is {loss}.")
        return loss

    def makes(self, sizes: Sizes) -> bool:
        """Whether the class makes networks of as many layers as it is asked for."""
        try:
            with calling(0):
                found = parameters.find(self.builder(sizes), sizes[0], sizes[-1])
        except (CheckedCodeError, UsageError):
            return False
        return found is not None and len(found.layers) == len(sizes) - 1

    def points(self, rng: np.random.Generator) -> list[Point]:
        self._prepare()
        reg = REG if self._penalised else 0.0
        plan = [("a batch of 7", 7, reg), ("another batch of 7", 7, reg)]
        plan.append(("a batch of 3 without penalty", 3, 0.0))
        if self.thorough:
            plan.append(("one example", 1, 0.0))
        points = [self._point(rng, label, n, self.sizes, own) for label, n, own in plan]
        if self.thorough and not self.builder.fixed:
            points.append(self._point(rng, "square shapes", 5, (5,) * len(self.sizes), reg))
        return points

    def _point(self, rng: np.random.Generator, label: str, n: int, sizes: Sizes, reg: float) -> Point:
        initial = self.calls.parameters.read(self.start({"sizes": sizes}).thing)
        inputs = {name: draw(rng, *np.shape(a), scale=0.7) for name, a in initial.items()}
        data = {"x": draw(rng, n, sizes[0]), "t": rng.integers(sizes[-1], size=n), "reg": reg}
        data["classes"] = sizes[-1]
        data["initial"] = {name: np.array(a, np.float64) for name, a in initial.items()}
        return Point(label, inputs, data, {"sizes": sizes})

    def _prepare(self) -> None:
        """Find the parameters, the order of the gradients, and what the training method adds to them."""
        rng, sizes = np.random.default_rng(1), self.sizes
        with calling(0):
            if len(set(sizes)) < len(sizes) and not self.builder.fixed:
                distinct = tuple(range(3 + len(sizes), 3, -1))  # such as leave no choice
                self._find(distinct)
                try:
                    self._learn(rng, distinct)
                    sizes = distinct
                except Exception:  # a mistake that only equal sizes let run
                    self._learn(rng, sizes)
            else:
                self._find(sizes)
                self._learn(rng, sizes)
            self.order = self.calls.parameters.order
            self.description = {
                "layers": self.calls.parameters.layers,
                "activation": self.builder.activation,
            }
            self._look_at_fit(rng, sizes)

    def _find(self, sizes: Sizes) -> None:
        self.calls.found = parameters.find(self.builder(sizes), sizes[0], sizes[-1])
        if self.calls.found is None:
            raise UsageError(
                f"{self.name} must have weights and biases as attributes (W1, b1 ..., or a list of layers) "
                f"for the sizes {list(sizes)}, but no chain of layers was found; give its sizes by --sizes."
            )

    def _learn(self, rng: np.random.Generator, sizes: Sizes) -> None:
        result = self.calls.learn(self._point(rng, "try", 20, sizes, 0.0))
        if result is not None:
            raise UsageError(
                f"{self.backward}(X, y) must return the gradients of "
                f"{', '.join(self.calls.parameters.order)}, but {described(*result)} came."
            )

    def _look_at_fit(self, rng: np.random.Generator, sizes: Sizes) -> None:
        if self.calls.returned.broken:  # the training method would fail over the shapes
            said = f"The gradients are taken in the order in which {self.builder.kind.__name__} unpacks them."
            self.fit = FitStep(None, notes=[said])
            return
        tries = []
        for n in (20, 7):
            point = self._point(rng, f"try {n}", n, sizes, REG if self._penalised else 0.0)
            fresh = self._fresh(point)
            tries.append((self.calls.maker(point), self.calls.values(point), fresh, point.inputs))
        self.fit = fit_step.look(fit_step.find(self.builder(sizes)), tries, self.calls.parameters.read)

    @property
    def _penalised(self) -> bool:
        """Whether the strength of L2 can be set, and its part in the gradients be seen."""
        if self.fit.notes:
            return False
        thing = self.start({"sizes": self.sizes}).thing
        names = [roles.role(p.name) for p in roles.parameters(getattr(thing, str(loss_of(thing))))]
        return any(penalties(part) for part in parts(thing)) or "reg" in names

    # what is asked of a subject

    def start(self, build: dict[str, Any]) -> Home:
        with calling(0):
            return parameters.home(self.builder(build["sizes"]), self.calls.parameters)

    def value(self, state: Home, point: Point) -> Any:
        return self.calls.loss(state, point)

    def claims(self, state: Home, point: Point, whole: bool = True) -> tuple[Any, Claims]:
        same = point.copy()
        result = self.calls.backward(state, point)
        claims = self.calls.gradients(state, result, point)
        for name, now in self.calls.parameters.read(state.thing).items():
            if np.shape(now) == point.inputs[name].shape:
                point.inputs[name][...] = now  # seen by whoever compares the point before and after
        if not whole or self.fit.name is None:
            return None, claims
        make, read = self.calls.maker(same), self.calls.parameters.read
        step = self.fit.step(make, read, self.calls.values(same), self.fit.rates[0])
        return None, self.fit.combine(claims, self._fresh(same), step, same.inputs, len(same.data["x"]))

    def _fresh(self, point: Point) -> Claims:
        """The gradients that a new object gives."""
        state, own = self.start(point.build), point.copy()
        return self.calls.gradients(state, self.calls.backward(state, own), own)

    def output(self, state: Home, point: Point) -> Array | None:
        self.calls.load(state, point)
        returned = self.calls.forward(state, point.data["x"])
        found: Any = returned if isinstance(returned, np.ndarray) else getattr(state.thing, "probs", None)
        shape = len(point.data["x"]), point.data["classes"]
        return found if np.shape(found) == shape else None

    def source(self, tensor: str) -> Any:
        return getattr(self.builder.kind, self.backward, None)

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        facts: dict[str, Any] = {"customary": ["bias rows", "penalty per example"], "overflow": None}
        with calling(0):
            facts["sums"] = self._sums(rng)
            if self.thorough:
                facts["overflow"] = self._overflow(rng)
        return facts

    def _sums(self, rng: np.random.Generator) -> bool:
        """Whether every example twice doubles the gradients, though not the loss."""
        once = self._point(rng, "once", 6, self.sizes, 0.0)
        twice = once.copy()
        twice.data |= {k: np.concatenate([once.data[k]] * 2) for k in ("x", "t")}
        small, large = (
            float(np.real(self.value(self.start(point.build), point.copy()))) for point in (once, twice)
        )
        one, two = (self.claims(self.start(point.build), point.copy())[1] for point in (once, twice))
        votes = []
        for name in self.order:
            a, b = one.get(name), two.get(name)
            if a is not None and b is not None and np.shape(a) == np.shape(b) and np.any(a):
                votes.append(bool(np.vdot(a, b) > 1.5 * np.vdot(a, a)))
        most = sum(votes) > len(votes) / 2 or (2 * sum(votes) == len(votes) and votes[:1] == [True])
        return most and large < 1.5 * small

    def _overflow(self, rng: np.random.Generator) -> dict[str, Any] | None:
        """A gradient that is not finite where the probabilities are."""
        point = self._point(rng, "huge", 4, self.sizes, 0.0)
        point.data["x"] *= HUGE
        output = self.output(self.start(point.build), point.copy())
        if output is None or not np.isfinite(output).all():
            return None
        _, claims = self.claims(self.start(point.build), point.copy(), whole=False)
        for name in self.order:
            if (claim := claims.get(name)) is not None and not np.isfinite(claim).all():
                bad = float(claim[~np.isfinite(claim)].flat[0])
                return {"tensor": name, "size": HUGE, "found": str(bad)}
        return None


def _names(builder: Builder, context: Context) -> list[str]:
    """The file's names for the class, its objects and the classes of its layers."""
    kinds = {builder.kind}
    try:
        with calling(0):
            kinds |= {type(part) for part in parts(builder(builder.sizes or SIZES))}
    except (CheckedCodeError, UsageError):
        pass
    return [n for n, o in context.objects.items() if type(o) in kinds or any(o is kind for kind in kinds)]
