"""`gradparity compare-runs` and `gradparity export`: arguments in, exit code out."""

import argparse
import json
import sys
from typing import Any

COMPARE = """\
Draws loss and error of several runs into one figure and says, for each run against the first, which settings
differ, whether they shared initial weights, batches and dropout masks, the step at which their losses part,
and where two dialects of one update rule differ in kind. Runs that are under way can be compared too."""

EXPORT = """\
Writes the weights of a run's newest checkpoint for use without gradparity: as PyTorch's state_dict in
safetensors, as Keras's .weights.h5, or as arrays with gradparity's own names. Prints the Python that loads
them; the model in it returns logits."""


def add_compare_runs(commands: Any, epilog: str) -> None:
    """The command `compare-runs`."""
    command = commands.add_parser(
        "compare-runs", help="where runs differ, and when they part", description=COMPARE, epilog=epilog
    )
    command.set_defaults(run=_compare_runs)
    add = command.add_argument
    add(
        "runs",
        nargs="*",
        metavar="RUN",
        help="two folders or more; the first is what the others are set against",
    )
    add(
        "--output",
        default="comparison.png",
        metavar="FILE",
        help=".png, .svg or .pdf (default: comparison.png)",
    )
    add("--json", action="store_true", help="one JSON document on stdout")


def add_export(commands: Any, epilog: str) -> None:
    """The command `export`."""
    command = commands.add_parser(
        "export", help="write a run's weights for PyTorch, Keras or NumPy", description=EXPORT, epilog=epilog
    )
    command.set_defaults(run=_export)
    add = command.add_argument
    add("run_dir", metavar="RUN", help="the run's folder")
    add("--to", required=True, choices=("torch", "keras", "npz"), help="for whom")
    add("--best", action="store_true", help="the checkpoint with the lowest validation error, not the newest")
    add("--output", metavar="FILE", help="(default: the run's name, in this folder)")
    add("--force", action="store_true", help="replace the file if it is there")
    add("--json", action="store_true", help="one JSON document on stdout")


def _compare_runs(arguments: argparse.Namespace) -> int:
    from compare import compare_runs, console, curves
    from compare.destination import destination
    from scratch import files

    runs = compare_runs.read(arguments.runs)
    path = destination(arguments.output, "the figure", curves.ENDINGS)
    document = compare_runs.document(runs, arguments.output)
    with files.writing(f"the figure {arguments.output}"):
        files.write_atomically(path, curves.draw(runs, document["pairs"], path))
    if arguments.json:
        print(json.dumps(document, allow_nan=False))
    else:
        compare_runs.show(document, console.stdout())
        print(f"\nfigure: {arguments.output}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from compare import export

    document, notes = export.export(
        arguments.run_dir, arguments.to, arguments.best, arguments.output, arguments.force
    )
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(document, allow_nan=False))
    else:
        print(f"# {document['path']}, step {document['step']}\n{document['code']}", end="")
    return 0
