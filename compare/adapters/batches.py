"""Whether a network's code takes several examples at once, and what sums and means then stand where."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compare.adapters import roles
from compare.adapters.network_call import BATCHED
from compare.adapters.subject import Claims, Point
from compare.adapters.unpacking import syntax_of

Array = np.ndarray
CLOSE = 1e-6
COUNT = re.compile(r"n|m|k|num\w*|n_?\w*|\w*batch\w*|\w*size|\w*count|\w*examples", re.I)
UPDATED = re.compile(r".*(nabla|grad|delta)|d?[wb]\d*|[ng][wb]|sum_?[wb]|d[wb]\w*", re.I)


@dataclass
class Batches:
    """taken: the code takes batches. gradients, loss: sum or mean over one, as far as it could be seen.

    apart: the cost is taken of each example by itself, and then summed or averaged as the gradients are.
    sums_beside_mean: the gradients are sums, the cost is a mean, and the update divides by N.
    """

    taken: bool = False
    gradients: str | None = None
    loss: str | None = None
    apart: bool = False
    sums_beside_mean: bool = False
    notes: list[str] = field(default_factory=list)

    def look(self, subject: Any, point: Point) -> None:
        """Try a batch: it is taken where one tensor at least is the sum or mean of those of its examples."""
        if subject.calls.layout not in BATCHED or subject.calls.target == "an integer":
            return
        singles = [_one(point, i) for i in range(len(point.data["x"]))]
        try:
            output = subject.outputs(subject.start(point.build), point.copy())[0]
            _, whole = subject.claims(subject.start(point.build), point.copy())
            parts = [subject.claims(subject.start(one.build), one.copy())[1] for one in singles]
        except Exception:  # it takes one example at a time
            return
        votes = _votes(subject.order, whole, parts, point)
        if not votes or not np.isfinite(np.asarray(output)).all():
            return
        self.taken = True
        self.gradients = max(("sum", "mean"), key=votes.count)
        if votes.count("sum") == votes.count("mean"):
            self.gradients = votes[0]
        self.loss = self._loss(subject, point, singles)
        if self.loss == self.gradients:
            return
        if self.loss == "mean":
            self.sums_beside_mean = subject.divides_updates()
        elif self.loss is None or not subject.divides_updates():
            self.apart = True
            if self.loss is not None:
                self.notes.append(
                    "For a minibatch the cost is a sum over the examples and the gradients are means: they "
                    "are compared with those of the mean cost."
                )

    def _loss(self, subject: Any, point: Point, singles: list[Point]) -> str | None:
        """Whether the user's cost of the batch is the sum or the mean of those of its examples."""
        if not subject.cost_of(subject.start(point.build).thing).own:
            return None
        try:
            whole = float(np.real(subject.value(subject.start(point.build), point.copy())))
            total = sum(float(np.real(subject.value(subject.start(p.build), p.copy()))) for p in singles)
        except Exception:
            return None
        if not np.isfinite([whole, total]).all():
            return None
        for name, expected in (("sum", total), ("mean", total / len(singles))):
            if abs(whole - expected) <= CLOSE * abs(expected):
                return name
        return None

    def value(self, subject: Any, state: Any, point: Point) -> Any:
        """The cost of the point; complex where the parameters are."""
        a, x, y = subject.outputs(state, point)
        n = len(point.data["x"])
        if subject.cost_of not in state.kept:
            state.kept[subject.cost_of] = subject.cost_of(state.thing)
        cost = state.kept[subject.cost_of]
        if not cost.own:
            y = subject.calls.one_hot(point.data["t"], a)
            total = np.sum([cost.fn(*pair) for pair in _pairs(subject, a, y, n)])
            return total / n if self.gradients == "mean" else total
        if self.apart and n > 1:
            total = np.sum([np.sum(cost.fn(*p)) for p in _pairs(subject, x if cost.of_inputs else a, y, n)])
            return total / n if self.gradients == "mean" else total
        return np.sum(cost.fn(x if cost.of_inputs else a, y))


def _pairs(subject: Any, a: Array, y: Array, n: int) -> list[tuple[Array, Array]]:
    """Each example by itself, laid out as the batch is."""
    if n == 1:
        return [(a, y)]
    columns = subject.calls.layout == "columns"
    cut = lambda m, i: m[:, i : i + 1] if columns and np.ndim(m) > 1 else m[i : i + 1]  # noqa: E731
    return [(cut(a, i), cut(y, i)) for i in range(n)]


def _one(point: Point, i: int) -> Point:
    data = point.data | {"x": point.data["x"][i : i + 1], "t": point.data["t"][i : i + 1]}
    return replace(point, label=f"{point.label} {i}", data=data)


def _votes(order: list[str], whole: Claims, parts: list[Claims], point: Point) -> list[str]:
    """For each tensor that is one of both: sum or mean; [] where a shape is not the tensor's."""
    votes = []
    for name in order:
        shape, claim = np.shape(point.inputs[name]), whole.get(name)
        own = [a for p in parts if (a := p.get(name)) is not None and np.shape(a) == shape]
        if claim is None or np.shape(claim) != shape or len(own) < len(parts):
            if claim is not None and own:
                return []
            continue
        total = np.sum(own, axis=0)
        for vote, expected in (("sum", total), ("mean", total / len(own))):
            if total.any() and np.abs(claim - expected).max() <= CLOSE * np.abs(expected).max():
                votes.append(vote)
    return votes


def divides(functions: Iterable[Any], called: str) -> bool:
    """Whether one of those that call the backward pass divides a rate or a gradient by a count."""
    for function in functions:
        if (tree := syntax_of(function, called)) is None:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _counts(node.right):
                names = _identifiers(node.left)
                if any(map(_is_updated, names)) and not any(roles.role(n) == "reg" for n in names):
                    return True
            if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div) and _counts(node.value):
                return True
    return False


def _is_updated(name: str) -> bool:
    return roles.role(name) == "epsilon" or bool(UPDATED.fullmatch(name))


def _identifiers(node: ast.AST) -> list[str]:
    found = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
    return found + [n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)]


def _counts(node: ast.AST) -> bool:
    names = _identifiers(node)
    return "len" in names or "shape" in names or any(COUNT.fullmatch(n) for n in names)
