"""Two lists for people: the data sets, and what a self-test found."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scratch.data import Entry

COLOURS = {"verified": "green", "mismatch": "red", "unreadable": "red"}


def show_data(entries: Sequence[Entry], console: Console) -> None:
    """One row a data set, then what is wrong with which, and where each was looked for."""
    table = Table(box=None, pad_edge=False)
    for header in ("data set", "found", "sha256", "sizes", "default split"):
        table.add_column(header, overflow="fold", no_wrap=header in ("data set", "default split"))
    wrong = []
    for entry in entries:
        verdict, _, why = entry.verdict.partition(": ")
        colour = COLOURS.get(verdict, "")
        split = ",".join(map(str, entry.split))
        table.add_row(entry.name, Text(entry.found), Text(verdict, colour), entry.sizes, split)
        wrong += [f"\n{entry.name}: {why}"] if colour == "red" else []
    console.print(table)
    for sentence in wrong:
        console.print(Text(sentence), soft_wrap=not console.is_terminal)
    for entry in entries:
        if len(entry.looked) > 1:
            console.print(f"\n{entry.name} was looked for in", highlight=False)
            for place in entry.looked:
                console.print(Text(f"  {place}"), soft_wrap=True)


def show_selftest(document: dict[str, Any], console: Console) -> None:
    """One row a planted bug, then the two rates."""
    table = Table(
        "planted bug", "caught", "named", "first divergence", "caught by each alone", box=None, pad_edge=False
    )
    for mutant in document["mutants"]:
        table.add_row(
            mutant["name"],
            _yes(mutant["caught"]),
            _yes(mutant["named"]),
            mutant["first_divergence"],
            ", ".join(mutant["by"]),
        )
    console.print(table)
    planted, caught, named = (document[key] for key in ("planted", "caught", "named"))
    console.print(
        f"\n{caught} of {planted} planted bugs caught ({caught / planted:.1%}), "
        f"the right tensor named for {named} ({named / planted:.1%}); "
        f"referees: {', '.join(document['referees'])}",
        highlight=False,
    )


def show_styles(document: dict[str, Any], verbose: bool, console: Console) -> None:
    """A row a style and half; what went wrong by name, with verbose everything."""
    table = Table(box=None, pad_edge=False)
    headers = ("style", "planted", "caught", "tensor named", "cause named", "correct files", "blamed")
    for header in headers:
        table.add_column(header, justify="left" if header == "style" else "right")
    halves = {"development half": "development", "held-out half": "held_out"}
    rows = {
        **document["styles"],
        **{name: document["halves"][key] for name, key in halves.items()},
        "all": document,
    }
    for name, row in rows.items():
        table.add_row(
            name, *(str(row[key]) for key in ("planted", "caught", "named", "explained", "correct", "blamed"))
        )
    console.print(table)
    for entry in document["entries"]:
        if entry["correct_code"]:
            said = f"BLAMED: {entry['message']}" if entry["blamed"] else entry["verdict"]
            fine = not entry["blamed"]
        else:
            said = (
                f"{entry['tensor']}: {entry['cause']}"
                if entry["caught"]
                else f"MISSED: {entry['message'] or entry['verdict']}"
            )
            fine = entry["caught"] and entry["named"] and entry["explained"]
        if verbose or not fine:
            line = f"{entry['style']}: {entry['name']}: {said}"
            console.print(Text(line), soft_wrap=True)
    planted, named, explained = (document[key] for key in ("planted", "named", "explained"))
    console.print(
        f"\n{document['caught']} of {planted} planted bugs caught, the right tensor named first for {named} "
        f"({named / planted:.1%}), the right cause for {explained} ({explained / planted:.1%}); "
        f"{document['blamed']} of {document['correct']} correct files blamed; "
        f"referees: {', '.join(document['referees'])}",
        highlight=False,
    )


def _yes(said: bool) -> str:
    return "[green]yes[/]" if said else "[red]NO[/]"
