"""Files that a kill, a full disk or a closed folder cannot leave half written."""

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from scratch.errors import DataError, GradparityError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "a file stands where a folder is needed",
}


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step: at every moment it holds all of the old or all of the new bytes."""
    try:
        write(waiting(path), data)
        os.replace(waiting(path), path)
    except BaseException:
        with suppress(OSError):
            waiting(path).unlink(missing_ok=True)
        raise
    sync(path.parent)


def waiting(path: Path) -> Path:
    """The temporary file, in the same folder, that is to become `path`."""
    return path.with_name(path.name + ".tmp")


def write(path: Path, data: bytes) -> None:
    """Write a file through to the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make the renames in a folder outlast a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writing(what: str, consolation: str = "") -> Iterator[None]:
    """Turn the OSError of a full disk or a closed folder into one sentence, a GradparityError."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror or str(error))
        consolation = f" ({consolation})" if consolation else ""
        raise GradparityError(
            f"{what} could not be written: {reason}{consolation}; make room there or choose another place."
        ) from error


@contextmanager
def reading(what: str | os.PathLike) -> Iterator[None]:
    """Turn the OSError of a file that cannot be read into one sentence, a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{what} cannot be read: {error.strerror or error}.") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds; DataError where it cannot be read or is none."""
    with reading(path):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is damaged: it is not JSON ({error}).") from error


def to_json(value: Any, indent: int | None = 1) -> bytes:
    """JSON and a newline; NumPy numbers, dataclasses and paths are understood, anything else a TypeError."""
    return json.dumps(value, indent=indent, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")
