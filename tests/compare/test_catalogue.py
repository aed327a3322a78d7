"""The catalogue of planted bugs in files as users write them is sound, and the checker keeps its promise."""

import json

import pytest

from compare import cli
from compare.diagnosis.causes import CODES
from compare.submission import catalogue

ENTRIES = catalogue.entries()
STYLES = sorted({entry.style for entry in ENTRIES})


def test_the_catalogue_is_as_large_as_promised():
    mutants = [e for e in ENTRIES if not e.correct]
    assert len(mutants) >= 60 and len(ENTRIES) - len(mutants) >= 20
    assert sum(e.held_out for e in mutants) * 2 == len(mutants)
    assert len({(e.style, e.held_out, e.name) for e in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.style}: {e.name}")
def test_an_entry_fits_its_base(entry, tmp_path):
    text = catalogue.write(entry, tmp_path).read_text("utf-8")
    compile(text, entry.file, "exec")
    assert entry.correct or (entry.tensor and set(entry.cause) <= set(CODES))


@pytest.mark.parametrize("style", STYLES)
def test_the_first_of_each_style(style):
    """One correct file and one mutant, run as the self-test runs them."""
    own = [e for e in ENTRIES if e.style == style and not e.held_out]
    right = catalogue.run(next(e for e in own if e.correct), ())
    assert right.verdict in catalogue.GOOD, right.message
    wrong = catalogue.run(next(e for e in own if not e.correct), ())
    assert wrong.caught and wrong.named and wrong.explained, wrong


def test_a_check_that_gives_up_catches_nothing(monkeypatch):
    entry = next(e for e in ENTRIES if not e.correct)
    monkeypatch.setattr(catalogue, "check", lambda request: 1 / 0)
    outcome = catalogue.run(entry, ())
    assert not outcome.caught and "ZeroDivisionError" in outcome.message
    found = catalogue.document([outcome], ())
    assert found["planted"] == 1 and not catalogue.passed(found)


@pytest.mark.slow
def test_every_bug_is_caught_and_no_correct_file_blamed(capsys):
    code = cli.main(["check", "--selftest", "--style", "all", "--framework", "numeric", "--json"])
    found = json.loads(capsys.readouterr().out)
    missed = [e["name"] for e in found["entries"] if not e["correct_code"] and not e["caught"]]
    blamed = [(e["name"], e["message"]) for e in found["entries"] if e["correct_code"] and e["blamed"]]
    assert missed == [] and blamed == []
    assert code == 0 and catalogue.passed(found)
