"""The runs of a sweep: the product of lists of settings, checked before anything starts."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from compare.referees import Referees
from compare.train import Options, Setting
from scratch import data, initializers
from scratch.errors import MissingError

# whose values say by themselves what they are of
WORDS = ("framework", "activation", "init", "optimizer", "data", "output", "dialect", "schedule", "dtype")


@dataclass(frozen=True)
class Point:
    """One run: its name, which is a folder's, its settings, those of them that vary, and its steps."""

    name: str
    options: Options
    varied: dict[str, Any]
    steps: int


def points(values: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the values, given by the names of Options' fields; the last one varies fastest.

    Raises UsageError for a combination that makes no run, MissingError where a framework or data set that
    is asked for is not here. Reads each data set once, which also downloads it once.
    """
    names = [field.name for field in fields(Options) if field.name in values]
    varying = [name for name in names if len(values[name]) > 1]
    grid = [
        Options(**dict(zip(names, combination, strict=True))).resolved()
        for combination in itertools.product(*(values[name] for name in names))
    ]
    missing = {options.framework for options in grid} - {"numpy", *Referees.installed()}
    if missing:
        raise MissingError(
            f"{' and '.join(sorted(missing))} should train here but is not installed; "
            f"pip install 'gradparity[all]' or leave it out of --framework."
        )
    sets: dict[Any, data.Dataset] = {}
    found = []
    for options in grid:
        known = str(options.data), options.split, options.data_dir
        if known not in sets:
            sets[known] = data.load(*known)
        varied = {name: getattr(options, name) for name in varying}
        found.append(Point(_name(options, varied), options, varied, _steps(options, sets[known])))
    return found


def argv(options: Options) -> list[str]:
    """The flags of `gradparity train` that mean these options; the model comes first."""
    flags = [options.model]
    for field in fields(options):
        value, flag = getattr(options, field.name), f"--{field.name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif field.name != "model" and value is not None and value is not False:
            flags.append(f"{flag}={text(value)}")
    return flags


def text(value: Any) -> str:
    """A value as the command line takes it."""
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _name(options: Options, varied: Mapping[str, Any]) -> str:
    """What varies, for people, and a short hash of all settings but the threads."""
    settings = {k: v for k, v in asdict(options).items() if v is not None and k != "threads"}
    code = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
    parts = [
        ("" if name in WORDS else name.replace("_", "")) + text(value).replace(",", "x")
        for name, value in varied.items()
    ]
    return "-".join([*(parts or [options.model]), code]).replace("+", "")  # of 1e+30


def _steps(options: Options, dataset: data.Dataset) -> int:
    """How many the run will take. Builds its NumPy twin, whose refusals are the run's own."""
    device = options.device if options.framework == "numpy" else "cpu"
    initializers.draw({}, str(options.init), np.random.default_rng(0))
    return Setting(replace(options, framework="numpy", device=device, threads=None), dataset).steps
