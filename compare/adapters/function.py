"""Style `function`: any `f(*arrays) -> value` with `grad_f(*arrays)`, and the custom gradients of frameworks."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from compare.adapters import layer_functions
from compare.adapters.examine import CheckedCodeError
from compare.adapters.function_calls import EMPTY, BothCaller, Caller, PairCaller, copied
from compare.adapters.function_frameworks import TensorflowCaller, TorchCaller, tf_functions, torch_functions
from compare.adapters.function_looks import looks
from compare.adapters.function_pairs import Pair, pairs
from compare.adapters.function_points import Plan, plan
from compare.adapters.function_returns import Returned
from compare.adapters.function_trials import Trials, shapes_source
from compare.adapters.subject import Claims, Context, Point, Subject
from scratch.errors import UsageError

Array = np.ndarray
STYLE = "function"
OTHERS = frozenset(  # functions and methods that show that a file is of another style
    "bp backprop back_prop backpropagation backpropagate train fit fit_model feedforward SGD sgd loss forward backward".split()
)
EXAMPLE = '''\
def loss(w, X, y):
    """w: (D,), X: (N, D), y: (N,)"""
    return np.mean((X @ w - y) ** 2)

def grad_loss(w, X, y):              # or loss_grad, dloss, loss_prime, loss_backward ...
    return 2 * X.T @ (X @ w - y) / len(X)

# where f returns an array: grad_f(*arrays, dy); also torch.autograd.Function, tf.custom_gradient'''


def find(context: Context) -> Iterator[Subject]:
    """Every function with a gradient function, then the custom gradients of PyTorch and TensorFlow.

    Pairs of another style are left to it. A pair in a file of another style that cannot be called is only noted.
    """
    functions = {n: o for n, o in context.objects.items() if inspect.isfunction(o)}
    custom = tf_functions(context.objects)
    plain = {n: f for n, f in functions.items() if n not in custom}
    taken = _taken(context)
    main = _is_main(context, plain)
    for pair in pairs(plain):
        involved = [pair.f, *(g for g, _ in pair.gradients)]
        if any(f in taken for f in involved) or not _wanted(context, involved, functions):
            continue
        try:
            make = PairCaller if pair.how == "pair" else BothCaller
            caller: Caller = make(pair, _texts(pair, context))
            subject = Function(caller)
            if not main:
                subject.prepare(wholly=True)
        except UsageError as error:
            if main and (pair.by_name or context.wanted):
                yield Unclear(pair.name, str(error))
            else:
                context.notes.append(f"{pair.name} is not checked by itself: {error}")
            continue
        except CheckedCodeError as error:
            context.notes.append(f"{pair.name} is not checked by itself: it fails with {error}.")
            continue
        yield subject
    for name, kind in torch_functions(context.objects).items():
        if context.wanted in (None, name):
            yield Function(TorchCaller(name, kind, _texts_of(kind, kind.forward)))
    for name, f in custom.items():
        if context.wanted in (None, name):
            yield Function(TensorflowCaller(name, f, _texts_of(inspect.unwrap(f))))


def _wanted(context: Context, involved: list[Callable], functions: Mapping[str, Callable]) -> bool:
    return context.wanted is None or functions.get(context.wanted) in involved


def _taken(context: Context) -> list[Any]:
    """The functions that are checked as layers."""
    everything = Context(context.objects, None, context.folder, context.options)
    return [o for s in layer_functions.find(everything) for o in vars(s).values() if inspect.isfunction(o)]


def _is_main(context: Context, functions: Mapping[str, Callable]) -> bool:
    """Whether the file is there for such pairs: one was asked for, or nothing in it is of another style."""
    if context.wanted is not None:
        return True
    bases = [sys.modules["torch"].nn.Module] if "torch" in sys.modules else []
    classes = [o for o in context.objects.values() if inspect.isclass(o) and not issubclass(o, tuple(bases))]
    methods = any(OTHERS & set(vars(kind)) for kind in classes if kind.__module__ != "builtins")
    return not (methods or OTHERS - {"loss", "forward", "backward"} & set(functions) or _taken(context))


def _texts(pair: Pair, context: Context) -> list[str]:
    return _texts_of(pair.f, *(g for g, _ in pair.gradients))


def _texts_of(*things: Any) -> list[str]:
    """All that the author says: docstrings, comments above and inside, the module's docstring; the nearest first."""
    texts = []
    for thing in things:
        texts += [inspect.getdoc(thing) or "", inspect.getcomments(thing) or ""]
        texts.append(
            "\n".join(line.partition("#")[2] for line in shapes_source(thing).splitlines() if "#" in line)
        )
    module = inspect.getmodule(things[0])
    space = getattr(things[0], "__globals__", {})
    texts.append((inspect.getdoc(module) if module else None) or space.get("__doc__") or "")
    if module is not None:
        texts.append(inspect.getcomments(module) or "")
    return [text for text in texts if text]


