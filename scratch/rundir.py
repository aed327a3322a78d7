"""A run's own folder: its settings, environment, metrics, status and checkpoints, and a lock on them."""

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from scratch import checkpoint, files
from scratch.checkpoint import Checkpoint
from scratch.environment import environment
from scratch.errors import DataError, UsageError

try:
    import fcntl
except ImportError:  # Windows: runs are not locked there
    fcntl = None  # type: ignore[assignment]

STATES = ("running", "finished", "failed", "interrupted")


class RunDirectory:
    """One run on disk; made by `create`, `open` (to go on) or `view` (to read), closed by `with`.

    `with` marks the run as interrupted or failed when Ctrl-C or an error ends it; `mark` says the rest.
    notes: sentences for the user, such as what has changed since the run was last worked on.
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: int | None) -> None:
        self.path, self.config, self.notes = path, config, ()
        self.checkpoints = path / "checkpoints"
        self._lock = lock

    notes: tuple[str, ...]

    @classmethod
    def create(
        cls,
        root: str | os.PathLike,
        config: Mapping[str, Any],
        name: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Self:
        """A new run below `root`, which is made where it is missing; it appears complete and locked.

        config: all settings. data: what to note of the data, such as source and sha256. Without a name it
        is called after the time and config's model, framework and seed. Load the frameworks before, so that
        their versions are noted. Raises UsageError for a name that is taken or no name for a folder.
        """
        if name is not None and (name != os.path.basename(name) or name.startswith(".") or not name):
            raise UsageError(f"a run's name must be a plain folder name, but {name!r} came.")
        folder = Path(root)
        building = folder / f".new-run-{os.getpid()}-{time.monotonic_ns()}"
        lock = None
        with files.writing(f"the run directory {folder / (name or '')}"):
            try:
                (building / "checkpoints").mkdir(parents=True)
                lock = _locked(building)
                files.write_atomically(building / "config.json", files.to_json(config))
                found = environment() | {"data": dict(data or {})}
                files.write_atomically(building / "environment.json", files.to_json(found))
                (building / "metrics.jsonl").touch()
                _write_status(building, "running", 0, "", _now())
                path = _appear(building, folder, name, _default_name(config))
            except BaseException:
                if lock is not None:
                    os.close(lock)
                shutil.rmtree(building, ignore_errors=True)
                raise
        return cls(path, json.loads(files.to_json(config)), lock)

    @classmethod
    def open(cls, path: str | os.PathLike, finished: bool = False) -> Self:
        """A run to go on with, locked and marked as running; a torn last line of metrics is removed.

        Raises UsageError where there is no such run, another process works on it or it is finished
        (unless that is allowed), DataError where its settings cannot be read.
        """
        run = cls.view(path)
        if run.status()["state"] == "finished" and not finished:
            raise UsageError(f"the run {path} is finished at step {run.status()['step']}: nothing to resume.")
        try:
            with files.writing(f"the run directory {path}"):
                run._lock = _locked(run.path)
                run.rewind(None)
                run._note_environment()
                run.mark("running")
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def view(cls, path: str | os.PathLike) -> Self:
        """A run to read only, whoever works on it."""
        path = Path(path)
        with files.reading(path):
            if not path.exists():
                raise UsageError(f"there is no run {path}.")
            if not (path / "config.json").is_file():
                raise UsageError(f"{path} is not a run directory: it holds no config.json.")
        config = files.read_json(path / "config.json")
        if not isinstance(config, dict):
            raise DataError(f"{path / 'config.json'} is damaged: it holds no settings.")
        return cls(path, config, None)

    def log(self, *records: Mapping[str, Any]) -> None:
        """Add a line each to metrics.jsonl, all of them or none; what is not finite becomes null."""
        plain = _finite(json.loads(files.to_json(records)))
        line = b"".join(files.to_json(record, indent=None) for record in plain)
        path = self.path / "metrics.jsonl"
        with files.writing(str(path)), open(path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                os.ftruncate(file.fileno(), before)
                raise

    def metrics(self) -> list[dict[str, Any]]:
        """The records logged so far; a torn last line is left out, any other bad line is a DataError."""
        return [record for _, record in self._lines()]

    def save(self, saved: Checkpoint, best: bool = False, keep: int = 2) -> Path:
        """checkpoint.save into this run; the metrics up to here reach the disk first."""
        with files.writing(str(self.path)), open(self.path / "metrics.jsonl", "ab") as file:
            os.fsync(file.fileno())
        return checkpoint.save(self.checkpoints, saved, best, keep)

    def rewind(self, step: int | None) -> None:
        """Drop the metrics and checkpoints of later steps, to go on from `step`; None: only a torn line."""
        kept = [line for line, r in self._lines() if step is None or not r.get("step", 0) > step]
        text = b"".join(kept)
        path = self.path / "metrics.jsonl"
        with files.writing(str(path)):
            if not path.exists() or path.read_bytes() != text:
                files.write_atomically(path, text)
        if step is not None and self.checkpoints.is_dir():
            checkpoint.drop_after(self.checkpoints, step)

    def mark(self, state: str, step: int | None = None, reason: str = "") -> None:
        """Write status.json: a state of STATES, the step reached (else the one noted last), why, and when."""
        if state not in STATES:
            raise UsageError(f"a run is {', '.join(STATES)}, but {state!r} came.")
        before = self._status()
        step = before["step"] if step is None else step
        with files.writing(str(self.path / "status.json")):
            _write_status(self.path, state, step, reason, before["created"])

    def status(self) -> dict[str, Any]:
        """state, step, reason, created, updated; a run whose process was killed is interrupted."""
        status = self._status()
        if status["state"] == "running" and self._lock is None and not _in_use(self.path):
            status |= {"state": "interrupted", "reason": "its process ended without a word"}
        return status

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if kind and self._lock is not None and self._status()["state"] == "running":
                state = "interrupted" if issubclass(kind, KeyboardInterrupt | SystemExit) else "failed"
                with suppress(Exception):  # on a full disk the error under way matters more
                    self.mark(state, reason=f"{kind.__name__}: {error}")
        finally:
            self.close()

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        path = self.path / "metrics.jsonl"
        with files.reading(path):
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict) or not line.endswith(b"\n"):
                    raise ValueError("no record in one line")
            except ValueError as error:
                if number == len(lines):
                    return
                raise DataError(f"{path} is damaged in line {number}: {error}.") from error
            yield line, record

    def _status(self) -> dict[str, Any]:
        status = {"state": "running", "step": 0, "reason": "", "created": _now(), "updated": _now()}
        with suppress(DataError):  # a lost status must not keep a run from being resumed
            status |= files.read_json(self.path / "status.json")
        return status

    def _note_environment(self) -> None:
        """Add today's environment to environment.json; what differs from the last one goes to the notes."""
        path = self.path / "environment.json"
        try:
            noted = files.read_json(path)
        except DataError:
            noted = {}
        now, last = environment(), (noted.get("resumed") or [noted])[-1]
        changed = [key for key in now if key in last and key not in ("git", "argv") and now[key] != last[key]]
        self.notes = tuple(f"{key} was {last[key]} and is {now[key]} now." for key in changed)
        noted["resumed"] = [*noted.get("resumed", []), now]
        files.write_atomically(path, files.to_json(noted))


