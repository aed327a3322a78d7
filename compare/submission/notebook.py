"""Runs of a notebook what defines something, cell by cell, and passes over what fails, as a reader would.

Imports, functions, classes and assignments run; expressions, loops and what trains do not. An assignment may
hide a training all the same, so each has its time.
"""

import __future__

import ast
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from compare.submission.culprit import out_of_memory, said
from compare.submission.source import Text, parse, place

ONE, ALL = 3.0, 10.0  # seconds for one assignment, for all of them
TRAINING = {"train", "train_model", "fit", "fit_model", "solve", "gradient_descent", "sgd", "SGD"}
DEFINING = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNING = (ast.Assign, ast.AnnAssign, ast.AugAssign)


class _TooLong(BaseException):
    """No Exception: an `except Exception` of the user's does not keep it."""


def run(path: Path, text: Text, namespace: dict[str, Any]) -> list[str]:
    """Fill the namespace; the notes say what was passed over and why.

    Raises SyntaxError for a cell that defines a function or class and is no Python, and MemoryError.
    """
    notes, flags, left = list(text.notes), 0, ALL
    for statement in _statements(path, text, notes):
        where = place(path, statement.lineno, path)
        if isinstance(statement, ASSIGNING) and (name := _trains(statement)):
            notes.append(f"{where} is passed over: {name} trains.")
            continue
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                flags |= getattr(__future__, alias.name).compiler_flag
        started = time.monotonic()
        try:
            code = compile(ast.Module([statement], []), str(path), "exec", flags, dont_inherit=True)
            limit = max(0.1, min(ONE, left)) if isinstance(statement, ASSIGNING) else None
            with _at_most(limit):
                exec(code, namespace)
        except _TooLong:
            notes.append(f"{where} is passed over: it takes longer than {limit:g} s.")
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if out_of_memory(error):
                raise
            notes.append(f"{where} is passed over: {said(error)}.")
        if isinstance(statement, ASSIGNING):
            left -= time.monotonic() - started
    return notes


def _statements(path: Path, text: Text, notes: list[str]) -> Iterator[ast.stmt]:
    """Those that are run, their line numbers those of the whole text."""
    for i, (number, first) in enumerate(text.cells):
        end = text.cells[i + 1][1] - 2 if i + 1 < len(text.cells) else len(text.lines)
        lines = text.lines[first - 1 : end]
        try:
            tree = parse("\n" * (first - 1) + "".join(lines), str(path))
        except (SyntaxError, ValueError) as error:
            if any(line.lstrip().startswith(("def ", "class ", "async def ")) for line in lines):
                raise
            line = getattr(error, "lineno", None) or first
            notes.append(f"cell {number} is passed over: {place(path, line, path)} is not Python 3.")
            continue
        yield from (statement for statement in tree.body if _defines(statement))


def _defines(statement: ast.stmt) -> bool:
    """Whether it only defines; `try: import ...` and `if ...:` count where all below them does."""
    if isinstance(statement, ast.If):
        return all(map(_defines, [*statement.body, *statement.orelse]))
    if isinstance(statement, ast.Try):
        handled = [inner for handler in statement.handlers for inner in handler.body]
        inside = [*statement.body, *handled, *statement.orelse, *statement.finalbody]
        return all(isinstance(inner, ast.Pass) or _defines(inner) for inner in inside)
    return isinstance(statement, (*DEFINING, *ASSIGNING))


def _trains(statement: ast.stmt) -> str:
    """The name of a call in it that trains; empty where there is none."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in TRAINING:
                return name
    return ""


@contextmanager
def _at_most(seconds: float | None) -> Iterator[None]:
    """Raise _TooLong in what takes longer, and again every second in case that is caught."""
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not able:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
