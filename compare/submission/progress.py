"""What the worker has under way, for its parent to read. Outside of a worker nothing is written."""

import os
from pathlib import Path

STAGE = "stage.txt"
LOADING = "running the file"  # the stage at which the user's file, and with it the time, begins
DONE = "done"
_folder: Path | None = None
_process = 0


def begin(folder: Path) -> None:
    """From here on this process tells its stages in a folder."""
    global _folder, _process
    _folder, _process = folder, os.getpid()


def stage(text: str) -> None:
    """Say what is under way, such as "TwoLayerNet: loss", before it can fail or hang."""
    if _folder is not None and os.getpid() == _process:  # a fork of it has no say
        (_folder / STAGE).write_text(text, "utf-8")


def read(folder: Path) -> str:
    """What was last said; empty where nothing was."""
    try:
        return (folder / STAGE).read_text("utf-8")
    except (OSError, ValueError):  # not there yet, or just being written
        return ""
