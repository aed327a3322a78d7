"""The command `gradparity`: arguments in, exit code out. It holds no logic and imports no framework."""

import argparse
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from compare.cli_options import add_network
from compare.cli_own import add_own, check_own, selftest_styles, show_styles
from compare.cli_runs import add_compare_runs, add_export
from compare.cli_sweep import add_sweep
from compare.cli_train import add_board, add_train
from scratch.errors import GradparityError, UsageError
from scratch.optimizers import OPTIMIZERS

NEXT = """\
gradparity: is my hand-written gradient right, and if not, where and why?

  check your code   gradparity check FILE.py     is it right, and if not, why?
  check gradients   gradparity check             ours: PyTorch, Keras, numeric
  train a network   gradparity train mlp         or dcn; numpy, torch or keras
  train many        gradparity sweep mlp         every combination of settings
  see dashboards    gradparity board             TensorBoard on the runs
  set runs beside   gradparity compare-runs      where they part, and why
  take weights out  gradparity export            for PyTorch, Keras or NumPy
  trust the check   gradparity check --selftest  does it catch planted bugs?
  see the data      gradparity data              which sets are here and intact

gradparity --help lists all commands."""

EXIT = """\
exit codes: 0 agree, 1 disagree or untested, 2 usage, 3 a framework or data set is missing,
4 the checked code, a run or a data file failed, 130 interrupted"""

CHECK = """\
Copies identical weights into the NumPy network and into each referee, runs the same batch of real digits
through all of them and compares loss, logits, every net input, activation and pooled map, the gradient with
respect to each of them and to every parameter, and the optimizers' updates. Without targets: mlp, dcn and
ops, with all referees that are installed, in float64 and float32."""


