"""The report of check_gradients: its verdict, and itself as text, as a table in Jupyter, as a test's message.

It imports nothing of ours after it has been made: gradparity/__init__.py says why.
"""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from compare.diagnosis.hypothesis import Finding
from compare.report import counted, listed, pair, place, ratio
from compare.submission import show
from compare.submission.judge import GOOD, Checked
from compare.submission.request import Answer
from compare.verdict import Quantity, overall

TEMPLATE = Path(__file__).with_name("live_report.html")
WIDTH = 100
ROWS = 25  # of a table in a test's message


class Report:
    """What a check has found. It is true where every gradient is right, up to conventions.

    verdict: "agree", "agree-up-to-convention", "disagree", "untested" or "error". diagnosis: the causes, best
    first. subjects: what was checked, each with its tensors (`quantities`).
    """

    def __init__(self, answer: Answer, document: dict[str, Any]) -> None:
        self.answer = answer
        self.subjects: list[Checked] = answer.subjects
        self.verdict: str = overall(answer.subjects)
        self.diagnosis: list[Finding] = [f for checked in answer.subjects for f in checked.diagnosis]
        self._document = json.dumps(document, allow_nan=False)

    @property
    def ok(self) -> bool:
        """Whether every gradient is right; what could not be judged is not."""
        return self.verdict in GOOD

    def __bool__(self) -> bool:
        return self.ok

    def document(self) -> dict[str, Any]:
        """The same as `gradparity check --json` prints."""
        return json.loads(self._document)

    def __str__(self) -> str:
        """What the command prints."""
        text = io.StringIO()
        console = Console(
            file=text, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False
        )
        show.show(self.answer, 3, False, console)
        return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").split("\n"))

    def __repr__(self) -> str:
        return f"<Report: {show.verdict_line(self.answer)}>"

    def _repr_html_(self) -> str:
        import jinja2

        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        return environment.from_string(TEMPLATE.read_text("utf-8")).render(
            verdict=self.verdict,
            line=show.verdict_line(self.answer).partition(": ")[2],
            subjects=[_subject(checked) for checked in self.subjects],
        )

    def complaint(self) -> str:
        """What a failed test says: the verdict, what is wrong first and why, and the tensors."""
        bad = [checked for checked in self.subjects if checked.verdict not in GOOD]
        if not bad:
            return show.verdict_line(self.answer)
        lines = [show.verdict_line(self.answer)]
        bad.sort(key=lambda checked: checked.verdict != self.verdict)
        lines += show.sentences(bad[0])
        lines += ["", *_table(bad[0])] if bad[0].quantities else []
        if bad[1:]:
            lines += ["", f"Besides it: {listed(f'{c.target} ({c.verdict})' for c in bad[1:])}."]
        if right := len(self.subjects) - len(bad):
            lines.append(f"Right: {counted(right, 'other')}.")
        return "\n".join(lines)


def _rows(checked: Checked) -> list[Quantity]:
    """One for each tensor, in backward order."""
    return [q for name in show.tensor_names(checked) if (q := show.decisive(checked, name))]


def _table(checked: Checked) -> list[str]:
    """The tensors as lines of text; where they are many, those that are not right."""
    found = _rows(checked)
    shown = found
    if len(found) > ROWS - 1:
        worst = [q for q in found if q.verdict != "agree"] + [q for q in found if q.verdict == "agree"]
        chosen = {id(q) for q in worst[: ROWS - 2]}
        shown = [q for q in found if id(q) in chosen]
    cells = [("tensor", "verdict", "error/allowed", "yours", "right", "at")]
    cells += [(q.name, q.verdict, ratio(q.judgement), *pair(q.judgement), place(q.judgement)) for q in shown]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in cells]
    return lines + (
        [f"and {counted(len(found) - len(shown), 'more tensor')}"] if len(shown) < len(found) else []
    )


def _subject(checked: Checked) -> dict[str, Any]:
    return {
        "name": checked.target,
        "style": checked.style,
        "verdict": checked.verdict,
        "rows": [
            {
                "tensor": q.name,
                "verdict": q.verdict,
                "ratio": ratio(q.judgement),
                "mine": pair(q.judgement)[0],
                "theirs": pair(q.judgement)[1],
                "place": place(q.judgement),
            }
            for q in _rows(checked)
        ],
        "sentences": list(show.sentences(checked)),
    }
