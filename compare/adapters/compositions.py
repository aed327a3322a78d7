"""Which compositions of modules a file has, and how they are run: by pairs of functions, or by methods."""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from compare.adapters import module_clearing
from compare.adapters.composition import Composition
from compare.adapters.composition_calls import BACKWARD, BOTH, FORWARD, LOSSES, MODEL, Flow
from compare.adapters.composition_models import Model, names_in
from compare.adapters.composition_ops import keeps_everything
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.module_build import makers
from compare.adapters.module_calls import calls_of
from compare.adapters.module_dropout import set_rate
from compare.adapters.module_shapes import arrays_in
from compare.adapters.module_signatures import pair_of, parameters, required
from compare.adapters.module_tape import modules_in
from compare.adapters.subject import Context
from scratch.errors import UsageError

GRADIENT_METHODS = (
    *(
        "backward",
        "backprop",
        "back_prop",
        "bprop",
        "bwd",
        "backward_pass",
        "backward_propagation",
        "gradient",
    ),
    *("gradients", "compute_gradients", "compute_grads", "compute_gradient", "grad", "back"),
)
FORWARD_METHODS = (
    "forward",
    "fprop",
    "fwd",
    "forward_pass",
    "forward_propagation",
    "feedforward",
    "feed_forward",
    "predict",
    "__call__",
)
PARTNERS = (  # in the names of a forward and its backward
    ("forward", "backward"),
    ("Forward", "Backward"),
    ("fprop", "bprop"),
    ("fwd", "bwd"),
    ("forward", "backprop"),
    ("feed_forward", "backprop"),
    ("feedforward", "backprop"),
    ("loss", "gradient"),
    ("loss", "gradients"),
)
MOST = 4  # models that one pair of functions is tried with


def find(context: Context, kinds: dict[str, type], found: list[Model]) -> Iterator[Composition]:
    """The pairs of functions with the models that they take; then objects with methods of their own."""
    functions = {n: o for n, o in context.objects.items() if inspect.isfunction(o)}
    used: set[str] = set()
    wanted = context.wanted
    pairs = list(_pairs(functions, kinds))
    for forward, backward in pairs:
        for model, flow in _with_models(forward, backward, found, context, kinds):
            if wanted in (None, model.name, forward.__name__, backward.__name__ if backward else ""):
                used.add(model.name)
                name = forward.__name__ if backward is None else f"{forward.__name__}, {backward.__name__}"
                several = sum(m.origin != "class" for m in found) > 1
                yield from _loud_and_quiet(
                    f"{name} ({model.name})" if several else name, model, flow, context, forward
                )
    classes: set[type] = {m.kind for m in found if m.name in used}
    for model in found:
        if (
            model.name in used
            or wanted not in (None, model.name, model.kind.__name__)
            or model.kind in classes
        ):
            continue
        if not any(arrays_in(module) for module in modules_in(model.make()).values()):
            continue  # nothing to learn: it is called as one module
        if (own := _methods(model, context, kinds)) is not None:
            classes.add(model.kind)
            yield from _loud_and_quiet(model.name, model, own, context, None)


def _pairs(functions: dict[str, Any], kinds: dict[str, type]) -> Iterator[tuple[Callable, Callable | None]]:
    """Functions that call the forwards of modules, with those that call their backwards."""
    called = {0: set[str](), 1: set[str]()}
    for kind in kinds.values():
        for i, name in enumerate(pair_of(kind) or ()):
            called[i].add(name)
    composed = {
        n: f
        for n, f in functions.items()
        if names_in(f.__code__) & (called[0] | called[1]) or _first_is_model(f)
    }
    backwards = {n: f for n, f in composed.items() if BACKWARD.search(n)}
    for name, forward in composed.items():
        if name in backwards or not (FORWARD.search(name) or LOSSES.fullmatch(name)):
            if BOTH.search(name) and names_in(forward.__code__) & called[1]:
                yield forward, None
            continue
        likely = {name.replace(a, b) for a, b in PARTNERS} - {name}
        best = next((backwards[n] for n in likely if n in backwards), None)
        if best is None and len(backwards) == 1:
            best = next(iter(backwards.values()))
        if best is not None:
            yield forward, best
        elif names_in(forward.__code__) & called[1]:
            yield forward, None  # one function does both


def _first_is_model(function: Callable) -> bool:
    first = parameters(function)[:1]
    return (
        bool(first)
        and bool(MODEL.fullmatch(first[0].name))
        and not first[0].name.lower().startswith("stack_")
    )


def _with_models(
    forward: Callable, backward: Callable | None, found: list[Model], context: Context, kinds: dict[str, type]
) -> Iterator[tuple[Model, Flow]]:
    own = [p.name for p in parameters(forward)]
    takes_model = bool(own) and (_first_is_model(forward) or any(MODEL.fullmatch(n) for n in own))
    flow = Flow(
        forward, backward, takes_model=takes_model, criterion=_criterion(context, kinds, backward, forward)
    )
    if not takes_model:
        if model := _globals(forward, backward, context):
            yield model, flow
        return
    listed = [m for m in found if m.origin != "class"] or found
    working = 0
    for model in listed[:MOST]:
        probe = Composition(forward.__name__, model.make, flow, own[0])
        if problem := _problem(probe):
            last = model, problem
            continue
        working += 1
        yield model, flow
    if not working and listed:
        yield last[0], flow  # the subject says what is wrong
    if not listed:
        context.notes.append(
            f"{forward.__name__} and its backward are not checked: gradparity finds no model for them; write "
            "a function make_model() without arguments that returns one."
        )


