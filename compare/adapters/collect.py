"""From a user's module to the evidence on everything in it whose gradients are claimed."""

import inspect
import linecache
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from compare.adapters import STYLES
from compare.adapters.examine import CheckedCodeError, examine
from compare.adapters.subject import Context, Subject
from compare.submission.evidence import Evidence, Failure
from scratch.errors import GradparityError, UsageError

Stage = Callable[[str], None]


def collect(
    module: ModuleType, folder: str, job: dict[str, Any], stage: Stage = lambda _: None
) -> list[Evidence]:
    """One Evidence for every subject found, in the order of the file.

    job: `object` (a name in the module, or None), `style` (or None: all), `options`, `script` (transcript).
    Raises UsageError for a name that the module does not have.
    """
    stage("looking for gradients")
    context = context_of(module, folder, job)
    found = []
    for subject in subjects(context, job.get("style")):
        subject.namespaces, subject.scripted = [vars(module)], bool(job.get("script"))
        found.append(evidence_on(subject, folder, stage))
    for evidence in found[:1]:
        evidence.notes += context.notes
    return found


def context_of(module: ModuleType, folder: str, job: dict[str, Any]) -> Context:
    """The module's own objects: what was defined in the user's folder, and objects made of it."""
    everything = {n: o for n, o in vars(module).items() if not n.startswith("__")}
    wanted = job.get("object")
    if wanted and wanted not in everything:
        names = ", ".join(n for n, o in everything.items() if not inspect.ismodule(o)) or "nothing"
        raise UsageError(f"{os.path.basename(str(module.__file__))} has no {wanted!r}; it has {names}.")
    own = {n: o for n, o in everything.items() if n == wanted or _is_own(o, folder)}
    return Context(own, wanted, folder, dict(job.get("options") or {}))


def subjects(context: Context, style: str | None) -> Iterator[Subject]:
    """What the adapters find; every adapter is asked for what none before has taken, or the one of the style."""
    if style and style not in STYLES:
        raise UsageError(f"--style must be one of {', '.join(STYLES)}, but {style!r} came.")
    for name, adapter in STYLES.items():
        if style not in (None, name):
            continue
        taken: set[str] = set()
        for subject in adapter.find(context):
            taken |= set(subject.takes)
            yield subject
        if context.wanted in taken:
            return
        context = replace(context, objects={n: o for n, o in context.objects.items() if n not in taken})


def evidence_on(subject: Subject, folder: str, stage: Stage = lambda _: None) -> Evidence:
    """The evidence on one subject; where the user's code fails, the evidence says how."""
    try:
        return examine(subject, stage)
    except CheckedCodeError as error:
        failure = failure_of(error, folder, subject.name)
    except GradparityError as error:
        failure = Failure("unusable", str(error))
    return Evidence(subject.style, subject.kind, subject.name, failure=failure)


def failure_of(error: BaseException, folder: str, name: str) -> Failure:
    """What the user's code raised, and in which of its lines."""
    cause = error.__cause__ or error
    place, trace = None, cause.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if os.path.realpath(code.co_filename).startswith(os.path.realpath(folder) + os.sep):
            place = code.co_filename, trace.tb_lineno, code.co_name
        trace = trace.tb_next
    text = " ".join(str(cause).split())
    said = f"{type(cause).__name__}: {text}" if cause is not error else text
    if place is None:
        return Failure("crash", f"{name} cannot be called as expected: {said}.")
    file, line, function = place
    source = linecache.getline(file, line).strip()
    sentence = f"{name} fails in {function}, line {line} of {os.path.basename(file)} (`{source}`): {said}."
    return Failure("crash", sentence, file, line, function)


def _is_own(thing: Any, folder: str) -> bool:
    """Whether a class, a function or the class of an object was written in the user's folder."""
    if inspect.ismodule(thing):
        return False
    if callable(thing) and not inspect.isclass(thing):
        thing = inspect.unwrap(thing)  # what stands behind a decorator
    kind = thing if inspect.isclass(thing) or inspect.isroutine(thing) else type(thing)
    try:
        file = inspect.getsourcefile(kind)
    except (TypeError, OSError):
        file = None
    if file is None:
        return isinstance(thing, list | tuple | dict)
    return os.path.realpath(file).startswith(os.path.realpath(folder) + os.sep) or "[cell" in file
