"""From something alive (an object, a class, a function, a module, a pair, several) to the evidence on it.

The adapters are the same as for files. They see what stands beside the thing, in the globals of its code.
"""

import inspect
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from compare.adapters.collect import subjects
from compare.adapters.examine import CheckedCodeError, examine
from compare.adapters.subject import Context, Subject
from compare.live_code import blame, file_of, globals_of, owned, place, title
from compare.live_copy import copied, is_copyable, kept
from compare.live_pairs import is_pair, pair_questions
from compare.submission.evidence import Evidence, Failure
from scratch.errors import GradparityError, UsageError

Space = dict[str, Any]
Question = tuple[Context, str | None]  # what the adapters are shown, and the style asked for


@dataclass
class Part:
    """One thing to check. questions: the first that finds something counts; otherwise: if none does."""

    label: str
    space: Space
    questions: list[Question] = field(default_factory=list)
    otherwise: list["Part"] = field(default_factory=list)
    is_function: bool = False


def gather(thing: Any, style: str | None, options: dict[str, Any]) -> list[Evidence]:
    """The evidence on all that is claimed; what the checked code raises becomes evidence.

    Raises UsageError for what cannot be checked, also where it is one of several.
    """
    found: list[Evidence] = []
    seen: set[tuple[str, str]] = set()
    for part in parts(thing, style, options):
        found += _examined(part, style, seen)
    return found


def parts(
    thing: Any,
    style: str | None,
    options: dict[str, Any],
    label: str = "",
    besides: dict[str, Any] | None = None,
) -> list[Part]:
    """What a thing consists of, with objects copied. besides: classes and functions that come with it."""
    if isinstance(thing, types.ModuleType) or _is_namespace(thing):
        space = vars(thing) if isinstance(thing, types.ModuleType) else thing
        objects = {n: o for n, o in owned(space).items() if _is_code(o) or is_copyable(o)}
        notes = [f"{n} cannot be copied, and is not checked." for n in owned(space) if n not in objects]
        return [Part(title(space), space, [(Context(objects, None, "", options, notes), style)])]
    if is_pair(thing):
        forward, backward = (copied(part) for part in thing)
        questions = pair_questions(forward, backward, style, options)
        return [Part(label or called(forward), globals_of(forward), questions)]
    if isinstance(thing, list | tuple | dict):
        return _several(thing, style, options)
    _demand_checkable(thing)
    label, space = label or called(thing), globals_of(thing)
    context = Context(_beside(thing) | (besides or {}) | {label: copied(thing)}, label, "", options)
    return [Part(label, space, [(context, style)], is_function=inspect.isroutine(thing))]


def is_object(thing: Any) -> bool:
    """Whether it is neither a class nor a function nor something that holds several."""
    return not (isinstance(thing, list | tuple | dict | types.ModuleType) or _is_code(thing))


def home(thing: Any) -> str:
    """Where it was written: `net.py`, `this notebook`, or the name of a module without a file."""
    if isinstance(thing, types.ModuleType):
        return title(vars(thing))
    if _is_namespace(thing):
        return title(thing)
    if isinstance(thing, list | tuple | dict) and thing:
        return home(next(iter(thing.values() if isinstance(thing, dict) else thing)))
    return title(globals_of(thing))


def called(thing: Any) -> str:
    """Its name, for sentences."""
    if isinstance(thing, list | tuple | dict):
        return title(thing) if _is_namespace(thing) else f"this {type(thing).__name__}"
    name = getattr(thing, "__name__", "")
    return name if isinstance(name, str) and name else f"{type(thing).__name__}()"


def nothing(label: str, style: str | None, notes: Sequence[str]) -> str:
    """Where no adapter knew anything: what was looked for, and what to do."""
    what = f"of the style {style}" if style else "that gradparity knows how to call"
    why = "".join(f" {note}" for note in notes)
    return (
        f"{label} has no hand-written gradient {what};{why} `gradparity check --styles` shows how code of "
        "each style looks."
    )


