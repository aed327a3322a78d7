"""Many runs, one process each: started, watched, stopped together, taken up again by the next call."""

import ctypes
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from compare import grid
from compare.grid import Point
from compare.interrupts import heard
from scratch import files
from scratch.errors import GradparityError, UsageError
from scratch.rundir import RunDirectory

JOBS = 4  # at most, where the user names no number
GRACE = 30.0  # seconds that runs are given to finish their step and save
TICK = 0.1  # seconds between two looks at the processes
LOOK = 1.0  # seconds between two looks at their metrics
THREADS = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")
ROOT = Path(__file__).resolve().parents[1]
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


class Run:
    """One run of a sweep.

    state: waiting, running, finished, failed, interrupted, or skipped, which is finished in an earlier call.
    seconds: of its processes, their start included, in all calls.
    """

    def __init__(self, point: Point, folder: Path) -> None:
        self.point, self.path, self.log = point, folder / point.name, folder / f"{point.name}.log"
        self.metrics = Metrics(self.path / "metrics.jsonl")
        self.state, self.reason = "waiting", ""
        self.started: float | None = None  # while a process of this sweep works on it
        self.earlier = 0.0
        with suppress(OSError):
            found = re.findall(rb"^sweep: \w+ after (\d+\.\d+) s$", self.log.read_bytes(), re.M)
            self.earlier = sum(map(float, found))

    @property
    def finished(self) -> bool:
        return self.state in ("finished", "skipped")

    @property
    def seconds(self) -> float:
        return self.earlier + (time.monotonic() - self.started if self.started is not None else 0.0)

    def on_disk(self) -> tuple[str, str]:
        """(state, reason) by its folder; waiting where there is none. UsageError where that is no run."""
        if not self.path.exists():
            return "waiting", ""
        status = RunDirectory.view(self.path).status()
        return str(status["state"]), str(status["reason"])


class Metrics:
    """What a run has logged: its last record and its evaluations. `read` looks at what is new."""

    def __init__(self, path: Path) -> None:
        self.path, self._known = path, 0  # bytes
        self.last: dict[str, Any] = {}
        self.evaluations: list[dict[str, Any]] = []

    def read(self) -> None:
        with suppress(OSError), open(self.path, "rb") as file:
            if os.fstat(file.fileno()).st_size < self._known:  # a resumed run drops what it will do again
                self._known, self.last, self.evaluations = 0, {}, []
            file.seek(self._known)
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is not yet all there
            self._known += sum(len(line) + 1 for line in lines)
            for line in lines:
                if line is lines[-1] or b'"train_eval_error"' in line:
                    with suppress(ValueError):
                        self.last = json.loads(line)
                        self.evaluations += [self.last] if "train_eval_error" in self.last else []


