"""`gradparity sweep`: arguments in, exit code out."""

import argparse
import json
from typing import Any

from compare.cli_options import add_data, add_framework, add_intervals, add_network, add_steps

SWEEP = """\
Trains every combination of the settings, several runs at a time, each in a process and a folder of its own.
Options take lists with commas between the values, --hidden with slashes: --activation relu,tanh --seed 0,1
--hidden 64,32/128/none. The same command again leaves finished runs alone and goes on with the others."""


def add_sweep(commands: Any, epilog: str) -> None:
    """The command `sweep`."""
    sweep = commands.add_parser(
        "sweep", help="train many settings, and rank them", description=SWEEP, epilog=epilog
    )
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("model", choices=("mlp", "dcn"), help="mlp or dcn")
    add_framework(sweep, lists=True)
    add_network(sweep, "0 for mlp, 0.5 for dcn", l1="0", l2="0", lists=True)
    add_steps(sweep, threads="of each run (default: the cores shared among the jobs)", lists=True)
    add_data(sweep, lists=True)
    add = sweep.add_argument_group("the sweep").add_argument
    add("--jobs", type=int, metavar="N", help="runs at a time (default: one a core, at most 4)")
    add("--runs-dir", default="runs", metavar="DIR", help="where runs are kept (default: runs)")
    add("--name", metavar="NAME", help="of the sweep's folder in it (default: sweep-mlp or sweep-dcn)")
    add_intervals(add)
    add("--json", action="store_true", help="the result as one JSON document on stdout")


def _sweep(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from compare import console, grid, sweep_figure, sweep_report
    from compare.sweep import Sweep
    from compare.train import Options

    chosen = {name: getattr(arguments, name) for name in Options.__dataclass_fields__ if name != "threads"}
    points = grid.points({k: v if isinstance(v, list) else [v] for k, v in chosen.items()})
    sweep = Sweep(points, arguments.runs_dir, arguments.name, arguments.jobs, arguments.threads)
    with sweep_report.watching() as look:
        sweep.go(look)
    figure = None if sweep.interrupted else sweep_figure.write(sweep)
    sweep_report.show(sweep, figure, Console(stderr=True) if arguments.json else console.stdout())
    if arguments.json:
        print(json.dumps(sweep_report.document(sweep, figure), allow_nan=False))
    if sweep.interrupted:
        raise KeyboardInterrupt("the same command goes on where it stopped.")
    return 0 if sweep.complete else 4
