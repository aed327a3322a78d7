"""The options that `check`, `train` and `sweep` share; `sweep` takes several values of most."""

import argparse
from collections.abc import Callable
from typing import Any

from scratch.data import NAMES, parse_split
from scratch.initializers import INITIALIZERS
from scratch.layers import ACTIVATIONS
from scratch.network import LOSSES
from scratch.optimizers import DIALECTS, OPTIMIZERS
from scratch.schedules import SCHEDULES

Adder = Callable[..., Any]


def add_network(parser: argparse.ArgumentParser, dropout: str, l1: str, l2: str, lists: bool = False) -> None:
    """A group of options; dropout, l1 and l2 are the texts of their defaults, for the help.

    lists: those that `many` adds take several values, and give a list without repetitions.
    """
    one, many = _adders(parser.add_argument_group("the network"), lists)
    many("--activation", default="relu", metavar="A", help=f"{', '.join(ACTIVATIONS)} (default: relu)")
    many(
        "--init",
        metavar="I",
        help=f"{', '.join(INITIALIZERS)} (default: he_normal for mlp, truncated_normal for dcn)",
    )
    many(
        "--hidden",
        type=sizes,
        metavar="SIZES",
        separator="/",
        help="or none (default: 64,32 for mlp, 1024 for dcn)",
    )
    many(
        "--output", choices=tuple(LOSSES), default="softmax", help="with its cross-entropy (default: softmax)"
    )
    many("--dropout", type=float, metavar="R", help=f"rate (default: {dropout})")
    many("--l1", type=float, metavar="X", help=f"adds X sum|W| to the loss (default: {l1})")
    many("--l2", type=float, metavar="X", help=f"adds X/2 sum W^2 to the loss (default: {l2})")
    one("--penalize-biases", action="store_true", help="l1 and l2 cover the biases too")


def add_framework(parser: argparse.ArgumentParser, lists: bool = False) -> None:
    """Which backend trains."""
    _, many = _adders(parser, lists)
    many("--framework", default="numpy", metavar="F", help="numpy, torch or keras (default: numpy)")


def add_steps(parser: argparse.ArgumentParser, threads: str, lists: bool = False) -> None:
    """What a training run does; threads: the help of --threads."""
    steps = parser.add_argument_group("the steps")
    one, many = _adders(steps, lists)
    many("--optimizer", default="adam", metavar="O", help=f"{', '.join(OPTIMIZERS)} (default: adam)")
    many("--dialect", choices=DIALECTS, help="whose update rule NumPy follows (default: torch)")
    many("--lr", type=float, metavar="X", help="learning rate (default: 1e-3 for mlp, 1e-4 for dcn)")
    many("--momentum", type=float, metavar="X", help="of momentum and nesterov (default: 0.9)")
    many("--weight-decay", type=float, metavar="X", help="the optimizer's own (default: the optimizer's)")
    many("--schedule", default="constant", metavar="S", help=f"{', '.join(SCHEDULES)} (default: constant)")
    many(
        "--schedule-factor", type=float, metavar="X", help="of the rate (default: step 0.1, exponential 0.95)"
    )
    many("--schedule-every", type=int, metavar="E", help="epochs between two steps of step (default: 10)")
    many("--batch-size", type=int, default=50, metavar="N", help="examples a step (default: 50)")
    length, _ = _adders(steps.add_mutually_exclusive_group(), lists)
    length("--steps", type=int, metavar="K", help="(default: 1200 for mlp, 5500 for dcn)")
    length("--epochs", type=int, metavar="E", help="instead of --steps")
    many("--seed", type=int, default=0, metavar="S", help="of weights, batches and masks (default: 0)")
    one("--threads", type=int, metavar="N", help=threads)
    one("--device", default="cpu", metavar="D", help="cpu, cuda or auto (default: cpu, bit for bit the same)")
    many("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")


def add_data(parser: argparse.ArgumentParser, lists: bool = False) -> None:
    """What a run is trained on."""
    one, many = _adders(parser.add_argument_group("the data"), lists)
    many("--data", metavar="D", help=f"{', '.join(NAMES)} (default: mnist-5k for mlp, mnist for dcn)")
    one("--data-dir", metavar="DIR", help="where to look for mnist and fashion-mnist")
    one("--split", type=parse_split, metavar="T,V,S", help="training, validation and test examples")


def add_intervals(add: Adder) -> None:
    """How often a run is looked at."""
    add("--log-every", type=int, default=100, metavar="K", help="steps between histograms (default: 100)")
    add("--eval-every", type=int, metavar="K", help="evaluations (default: 100 for mlp, 1100 for dcn)")
    add("--checkpoint-every", type=int, default=1100, metavar="K", help="(default: 1100)")


def sizes(text: str) -> tuple[int, ...]:
    """`64,32` or `none`."""
    if text == "none":
        return ()
    try:
        found = tuple(int(size) for size in text.split(","))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"expected sizes such as 64,32, or none, but {text!r} came")
    return found


def _adders(group: Any, lists: bool) -> tuple[Adder, Adder]:
    """add_argument for one value, and for one or, with `lists`, several."""

    def many(
        flag: str,
        *,
        type: Callable[[str], Any] = str,
        choices: tuple[str, ...] = (),
        default: Any = None,
        separator: str = ",",
        **kind: Any,
    ) -> None:
        if lists:
            one = kind.pop("metavar", "") or "{" + ",".join(choices) + "}"
            kind["metavar"] = f"{one}{separator}..."
            kind["type"] = _several(type, choices, separator)
            default = default if default is None else [default]
        else:
            kind |= {"type": type, "choices": choices or None}
        group.add_argument(flag, default=default, **kind)

    return group.add_argument, many


def _several(
    convert: Callable[[str], Any], choices: tuple[str, ...], separator: str
) -> Callable[[str], list[Any]]:
    """A function that reads a list of values, each once."""
    numbers = "whole numbers" if convert is int else "numbers" if convert is float else "names"
    known = ", ".join(choices) or numbers

    def read(text: str) -> list[Any]:
        values: list[Any] = []
        for part in text.split(separator):
            part = part.strip()
            try:
                value = convert(part)
            except ValueError:
                value = ""
            if value == "" or (choices and value not in choices):
                raise argparse.ArgumentTypeError(
                    f"expected {known}, with {separator!r} between several, but {text!r} came"
                )
            if value in values:
                raise argparse.ArgumentTypeError(f"expected each value once, but {part!r} came twice")
            values.append(value)
        return values

    return read
