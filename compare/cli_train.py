"""`gradparity train` and `gradparity board`: arguments in, exit code out."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from compare.cli_options import add_data, add_framework, add_intervals, add_network, add_steps

TRAIN = """\
Trains a network in NumPy, PyTorch or Keras with the same initial weights, batches and dropout masks for the
same seed, so that runs of all three lie on top of each other. A run leaves its own folder: settings,
TensorBoard events, metrics and checkpoints. --resume goes on where a run was stopped or killed."""


def add_train(commands: Any, epilog: str) -> None:
    """The command `train`."""
    train = commands.add_parser(
        "train", help="train in NumPy, PyTorch or Keras", description=TRAIN, epilog=epilog
    )
    train.set_defaults(run=_train)
    train.add_argument(
        "model", nargs="?", choices=("mlp", "dcn"), help="mlp, dcn; with --resume it is the run's own"
    )
    add_framework(train)
    add_network(train, "0 for mlp, 0.5 for dcn", l1="0", l2="0")
    add_steps(train, threads="for the arithmetic (default: the backend's own choice)")
    add_data(train)
    add = train.add_argument_group("the run").add_argument
    add("--runs-dir", default="runs", metavar="DIR", help="where runs are kept (default: runs)")
    add("--name", metavar="NAME", help="of the run's folder (default: date, model, framework, seed)")
    add("--resume", metavar="RUN", help="go on with the run in this folder, with its own settings")
    add_intervals(add)
    add("--json", action="store_true", help="the summary as one JSON document on stdout")


def add_board(commands: Any, epilog: str) -> None:
    """The command `board`."""
    board = commands.add_parser(
        "board",
        help="open TensorBoard on the runs",
        description="Starts TensorBoard on 127.0.0.1 and prints its address; Ctrl-C ends it.",
        epilog=epilog,
    )
    board.set_defaults(run=_board)
    board.add_argument("--runs-dir", default="runs", metavar="DIR", help="(default: runs)")
    board.add_argument("--port", type=int, default=6006, metavar="P", help="(default: 6006; 0: any free one)")


def _train(arguments: argparse.Namespace) -> int:
    from compare import train
    from scratch.errors import UsageError

    if (arguments.model is None) == (arguments.resume is None):
        raise UsageError("gradparity train expects mlp or dcn, or --resume RUN; see gradparity train --help.")
    with _watching(not arguments.json) as look:
        if arguments.resume:
            flags = [word.partition("=")[0] for word in arguments.argv if word.startswith("--")]
            if others := [flag for flag in flags if not "--resume --json".count(flag)]:
                raise UsageError(f"a run goes on with its own settings, but {others[0]} came; leave it out.")
            summary = train.resume(arguments.resume, look)
        else:
            chosen = {name: getattr(arguments, name) for name in train.Options.__dataclass_fields__}
            summary = train.start(train.Options(**chosen), arguments.runs_dir, arguments.name, look)
    if arguments.json:
        print(json.dumps(summary, allow_nan=False))
    else:
        errors = [
            f"{part} error {summary[f'{part}_error']:.2%}"
            for part in ("validation", "test")
            if summary[f"{part}_error"] is not None
        ]
        print(f"{', '.join(errors)} after {summary['steps']} steps in {summary['seconds']:.0f} s")
        print(f"run: {summary['run_dir']}")
    return 0


@contextmanager
def _watching(lines: bool) -> Iterator[Callable[[Any], None]]:
    """A progress bar on a terminal's stderr, a line an evaluation elsewhere; warnings always."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)

    def say(look: Any) -> None:
        if look.warning:
            console.print(f"warning: {look.warning}", markup=False, soft_wrap=True)
        elif look.record and lines:
            shown = ", ".join(
                f"{name.replace('_', ' ')} {value:.4f}"
                for name, value in look.record.items()
                if name not in ("step", "epoch", "learning_rate")
            )
            console.print(f"step {look.step}: {shown}", markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield say
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading")

        def show(look: Any) -> None:
            if look.loss == look.loss:
                text = f"loss {look.loss:.4f}, error {look.error:.1%}"
                progress.update(task, completed=look.step, total=look.steps, description=text)
            say(look)

        yield show


def _board(arguments: argparse.Namespace) -> int:
    import os

    from scratch.errors import MissingError, UsageError

    if not os.path.isdir(arguments.runs_dir):
        raise UsageError(
            f"there is no folder {arguments.runs_dir!r} with runs; train one, or name --runs-dir."
        )
    try:
        import tensorboard  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise MissingError("gradparity board needs tensorboard; pip install tensorboard.") from error
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", arguments.runs_dir]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port)]
    command += ["--window_title", "gradparity", "--reload_interval", "5"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow says while it loads helps nobody
    os.execv(sys.executable, command)  # TensorBoard takes this process over, signals and all
