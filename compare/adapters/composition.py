"""One composition of modules as a subject: a network whose parameters and gradients lie in its modules.

Its tensors are called path/parameter, such as `L1/W` or `layers[0]/W`. What it is called with is found by
trying, once: sizes, the form of the targets, examples in rows or in columns.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from compare.adapters import chains, composition_replays, module_ops, module_targets, penalties
from compare.adapters.composition_calls import REG, Flow, Run
from compare.adapters.composition_ops import keeps_everything, op_of
from compare.adapters.examine import calling
from compare.adapters.hidden_randomness import generators, rewound, unforeseeable
from compare.adapters.module_calls import LR, calls_of, clear
from compare.adapters.module_dropout import set_rate
from compare.adapters.module_shapes import arrays_in
from compare.adapters.module_slots import Slot, attributes, slots
from compare.adapters.module_tape import Tape, modules_in, record
from compare.adapters.module_targets import Form
from compare.adapters.subject import Claims, Point, Subject, draw
from scratch.errors import UsageError

Array = np.ndarray
REG_STRENGTH = 0.3
IMAGES = ((8, 8), (6, 6), (10, 10), (12, 12), (14, 14), (16, 16), (28, 28), (32, 32), (4, 4), (5, 5), (7, 7))
NOTHING = 1e-12  # of the loss, or of the largest gradient
REPLAYED = 3  # points at which the backward pass is done again with mistakes
ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu")


@dataclass
class State:
    """A new model, the modules in it by path, and the generators that they draw from."""

    root: Any
    modules: dict[str, Any]
    generators: list[Any]


class Composition(Subject):
    """quiet: with its dropout off, so that it is a multilayer perceptron that references know."""

    style, kind = "modules", "network"

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        flow: Flow,
        list_name: str = "layers",
        quiet: bool = False,
        cleared: Callable[[Any], None] | None = None,
        takes: Sequence[str] = (),
    ) -> None:
        self.takes = takes
        self.name, self.make, self.flow, self.list_name, self.quiet = name, make, flow, list_name, quiet
        self.cleared = cleared
        self.form, self.classes = Form(), 2
        self.features: tuple[int, ...] = (1,)  # shape of one example
        self.places: dict[str, tuple[str, Slot]] = {}  # tensor: (path, slot)
        self.ops: dict[str, module_ops.Known] = {}
        self.random = self.updates = False
        self.reg = ""  # how the strength of L2 is given: attribute, argument, or not
        self.dx = ""
        self.order, self.description = [], {}
        self._points: list[Point] = []
        self.without: list[str] = []

    # how it is called

    def probe(self) -> None:
        """Find out how it is called; raises what the user's code raises where nothing works."""
        with calling(0):
            self._find_form()
            self._find_parameters()
        self.random = any(op.op == "dropout" for op in self.ops.values())

    def _find_form(self) -> None:
        first: Exception | None = None
        arrays = [a.shape for m in modules_in(self.make(), self.list_name).values() for a in arrays_in(m)]
        outputs = [*dict.fromkeys([n for s in reversed(arrays) for n in reversed(s) if n > 1])]
        n = next(k for k in (7, 9, 11, 13, 15, 17, 19, 21, 23) if k not in {d for s in arrays for d in s})
        rng = np.random.default_rng(4)
        for features in self._inputs(arrays):
            rows = rng.standard_normal((n, *features))
            for classes in outputs:
                targets = [np.r_[np.arange(classes), rng.integers(classes, size=n)][:n] for _ in range(3)]
                targets = [rng.permutation(t) for t in targets]
                try:
                    form = module_targets.choose(
                        partial(self._try, rows, classes),
                        partial(self._scores, rows, targets[0], classes),
                        targets,
                        classes,
                        penalty=True,
                    )
                except Exception as error:
                    first = first if first is not None and not isinstance(first, ValueError) else error
                    continue
                self.form, self.features, self.classes = form, features, classes
                scores = self._scores(rows, targets[0], classes, form)
                if form.family in ("", "other") and scores is not None and scores.shape[1] != classes:
                    first = first or UsageError(
                        f"{self.name}: the scores are {scores.shape[1]} for each example."
                    )
                    continue
                self.flow = replace(self.flow, columns=form.layout == "columns")
                return
        raise first or UsageError(f"{self.name} has no modules with parameters.")

    def _inputs(self, arrays: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        """Shapes of one example to try: the first module's sizes first."""
        seen = set()
        for s in arrays:
            if len(s) == 4:
                for h, w in IMAGES:
                    yield from ((s[1], h, w), (h, w, s[2]))
                continue
            for n in (*s, *(k - 1 for k in s if k > 2)) if len(s) == 2 else s:
                if n not in seen:
                    seen.add(n)
                    yield (n,)

    def _try(self, rows: Array, classes: int, form: Form, t: Array) -> Any:
        flow = replace(self.flow, columns=form.layout == "columns")
        return flow.run(self.make(), form.x(rows.copy()), form.t(t, classes), None).value

    def _scores(self, rows: Array, t: Array, classes: int, form: Form) -> Array | None:
        """(N, C): what goes into the loss module, else what forward returns."""
        root = self.make()
        tape = record(modules_in(root, self.list_name))
        run = replace(self.flow, columns=form.layout == "columns").run(
            root, form.x(rows.copy()), form.t(t, classes), None
        )
        scores = run.scores
        if tape.steps:
            last = tape.steps[-1]
            scores = last.memory.x if np.ndim(last.memory.y) < 2 else last.memory.y
        scores = None if scores is None else np.asarray(scores)
        if scores is None or scores.ndim != 2:
            return None
        scores = scores.T if form.layout == "columns" else scores
        return scores if scores.shape[1] == classes and len(scores) == len(rows) else None

    def _find_parameters(self) -> None:
        rng = np.random.default_rng(5)
        n, classes = 7, self.classes
        t = self.form.t(rng.integers(classes, size=n), classes)
        x = self.form.x(draw(rng, n, *self.features))
        root, fresh = self.make(), modules_in(self.make(), self.list_name)
        tape = record(modules_in(root, self.list_name))
        run = self.flow.run(root, x, t, None)
        try:
            returned = self.flow.backward_of(root, run)
        except Exception:  # examine shows where it fails
            returned = None
        own = modules_in(root, self.list_name)
        called = [step.path for step in tape.steps]
        self.updates = self.flow.updates(root) or any(calls_of(type(s.module)).updates for s in tape.steps)
        paths = sorted(own, key=lambda path: called.index(path) if path in called else -1)
        found = {path: slots(own[path], fresh[path]) for path in paths}
        for path in reversed(paths):
            for slot in found[path]:
                self.places[f"{path}/{slot.name}"] = path, slot
        for step in tape.steps:
            arrays = {slot.name: slot.read(own[step.path]) for slot in found[step.path]}
            self.ops[step.path] = op_of(step.module, step.memory.x, step.memory.y, arrays, "t" in step.roles)
        self.order = list(self.places)
        flat = (
            len(self.features) == 1
        )  # of images there are too many pixels, and each module is called by itself
        if flat and tape.steps and isinstance(returned, np.ndarray) and returned.shape == x.shape:
            self.dx = f"{tape.steps[0].path}/x"
            self.order.append(self.dx)
        self._find_penalty(x, t)
        self.description = self._describe(tape, own)

    def _find_penalty(self, x: Array, t: Array) -> None:
        """By an attribute of the model, or an argument of its functions, on which the loss depends."""
        named = [
            n for n, v in attributes(self.make()).items() if REG.fullmatch(n) and isinstance(v, float | int)
        ]
        for reg in (*(f"attribute {n}" for n in named), "argument"):
            values = []
            for strength in (0.0, REG_STRENGTH):
                root = self.make()
                try:
                    values.append(self._run(root, x, t, reg, strength).value)
                except Exception:
                    break
            if len(values) == 2 and values[0] != values[1]:
                self.reg = reg
                return

    def _run(self, root: Any, x: Any, t: Any, reg: str, strength: float) -> Run:
        if reg.startswith("attribute "):
            setattr(root, reg.removeprefix("attribute "), strength)
        return self.flow.run(root, x, t, strength if reg == "argument" else None)

    def _describe(self, tape: Tape, own: dict[str, Any]) -> dict[str, Any]:
        """Its layers, if it is a multilayer perceptron with one activation."""
        middle = [
            self.ops[step.path]
            for step in tape.steps
            if self.ops[step.path].op not in ("dropout", "loss", "linear")
        ]
        kinds = {op.op for op in middle if not op.op.startswith("affine")}
        slopes = {op.options["slope"] for op in middle if "slope" in op.options} - {0.01}
        if (
            len(kinds) > 1
            or not kinds <= set(ACTIVATIONS)
            or slopes
            or not middle
            or not middle[-1].op.startswith("affine")
        ):
            return {"layers": None}
        arrays = {
            name: np.zeros(slot.read(own[path]).shape) for name, (path, slot) in reversed(self.places.items())
        }
        layers = chains.layers_of(arrays, self.features[0], self.classes) if len(self.features) == 1 else None
        return {"layers": layers, "activation": next(iter(kinds), "linear"), "penalty": bool(self.reg)}

    # the subject

    def points(self, rng: np.random.Generator) -> list[Point]:
        if not self.places:
            self.probe()
        if not self.order:
            raise UsageError(f"{self.name} has no parameters with gradients, as far as gradparity can see.")
        if self.random and not self.quiet:
            self.description = {"layers": None}
        own = modules_in(self.make(), self.list_name)
        plan = [
            ("a batch of 7", 7, REG_STRENGTH),
            ("another batch of 7", 7, REG_STRENGTH),
            ("one example", 1, 0.0),
            ("a batch of 3", 3, 0.0),
        ]
        initial = {
            name: np.array(slot.read(own[path]), np.float64) for name, (path, slot) in self.places.items()
        }
        if len(self.features) > 1:
            plan = [(label.replace("7", "2"), min(n, 2), reg) for label, n, reg in plan[:3]]
        self._points = []
        for number, (label, n, reg) in enumerate(plan):
            inputs = {
                name: draw(rng, *slot.read(own[path]).shape, scale=0.7)
                for name, (path, slot) in self.places.items()
            }
            rows = draw(rng, n, *self.features)
            if self.dx:
                inputs[self.dx] = rows
            data = {"x": rows, "t": rng.integers(self.classes, size=n), "classes": self.classes}
            data["reg"] = reg if self.reg else 0.0
            data |= {"dx": self.dx, "initial": initial}
            self._points.append(Point(label, inputs, data, {}, seed=20 + number))
        self._leave_out(rng)
        return self._points

    def _leave_out(self, rng: np.random.Generator) -> None:
        """Tensors on which the loss does not depend, such as a bias before a normalisation: not judged."""
        point = self._points[0]
        with calling(point.seed):
            _, claims = self.claims(self.start({}), point.copy())
        sizes = [float(np.abs(g).max(initial=0.0)) for g in claims.values() if g is not None]
        for name in [n for n in self.places if np.ndim(point.inputs[n]) == 1]:
            claim = claims.get(name)
            if claim is None or np.abs(claim).max(initial=0.0) > NOTHING * max(sizes):
                continue
            moved = point.copy()
            moved.inputs[name] += draw(rng, *moved.inputs[name].shape)
            values = [self._value_with(p) for p in (point, moved)]
            if abs(values[0] - values[1]) <= NOTHING * abs(values[0]):
                self.order.remove(name)
                del self.places[name]
                for own in self._points:
                    del own.inputs[name]
                self.without.append(name)

    def start(self, build: dict[str, Any]) -> State:
        root = self.make()
        own = modules_in(root, self.list_name)
        state = State(root, own, generators(own.values()) if self.random else [])
        for path, module in state.modules.items():
            if self.random and self.ops[path].op == "dropout":
                set_rate(module, 0.0 if self.quiet else None, keeps_everything)
        return state

    def value(self, state: Any, point: Point) -> Any:
        return self.forward(state, point).value

    def claims(self, state: Any, point: Point) -> tuple[Any, Claims]:
        self.clear(state)
        run = self.forward(state, point)
        if self.random:
            returned = self.flow.backward_of(state.root, run)
        else:
            with unforeseeable():
                returned = self.flow.backward_of(state.root, run)
        claims = self.collect(state, point, run, returned)
        if not self.updates:
            for name, (path, slot) in self.places.items():  # so that a change of the parameters is seen
                point.inputs[name] = slot.read(state.modules[path])
        return run.value, claims

    def output(self, state: Any, point: Point) -> Array | None:
        scores = self.forward(state, point).scores
        return None if scores is None else np.asarray(scores)

    def source(self, tensor: str) -> Any:
        function = self.flow.backward or self.flow.forward
        return getattr(type(self.make()), function, None) if isinstance(function, str) else function

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        found: dict[str, Any] = {"customary": ["bias rows"]}
        if self.reg:
            found["penalty"] = penalties.measured(
                self._points[:REPLAYED], self._value_with, list(self.places)
            )
        if self.without:
            names = ", ".join(self.without)
            found["conventions"] = [
                f"The loss does not depend on {names}, whose gradients are 0: not judged."
            ]
        with calling(0):
            found["replays"] = composition_replays.replays(self, self._points[:REPLAYED])
        return found

    def _value_with(self, point: Point) -> float:
        with calling(point.seed):
            return float(np.real(self.value(self.start({}), point.copy())))

    def forward(self, state: State, point: Point) -> Run:
        for name, (path, slot) in self.places.items():
            slot.put(state.modules[path], point.inputs[name])
        rows = point.inputs[self.dx] if self.dx else point.data["x"]
        x, t = self.form.x(rows), self.form.t(point.data["t"], point.data["classes"])
        if not self.random:
            return self._run(state.root, x, t, self.reg, point.data["reg"])
        with rewound(state.generators, point.seed):
            return self._run(state.root, x, t, self.reg, point.data["reg"])

    def clear(self, state: State) -> None:
        clear(state.root)
        for module in state.modules.values():
            clear(module)
        if self.cleared is not None:
            self.cleared(state.root)

    def collect(self, state: State, point: Point, run: Run, returned: Any) -> Claims:
        claims: Claims = {}
        for name, (path, slot) in self.places.items():
            claims[name] = slot.gradient(state.modules[path])
            if not slot.gradient_home and self.updates:  # the backward pass has changed the parameter
                claims[name] = (point.inputs[name] - slot.read(state.modules[path])) / LR
            if claims[name] is None and isinstance(returned, dict):
                claims[name] = _in(returned, path, slot.name)
        if self.dx:
            fits = isinstance(returned, np.ndarray) and returned.shape == np.shape(run.x)
            dx = returned if fits else None
            claims[self.dx] = dx.T if dx is not None and self.form.layout == "columns" else dx
        return claims


def _in(returned: dict[Any, Any], path: str, name: str) -> Any:
    """The gradient in a dict that backward returns: by module and parameter, or by both in one key."""
    inner = returned.get(path)
    if isinstance(inner, dict):
        return next((inner[k] for k in (name, f"d{name}") if k in inner), None)
    keys = (
        f"{path}/{name}",
        f"{path}.{name}",
        f"{path}_{name}",
        f"d{path}_{name}",
        f"{path}.d{name}",
        f"{path}_d{name}",
    )
    return next((returned[k] for k in (*keys, (path, name)) if k in returned), None)
