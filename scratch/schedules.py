"""Learning-rate schedules: the rate of an epoch, counted from 0."""

from collections.abc import Callable

from scratch.errors import UsageError

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """The same rate for good."""
    return lambda epoch: learning_rate


def step(learning_rate: float, factor: float = 0.1, every: int = 10) -> Schedule:
    """The rate times `factor` after each `every` epochs."""
    if every < 1:
        raise UsageError(f"a step schedule drops every 1 or more epochs, but {every} came.")
    return lambda epoch: learning_rate * factor ** (epoch // every)


def exponential(learning_rate: float, factor: float = 0.95) -> Schedule:
    """The rate times `factor` after each epoch."""
    return lambda epoch: learning_rate * factor**epoch


SCHEDULES = {"constant": constant, "step": step, "exponential": exponential}
