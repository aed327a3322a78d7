"""The options that `check` and `train` share: what the network is like."""

import argparse

from scratch.initializers import INITIALIZERS
from scratch.layers import ACTIVATIONS
from scratch.network import LOSSES


def add_network(parser: argparse.ArgumentParser, dropout: str, l1: str, l2: str) -> None:
    """A group of options; dropout, l1 and l2 are the texts of their defaults, for the help."""
    add = parser.add_argument_group("the network").add_argument
    add("--activation", default="relu", metavar="A", help=f"{', '.join(ACTIVATIONS)} (default: relu)")
    add(
        "--init",
        metavar="I",
        help=f"{', '.join(INITIALIZERS)} (default: he_normal for mlp, truncated_normal for dcn)",
    )
    add("--hidden", type=sizes, metavar="SIZES", help="or none (default: 64,32 for mlp, 1024 for dcn)")
    add(
        "--output", choices=tuple(LOSSES), default="softmax", help="with its cross-entropy (default: softmax)"
    )
    add("--dropout", type=float, metavar="R", help=f"rate (default: {dropout})")
    add("--l1", type=float, metavar="X", help=f"adds X sum|W| to the loss (default: {l1})")
    add("--l2", type=float, metavar="X", help=f"adds X/2 sum W^2 to the loss (default: {l2})")
    add("--penalize-biases", action="store_true", help="l1 and l2 cover the biases too")


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
