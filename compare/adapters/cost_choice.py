"""Which cost a network's gradients are claimed for: what the file declares, else the one that they fit."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from compare.adapters import costs
from compare.adapters.costs import Cost
from compare.adapters.subject import Point
from scratch import numeric
from scratch.errors import GradparityError

Array = np.ndarray
FITS = 1e-5
CostOf = Callable[[Any], Cost]


def choose(subject: Any, points: list[Point]) -> tuple[CostOf, str]:
    """(the cost of a network, a note on where it comes from); points: single examples.

    A cost that is declared counts, whatever the gradients are of: as an attribute, a method or a function of
    the file. Where there is only its name, or nothing, that standard cost is meant which the gradients fit.
    """
    thing = subject.start(points[0].build).thing
    wanted = subject.context.options.get("loss")
    of = costs.asked(wanted) if wanted else None
    name = costs.attribute(thing)
    for cost_of in _declared(subject, thing, name):
        cost = cost_of(thing)
        if _works(subject, cost_of, points[0]) and of in (None, cost.family, costs.identified(cost)):
            return cost_of, ""
    if of is not None and (kind := _class_of(subject, of)) is not None:
        if name is not None:
            subject.replaced = kind
        theirs = costs.of(kind)
        if theirs is not None and _works(subject, _always(theirs), points[0]):
            return _always(theirs), ""
    known = of or _named(subject, thing, name)
    several = [c for c in costs.in_module(subject.context.objects, _used(subject)) if of in (None, c.family)]
    several = [c for c in several if _works(subject, _always(c), points[0])]
    candidates = several or costs.standard(known)
    if known is None and not several and not _are_shares(subject, points[0]):
        candidates = [c for c in candidates if c.family != "log-likelihood"]
    fits = {c: _fit(subject, c, points) for c in candidates}
    best = max(candidates, key=lambda c: fits[c])  # the first of equals
    if not several and known is None and fits[best][0] < 1:  # a mistake in the error of the outputs
        best = next(c for c in candidates if c.family == _by_form(subject, points, best))
    if len(candidates) == 1 and several:
        return _always(best), ""
    if known is None or several:
        note = (
            f"No cost is declared: the gradients are judged as those of {best.label}; --loss names another."
        )
    else:
        note = f"The file does not compute the value of its cost; by its name, {best.label} is meant."
    return _always(best), note


def _always(cost: Cost) -> CostOf:
    return lambda _: cost


def _declared(subject: Any, thing: Any, name: str | None) -> list[CostOf]:
    """The cost that the network has as an attribute or a method, or the only one that its file has."""
    found: list[CostOf] = []
    if name is not None and (cost := costs.of(getattr(thing, name))) is not None and cost.own:
        found.append(lambda own: costs.of(getattr(own, name)))  # type: ignore[arg-type, return-value]
    if costs.method(thing) is not None:
        found.append(costs.method)  # type: ignore[arg-type]
    others = costs.in_module(subject.context.objects, _used(subject))
    if len(others) == 1:
        found.append(lambda _: others[0])
    return found


def _works(subject: Any, cost_of: CostOf, point: Point) -> bool:
    kept, subject.cost_of = subject.cost_of, cost_of
    try:
        return bool(np.isfinite(np.real(subject.value(subject.start(point.build), point.copy()))))
    except Exception:  # it is called in another way, or is something else
        return False
    finally:
        subject.cost_of = kept


def _class_of(subject: Any, of: str) -> type | None:
    """The file's cost class of a family."""
    for value in subject.context.objects.values():
        if inspect.isclass(value) and costs.is_cost(value) and (cost := costs.of(value)) is not None:
            if of in (cost.family, costs.identified(cost)):
                return value
    return None


def _named(subject: Any, thing: Any, attribute: str | None) -> str | None:
    """The family that names in the code speak of, if it is one."""
    cost = getattr(thing, attribute) if attribute else None
    label = cost if isinstance(cost, str) else getattr(cost, "__name__", type(cost).__name__)
    if cost is not None and (found := costs.family(label)) is not None:
        return found
    names = {type(thing).__name__, *(n for n in _used(subject) if costs.NAMED.search(n) and n.isidentifier())}
    families = {f for n in names if (f := costs.family(n)) is not None}
    return families.pop() if len(families) == 1 else None


def _used(subject: Any) -> set[str]:
    """The names that the network's class, or the function of its backward pass, refers to."""
    kind, backward = subject.builder.kind, subject.calls.backward
    return costs.names_used(
        *([kind] if inspect.isclass(kind) else []), *([] if isinstance(backward, str) else [backward])
    )


def _fit(subject: Any, cost: Cost, points: list[Point]) -> tuple[int, float]:
    """(tensors that are right up to the first wrong one, cosine between both gradients of the last layer)."""
    kept, subject.cost_of = subject.cost_of, _always(cost)
    right, cosines = [], []
    try:
        for point in points:
            _, claims = subject.claims(subject.start(point.build), point.copy())
            count, good = 0, True
            for place, name in enumerate(subject.order):
                claim, truth = claims.get(name), _slope(subject, point, name) if good or place < 2 else None
                if claim is None or truth is None or claim.shape != truth.shape:
                    good = False
                    continue
                good = good and bool(np.abs(claim - truth).max() <= FITS * np.abs(truth).max())
                count += good
                if place < 2:
                    size = float(np.linalg.norm(claim) * np.linalg.norm(truth))
                    cosines.append(abs(float(np.sum(claim * truth))) / size if size else 0.0)
            right.append(count)
    except (GradparityError, ValueError, TypeError, ArithmeticError):
        return -1, 0.0
    finally:
        subject.cost_of = kept
    return min(right), round(float(np.mean(cosines)) if cosines else 0.0, 6)


def _are_shares(subject: Any, point: Point) -> bool:
    """Whether the outputs add up to 1, as those of softmax do."""
    return bool(abs(np.sum(subject.outputs(subject.start(point.build), point.copy())[0]) - 1) < FITS)


def _by_form(subject: Any, points: list[Point], best: Cost) -> str | None:
    """The family of a cost whose output error is wrong: without a factor f'(z) it is no quadratic cost's."""
    last = next((layer["b"] for layer in reversed(subject.description["layers"]) if layer["b"]), None)
    for point in points:
        claim = subject.claims(subject.start(point.build), point.copy())[1].get(last)
        a = np.real(np.ravel(subject.outputs(subject.start(point.build), point.copy())[0]))
        if claim is None or np.size(claim) != a.size or not np.any(claim):
            return best.family
        y = np.eye(a.size)[point.data["t"][0]]
        forms = [a - y, a, y, *(a - np.roll(y, k) for k in (1, -1)), a + y]
        if not any(abs(_cosine(np.ravel(claim), form)) > 1 - FITS for form in forms):
            return "quadratic"
    return "log-likelihood" if _are_shares(subject, points[0]) else "cross-entropy"


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _slope(subject: Any, point: Point, name: str) -> Array:
    """The gradient of the cost, by complex step where that works."""
    state = subject.start(point.build)

    def f(value: Array) -> Any:
        own = point.copy()
        own.inputs[name] = np.array(value)
        result = np.asarray(subject.value(state, own))
        return result.reshape(())[()]

    x = np.asarray(point.inputs[name], np.float64)
    try:
        return np.asarray(numeric.gradient(f, x).value)
    except Exception:
        return np.asarray(numeric.gradient(f, x, "central").value)
