"""Which line of the user's own code is to blame: by a traceback, a stack, or what faulthandler has dumped."""

import errno
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

Culprit = tuple[str, int, str]  # file, line, function
NOBODY: Culprit = ("", 0, "")
ROOT = Path(__file__).resolve().parents[2]
# What may lie somewhere below a user's folder and still is not the user's: a home may hold all of Python.
FOREIGN = [ROOT / name for name in ("compare", "scratch", "frameworks", "gradparity")]
FOREIGN += [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
INSTALLED = {"site-packages", "dist-packages"}
FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.M)
THREAD = re.compile(r"^(?:Current thread|Thread) 0x.*$", re.M)
ESCAPE = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")
LONGEST = 200  # characters of an exception's text
FULL = ("DefaultCPUAllocator", "failed to map segment", "OOM when allocating")  # torch, a loader, TensorFlow


def culprit(traceback: TracebackType | None, folder: Path) -> Culprit:
    """(file, line, function) of the last call in the user's folder; NOBODY where there is none."""
    calls: list[Culprit] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        calls.append((code.co_filename, traceback.tb_lineno, code.co_qualname))
        traceback = traceback.tb_next
    return _first(reversed(calls), folder)


def of_error(error: BaseException, folder: Path) -> Culprit:
    """The culprit of an exception, or of the one that it was raised in place of or amid."""
    for one in _chain(error):
        if (found := culprit(one.__traceback__, folder)) != NOBODY:
            return found
    return NOBODY


def of_stack(frame: FrameType | None, folder: Path) -> Culprit:
    """The culprit of something that goes on now, such as a call of os._exit."""
    calls: list[Culprit] = []
    while frame is not None:
        calls.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname))
        frame = frame.f_back
    return _first(calls, folder)


def of_dump(text: str, folder: Path) -> Culprit:
    """The culprit by a dump of faulthandler, which has the main thread last and the last call first."""
    for thread in reversed(THREAD.split(text)):
        calls = ((_unescape(file), int(line), function) for file, line, function in FRAME.findall(thread))
        if (found := _first(calls, folder)) != NOBODY:
            return found
    return NOBODY


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in whatever words a library says so."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, Exception) and any(word in str(error) for word in FULL)


def said(error: BaseException) -> str:
    """Such as "ValueError (no such shape)", in one line and not too long for a sentence."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST:
        text = text[: LONGEST - 3] + "..."
    return type(error).__name__ + (f" ({text})" if text else "")


def _first(calls: Iterable[Culprit], folder: Path) -> Culprit:
    return next((call for call in calls if is_users(call[0], folder)), NOBODY)


def is_users(file: str, folder: Path) -> bool:
    """Whether a source file below a folder is the user's: not Python's, not installed, not ours."""
    path = Path(file)
    if not path.is_relative_to(folder) or INSTALLED & set(path.relative_to(folder).parts):
        return False
    return not any(path.is_relative_to(place) and place.is_relative_to(folder) for place in FOREIGN)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        yield one
        seen.add(id(one))
        one = one.__cause__ or one.__context__


def _unescape(text: str) -> str:
    """faulthandler writes ASCII only."""
    return ESCAPE.sub(lambda found: chr(int(found[0][2:], 16)), text)