class Function(Subject):
    """A function with its gradients; tensors are called by the function's own argument names."""

    style, kind = STYLE, "operation"

    def __init__(self, caller: Caller) -> None:
        self.caller, self.name = caller, caller.name
        gradient = caller.source()
        self.returned = Returned(gradient, inspect.getdoc(gradient) or "")
        self.trials = Trials(caller, self.returned)
        self.order, self.description, self.notes = [], {}, []
        self.plan: Plan | None = None

    def prepare(self, wholly: bool = False) -> None:
        """Find out how to call it. Raises UsageError where that cannot be found out.

        wholly: also where the function can be called, but its gradients not.
        """
        if self.plan is None:
            with self.caller.quiet():
                self.plan = plan(self.trials, np.random.default_rng(0))
        if wholly and self.plan.problem:
            raise UsageError(f"its gradient function cannot be called: {self.plan.problem}.")

    def points(self, rng: np.random.Generator) -> list[Point]:
        self.prepare()
        assert self.plan is not None
        self.order = [n for n in self.trials.order if n in self.returned.names]
        self.notes = self.plan.notes
        self.description = self.plan.description
        return self.plan.points

    def value(self, state: Any, point: Point) -> Any:
        assert self.plan is not None
        given = self._given(point)
        for name in self.plan.symmetric:
            given[name] = (given[name] + np.swapaxes(given[name], -1, -2)) / 2
        outputs = self.caller.value(given)
        dys = self._dys(point, len(outputs))
        return sum(np.sum(dy * y) for dy, y in zip(dys, outputs, strict=True))

    def claims(self, state: Any, point: Point) -> tuple[Any, Claims]:
        assert self.plan is not None
        given, outputs = self._given(point), None
        dys = self._dys(point, self.plan.outputs)
        result = self.caller.gradients(given, dys)
        if not self.caller.takes_dy:
            outputs = self.caller.value(copied(given))
        found = self.trials.claims(result, given, outputs or [], dys)
        for name in self.plan.symmetric:
            if (g := found.get(name)) is not None and np.ndim(g) >= 2 and np.shape(g)[-1] == np.shape(g)[-2]:
                found[name] = (g + np.swapaxes(g, -1, -2)) / 2
        return None, {n: found.get(n) for n in self.order}

    def output(self, state: Any, point: Point) -> Array | None:
        outputs = self.caller.value(self._given(point))
        return outputs[0] if len(outputs) == 1 else None

    def source(self, tensor: str) -> Any:
        return self.caller.source()

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        assert self.plan is not None
        with self.caller.quiet():
            return looks(self.caller, self.plan, self.order, self._given, lambda p: self.claims(None, p)[1])

    def _given(self, point: Point) -> dict[str, Any]:
        """Everything that the function is called with: the arrays of the point themselves."""
        given: dict[str, Any] = {}
        for p in self.caller.parameters:
            if p.name in point.inputs:
                given[p.name] = np.asarray(point.inputs[p.name])
            elif p.name in point.data and (p.default is EMPTY or point.data[p.name] != p.default):
                given[p.name] = point.data[p.name]
        return given

    def _dys(self, point: Point, count: int) -> list[Array]:
        names = ["dy", *(f"dy{i}" for i in range(2, count + 1))]
        return [np.asarray(point.data.get(n, 1.0)) for n in names[:count]]


class Unclear(Subject):
    """A pair that cannot be called; why is said when it is to be."""

    style, kind = STYLE, "operation"

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why
        self.order, self.description = [], {}

    def points(self, rng: np.random.Generator) -> list[Point]:
        raise UsageError(self.why)
