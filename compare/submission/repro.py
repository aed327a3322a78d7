"""`--repro FILE.py`: a script that shows the first wrong tensor without gradparity, or why there can be none.

The script is run before it is written: one that does not show the failure is of no use.
"""

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compare import destination as destinations
from compare.submission import repro_styles, show
from compare.submission.evidence import Trial
from compare.submission.judge import GOOD, Checked
from compare.submission.request import TARGET, Answer
from scratch import files
from scratch.errors import UsageError

Array = np.ndarray
CLEAR = 3.0  # times what the script allows: so large must the error be that it shows
SECONDS = 60.0  # for the script
PRINTED = re.compile(r"yours +(\S+)\n +(?:central difference|by the rule) +(\S+)")
SHAPE = "but its gradient has"
MARK = "Written by gradparity"


def destination(path: str, target: str) -> Path:
    """Where the script is to be written. Raises UsageError where it would replace another's work."""
    place = destinations.destination(path, "the script", (".py",))
    match = TARGET.match(target)
    if match is not None and place == Path(match["path"]).resolve():
        raise UsageError(f"the script would replace the checked file {path!r} itself; name another file.")
    with suppress(OSError):
        if place.exists() and MARK not in place.read_text("utf-8", "replace")[:2000]:
            raise UsageError(
                f"the script would replace {path!r}, which is no such script; name another file."
            )
    return place


def write(path: str, answer: Answer) -> str:
    """Write the script. Returns why there is none, in one sentence; empty where it is written."""
    place = destination(path, answer.target)
    match = TARGET.match(answer.target)
    assert match is not None
    file = Path(match["path"]).resolve()
    if file.suffix == ".ipynb":
        return "a script cannot load a notebook: save its code as a .py file and check that."
    wrong = [c for c in answer.subjects if show.wrong_tensors(c)]
    if not wrong:
        return _nothing(answer)
    for checked in wrong:
        for script in _scripts(checked, file, place.name):
            if _shows(script):
                with files.writing(f"the script {path}"):
                    files.write_atomically(place, script.text.encode("utf-8", "backslashreplace"))
                return ""
    return _unsaid(wrong[0])


@dataclass(frozen=True)
class Script:
    """text, and the two numbers that it must print, to how much of them.

    random: they may be others, if they differ as well.
    """

    text: str
    yours: float
    right: float
    same: float = 1e-6
    random: bool = False


def _nothing(answer: Answer) -> str:
    """Where no number of a single call is wrong."""
    if all(c.verdict in GOOD for c in answer.subjects):
        return "nothing is wrong, so there is nothing that a script could show."
    causes = [f.cause for c in answer.subjects if not c.error for f in c.diagnosis]
    if causes:
        return f"a script sets one gradient against a difference, which does not show {causes[0]}."
    if any(c.error for c in answer.subjects):
        return "the code fails before a gradient of it can be compared, so a script could show no more."
    return "no gradient could be judged, so there is nothing that a script could show."


def _unsaid(checked: Checked) -> str:
    name = show.wrong_tensors(checked)[0]
    reason = checked.evidence.facts.get("no_script", "") if checked.evidence else ""
    why = f": {reason}" if reason else ""
    return f"how {name} of {checked.target} comes about cannot be said in a script of NumPy alone{why}."


