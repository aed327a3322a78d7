"""The terminal: progress goes to stderr, results to stdout, colours to terminals only."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console

PACKAGES = ("gradparity", "numpy", "torch", "keras", "tensorflow")


def stdout() -> Console:
    """For results; as wide as the terminal, and 100 columns where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=100)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("starting") as status:
        yield lambda text: status.update(text)


def details(arguments: Sequence[str], seed: int, source: str) -> dict[str, Any]:
    """What reproduces a check: the command, versions, seed, data, date."""
    return {
        "command": shlex.join(["gradparity", *arguments]),
        "seed": seed,
        "data": source.replace(os.path.expanduser("~"), "~", 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES if name in sys.modules or name == "gradparity"},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
