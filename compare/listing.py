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


def _yes(said: bool) -> str:
    return "[green]yes[/]" if said else "[red]NO[/]"
