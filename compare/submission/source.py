"""A user's file as lines of Python, and how to speak of one of them.

A notebook becomes one text, its code cells in order below a marker each, so that a line number names a line.
"""

import ast
import io
import json
import re
import tokenize
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scratch.errors import GradparityError

MARKER = re.compile(r"# ---- code cell (\d+) ----\n")
SHOWN = 80  # characters of a line in a sentence
TIMED = {"time", "timeit", "capture", "prun"}  # cell magics below which there is Python
MAGIC = re.compile(r"\s*([%!?]|[\w.\[\]]+\s*=\s*[%!]|.*\?\s*$)")


class LoadFailure(GradparityError):
    """A user's file that could not be loaded.

    kind: load-file, -encoding, -notebook, -syntax, -python2, -import, -exit or -exception. file, line and
    function say where, as far as that is known; line 0: it is not.
    """

    def __init__(self, kind: str, sentence: str, line: int = 0, file: str = "", function: str = "") -> None:
        super().__init__(sentence)
        self.kind, self.sentence, self.line = kind, sentence, line
        self.file, self.function = file, function


@dataclass
class Text:
    """lines: all of it. cells: (number, first line) of a notebook's code cells. notes: on cells left out."""

    lines: list[str]
    cells: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Text:
    """The text of a .py or .ipynb. Raises LoadFailure of kind load-file, load-encoding or load-notebook."""
    if path.suffix not in (".py", ".ipynb"):
        raise LoadFailure("load-file", f"a .py or .ipynb file is expected, but {path.name} came; name one.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise LoadFailure("load-file", f"there is no file {path}; check the name.") from None
    except IsADirectoryError:
        raise LoadFailure("load-file", f"{path} is a folder; name a file in it.") from None
    except OSError as error:
        sentence = f"{path} cannot be read: {error.strerror or error}; see to its permissions."
        raise LoadFailure("load-file", sentence) from None
    return _notebook(path, data) if path.suffix == ".ipynb" else Text(_decode(path, data))


def place(file: str | Path, line: int, main: Path) -> str:
    """Such as "line 41 (`while True:`)", "line 5 of cell 3 (...)", or "line 3 of utils.py (...)".

    main: the user's file, which need not be named.
    """
    file, cell = Path(file), ""
    try:
        lines = read(file).lines
    except LoadFailure:
        lines = []
    shown = " ".join(lines[line - 1].split()) if 0 < line <= len(lines) else ""
    if file.suffix == ".ipynb":
        marks = ((n, MARKER.fullmatch(lines[n - 1])) for n in range(min(line, len(lines)), 0, -1))
        for start, mark in marks:
            if mark:
                line, cell = line - start, f" of cell {mark[1]}"
                break
    if len(shown) > SHOWN:
        shown = shown[: SHOWN - 3] + "..."
    beside = "" if file == main else f" of {file.name}"
    return f"line {line}{cell}{beside}" + (f" (`{shown}`)" if shown else "")


def within(found: tuple[str, int, str], main: Path) -> str:
    """Of (file, line, function): "in backprop, line 41 (...)", "at line 3 (...)", empty where unknown."""
    file, line, function = found
    if not line:
        return ""
    return ("at " if function in ("", "<module>") else f"in {function}, ") + place(file, line, main)


def split(text: str) -> list[str]:
    """Lines as Python counts them: a form feed, say, ends none."""
    return io.StringIO(text, newline=None).readlines()


def parse(text: str, file: str = "<cell>") -> ast.Module:
    """The syntax tree; `await` may stand anywhere, as in a notebook. Raises SyntaxError."""
    with warnings.catch_warnings():  # of a backslash in a user's docstring, say
        warnings.simplefilter("ignore")
        return compile(text, file, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)


def _decode(path: Path, data: bytes) -> list[str]:
    """Bytes of Python source as text, by its coding line, UTF-8 where there is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LoadFailure("load-encoding", f"{path.name} is saved as UTF-16; save it as UTF-8.")
    if b"\0" in data:
        raise LoadFailure(
            "load-encoding", f"{path.name} is not text: it holds null bytes; name a Python file."
        )
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        if "unknown encoding" in str(error):
            line = 1 if b"coding" in data.split(b"\n", 1)[0] else 2
            sentence = (
                f"{path.name} names in line {line} an encoding that is none ({error}); save it as UTF-8."
            )
            raise LoadFailure("load-encoding", sentence, line, str(path)) from None
        encoding = "utf-8"  # what is wrong with it, the next lines find
    try:
        return split(data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        sentence = (
            f"{path.name} is not text in {error.encoding}: byte {data[error.start]:#x} in line {line}; "
            "save it as UTF-8, or name its encoding in the first line (# coding: latin-1)."
        )
        raise LoadFailure("load-encoding", sentence, line, str(path)) from None


def _notebook(path: Path, data: bytes) -> Text:
    """The code cells of a notebook, magics taken out so that the rest is Python."""
    try:
        document = json.loads(data)
        language = document.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        if "cells" in document:
            cells = document["cells"]
        else:  # as they were before 2015
            cells = [cell for sheet in document["worksheets"] for cell in sheet["cells"]]
        sources = [_source(cell) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it is no JSON ({error})" if isinstance(error, ValueError) else "its cells are not found"
        sentence = f"{path.name} cannot be read as a notebook: {why}; save it again from Jupyter."
        raise LoadFailure("load-notebook", sentence) from None
    if str(language).lower() not in ("python", "python3", "ipython"):
        sentence = f"{path.name} is a notebook in {language}; only those in Python can be checked."
        raise LoadFailure("load-notebook", sentence)
    text = Text([])
    for number, source in enumerate(sources, 1):
        text.lines.append(f"# ---- code cell {number} ----\n")
        text.cells.append((number, len(text.lines) + 1))
        lines, left_out = _without_magic(source)
        text.lines += lines
        if left_out:
            text.notes.append(f"cell {number} is left out: it is for {left_out}, not Python.")
    return text


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"] if "source" in cell else cell["input"]
    return source if isinstance(source, str) else "".join(source)


def _without_magic(source: str) -> tuple[list[str], str]:
    """(lines, magic): IPython's own lines turned into `pass`; magic: that which claims the whole cell."""
    lines = split(source)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines and lines[first].startswith("%%"):
        magic = (lines[first][2:].split() or [""])[0]
        if magic not in TIMED:
            return ["#" + line for line in lines], f"%%{magic}"
        lines[first] = "\n"
    # A line is taken for magic only where Python stumbles over it: text and continued lines may begin so too.
    while (at := _stumble(lines)) is not None and MAGIC.match(lines[at]):
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        continued, lines[at] = lines[at].endswith("\\\n"), f"{indent}pass  # {lines[at].strip()}\n"
        while continued and (at := at + 1) < len(lines):  # as a command of the shell may be
            continued, lines[at] = lines[at].endswith("\\\n"), f"# {lines[at].strip()}\n"
    return lines, ""


def _stumble(lines: list[str]) -> int | None:
    """The line, from 0, at which Python's grammar is left; None where it is not."""
    try:
        parse("".join(lines))
    except SyntaxError as error:
        return at if 0 <= (at := (error.lineno or 0) - 1) < len(lines) else None
    except ValueError:
        return None
    return None
