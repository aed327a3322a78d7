"""A minibatch step in place, `f(model, momentum, lambda, alpha, lr)`: modules of ours go in."""

import inspect
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from compare.adapters.examine import CheckedCodeError, Stage, calling
from compare.adapters.subject import Context, Subject, draw, positional, source_of
from compare.adapters.update_calls import Memory, code_of, declared
from compare.submission.evidence import Evidence, Trial
from compare.submission.hyperparameters import PERHAPS, RATE, SURE, rule_of
from scratch.errors import UsageError

Array = np.ndarray
STYLE = "optimizers"
STEPS, CHANGE = 8, 4  # the learning rate changes after so many steps
RATES = (0.0625, 0.0234375)
MODEL = re.compile(r"^(.*model|.*net|network|modules?|.*layers?|mlp|nn)$", re.I)
STATE = re.compile(
    r"^(velocit\w*|v|vel|state|memory|buffers?|momentums?|momenta|cache|previous|prev\w*|m)$", re.I
)
MAKER = re.compile(r"momentum|velocit|buffer|state|memory", re.I)
MODELS = ("a dict", "a dict of modules with parameters", "a list", "one module")
MEMORIES = ("the user's", "empty", "zeros")
GRADIENTS = ("gradient", "gradients", "grads", "grad")
# parts of a model: (module, {key: shape}); the second trial's shapes are others, with vectors for biases
SHAPES = (
    {"L1": {"W": (4, 3), "b": (1, 3)}, "L2": {"W": (3, 3), "b": (1, 3)}, "L3": {"W": (3, 2), "b": (1, 2)}},
    {"L1": {"W": (2, 5), "b": (5,)}, "L2": {"W": (5, 3), "b": (3,)}},
)