class Sweep:
    """The runs of a grid in one folder below runs_dir, which is made where it is missing.

    name: of the folder, by default `sweep-` and the model; jobs: processes at a time, by default the cores,
    at most JOBS; threads: of each, by default the cores shared among the jobs. Raises UsageError for numbers
    below 1, no name for a folder, and where something else stands in the place of the sweep or a run.
    """

    def __init__(
        self,
        points: Sequence[Point],
        runs_dir: str | os.PathLike,
        name: str | None = None,
        jobs: int | None = None,
        threads: int | None = None,
    ) -> None:
        for number, value in (("jobs", jobs), ("threads", threads)):
            if value is not None and value < 1:
                raise UsageError(f"--{number} must be at least 1, but {value} came.")
        name = f"sweep-{points[0].options.model}" if name is None else name
        if name != os.path.basename(name) or name.startswith(".") or not name:
            raise UsageError(f"a sweep's name must be a plain folder name, but {name!r} came.")
        folder = Path(runs_dir) / name
        if (folder / "config.json").exists():
            raise UsageError(f"{folder} is a run and cannot hold a sweep; choose another --name.")
        self.folder, self.runs = folder, [Run(point, folder) for point in points]
        for run in self.runs:
            run.on_disk()
        self.jobs = min(jobs or min(cores(), JOBS), len(points))
        self.threads = threads or max(1, cores() // self.jobs)
        self.stopping = False
        self._processes: dict[Run, subprocess.Popen[bytes]] = {}
        with files.writing(f"the folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)

    def go(self, look: Callable[["Sweep"], None] = lambda _: None) -> None:
        """Work until every run has ended. SIGINT or SIGTERM lets the running ones save, a second kills them.

        look is called ten times a second. Whatever happens, no process is left.
        """
        waiting, looked, deadline = deque(self.runs), 0.0, float("inf")
        with heard() as signals:
            try:
                while waiting or self._processes:
                    if signals and not self.stopping:
                        self.stopping, deadline = True, time.monotonic() + GRACE
                        waiting.clear()
                        self._send(signal.SIGINT)
                    if len(signals) > 1 or time.monotonic() > deadline:
                        self._send(signal.SIGKILL)
                    while waiting and len(self._processes) < self.jobs:
                        self._start(waiting.popleft())
                    if time.monotonic() - looked > LOOK:
                        looked = time.monotonic()
                        for run in self._processes:
                            run.metrics.read()
                    self._reap()
                    look(self)
                    time.sleep(TICK if self._processes else 0)
            finally:
                self._send(signal.SIGKILL)
                for process in self._processes.values():
                    process.wait()

    @property
    def complete(self) -> bool:
        """Whether all runs are finished."""
        return all(run.finished for run in self.runs)

    @property
    def interrupted(self) -> bool:
        """Whether a signal kept it from being complete."""
        return self.stopping and not self.complete

    def _start(self, run: Run) -> None:
        """Start a process that begins or resumes the run, unless there is nothing to do."""
        try:
            run.state, run.reason = run.on_disk()
        except GradparityError as error:  # it came after the sweep had begun
            run.state, run.reason = "failed", str(error)
            return
        run.metrics.read()
        if run.state == "finished":
            run.state = "skipped"
        elif run.state == "running":
            run.reason = "another process works on it"
        else:
            threads, arguments = self.threads, [f"--resume={run.path}"]
            if run.state == "waiting":
                arguments = grid.argv(replace(run.point.options, threads=threads))
                arguments += [f"--runs-dir={self.folder}", f"--name={run.path.name}"]
            else:  # the same threads give the same bits
                threads = RunDirectory.view(run.path).config.get("threads") or threads
            self._processes[run] = _process(["train", *arguments, "--json"], threads, run.log)
            run.state, run.reason, run.started = "running", "", time.monotonic()

    def _reap(self) -> None:
        """Note how the processes ended that have ended."""
        for run, code in [(run, process.poll()) for run, process in self._processes.items()]:
            if code is None:
                continue
            del self._processes[run]
            took = round(run.seconds - run.earlier, 2)  # as the log has it, for the next call to say the same
            run.earlier, run.started = run.earlier + took, None
            run.metrics = Metrics(run.metrics.path)
            run.metrics.read()
            try:
                run.state, run.reason = run.on_disk()
            except GradparityError as error:
                run.state, run.reason = "failed", str(error)
            if run.state == "waiting":  # it left nothing
                run.state = "interrupted" if self.stopping else "failed"
            if run.state == "interrupted" and self.stopping:
                run.reason = f"told to stop after step {run.metrics.last.get('step', 0)}"
            elif run.state == "running":
                run.reason = "another process works on it"
            elif code < 0 and run.state != "finished":
                run.reason = f"its process was ended by {signal.Signals(-code).name}"
            elif run.state == "failed":
                run.reason = run.reason or _last_line(run.log) or f"its process ended with exit code {code}"
            with files.writing(str(run.log)), run.log.open("ab") as log:
                log.write(f"sweep: {run.state} after {took:.2f} s\n".encode())

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(number)  # nothing is sent where it has ended


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _process(arguments: Sequence[str], threads: int, log: Path) -> subprocess.Popen[bytes]:
    """A `gradparity` in a session of its own, which no Ctrl-C of a terminal reaches; it writes to log."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:  # in the child
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in background jobs, and this is inherited
        if libc is not None:
            libc.prctl(DIE_WITH_PARENT, signal.SIGINT)

    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    limits = {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
    limits |= {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")}
    # -P: a `compare.py` in the folder that the user stands in is not ours
    command = [sys.executable, "-P", "-m", "compare.cli", *arguments]
    with files.writing(str(log)):
        output = log.open("ab")
        output.write(f"sweep: gradparity {shlex.join(arguments)}\n".encode())
        output.flush()
    with output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | limits | {"PYTHONPATH": path},
            start_new_session=True,
            preexec_fn=prepare,
        )


def _last_line(log: Path) -> str:
    """Of what the run itself has said."""
    with suppress(OSError):
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return next(
            (line.removeprefix("gradparity: ") for line in reversed(lines) if not line.startswith("sweep: ")),
            "",
        )
    return ""