class Parser(argparse.ArgumentParser):
    """One sentence on stderr instead of the usage block."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            arguments = _parser().parse_args(argv, argparse.Namespace(argv=argv))
            return arguments.run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # a closed pipe or a full disk shows here, not silently at exit
    except GradparityError as error:
        print(f"gradparity: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"gradparity: interrupted; {str(interrupt) or 'nothing was written.'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"gradparity: the checked code failed with {type(error).__name__}: {error} "
            f"({os.path.relpath(frame.filename)}, line {frame.lineno}, in {frame.name}).",
            file=sys.stderr,
        )
        return 4


def _parser() -> Parser:
    parser = Parser(prog="gradparity", description=NEXT.splitlines()[0], epilog=EXIT)
    parser.add_argument("--version", action="version", version=_version())
    parser.set_defaults(run=lambda _: print(NEXT) or 0)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    _check_command(commands)
    add_train(commands, EXIT)
    add_sweep(commands, EXIT)
    add_board(commands, EXIT)
    add_compare_runs(commands, EXIT)
    add_export(commands, EXIT)
    _data_command(commands)
    return parser


def _check_command(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="compare hand-written gradients with PyTorch, Keras and arithmetic",
        description=CHECK,
        epilog=EXIT,
    )
    check.set_defaults(run=_check)
    add = check.add_argument
    add(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="FILE.py or FILE.ipynb; or mlp, dcn, ops (default: these)",
    )
    add("--framework", metavar="LIST", help="referees: torch,keras,numeric (default: those installed)")
    add("--dtype", choices=("float64", "float32", "both"), default="both", help="precisions (default: both)")

    add_network(check, "0.2 for mlp, 0.5 for dcn", l1="1e-4 for mlp, 0 for dcn", l2="1e-2 for mlp, 0 for dcn")
    rules = check.add_argument_group("the updates")
    add = rules.add_argument
    add(
        "--optimizer",
        metavar="LIST",
        help=f"update rules: {', '.join(OPTIMIZERS)} or all (default: all for mlp, adam for dcn)",
    )
    add("--steps", type=int, default=2, metavar="K", help="updates compared for each rule (default: 2)")

    batch = check.add_argument_group("the batch")
    add = batch.add_argument
    add("--batch-size", type=int, default=12, metavar="N", help="examples (default: 12)")
    add("--data", default="mnist-5k", metavar="D", help="a data set of `gradparity data` (default: mnist-5k)")
    add("--data-dir", metavar="DIR", help="where to look for mnist and fashion-mnist")
    add("--seed", type=int, default=0, metavar="S", help="of weights, batch and masks (default: 0)")

    add_own(check)
    output = check.add_argument_group("output")
    add = output.add_argument
    add("-v", "--verbose", action="store_true", help="every tensor, not the worst of each layer")
    add("--json", action="store_true", help="one JSON document on stdout")
    add("--report", metavar="FILE.html", help="write a report: one file that needs no network")
    add("--runs-dir", default="runs", metavar="DIR", help="where the log of the check goes (default: runs)")
    add("--no-log", action="store_true", help="leave no event file; gradparity board shows them")
    add("--selftest", action="store_true", help="plant bugs, one at a time, and count those that are caught")


def _data_command(commands: Any) -> None:
    data = commands.add_parser(
        "data",
        help="list the data sets: where they were looked for, what was found, whether it is intact",
        description="List every data set: where it was looked for, what was found, the verdict on its "
        "sha256, and the sizes of the default split. Downloads nothing.",
        epilog=EXIT,
    )
    data.set_defaults(run=_data)
    data.add_argument("--data-dir", metavar="DIR", help="look for mnist and fashion-mnist here only")
    data.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _check(arguments: argparse.Namespace) -> int:
    if arguments.styles:
        return show_styles()
    if arguments.selftest and arguments.style:
        return selftest_styles(arguments)
    if any(re.search(r"\.(py|ipynb)(:\w*)?$", target) for target in arguments.targets):
        return check_own(arguments)
    from compare import check as checking
    from compare import console, report, verdict
    from compare.referees import Referees

    options = checking.Options(
        targets=tuple(dict.fromkeys(arguments.targets)) or checking.TARGETS,
        dtypes=("float64", "float32") if arguments.dtype == "both" else (arguments.dtype,),
        **{
            name: getattr(arguments, name)
            for name in checking.Options.__dataclass_fields__
            if name not in ("targets", "dtypes")
        },
    )
    names, absent = checking.choose_referees(arguments.framework)
    if arguments.report:
        from compare import html
        from compare.destination import destination

        destination(arguments.report, "the report")  # known at once, not after the check
    with console.progress() as progress:
        progress(f"loading {', '.join(names)}")
        referees = Referees(names)
        if arguments.selftest:
            return _selftest(arguments, referees, options, progress)
        dataset = checking.load_data(options)
        if dataset is not None and arguments.json:
            print(f"data: {dataset.name}, {dataset.source}", file=sys.stderr)
        targets = checking.check(options, referees, dataset, progress)
    source = "none" if dataset is None else f"{dataset.name}, {dataset.source}"
    details = console.details(arguments.argv, options.seed, source)
    document = verdict.document(targets, absent, **details)
    if arguments.json:
        print(json.dumps(document, allow_nan=False))
    else:
        report.show(targets, absent, details, arguments.verbose, console.stdout())
    if not arguments.no_log:
        _log(arguments.runs_dir, targets, document)
    if arguments.report:
        html.write(arguments.report, targets, absent, details)
        print(f"report: {arguments.report}", file=sys.stderr)
    return 0 if verdict.overall(targets) == "agree" else 1


def _log(runs_dir: str, targets: list[Any], document: dict[str, Any]) -> None:
    """The verdict stands, whether or not its log can be written."""
    from compare import check_log

    try:
        if folder := check_log.write(runs_dir, targets, document):
            print(f"log: {folder} (gradparity board shows it, --no-log leaves none)", file=sys.stderr)
    except GradparityError as error:
        print(f"warning: {error}", file=sys.stderr)


def _selftest(arguments: argparse.Namespace, referees: Any, options: Any, progress: Callable) -> int:
    from compare import console, listing, selftest

    outcomes = selftest.selftest(
        referees, options, lambda outcome, i, n: progress(f"planted {i} of {n}: {outcome.mutant.name}")
    )
    document = selftest.document(outcomes, referees)
    if arguments.json:
        print(json.dumps(document, allow_nan=False))
    else:
        listing.show_selftest(document, console.stdout())
    return 0 if selftest.passed(document) else 1


def _data(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from compare import console, listing
    from scratch import data

    entries = data.catalogue(arguments.data_dir)
    if arguments.json:
        print(json.dumps({"schema": "gradparity/data/1", "data": [asdict(entry) for entry in entries]}))
    else:
        listing.show_data(entries, console.stdout())
    return 0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"gradparity {version('gradparity')}"
    except PackageNotFoundError:
        return "gradparity (not installed)"


if __name__ == "__main__":
    sys.exit(main())
