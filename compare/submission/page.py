"""The report on a user's file as one HTML file: what is wrong first and why, where, and every tensor."""

from pathlib import Path
from typing import Any

import numpy as np

from compare import html
from compare.submission import maps, show
from compare.submission.judge import Checked
from compare.submission.request import Answer
from compare.verdict import Quantity, overall

SHORT = {"name": "tensor", "verdict": "verdict"}  # of a first hint
COLUMNS = {
    "name": "tensor",
    "referee": "referee",
    "place": "worst at",
    "mine": "yours",
    "theirs": "right",
    "error": "error",
    "allowed": "allowed",
    "ratio": "error/allowed",
    "verdict": "verdict",
    "note": "tried with",
}
NUMBERS = ("yours", "right", "error", "allowed", "error/allowed")


def write(path: str | Path, answer: Answer, details: dict[str, Any], hint_level: int = 3) -> None:
    """Write the report to `path`, all of it or nothing; it tells no more than the hint level allows.

    details: as for compare.html.write. Raises UsageError where no file can be written there.
    """
    bad = [c for c in answer.subjects if c.verdict in ("disagree", "error")]
    page = {
        "own": True,
        "verdict": overall(answer.subjects),
        "verdict_line": show.verdict_line(answer),
        "remarks": [f"Note: {note}" for note in answer.notes],
        "divergences": [_wrong(checked, hint_level) for checked in bad],
        "targets": [_target(checked, hint_level, checked not in bad) for checked in answer.subjects],
        "figures": _figures(bad) if hint_level > 1 else [],
        "printed": answer.printed.strip(),
    }
    html.write_page(path, page, details)


def _wrong(checked: Checked, hint_level: int) -> dict[str, Any]:
    """The words of the terminal, and the line where the function begins that makes the first wrong tensor."""
    first = next((f.tensor for f in checked.diagnosis), "")
    source = checked.sources.get(first) if hint_level == 3 else None
    lines = [*show.sentences(checked, hint_level)]
    end = next((i + 1 for i, line in enumerate(lines) if line.startswith("Where:")), len(lines))
    return {
        "headline": show.headline(checked),
        "verdict": checked.verdict,
        "lines": lines[:end],
        "rest": lines[end:],
        "source": f"{source.line:5}  {source.text}" if source is not None and source.text else "",
    }


def _target(checked: Checked, hint_level: int, told: bool) -> dict[str, Any]:
    """told: with the words, which for the others stand above."""
    if hint_level == 1:
        names = show.tensor_names(checked)
        columns, rows = SHORT, [{"name": n, "verdict": show.tensor_verdict(checked, n)} for n in names]
    else:
        columns, rows = COLUMNS, [html.row(q) for q in checked.quantities]
    return {
        "verdict": checked.verdict,
        "headline": show.headline(checked),
        "reason": checked.reason,
        "lines": [*show.sentences(checked, hint_level)] if told else [],
        "columns": list(columns.values()),
        "numbers": NUMBERS,
        "rows": [{title: row[key] for key, title in columns.items()} for row in rows],
    }


def _figures(bad: list[Checked]) -> list[dict[str, str]]:
    """Of each wrong tensor, in backward order, as the referee sees it by whom the verdict stands."""
    found: list[dict[str, str]] = []
    for checked in bad:
        for name in show.wrong_tensors(checked):
            q = show.decisive(checked, name)
            pair = None if q is None or len(found) == html.MAPS else checked.tensors(q)
            if q is not None and pair is not None and np.shape(pair[0]) == np.shape(pair[1]) and pair[0].size:
                caption = f"{name} of {checked.target}, against {q.referee} ({q.note})"
                found.append({"caption": caption, "uri": html.picture(_figure(q, *pair))})
    return found


def _figure(q: Quantity, mine: np.ndarray, theirs: np.ndarray) -> Any:
    return maps.draw(q.name, mine, theirs, q.judgement.allowed, q.judgement.worst_index)
