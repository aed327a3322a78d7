"""docs/your-code.md shows what the command says about the broken examples, and the correct ones agree."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-code.md").read_text("utf-8")
SHOWN = re.findall(r"\$ (gradparity check \S+_broken\.py \S+ \S+)\n```\n\n```text\n(.*?)```", PAGE, re.S)
EXAMPLES = sorted(path.name for path in (ROOT / "docs" / "examples").glob("*.py"))
WORDS = ("First wrong", "Wrong too", "Why:", "And:", "Where:", "disagree:")  # errors vary with the machine


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compare.cli", "check", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_every_style_has_its_examples():
    assert len(SHOWN) == 7 and len(EXAMPLES) == 14


@pytest.mark.parametrize(("line", "output"), SHOWN, ids=[line.split()[2] for line, _ in SHOWN])
def test_the_page_shows_what_is_said(line, output):
    end = run(*line.split()[2:])
    assert end.returncode == 1, end.stderr
    said = [text for text in output.splitlines() if text.startswith(WORDS)]
    assert said and [text for text in said if text not in end.stdout.splitlines()] == []


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "_broken" not in name])
def test_the_correct_examples_agree(name):
    end = run(f"docs/examples/{name}", "--framework", "numeric")
    assert end.returncode == 0, end.stdout + end.stderr
