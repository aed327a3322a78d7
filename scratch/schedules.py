"""Learning-rate schedules: the rate of an epoch, counted from 0."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from scratch.errors import UsageError

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """The same rate for good."""
    return lambda epoch: learning_rate


def step(learning_rate: float, factor: float = 0.1, every: int = 10) -> Schedule:
    """The rate times `factor` after each `every` epochs."""
    return lambda epoch: learning_rate * factor ** (epoch // every)


def exponential(learning_rate: float, factor: float = 0.95) -> Schedule:
    """The rate times `factor` after each epoch."""
    return lambda epoch: learning_rate * factor**epoch


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
}


def make(name: str, learning_rate: float, **parameters: Any) -> Schedule:
    """A schedule by name with its parameters; raises UsageError for what it does not take."""
    if name not in SCHEDULES:
        raise UsageError(f"the schedule must be one of {', '.join(SCHEDULES)}, but {name!r} came.")
    known = list(signature(SCHEDULES[name]).parameters)[1:]
    for parameter, value in parameters.items():
        if parameter not in known:
            takes = f"takes {' and '.join(known)}" if known else "takes no parameter"
            raise UsageError(f"the {name} schedule {takes}, but {parameter}={value} came.")
        if not (value >= 1 if parameter == "every" else 0 < value < float("inf")):
            allowed = "1 or more epochs" if parameter == "every" else "finite and above 0"
            raise UsageError(f"a schedule's {parameter} must be {allowed}, but {value} came.")
    return SCHEDULES[name](learning_rate, **parameters)