def _several(thing: Any, style: str | None, options: dict[str, Any]) -> list[Part]:
    """A network made of objects where an adapter knows it as one, else everything by itself."""
    named = thing if isinstance(thing, dict) else {called(one): one for one in thing}
    if not named:
        raise UsageError(f"{called(thing)} is empty; put into it what is to be checked.")
    code = {str(name): one for name, one in named.items() if _is_code(one)}
    apart: list[Part] = []
    if isinstance(thing, dict):
        for name, one in thing.items():
            apart += parts(one, style, options, str(name), code)
    else:
        for one in thing:
            apart += parts(one, style, options, "", code)
    if not all(is_object(one) for one in named.values()):
        return apart
    beside = {name: one for part in named.values() for name, one in _beside(part).items()}
    context = Context(beside | {"model": copied(thing)}, "model", "", options)
    space = globals_of(next(iter(named.values())))
    return [Part("model", space, [(context, style)], apart)]


def _beside(thing: Any) -> dict[str, Any]:
    """Classes and functions of its module: a backward belongs to its forward, a cost to its network."""
    found = {name: one for name, one in owned(globals_of(thing)).items() if _is_code(one)}
    return found if _is_code(thing) else found | {type(thing).__name__: type(thing)}


def _is_code(thing: Any) -> bool:
    return inspect.isclass(thing) or inspect.isroutine(thing)


def _is_namespace(thing: Any) -> TypeGuard[Space]:
    """Whether it is what globals() returns."""
    return isinstance(thing, dict) and isinstance(thing.get("__name__"), str)


def _demand_checkable(thing: Any) -> None:
    if isinstance(thing, str | bytes) or hasattr(thing, "__fspath__"):
        raise UsageError(
            f"files are checked by `gradparity check FILE.py`, but {thing!r} came; or import it, and give "
            "the module."
        )
    if not _is_code(thing) and type(thing).__module__ in ("builtins", "numpy"):
        raise UsageError(
            "an object, a class, a function, a module, a pair of functions, or a list of these is expected, "
            f"but {type(thing).__name__} came."
        )


def _examined(part: Part, style: str | None, seen: set[tuple[str, str]]) -> list[Evidence]:
    """The evidence on a part. seen: what functions are known to belong to, by style and name."""
    notes: list[str] = []
    with kept(part.space, _reachable(part.space)):
        for context, asked in part.questions:
            found, known = [], False
            try:
                for subject in subjects(context, asked):
                    key = subject.style, subject.name
                    if part.is_function and key in seen:
                        known = True
                        continue
                    seen.add(key)
                    subject.namespaces = [part.space]
                    found.append(_evidence(subject))
            except UsageError:
                raise
            except (Exception, SystemExit) as error:
                found.append(Evidence("", "network", part.label, failure=_failure(error, part.label)))
            if found or known:
                for evidence in found[:1]:
                    evidence.notes += context.notes
                return found
            notes += context.notes
    if not part.otherwise:
        raise UsageError(nothing(part.label, style, notes))
    return [evidence for other in part.otherwise for evidence in _examined(other, style, seen)]


def _reachable(space: Space) -> list[Any]:
    """What the checked code could change: its module's objects, arrays, generators; not other modules."""
    data = (np.ndarray, np.random.Generator, np.random.RandomState, dict, list)
    own = [one for name, one in space.items() if isinstance(one, data) and not str(name).startswith("_")]
    return own + list(owned(space).values())


def _evidence(subject: Subject) -> Evidence:
    try:
        evidence = examine(subject)
    except (Exception, SystemExit) as error:
        failure = _failure(error, subject.name)
        return Evidence(subject.style, subject.kind, subject.name, failure=failure)
    for name, source in evidence.sources.items():
        source.file = file_of(subject.source(name), source.file)
    return evidence


def _failure(error: BaseException, name: str) -> Failure:
    """What the checked code did, and in which of its lines; a fault that is not its own is raised."""
    if isinstance(error, GradparityError) and not isinstance(error, CheckedCodeError):
        return Failure("unusable", str(error))
    cause = error.__cause__ if isinstance(error, CheckedCodeError) and error.__cause__ else error
    text = " ".join(str(cause).split())
    said = text if isinstance(cause, CheckedCodeError) else f"{type(cause).__name__}: {text}".rstrip(": ")
    found = blame(cause)
    if found is None:
        if not isinstance(error, CheckedCodeError):
            raise error
        return Failure("crash", f"{name} cannot be called as expected: {said}.")
    where = f"in {found[2]}, {place(*found[:2])}"
    if isinstance(cause, SystemExit):
        return Failure("exit", f"{name} ends the program {where}; take that call out.", *found)
    if isinstance(cause, MemoryError):
        return Failure(
            "memory", f"{name} needs more memory than there is, {where}; have it need less.", *found
        )
    return Failure("crash", f"{name} fails {where}: {said}.", *found)
