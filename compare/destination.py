"""The file that a command is to leave: known to be possible before the work, not after it."""

import os
from collections.abc import Sequence
from pathlib import Path

from scratch.errors import UsageError


def destination(path: str | Path, what: str, endings: Sequence[str] = ("",), replace: bool = True) -> Path:
    """The absolute path to write to. what: for the sentences, such as "the figure"; endings: any by default.

    Raises UsageError for another ending, for a place where no file can be written, and for a file that is
    there unless it may be replaced.
    """
    asked = repr(str(path))
    try:
        place = Path(path).resolve()
        folder, there = place.parent, place.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a loop of links, a null byte
        raise UsageError(f"{what} needs a file name, but {asked} came: {error}.") from error
    if not place.name.endswith(tuple(endings)):
        raise UsageError(f"{what} needs a name that ends in {' or '.join(endings)}, but {asked} came.")
    if there and not place.is_file():
        what_is = "a folder" if place.is_dir() else "no ordinary file"
        raise UsageError(f"{what} needs a file, but {asked} is {what_is}; name a file.")
    if there and not replace:
        raise UsageError(f"{what} would replace {asked}; name another file, or allow it with --force.")
    if not folder.is_dir():
        why = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{what} {asked} needs a folder to stand in, but {str(folder)!r} {why}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{what} {asked} cannot be written: no permission in {str(folder)!r}.")
    return place