def _scripts(checked: Checked, file: Path, name: str) -> Iterator[Script]:
    """Of the first wrong tensor, for each trial in which it is clearly wrong; that of the verdict first."""
    tensor, evidence = show.wrong_tensors(checked)[0], checked.evidence
    quantity = show.decisive(checked, tensor)
    if evidence is None or quantity is None:
        return
    single = bool(evidence.facts.get("float32"))
    head = {"name": name, "path": str(file), "text": file.read_text("utf-8", "replace")}
    trials = sorted(evidence.trials, key=lambda t: (t.label != quantity.note, _size(t)))
    for trial in trials:
        script = evidence.facts.get("scripts", {}).get(trial.label)
        pair = checked.tensors(replace(quantity, note=trial.label))
        if script is None or pair is None:
            continue
        claim, right = pair
        if evidence.kind == "update":
            w, steps = trial.inputs["w"], len(right)
            if claim.shape != (steps, *w.shape) or right.shape != claim.shape:
                continue
            claim, right = claim[-1] + w, right[-1] + w  # which are how far it has moved
            if (index := _worst(claim, right, repro_styles.UPDATE[single])) is None:
                continue
            title = f"The weights that {checked.target} of {file.name} makes, against those of the rule."
            text = repro_styles.update(script, tensor, index, right, steps, single, title=title, **head)
            yield Script(text, float(claim[index]), float(right[index]))
        elif tensor in script["gradients"] and (derivative := trial.derivatives.get(tensor)) is not None:
            tolerance = repro_styles.STEPS[single][1]
            same = claim.shape == right.shape
            index = _worst(claim, right, tolerance) if same else (0,) * right.ndim
            if index is None:
                continue
            scale, title = _scale(right, derivative.value), f"The gradient of {tensor} in {file.name}"
            title += ", against a central difference of its own forward pass."
            numbers = (float(claim[index]), float(right[index])) if same else (np.nan, np.nan)
            for wide in (True,) if single else (False, True):  # something in it may be rounded unseen
                text = repro_styles.gradient(script, tensor, index, scale, wide, title=title, **head)
                close = 3 * repro_styles.STEPS[wide][1]
                yield Script(text, *numbers, close, "drop" in head["text"].lower())


def _size(trial: Trial) -> int:
    return sum(a.size for a in (*trial.inputs.values(), *trial.data.values()) if isinstance(a, np.ndarray))


def _worst(claim: Array, right: Array, tolerance: float) -> tuple[int, ...] | None:
    """The entry that is off the farthest; None where a script would take it for right."""
    claim, right = np.asarray(claim, np.float64), np.asarray(right, np.float64)
    off = np.where(np.isfinite(claim), np.abs(claim - right), np.inf)
    if not off.size:
        return None
    index = tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))
    largest = max(abs(float(right[index])), abs(float(claim[index])))
    clear = not np.isfinite(largest) or off[index] > CLEAR * tolerance * largest
    return index if clear else None


def _scale(right: Array, derivative: Array) -> float:
    """What the right gradient is of the derivative of the loss: N by a convention, else 1."""
    if not np.any(derivative) or right.shape != derivative.shape:
        return 1.0
    ratio = float(np.vdot(derivative, right) / np.vdot(derivative, derivative))
    return float(round(ratio)) if round(ratio) > 1 and abs(ratio - round(ratio)) < 1e-6 * ratio else 1.0


def _shows(script: Script) -> bool:
    """Whether it ends with 1, with both numbers as they should be, in a Python that knows no gradparity."""
    with tempfile.TemporaryDirectory(prefix="gradparity-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "script.py"
        file.write_text(script.text, "utf-8", "backslashreplace")
        command = [sys.executable, "-I", "-B", str(file)]
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }
        with subprocess.Popen(
            command, cwd=folder, text=True, errors="replace", start_new_session=True, **pipes
        ) as process:
            try:
                output, _ = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                return False
            finally:  # with all that it has started
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 1:
        return False
    if (printed := PRINTED.search(output)) is None:
        return math.isnan(script.right) and SHAPE in output
    yours, right = float(printed[1]), float(printed[2])
    largest = max(abs(script.yours), abs(script.right))
    pairs = ((yours, script.yours), (right, script.right))
    return script.random or all(_near(a, b, script.same * largest) for a, b in pairs)


def _near(one: float, other: float, within: float) -> bool:
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.isfinite(one) == math.isfinite(other)
    return abs(one - other) <= within or not math.isfinite(within)
