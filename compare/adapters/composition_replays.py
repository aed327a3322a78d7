"""A composition's backward pass by hand, with its own modules: properly, and with one mistake each."""

from typing import TYPE_CHECKING, Any

import numpy as np

from compare.adapters.module_calls import Calls, calls_of
from compare.adapters.module_tape import Mistake, Tape, backward, mistakes, record
from compare.adapters.subject import Claims, Point

if TYPE_CHECKING:
    from compare.adapters.composition import Composition

Array = np.ndarray


def replays(own: "Composition", points: list[Point]) -> list[dict[str, Any]]:
    """Predictions by point, first that of a proper pass; [] where it cannot be done by hand."""
    runs = {point.label: _recorded(own, point) for point in points}
    first, _ = runs[points[0].label]
    if not first.steps or not first.chain():
        return []
    every = {step.path: calls_of(type(step.module)) for step in first.steps}
    proper = {point.label: _by_hand(own, point, every, None) for point in points}
    found: list[dict[str, Any]] = [{"cause": "", "text": "", "claims": proper}]
    if all(_equal(claims, proper[label]) for label, (_, claims) in runs.items()):
        return found  # its modules are at fault, or nothing is
    ops, columns = {path: op.op for path, op in own.ops.items()}, own.form.layout == "columns"
    planned = {p.label: {m.text: m for m in mistakes(runs[p.label][0], ops, every, columns)} for p in points}
    for text, mistake in planned[points[0].label].items():
        claims = {}
        for point in points:
            try:
                claims[point.label] = _by_hand(own, point, every, planned[point.label][text])
            except Exception:  # a mistake that does not run is not the user's
                break
        else:
            found.append({"cause": mistake.cause, "text": text, "claims": claims})
    return found


def _recorded(own: "Composition", point: Point) -> tuple[Tape, Claims]:
    """The user's own pass."""
    state = own.start({})
    tape = record(state.modules)
    np.random.seed(point.seed)
    try:
        _, claims = own.claims(state, point.copy())
    except Exception:  # shown where it was examined
        claims = {}
    tape.fold()
    for name, (path, slot) in own.places.items():
        if not np.array_equal(after := slot.read(state.modules[path]), point.inputs[name]):
            tape.moved.setdefault(path, []).append((slot, np.array(after)))
    return tape, claims


def _by_hand(
    own: "Composition", point: Point, every: dict[str, Calls], mistake: Mistake | None
) -> dict[str, Array]:
    state = own.start({})
    tape = record(state.modules)
    own.clear(state)
    np.random.seed(point.seed)
    run = own.forward(state, point.copy())
    arriving = run.arriving
    if run.loss_module is not None:
        module, calls, memory = run.loss_module
        arriving = calls.input_gradient(module, calls.backward(module, memory, 1.0), np.asarray(memory.x))
    returned = backward(tape, 1.0 if arriving is None else arriving, every, mistake)
    claims = own.collect(state, point, run, returned)
    return {n: np.array(g, np.float64) for n, g in claims.items() if g is not None}


def _equal(claims: Claims, right: dict[str, Array]) -> bool:
    for name, g in right.items():
        claim = claims.get(name)
        if claim is None or np.shape(claim) != g.shape or not np.allclose(claim, g, rtol=1e-9, atol=1e-12):
            return False
    return True