def _appear(building: Path, folder: Path, name: str | None, default: str) -> Path:
    """Rename a finished folder to its name; a default name that is taken gets a number."""
    number = 1
    while True:
        path = folder / (name or (default if number == 1 else f"{default}-{number}"))
        try:
            os.rename(building, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            if name:
                raise UsageError(f"{path} is there already; choose another name or resume it.") from error
            number += 1
            continue
        files.sync(folder)
        return path


def _default_name(config: Mapping[str, Any]) -> str:
    parts = [datetime.now().strftime("%Y-%m-%d-%H%M%S")]
    parts += [str(config[key]) for key in ("model", "framework") if key in config]
    parts += [f"seed{config['seed']}"] if "seed" in config else []
    return "-".join(part.replace(os.sep, "-") for part in parts)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the run's lock until it is closed or the process dies, however it dies."""
    if fcntl is None:
        return None
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    for attempt in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError as error:
            if attempt == 4:
                os.close(descriptor)
                raise UsageError(f"another process is working on the run {folder}.") from error
            time.sleep(0.02)  # it may be a reader's look at the lock
        except OSError:  # a file system without locks
            return descriptor
    return descriptor


def _in_use(folder: Path) -> bool:
    if fcntl is None:
        return True
    with suppress(OSError), open(folder / "lock", "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write_status(folder: Path, state: str, step: int, reason: str, created: str) -> None:
    status = {"state": state, "step": step, "reason": reason, "created": created, "updated": _now()}
    files.write_atomically(folder / "status.json", files.to_json(status))


def _finite(value: Any) -> Any:
    """The same JSON value with null for NaN and the infinities, which are not JSON."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
