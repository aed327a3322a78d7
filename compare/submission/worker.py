"""`python -m compare.submission.worker FOLDER` runs a user's file under limits and records its gradients.

FOLDER holds job.json and receives stage.txt, evidence or failure.json, notes.json and faulthandler's dumps;
nothing of ours is printed. All that is needed after the user's file has run is imported before that:
compare.submission.load says why.
"""

import faulthandler
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
import zipfile  # noqa: F401  np.savez would import it when the user's folder comes first
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy.random  # noqa: F401  the same

from compare.submission import evidence, plots, progress
from compare.submission.culprit import NOBODY, ROOT, of_error, of_stack, out_of_memory, said
from compare.submission.evidence import Evidence, Failure
from compare.submission.load import load
from compare.submission.source import LoadFailure, within
from scratch import files
from scratch.errors import GradparityError, UsageError

try:
    import resource
except ImportError:  # Windows: time alone is limited
    resource = None  # type: ignore[assignment]

Collect = Callable[[ModuleType, str, dict[str, Any], Callable[[str], None]], list[Evidence]]
FAULT, TRACEBACK, FAILURE, NOTES = "fault.txt", "traceback.txt", "failure.json", "notes.json"
BALLAST = 64 << 20  # bytes let go when memory has run out, so that this can be said
FILE = 1 << 30  # bytes of the largest file that can be written
SLACK = 60  # seconds of processor time beyond the limit in time: it binds where nobody is left to watch
LOOK = 0.5  # seconds between two looks of the watching thread


def main(argv: list[str], collect: Collect | None = None) -> NoReturn:
    """Do what FOLDER/job.json says and end the process: code 0 with evidence, 1 with a failure."""
    folder = Path(argv[0]).resolve()
    job = json.loads((folder / "job.json").read_text("utf-8"))
    if collect is None:
        from compare.adapters.collect import collect as collect_all

        collect = collect_all
    worker = _Worker(folder, job)
    worker.run(collect)
    worker.end()


class _Worker:
    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self.folder, self.job, self.code = folder, job, 1
        self.path = Path(job["path"]).resolve()
        self.process, self._exit = os.getpid(), os._exit
        self.ballast, self.seen = bytearray(BALLAST), NOBODY
        self.fault = open(folder / FAULT, "w")
        self.traceback = open(folder / TRACEBACK, "w")

    def run(self, collect: Collect) -> None:
        """Load, collect, save; whatever comes out of it is a failure."""
        try:
            self._prepare()
            progress.stage(progress.LOADING)
            faulthandler.dump_traceback_later(self.job["seconds"], exit=True, file=self.traceback)
            loaded = load(self.path)
            self._write(NOTES, loaded.notes)
            found = collect(loaded.module, str(self.path.parent), self.job, progress.stage)
            faulthandler.cancel_dump_traceback_later()
            if os.getpid() == self.process:
                evidence.save(found, self.folder)
                progress.stage(progress.DONE)
                self.code = 0
        except LoadFailure as error:
            self._fail(Failure(error.kind, error.sentence, error.file, error.line, error.function))
        except GradparityError as error:  # a name that the file does not have, say
            self._fail(Failure("usage" if isinstance(error, UsageError) else "unusable", str(error)))
        except BaseException as error:
            self.ballast.clear()
            self._fail(self._failure(error))

    def end(self) -> NoReturn:
        """At once: what the user's file has started or registered is not waited for."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        self._exit(self.code)

    def _prepare(self) -> None:
        _limit(self.job["memory"] + BALLAST, self.job["seconds"])
        faulthandler.enable(self.fault, all_threads=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored, and that is inherited
        threading.Thread(target=self._watch, daemon=True).start()
        os._exit = self._exiting
        os.environ.pop("PYTHONPATH", None)  # which was to find us, and put us before Python's own
        sys.path[:] = [*(entry for entry in sys.path if entry != str(ROOT)), str(ROOT)]
        sys.argv = [str(self.path)]
        plots.disable()
        progress.begin(self.folder)

    def _exiting(self, status: int) -> NoReturn:
        """Stands for os._exit, after which nobody could say where it was called."""
        found = of_stack(sys._getframe(1), self.path.parent)
        sentence = f"{self.path.name} ends the process{_comma(within(found, self.path))}; take that call out."
        self._fail(Failure("exit", sentence, *found))
        self._exit(status)

    def _failure(self, error: BaseException) -> Failure:
        """What an exception means that neither the loading nor the collecting could deal with."""
        name, found = self.path.name, of_error(error, self.path.parent)
        where = _comma(within(found, self.path))
        if out_of_memory(error):
            found = self.seen if found == NOBODY else found  # it may be that not even a traceback had room
            where = _comma(within(found, self.path))
            allowed = f"{self.job['memory'] / (1 << 30):.3g} GiB"
            sentence = (
                f"{name} needs more memory than the {allowed} that it may use{where}; have it need less."
            )
            return Failure("memory", sentence, *found)
        if isinstance(error, SystemExit):
            return Failure("exit", f"{name} ends the process{where}; take that call out.", *found)
        if found == NOBODY:
            traceback.print_exception(error)
            sentence = f"gradparity itself failed with {said(error)} during {progress.read(self.folder)!r}"
            return Failure("internal", f"{sentence} of {name}; please report it.")
        return Failure("exception", f"{name} stops with {said(error)}{where}; correct it.", *found)

    def _fail(self, failure: Failure) -> None:
        self._write(FAILURE, asdict(failure))

    def _watch(self) -> None:
        """Keep in mind where the user's code is, and end this session when the parent is gone, killed say."""
        main, parent = threading.main_thread().ident or 0, self.job.get("parent")
        while parent is None or os.getppid() == parent:
            with suppress(MemoryError):
                if (seen := of_stack(sys._current_frames().get(main), self.path.parent)) != NOBODY:
                    self.seen = seen
            time.sleep(LOOK)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def _write(self, name: str, value: Any) -> None:
        if os.getpid() == self.process:  # a fork that the user's file has made and let run on has no say
            (self.folder / name).write_bytes(files.to_json(value))


def _limit(memory: int, seconds: float) -> None:
    """Limits that children inherit, each for itself.

    RLIMIT_DATA counts what is allocated privately, be it by NumPy's malloc or mmap; RLIMIT_AS would count
    the libraries of PyTorch (3 GiB) and TensorFlow (2 GiB) too. It binds on Linux alone.
    """
    if resource is None:
        return
    processor = math.ceil(seconds + SLACK) * (os.cpu_count() or 1)  # all threads count together
    for kind, value in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(OSError, ValueError):  # a system that knows better
            resource.setrlimit(kind, (value, value))


def _comma(text: str) -> str:
    return f", {text}" if text else ""


if __name__ == "__main__":
    main(sys.argv[1:])
