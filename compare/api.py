"""The library call, for notebooks, scripts and tests: check_gradients(net) gives a report.

It runs in this process and works on copies. Unlike `gradparity check FILE.py` it limits neither time nor
memory: code that never ends has to be stopped with Ctrl-C.
"""

import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import methodcaller
from typing import Any

import numpy as np

from compare import cli_own, console
from compare.adapters import STYLES
from compare.live import gather, home, is_object
from compare.live_report import Report
from compare.printed import Printed
from compare.referees import FRAMEWORKS, NAMES, Referees
from compare.submission.judge import judge
from compare.submission.request import Answer
from scratch.errors import MissingError, UsageError

__all__ = ["Report", "assert_gradients", "check_gradients"]
ASKED_WRONG = (UsageError, MissingError)
GRADIENTS = ("inference_mode", "enable_grad")  # modes of PyTorch in which there are some


def check_gradients(
    thing: Any,
    *,
    style: str | None = None,
    activation: str | None = None,
    sizes: Sequence[int] | None = None,
    loss: str | None = None,
    l2: float | None = None,
    framework: str | None = None,
    strict: bool | None = None,
) -> Report:
    """Check hand-written gradients: which tensors are right, which is wrong first, and why.

    thing: an object, such as a network with the sizes that its weights have; a class, or a function that
    makes an object; a function of a pair such as affine_forward; a module, or globals(): all that is defined
    there; a pair (forward, backward) or (f, grad_f) of functions; a list or a dict of these.
    style, activation, sizes, loss, l2: as in `gradparity check --help`, where they are not found out.
    framework: who is asked besides arithmetic and scratch, such as "torch,keras" or "numeric" for nobody.
    None asks those that this process has loaded already: a check loads no framework by itself.
    strict: True takes a factor N over every tensor for a bug in every style, False for a convention.

    Objects are copied first; what the code changes in globals and class attributes (but for large data), and
    the state of random number generators, is put back. Nothing is printed; what the checked code prints is in
    the report's document. Where it fails, the verdict is "error" and the sentence says in which line.
    Raises UsageError (a ValueError) where there is nothing to check, or an argument is wrong.
    """
    __tracebackhide__ = methodcaller("errisinstance", ASKED_WRONG)  # by pytest: the sentence says it all
    try:
        options = _options(thing, style, activation, sizes, loss, l2, strict)
        frameworks = _frameworks(framework)
        with _undisturbed() as printed:
            found = gather(thing, style, options)
            with _modes("device"):
                subjects = [judge(evidence, frameworks, strict) for evidence in found]
    except ASKED_WRONG as error:
        raise error.with_traceback(None) from None
    answer = Answer(home(thing), subjects, printed.text())
    details = console.details((), 0, "random numbers of the check")
    del details["command"]
    return Report(answer, cli_own.document(answer, 3, details))


def assert_gradients(thing: Any, **options: Any) -> Report:
    """Raise an AssertionError that says what is wrong and why, unless every gradient is right.

    Takes the arguments of check_gradients and returns its report. What could not be judged is not right.
    """
    __tracebackhide__ = True  # pytest shows the line of the test, not this one
    report = check_gradients(thing, **options)
    if not report:
        raise AssertionError(report.complaint())
    return report


def _options(
    thing: Any,
    style: str | None,
    activation: str | None,
    sizes: Sequence[int] | None,
    loss: str | None,
    l2: float | None,
    strict: bool | None,
) -> dict[str, Any]:
    """For the adapters: what was given, after a look at whether it can be meant."""
    if style is not None and style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, but {style!r} came.")
    if strict not in (None, True, False):
        raise UsageError(f"strict must be True, False or None, but {strict!r} came.")
    given: dict[str, Any] = {"activation": activation, "loss": loss, "l2": l2}
    if sizes is not None:
        whole = [int(n) for n in sizes if isinstance(n, int | np.integer) and n > 0]
        if len(whole) < 2 or len(whole) != len(sizes):
            raise UsageError(f"sizes must be whole numbers such as (6, 5, 4), but {sizes!r} came.")
        if is_object(thing):
            raise UsageError("sizes are for classes; an object is checked with the sizes that it has.")
        given["sizes"] = whole
    return {name: value for name, value in given.items() if value is not None}


def _frameworks(asked: str | None) -> tuple[str, ...]:
    """Those that judge, loaded. Raises UsageError for an unknown name, MissingError for one not installed."""
    if asked is None:
        return tuple(name for name in FRAMEWORKS if _is_loaded(name))
    if not isinstance(asked, str):
        came = type(asked).__name__
        raise UsageError(
            f"framework must be a string such as 'torch,keras' of {', '.join(NAMES)}, but {came} came."
        )
    names = [name.strip() for name in asked.split(",")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a test suite may make errors of those that come with the import
        return Referees(names).frameworks


def _is_loaded(framework: str) -> bool:
    if framework == "torch":
        return sys.modules.get("torch") is not None
    keras = sys.modules.get("keras")
    if keras is None or sys.modules.get("tensorflow") is None:
        return False
    return hasattr(keras, "config") and keras.config.backend() == "tensorflow"


@contextmanager
def _undisturbed() -> Iterator[Printed]:
    """What the code prints is kept, what it warns of is not shown, both global generators go on."""
    state, other = np.random.get_state(), random.getstate()  # noqa: NPY002  the user's code draws from it
    printed = Printed()
    try:
        with printed, warnings.catch_warnings(), np.errstate(all="ignore"), _modes(*GRADIENTS):
            warnings.simplefilter("ignore")
            yield printed
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(other)


@contextmanager
def _modes(*names: str) -> Iterator[None]:
    """PyTorch, where it is loaded, as it is by itself, whatever a notebook has chosen."""
    torch: Any = sys.modules.get("torch")
    arguments = {"inference_mode": (False,), "enable_grad": (), "device": ("cpu",)}
    with ExitStack() as stack:
        for name in names if torch is not None else ():
            stack.enter_context(getattr(torch, name)(*arguments[name]))
        yield
