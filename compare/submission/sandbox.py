"""A user's file in a process of its own: started, watched, ended with all that it has started.

This limits accidents, endless loops and exhausted memory; it is no protection from code that means harm.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.submission import ending, evidence, progress
from compare.submission.culprit import ROOT
from compare.submission.evidence import Evidence, Failure
from compare.submission.worker import NOTES
from scratch import files
from scratch.errors import DataError

WORKER = ("-m", "compare.submission.worker")
STARTUP = 30.0  # seconds for what comes before the user's file, which on a busy machine is slow
GRACE = 2.0  # seconds beyond the limit in which the worker is to end itself
LONGEST = 1e6  # seconds
TICK = 0.02  # seconds between two looks
PRINTED = "printed.txt"
SHOWN = 10_000  # characters kept of what is printed
KEPT, FULL = 40_000, 1 << 20  # bytes to which the file is cut that holds it, and from which on
THREADS = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")


@dataclass
class Result:
    """evidence, or the failure that explains why there is none.

    Kinds of failure: load-* (see LoadFailure), hang, exit, memory, crash (by a signal), exception (one that
    came through), usage and unusable (said by the collecting), start (no time for it), internal (our fault).
    printed: by the user's code, on stdout and stderr. notes: of what was passed over while it was loaded.
    """

    evidence: list[Evidence] | None
    failure: Failure | None
    printed: str = ""
    notes: list[str] = field(default_factory=list)


class Running:
    """A worker under way. It ends with `result`, `stop`, the context or this object, what comes first."""

    def __init__(self, job: dict[str, Any], seconds: float, memory: int, worker: Sequence[str]) -> None:
        self.path, self.seconds = Path(job["path"]).resolve(), (seconds := min(seconds, LONGEST))
        home = tempfile.TemporaryDirectory(prefix="gradparity-", ignore_cleanup_errors=True)
        self.folder = Path(home.name).resolve()
        self._mark, self._cut = f"GRADPARITY_{uuid.uuid4().hex}", False
        self._result: Result | None = None
        job = job | {"path": str(self.path), "seconds": seconds, "memory": memory, "parent": os.getpid()}
        with files.writing(f"the job for {self.path.name} in {self.folder}"):
            (self.folder / "job.json").write_bytes(files.to_json(job))
            with (self.folder / PRINTED).open("ab") as printed:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", *worker, str(self.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    env=_environment() | {self._mark: "1"},
                    cwd=self.path.parent if self.path.parent.is_dir() else self.folder,
                    start_new_session=True,
                )
        self._started = time.monotonic()
        self.stop = weakref.finalize(self, _stop, self._process, self._mark, home)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def stage(self) -> str:
        """What is under way, such as "TwoLayerNet: loss"; empty before the user's file begins."""
        return progress.read(self.folder)

    def result(self, look: Callable[[str], None] | None = None) -> Result:
        """Wait for the end, at the limit in time at the latest. look: called often, with the stage."""
        if self._result is None:
            try:
                late = self._wait(look)
                _kill(self._process, self._mark)
                self._result = self._read(late)
            finally:
                self.stop()
        return self._result

    def _wait(self, look: Callable[[str], None] | None) -> bool:
        """Whether it has to be ended. The time counts from the moment at which the user's file begins."""
        begun = 0.0
        while not _ended(self._process):
            stage, now = self.stage, time.monotonic()
            if stage and not begun:
                begun = now
            if now > (begun + self.seconds + GRACE if begun else self._started + STARTUP):
                return True
            if (self.folder / PRINTED).stat().st_size > FULL:  # a loop that prints fills a disk
                os.truncate(self.folder / PRINTED, KEPT)
                self._cut = True
            if look is not None:
                look(stage)
            time.sleep(TICK)
        return False

    def _read(self, late: bool) -> Result:
        """What it has left."""
        with (self.folder / PRINTED).open("rb") as file:
            printed = file.read(KEPT).decode("utf-8", "replace")
        if self._cut or len(printed) > SHOWN:
            printed = f"{printed[:SHOWN]}\n[cut here: only the first {SHOWN:,} characters are kept]\n"
        notes: list[str] = []
        with suppress(DataError):  # there is none where the file was not loaded
            notes = files.read_json(self.folder / NOTES)
        code = self._process.returncode
        if code == 0 and self.stage == progress.DONE:
            try:
                return Result(evidence.load(self.folder), None, printed, notes)
            except DataError as error:
                return Result(None, Failure("internal", str(error)), printed, notes)
        failed = ending.failure(self.folder, self.path, code, late, self.seconds, STARTUP)
        return Result(None, failed, printed, notes)


def start(job: dict[str, Any], seconds: float, memory: int, worker: Sequence[str] = WORKER) -> Running:
    """Start on a job while other things are done here; its `path` is the user's file.

    seconds: for the user's file and all its calls. memory: bytes; PyTorch needs 1 GiB to be loaded, with
    TensorFlow 1.5. worker: arguments of Python.
    """
    return Running(job, seconds, memory, worker)


def run(
    job: dict[str, Any],
    seconds: float,
    memory: int,
    look: Callable[[str], None] | None = None,
    worker: Sequence[str] = WORKER,
) -> Result:
    """Start, and wait for the result."""
    with start(job, seconds, memory, worker) as running:
        return running.result(look)


def _environment() -> dict[str, str]:
    """Ours, but for one thread, plots without windows, no byte code in the user's folder, prints at once."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    set_ = {f"{library}_NUM_THREADS": "1" for library in THREADS}
    set_ |= {f"TF_NUM_{kind}OP_THREADS": "1" for kind in ("INTRA", "INTER")}
    set_ |= {"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    # PYTHONPATH finds us wherever we lie; a user's own could put another numpy or compare before ours.
    return quiet | os.environ | set_ | {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)}


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Without reaping it where that is possible: as long as it is not, no other group can have its number."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # reaped by somebody else
        return True


def _kill(process: subprocess.Popen[bytes], mark: str) -> None:
    """End the process, its group, and on Linux what left the group: its environment still has the mark."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
    while found := _marked(mark):
        for number in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        time.sleep(TICK)


def _marked(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or gone
            if f"{mark}=".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def _stop(process: subprocess.Popen[bytes], mark: str, home: tempfile.TemporaryDirectory) -> None:
    """Also run when a Running is forgotten, or this process ends."""
    _kill(process, mark)
    home.cleanup()
