"""Pairs of functions that come without a file: which is meant, (forward, backward) or (f, grad_f)."""

import functools
import inspect
import re
from typing import Any

from compare.adapters import STYLES
from compare.adapters.layer_functions import FORWARD
from compare.adapters.subject import Context, positional
from compare.live_code import globals_of, owned

UPSTREAM = re.compile(r"cache|ctx|^d(out|y|z|a|h|o|l)?$|^g$|grad|upstream|delta", re.I)
MODEL = re.compile(r"model|net|modules|layers", re.I)
FALLBACK = "f"  # a pair without a name, such as two lambdas


def is_pair(thing: Any) -> bool:
    """Whether it is a tuple of two functions, methods or what else can only be called."""
    return isinstance(thing, tuple) and len(thing) == 2 and all(map(_is_function, thing))


def pair_questions(
    forward: Any, backward: Any, style: str | None, options: dict[str, Any]
) -> list[tuple[Context, str | None]]:
    """What to ask of the adapters, the likelier first; they know pairs by their names, so they get names."""
    one, other = _function(forward), _function(backward)
    name = getattr(forward, "__name__", FALLBACK)
    taken, given = ([p.name for p in positional(f)] for f in (one, other))
    if style == "modules" or (taken and given and MODEL.search(taken[0]) and MODEL.search(given[0])):
        objects = owned(globals_of(forward)) | {name: one, getattr(backward, "__name__", "backward"): other}
        return [(Context(objects, name, "", options), "modules")]
    match = FORWARD.match(name)
    stem = (match["a"] or match["b"]) if match else name if name.isidentifier() else FALLBACK
    layer = Context({f"{stem}_forward": one, f"{stem}_backward": other}, None, "", options)
    function = Context({stem: one, f"grad_{stem}": other}, None, "", options)
    questions = {"layer-functions": layer, "function": function}
    if not _is_gradient(taken, given):
        questions = dict(reversed(questions.items()))
    questions = dict(reversed(questions.items()))
    return [(context, s) for s, context in questions.items() if style in (None, s) and s in STYLES]


def _is_gradient(taken: list[str], given: list[str]) -> bool:
    """Whether the second function takes what the first takes, and not a cotangent with a cache."""
    if given[: len(taken)] == taken:
        return True
    return len(given) == len(taken) and not any(UPSTREAM.search(n) for n in given if n not in taken)


def _is_function(thing: Any) -> bool:
    return callable(thing) and not inspect.isclass(thing) and not hasattr(thing, "backward")


def _function(thing: Any) -> Any:
    """The same as a plain function, which is what the adapters look for."""
    if inspect.isfunction(thing):
        return thing

    def call(*arguments: Any, **options: Any) -> Any:
        return thing(*arguments, **options)

    function = functools.update_wrapper(call, thing) if hasattr(thing, "__name__") else call
    try:
        function.__signature__ = inspect.signature(thing)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        pass
    return function
