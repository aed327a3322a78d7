"""The verdict on a user's file for people: tensor by tensor, what is wrong first, why, and what to do."""

import os
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.diagnosis.causes import family
from compare.diagnosis.hypothesis import Finding
from compare.report import counted, listed, pair, place, ratio, size
from compare.submission.judge import Checked
from compare.submission.request import Answer
from compare.verdict import Quantity, overall

COLOURS = {
    "agree-up-to-convention": "green",
    "agree": "green",
    "untested": "yellow",
    "disagree": "bold red",
    "error": "bold red",
}
HINTS = (1, 2, 3)


def show(answer: Answer, hint_level: int, verbose: bool, console: Console) -> None:
    """Print every subject, then the verdict line. hint_level: 1 which tensor, 2 the kind of error, 3 all."""
    for checked in answer.subjects:
        console.print()
        _say(console, headline(checked))
        if checked.quantities and hint_level > 1:
            console.print(_table(checked, verbose))
        elif checked.quantities:
            console.print(_short_table(checked))
        for line in sentences(checked, hint_level):
            _say(console, line)
    for note in answer.notes:
        _say(console, f"note: {note}")
    if verbose and answer.printed.strip():
        _say(console, "It printed:")
        console.print(Text(answer.printed.rstrip()), soft_wrap=True)
    console.print()
    _say(console, verdict_line(answer))


def headline(checked: Checked) -> str:
    """`TwoLayerNet  loss-and-grads  float64  disagree  (numeric, torch, scratch; 23 examples)`."""
    facts = [", ".join(checked.referees)] if checked.quantities else []
    if checked.examples:
        facts.append(counted(checked.examples, "example"))
    known = f"  ({'; '.join(facts)})" if facts else ""
    style = f"  {checked.style}" if checked.style else ""
    return f"{checked.target}{style}  {checked.dtype}  {checked.verdict}{known}"


def sentences(checked: Checked, hint_level: int = 3) -> Iterator[str]:
    """What a reader should know, in words: what is wrong first, why, where; conventions and notes."""
    if checked.error:
        yield checked.error
        return
    if checked.model is not None and hint_level > 1:
        yield f"Recognised by its loss: {checked.model}."
    wrong = wrong_tensors(checked)
    if wrong:
        yield _first(checked, wrong[0], hint_level)
        if len(wrong) > 1:
            yield f"Wrong too: {listed(wrong[1:])}."
    for number, finding in enumerate(checked.diagnosis):
        yield from _why(checked, finding, number, hint_level)
    for text in checked.conventions:
        yield f"Convention: {text}"
    if untested := checked.untested():
        yield f"Untested: {listed(untested)}; zero, or too small to tell from rounding, in every batch."
    for note in checked.notes:
        yield f"Note: {note}"


def wrong_tensors(checked: Checked) -> list[str]:
    """In backward order: those whose numbers are wrong."""
    return [n for n in tensor_names(checked) if tensor_verdict(checked, n) == "disagree"]


def verdict_line(answer: Answer) -> str:
    """`disagree: W1 of TwoLayerNet in net.py: relu-mask-of-gradient`."""
    name = os.path.basename(answer.target)
    verdict = overall(answer.subjects)
    bad = [
        c
        for c in answer.subjects
        if c.verdict == verdict and verdict not in ("agree", "agree-up-to-convention")
    ]
    if not bad:
        what = counted(len(answer.subjects), "subject")
        tensors = sum(len(tensor_names(c)) for c in answer.subjects)
        return f"{verdict}: {counted(tensors, 'tensor')} of {what} in {name}"
    first = bad[0]
    where = f"{first.diagnosis[0].tensor} of " if first.diagnosis and first.diagnosis[0].tensor else ""
    more = f", and {len(bad) - 1} more" if bad[1:] else ""
    return f"{verdict}: {where}{first.target} in {name}{more}"


def _first(checked: Checked, name: str, hint_level: int) -> str:
    if hint_level == 1:
        return f"First wrong tensor, going backward: {name}."
    q = decisive(checked, name)
    assert q is not None
    mine, theirs = pair(q.judgement)
    if q.judgement.worst_index is None:
        return f"First wrong tensor, going backward: {name}: its shape is not that of the tensor ({q.note})."
    at = f" at {place(q.judgement)}" if place(q.judgement) else ""
    who = f"({q.note}; {q.referee} says so)"
    return f"First wrong tensor, going backward: {name}: yours {mine}, right {theirs}{at} {who}."


def _why(checked: Checked, finding: Finding, number: int, hint_level: int) -> Iterator[str]:
    if hint_level == 1:
        if finding.tensor and finding.tensor not in wrong_tensors(checked):
            yield f"Something is wrong with {finding.tensor}."
        return
    about = f"{finding.tensor}: " if finding.tensor else ""
    if hint_level == 2:
        yield f"Kind of error: {about}{family(finding.cause)}."
        return
    head = "Why" if number == 0 else "And"
    yield f"{head}: {about}{finding.cause}. {finding.text}"
    if finding.evidence and finding.cause != "unexplained":
        yield f"Evidence: {finding.evidence}."
    if (source := checked.sources.get(finding.tensor)) is not None and number == 0:
        yield f"Where: {source.function}, {source.file} line {source.line}."


def _table(checked: Checked, verbose: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for header in (
        "tensor",
        "referee",
        "worst at",
        "yours",
        "right",
        "error",
        "allowed",
        "error/\nallowed",
        "verdict",
    ):
        number = header not in ("tensor", "referee", "worst at", "verdict")
        table.add_column(header, justify="right" if number else "left", overflow="fold")
    shown = (
        checked.quantities if verbose else [q for n in tensor_names(checked) if (q := decisive(checked, n))]
    )
    for q in shown:
        j = q.judgement
        mine, theirs = pair(j)
        row = (q.name, q.referee, place(j), mine, theirs, size(j.error), size(j.allowed), ratio(j))
        table.add_row(*map(Text, row), _coloured(q.verdict))
    return table


def _short_table(checked: Checked) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("tensor")
    table.add_column("verdict")
    for name in tensor_names(checked):
        table.add_row(Text(name), _coloured(tensor_verdict(checked, name)))
    return table


def tensor_names(checked: Checked) -> list[str]:
    """In backward order."""
    return list(dict.fromkeys(q.name for q in checked.quantities))


def decisive(checked: Checked, name: str) -> Quantity | None:
    """As the referee sees it by which the verdict stands: arithmetic where it can judge, else the worst."""
    found = [q for q in checked.quantities if q.name == name]
    own = [q for q in found if q.referee == "numeric" and q.verdict != "untested"]
    rank = ("untested", "agree", "disagree")
    return max(own or found, key=lambda q: (rank.index(q.verdict), q.judgement.ratio), default=None)


def tensor_verdict(checked: Checked, name: str) -> str:
    q = decisive(checked, name)
    return "untested" if q is None else q.verdict


def _coloured(line: str) -> Text:
    text = Text(line)
    for verdict, colour in COLOURS.items():
        text.highlight_regex(rf"(?<![\w-]){verdict}(?=:|  |$|\n)", colour)
    return text


def _say(console: Console, line: str) -> None:
    console.print(_coloured(line), soft_wrap=not console.is_terminal)
