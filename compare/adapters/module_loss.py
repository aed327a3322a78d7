"""A loss by itself: forward(scores, y) -> one number, or one for each example."""

from dataclasses import replace
from typing import Any

import numpy as np

from compare.adapters import module_calls, module_ops
from compare.adapters.module_subject import Module
from compare.adapters.module_targets import Form, choose, softmax
from compare.adapters.opnames import canonical_op
from compare.adapters.subject import Point, draw

Array = np.ndarray
CLASSES = 4
PLAN = (  # label, examples, classes
    ("a batch of 7", 7, CLASSES),
    ("another batch of 7", 7, CLASSES),
    ("one example", 1, CLASSES),
    ("a batch of 3", 3, CLASSES),
    ("square shapes", 5, 5),
)


class Loss(Module):
    """form: of its scores and targets; others: further forms of targets that it takes in another branch."""

    form = Form()
    others: tuple[Form, ...] = ()

    def _probe(self, rng: np.random.Generator) -> None:
        z = draw(rng, 7, CLASSES)
        targets = [
            rng.permutation(np.r_[np.arange(CLASSES), rng.integers(CLASSES, size=3)]) for _ in range(3)
        ]
        found: list[Form] = []
        first: Exception | None = None
        for probabilities in (False, True):
            rows = softmax(z) if probabilities else z

            def value(form: Form, t: Array, rows: Array = rows) -> Any:
                return self._of(form, rows, t).y

            def scores(_: Form, rows: Array = rows) -> Array:
                return rows

            try:
                form = choose(value, scores, targets, CLASSES)
            except Exception as error:
                first = first or error
                continue
            found.append(replace(form, probabilities=probabilities))
        if not found:
            assert first is not None
            raise first
        known = [form for form in found if form.family not in ("", "other")]
        self._settle((known or found)[0], z, targets, rng)

    def _settle(self, form: Form, z: Array, targets: list[Array], rng: np.random.Generator) -> None:
        self.form = form
        rows = softmax(z) if form.probabilities else z
        self.op = module_ops.Known(self._op(), layout="columns" if form.layout == "columns" else "")
        self._find_arriving(form.x(rows), form.t(targets[0], CLASSES))
        if np.size(self._of(form, rows, targets[0]).y) > 1:
            self._per_example(rows, targets[0], rng)
        if form.family in ("", "other"):
            return
        for targets_as in ("integers", "one-hot"):
            other = replace(form, targets=targets_as)
            try:
                values = [np.sum(self._of(f, rows, t).y) for f in (form, other) for t in targets]
            except Exception:  # a form that it does not take
                continue
            if other != form and np.allclose(values[:3], values[3:], rtol=1e-9):
                self.others = (*self.others, other)

    def with_targets(self, form: Form) -> "Loss":
        """The same loss, called with another form of targets: another branch of its code."""
        other = Loss(self.maker, self.context, self.calls)
        other.form, other.op, other.name = form, self.op, f"{self.name}, {form.targets} targets"
        return other

    def _of(self, form: Form, rows: Array, t: Array) -> module_calls.Memory:
        return self.calls.forward(self.maker({}), form.x(rows.copy()), form.t(t, CLASSES))

    def _op(self) -> str:
        if self.form.family == "cross_entropy":
            return "softmax_loss"
        named = canonical_op(self.label)
        unknown = self.form.family in ("", "other") and named in ("softmax_loss", "svm_loss")
        return named if unknown and not self.form.probabilities else "unknown"

    def _find_arriving(self, x: Array, t: Array) -> None:
        """What a backward that wants a gradient is given: 1, or probabilities if it takes them for that."""
        for arriving in ("one", "output", "x"):
            self.calls.arriving = arriving
            memory = self.calls.forward(module := self.maker({}), x.copy(), t)
            try:
                dx = self.calls.input_gradient(module, self.calls.backward(module, memory, 1.0), x)
            except Exception:  # another value for what arrives; if all fail, examine shows where
                continue
            if np.shape(dx) == x.shape:
                return
        self.calls.arriving = "one"

    def _per_example(self, rows: Array, t: Array, rng: np.random.Generator) -> None:
        """A loss for each example: whether backward is the gradient of their sum or of their mean."""
        x, v, targets = self.form.x(rows), self.form.x(draw(rng, *rows.shape)), self.form.t(t, CLASSES)
        self.calls.per_example = "sum"
        up, down = (
            self.calls.scalar(self.calls.forward(self.maker({}), x + h * v, targets)) for h in (1e-5, -1e-5)
        )
        slope = abs(up - down) / 2e-5
        memory = self.calls.forward(module := self.maker({}), x.copy(), targets)
        dx = self.calls.input_gradient(module, self.calls.backward(module, memory, 1.0), x)
        found = abs(float(np.sum(dx * v))) if np.shape(dx) == x.shape else 0.0  # its sign may be wrong
        if abs(found * len(t) - slope) < abs(found - slope):
            self.calls.per_example = "mean"

    def _points(self, rng: np.random.Generator) -> list[Point]:
        found = []
        for label, n, classes in PLAN:
            z = draw(rng, n, classes)
            x = self.form.x(softmax(z) if self.form.probabilities else z)
            data = {"t": rng.integers(classes, size=n), "classes": classes, "examples": n, "dy": 1.0}
            found.append(Point(label, {f"{self.label}/x": x}, data, {}))
        return found

    def _targets(self, point: Point) -> Any:
        return self.form.t(point.data["t"], point.data["classes"])

    def _value(self, memory: module_calls.Memory, point: Point) -> Any:
        return self.calls.scalar(memory)