def _problem(probe: Composition) -> Exception | None:
    try:
        probe.probe()
    except (CheckedCodeError, UsageError) as error:
        return error
    return None


def _globals(forward: Callable, backward: Callable | None, context: Context) -> Model | None:
    """The modules at the top of the file that the functions use: put back as they were before each use."""
    used = names_in(forward.__code__) | (names_in(backward.__code__) if backward else set())
    own = {
        n: o
        for n, o in context.objects.items()
        if n in used and not inspect.isroutine(o) and not inspect.isclass(o)
    }
    live = {n: o for n, o in own.items() if modules_in({n: o})}
    if not live:
        return None
    inner = modules_in(live)
    before = {path: copy.deepcopy(vars(module)) for path, module in inner.items()}

    def restored() -> Any:
        for path, module in inner.items():
            vars(module).clear()
            vars(module).update(copy.deepcopy(before[path]))
        return live

    return Model("", restored, "globals", dict)


def _criterion(
    context: Context, kinds: dict[str, type], backward: Callable | None, forward: Callable
) -> tuple[Callable[[], Any], Any] | None:
    """The file's only loss module, for a forward that ends at the scores while the backward wants targets."""
    if backward is None:
        return None
    needs_targets = Flow(forward, backward).takes_targets(None)
    losses = [(n, k) for n, k in kinds.items() if _is_loss(k)]
    if len(losses) != 1 or not needs_targets:
        return None
    name, kind = losses[0]
    maker = next(makers(name, kind, []))
    return (lambda: maker({})), calls_of(kind)


def _is_loss(kind: type) -> bool:
    try:
        return calls_of(kind).loss
    except UsageError:
        return False


def _methods(model: Model, context: Context, kinds: dict[str, type]) -> Flow | None:
    """How an object is run by its own methods; None where it has no backward of its own."""
    kind = model.kind
    backward = next((n for n in GRADIENT_METHODS if inspect.isfunction(getattr(kind, n, None))), None)
    forward = next((n for n in FORWARD_METHODS if inspect.isfunction(getattr(kind, n, None))), None)
    losses = [n for n in dir(kind) if LOSSES.fullmatch(n) and inspect.isfunction(getattr(kind, n))]
    loss = next((n for n in losses if len(required(getattr(kind, n))) >= 1), None)
    if backward is None:
        both = next((n for n in dir(kind) if BOTH.search(n) and inspect.isfunction(getattr(kind, n))), None)
        return Flow(both, None, takes_model=False) if both else None
    flow = Flow(forward or loss or "", backward, takes_model=False)
    if flow.takes_gradient(kind) and forward is not None:
        return flow
    if loss is not None and len(required(getattr(kind, loss))) >= 2:
        scores_first = re.match(
            r"scores?|logits?|out|pred|y_?(hat|pred)|p|prob", required(getattr(kind, loss))[0].name, re.I
        )
        if not (scores_first and forward is not None):
            return Flow(loss, backward, takes_model=False)
    if loss is not None and forward is not None:
        return Flow(forward, backward, loss, takes_model=False)
    criterion = _criterion(
        context, kinds, getattr(kind, backward), getattr(kind, forward or loss or "__init__")
    )
    return Flow(forward, backward, takes_model=False, criterion=criterion) if forward else None


def _loud_and_quiet(
    name: str, model: Model, flow: Flow, context: Context, forward: Callable | None
) -> Iterator[Composition]:
    """With its dropout on; and off too, where it then is a perceptron that references know."""
    own = parameters(forward) if forward is not None else []
    list_name = next((p.name for p in own if MODEL.fullmatch(p.name)), "layers")
    list_name = list_name if list_name.lower() not in ("model", "net", "network", "self") else "layers"
    cleared = module_clearing.function_for(context)
    used = [f.__name__ for f in (flow.forward, flow.backward) if callable(f)]
    takes = [model.name, model.kind.__name__, *used]
    loud = Composition(name, model.make, flow, list_name, cleared=cleared, takes=takes)
    problem = _problem(loud)
    if problem is None and loud.random:
        quiet = Composition(f"{name}, dropout off", model.make, flow, list_name, quiet=True, cleared=cleared)
        with calling(0):
            off = all(
                set_rate(m, 0.0, keeps_everything)
                for p, m in modules_in(model.make(), list_name).items()
                if loud.ops[p].op == "dropout"
            )
        if off and _problem(quiet) is None and quiet.description.get("layers"):
            loud.name = f"{name}, dropout on"
            yield loud
            yield quiet
            return
    yield loud
