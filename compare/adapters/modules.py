"""Style `modules`: classes with `forward` and `backward`, each by itself, and their composition."""

from collections.abc import Iterator
from typing import Any

from compare.adapters import composition_models, compositions
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.module_build import Maker, makers
from compare.adapters.module_calls import calls_of
from compare.adapters.module_layer import Layer
from compare.adapters.module_loss import Loss
from compare.adapters.module_shapes import arrays_in
from compare.adapters.module_signatures import pair_of
from compare.adapters.module_subject import Module
from compare.adapters.module_tape import modules_in
from compare.adapters.subject import Context, Subject
from scratch.errors import UsageError

STYLE = "modules"
EXAMPLE = """\
class Linear:
    def __init__(self, n_in, n_out):
        self.params = {"W": 0.1 * np.random.randn(n_in, n_out), "b": np.zeros((1, n_out))}
        self.gradient = {}

    def forward(self, x): ...         # dropout: forward(x, is_train); a loss: forward(x, y)
    def backward(self, x, grad): ...  # or backward(grad); fills self.gradient, returns dx

def make_model(): ...                 # a dict, list or object of modules
def forward_pass(model, x, y): ...    # returns loss, cache
def backward_pass(model, x, y, cache): ..."""


def find(context: Context) -> Iterator[Subject]:
    """Every class of modules that can be called by itself, then every composition.

    A module that gradparity cannot call is a note where something else can be judged, else an error.
    """
    kinds = composition_models.module_classes(context)
    if not kinds:
        return
    models = composition_models.models(context, kinds)
    found = 0
    unclear: list[tuple[str, Exception | None, Module | None]] = []
    for subject in _modules(context, kinds, composition_models.instances(models, context)):
        if isinstance(subject, tuple):
            unclear.append((*subject, None))
        elif subject.unclear:
            unclear.append((subject.name, subject.problem, subject))
        else:
            found += 1
            yield subject
            if isinstance(subject, Loss):
                yield from map(subject.with_targets, subject.others)
    for composition in compositions.find(context, kinds, models):
        found += 1
        yield composition
    if not found and unclear and unclear[0][2] is not None:
        yield unclear.pop(0)[2]  # type: ignore[misc]  # its sentence is the error
    context.notes.extend(f"{name} is not checked by itself: {problem}" for name, problem, _ in unclear)


def _modules(
    context: Context, kinds: dict[str, type], instances: dict[type, list[Any]]
) -> Iterator[Module | tuple[str, Exception]]:
    """The classes of the file, and an object that was asked for; a name with a problem where one has none."""
    chosen, seen = context.classes(), set[int]()
    for name, kind in kinds.items():
        if name not in chosen or id(kind) in seen:
            continue
        seen.add(id(kind))
        own = instances.get(kind, [])
        whole = composition_models.is_composite(kind, kinds, own) and not _is_bare(kind)
        if not whole and not _is_base(kind, kinds):
            yield from _of_class(name, kind, own, context)
    for name, thing in context.instances().items():
        kind = type(thing)
        asked = name == context.wanted and pair_of(kind)
        if asked and not composition_models.is_composite(kind, kinds, [thing]):
            yield _probed(
                next(makers(name, kind, [thing], only_instances=True)),
                context,
            )


def _is_base(kind: type, kinds: dict[str, type]) -> bool:
    """Whether it is there to be derived from: others override both its methods, or its own do nothing."""
    derived = [o for o in kinds.values() if o is not kind and issubclass(o, kind)]
    pair = pair_of(kind)
    assert pair is not None
    if any(all(name in vars(o) for name in pair) for o in derived):
        return True
    return "NotImplementedError" in getattr(kind, pair[0]).__code__.co_names


def _is_bare(kind: type) -> bool:
    """Whether there are no parameters in it: then it is called as one module, whatever it is made of."""
    try:
        with calling(0):
            inner = modules_in(kind())
    except CheckedCodeError:
        return False
    return bool(inner) and not any(arrays_in(module) for module in inner.values())


def _of_class(
    name: str, kind: type, instances: list[Any], context: Context
) -> Iterator[Module | tuple[str, Exception]]:
    """One subject for each activation that the constructor takes; an instance where it cannot be made."""
    problems: list[Module | tuple[str, Exception]] = []
    good = 0
    for maker in makers(name, kind, instances, context.options.get("activation")):
        if maker.fixed and good:
            return
        subject = _probed(maker, context)
        if isinstance(subject, Module) and subject.problem is None:
            good += 1
            yield subject
        else:
            problems.append(subject)
    if not good:
        crashed = [s for s in problems if isinstance(s, Module) and not s.unclear]
        yield (crashed or problems)[0]


def _probed(maker: Maker, context: Context) -> Module | tuple[str, Exception]:
    try:
        calls = calls_of(maker.kind)
    except UsageError as error:
        return maker.label, error
    subject = (Loss if calls.loss else Layer)(maker, context, calls)
    subject.probe()
    return subject