def arguments_of(function: Callable) -> dict[str, str] | None:
    """{role: parameter} of a minibatch step (model, state, weight_decay, momentum, learning_rate); None for
    a function that is something else. Names decide, then places: the usual order is the one above.
    """
    named = inspect.signature(function).parameters.values()
    parameters = positional(function) + [p for p in named if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if not 2 <= len(parameters) <= 7 or not MODEL.match(parameters[0].name):
        return None
    found = {"model": parameters[0].name}
    left = parameters[1:]

    def take(role: str, fits: Callable[[inspect.Parameter], bool]) -> None:
        if role not in found and (p := next((p for p in left if fits(p)), None)) is not None:
            found[role] = p.name
            left.remove(p)

    def called(words: str) -> Callable[[inspect.Parameter], bool]:
        return lambda p: re.sub(r"[^a-z0-9]", "", p.name.lower()) in words.split()

    take(RATE, called(SURE[RATE]))
    take("weight_decay", called(SURE["weight_decay"] + " decay"))
    take(
        "state",
        lambda p: bool(STATE.match(p.name)) and not _number(p.default) and "momentum" not in p.name.lower(),
    )
    take("state", lambda p: bool(STATE.match(p.name)) and not _number(p.default))
    take("momentum", called(SURE["momentum"]))
    if RATE not in found:
        take(RATE, called(PERHAPS[RATE] + " epsilon eps"))
    take("momentum", called(PERHAPS["momentum"]))
    required = [p for p in left if p.default is inspect.Parameter.empty]
    if RATE not in found or required or not {"state", "momentum", "weight_decay"} & found.keys():
        return None
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Module:
    """A module of ours: parameters and gradients under all the names that people give them."""


class MinibatchStep(Subject):
    """One function. arguments: see arguments_of."""

    style, kind = STYLE, "update"

    def __init__(self, name: str, function: Callable, arguments: dict[str, str], context: Context) -> None:
        self.name, self.function, self.arguments = name, function, arguments
        self.tensor = f"{name}/w"
        self.order, self.description = [self.tensor], {}
        self.memory = Memory(function)
        texts, self.constants, self.classes = code_of(function)
        self.single = any(text.strip() in ("float32", "single") for text in texts)
        makers = (f for n, f in context.functions().items() if MAKER.search(n) and _takes_model(f))
        self.maker = next(makers, None)
        self.form = MODELS[0], MEMORIES[0]

    def record(self, stage: Stage = lambda _: None) -> Evidence:
        """The evidence: all weights over several steps, with and without momentum and weight decay."""
        stage(f"{self.name}: steps")
        found = Evidence(self.style, self.kind, self.name, list(self.order))
        if source := source_of(self.function):
            found.sources = {self.tensor: source}
        rng = np.random.default_rng(0)
        for label, number, decay, momentum in self._plan():
            weights, gradients = self._draw(rng, number)
            try:
                if not found.trials:
                    self._find_form(weights, gradients, decay, momentum)
                self.memory.restore()
                found.trials.append(self._walk(label, weights, gradients, decay, momentum))
            except CheckedCodeError as error:
                if not found.trials:
                    raise
                found.facts.setdefault("failed", {})[label] = str(error)
        first = found.trials[0]
        again = self._draw(np.random.default_rng(0), 0)
        _, _, decay, momentum = self._plan()[0]
        try:
            self.memory.restore()
            for label in ("the first start", "a second start"):
                found.sequence.append(self._walk(label, *again, decay, momentum))
            self.memory.restore()
            other = self._walk("", *again, decay, momentum, seed=1000)
            a, b = other.claims[self.tensor], first.claims[self.tensor]
            found.facts["nondeterministic"] = not np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        except CheckedCodeError as error:
            found.facts["failed_in_sequence"] = str(error)
        found.description = {
            "rule": rule_of(self.name) or "sgd",
            "rules": self._rules(),
            "constants": self.constants,
            "declared": declared(self.function),
        }
        found.facts["float32"] = self.single
        return found

    def _rules(self) -> list[str]:
        """Those that it may be: its name tells, or its arguments."""
        rule, momentum, state = rule_of(self.name), "momentum" in self.arguments, "state" in self.arguments
        if rule == "":
            return []
        if rule not in ("momentum", "nesterov", "sgd", None):
            return [rule]
        if momentum or state:
            both = [rule] if rule in ("momentum", "nesterov") else ["momentum", "nesterov"]
            return both if momentum else [*both, "sgd"]
        return ["sgd"]

    def _plan(self) -> list[tuple[str, int, float, float]]:
        """(label, which shapes, weight decay, momentum) of each trial."""
        return [
            ("momentum and weight decay", 0, 0.125, 0.875),
            ("weight decay without momentum", 0, 0.25, 0.0),
            ("momentum without weight decay", 1, 0.0, 0.5),
            ("other shapes", 1, 0.25, 0.75),
        ]

    def _draw(self, rng: np.random.Generator, number: int) -> tuple[dict, dict]:
        shapes = SHAPES[number]
        weights = {m: {k: draw(rng, *s) for k, s in own.items()} for m, own in shapes.items()}
        gradients = {m: {k: draw(rng, STEPS, *s) for k, s in own.items()} for m, own in shapes.items()}
        return weights, gradients

    def _find_form(self, weights: dict, gradients: dict, decay: float, momentum: float) -> None:
        """How it wants model and memory: the first form in which all steps run.

        Raises UsageError, since the code may be right and only want another kind of model.
        """
        first: CheckedCodeError | None = None
        for form in product(MODELS, MEMORIES if self.maker else MEMORIES[1:]):
            self.form = form
            try:
                self.memory.restore()
                self._walk("", weights, gradients, decay, momentum)
                return
            except CheckedCodeError as error:
                first = first or error
        cause = first.__cause__ if first else None
        where = cause.__traceback__ if cause else None
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = f" in line {where.tb_lineno}" if where is not None else ""
        call = f"{self.name}({', '.join(self.arguments.values())})"
        raise UsageError(
            f"{self.name} is called as {call} with a dict of modules, "
            f"each with dicts `params` and `gradient` of arrays; it fails{line}: {first}."
        ) from first

    def _model(self, weights: dict) -> tuple[Any, dict[str, Any]]:
        """(what the code is given, {name of a part's module: the module})."""
        kind = self.form[0]
        if kind == "one module":
            module = self._filled({f"{n}{key}": a for n, own in weights.items() for key, a in own.items()})
            return module, dict.fromkeys(weights, module)
        modules = {name: self._filled(own) for name, own in weights.items()}
        if kind == "a list":
            return list(modules.values()), modules
        if kind == "a dict":  # with a module that has no parameters
            first, *rest = modules.items()
            return {first[0]: first[1], "act": Module(), **dict(rest)}, modules
        return dict(modules), modules

    def _filled(self, own: dict[str, Array]) -> Any:
        module = self._module()
        module.params = module.parameters = {k: a.copy() for k, a in own.items()}
        gradients = {k: np.zeros_like(a) for k, a in own.items()}
        for attribute in GRADIENTS:
            setattr(module, attribute, gradients)
        return module

    def _key(self, name: str, key: str) -> str:
        """Of a parameter in its module."""
        return f"{name}{key}" if self.form[0] == "one module" else key

    def _module(self) -> Any:
        """Of the user's own class where the code asks for one, else of ours."""
        for kind in self.classes:
            try:
                return type("Module", (kind,), {"__init__": lambda self: None})()
            except TypeError:
                continue
        return Module()

    def _state(self, model: Any, modules: dict[str, Any]) -> Any:
        """What the user's own function makes; else it is empty at first, or holds zeros under any key."""
        if self.form[1] == "the user's":
            assert self.maker is not None
            return self.maker(model)
        if self.form[1] == "empty":
            return {}
        state: dict[Any, Any] = {}
        for number, (name, module) in enumerate(modules.items()):
            own = {key: np.zeros_like(a) for key, a in module.params.items()}
            if self.form[0] == "one module":
                return own
            state |= {name: own, number: dict(own)}
            for key, a in own.items():
                joined = (f"{name}{mark}{key}" for mark in ("_", ".", "/", "-", ""))
                state |= {full: a.copy() for full in (*joined, (name, key), (number, key))}
        return state

    def _walk(
        self, label: str, weights: dict, gradients: dict, decay: float, momentum: float, seed: int = 0
    ) -> Trial:
        """All steps from one start; all weights lie one after the other in the trial's arrays."""
        with calling(seed):
            model, modules = self._model(weights)
            state = self._state(model, modules) if "state" in self.arguments else None
        rates = np.where(np.arange(STEPS) < CHANGE, *RATES)
        given = {"model": model, "state": state, "weight_decay": decay, "momentum": momentum}
        arguments = {name: given[role] for role, name in self.arguments.items() if role != RATE}
        places = [(n, self._key(n, key), n, key) for n, own in weights.items() for key in own]
        path, changed = [], set()
        for k in range(STEPS):
            for module, full, n, key in places:
                modules[module].gradient[full] = gradients[n][key][k].copy()
            with calling(seed + k):
                self.function(**arguments, **{self.arguments[RATE]: float(rates[k])})
            after = [np.asarray(modules[module].gradient.get(full, 0.0)) for module, full, _, _ in places]
            right = [gradients[n][key][k] for _, _, n, key in places]
            cleared = not any(a.any() for a in after)
            if not cleared and any(not np.array_equal(a, g) for a, g in zip(after, right, strict=True)):
                changed.add("dw")
            parts = [np.asarray(modules[module].params[full]) for module, full, _, _ in places]
            self.single |= any(a.dtype == np.float32 for a in parts)
            path.append(np.concatenate([np.asarray(a, np.float64).ravel() for a in parts]))
            if path[-1].size != sum(g.size for g in right):
                break
        data = {
            "gradients": np.concatenate(
                [gradients[n][key].reshape(STEPS, -1) for _, _, n, key in places], axis=1
            ),
            "rates": rates,
            "config": {n: given[n] for n in ("momentum", "weight_decay") if n in self.arguments},
            "parts": [[f"{n}/{key}", list(weights[n][key].shape)] for _, _, n, key in places],
        }
        flat = np.concatenate([weights[n][key].ravel() for _, _, n, key in places])
        claim = np.array(path[-1:] if path[-1].size != flat.size else path)
        claims: dict[str, Array | None] = {self.tensor: claim}
        return Trial(label, {"w": flat}, data, output=claim, claims=claims, changed=sorted(changed))


def _takes_model(function: Callable) -> bool:
    parameters = positional(function)
    required = [p for p in parameters if p.default is inspect.Parameter.empty]
    return len(required) == 1 and bool(MODEL.match(required[0].name))
