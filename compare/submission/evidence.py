"""What the checked code did, as plain arrays: recorded where the code runs, judged where it cannot reach.

A list of Evidence crosses from the worker to the parent as JSON and npz, without pickle.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scratch.errors import DataError

Array = np.ndarray
KINDS = ("network", "operation", "update")


@dataclass
class Derivative:
    """What arithmetic gives for one tensor: each entry, its absolute error; kinks are not to be judged."""

    value: Array
    error: Array
    kinks: Array
    method: str = "complex"


@dataclass
class Source:
    """Where a tensor comes from: the function and its lines in the user's file."""

    file: str
    line: int
    function: str
    text: str = ""


@dataclass
class Trial:
    """One call of the code's forward and backward pass at one point.

    inputs: what is differentiated, by the user's names and in the user's layout. data: the rest (x, t,
    cotangent dy). claims: the user's gradients; None where one is missing. derivatives: those of the user's
    own forward. noise: how far rounding of the inputs moves each claim, entry by entry.
    """

    label: str
    inputs: dict[str, Array]
    data: dict[str, Any] = field(default_factory=dict)
    loss: float | None = None
    output: Array | None = None
    claims: dict[str, Array | None] = field(default_factory=dict)
    derivatives: dict[str, Derivative] = field(default_factory=dict)
    noise: dict[str, Array] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)  # inputs and data that the call has changed

    @property
    def examples(self) -> int:
        if "examples" in self.data:  # where the first axis of what is differentiated is another
            return int(self.data["examples"])
        return len(self.data["x"]) if "x" in self.data else len(next(iter(self.inputs.values())))


@dataclass
class Failure:
    """The checked code could not be judged: kind, one sentence, and where in the user's file."""

    kind: str
    sentence: str
    file: str = ""
    line: int = 0
    function: str = ""


@dataclass
class Evidence:
    """One thing whose gradients are claimed: a network, an operation, an update rule.

    order: its tensors in backward order. description: what the adapter knows of it (see each adapter).
    trials: each by a new object; sequence: the same calls by one object, so that what lingers shows.
    facts: what was seen besides, by name.
    """

    style: str
    kind: str
    name: str
    order: list[str] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    sequence: list[Trial] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failure: Failure | None = None


_TYPES = {c.__name__: c for c in (Derivative, Source, Trial, Failure, Evidence)}


def save(found: list[Evidence], folder: str | Path) -> None:
    """Write evidence.json and evidence.npz into the folder; numbers, text, lists, dicts, arrays only."""
    arrays: dict[str, Array] = {}
    document = _pack(found, arrays)
    np.savez(Path(folder) / "evidence.npz", **arrays)  # type: ignore[arg-type]
    (Path(folder) / "evidence.json").write_text(json.dumps(document))


def load(folder: str | Path) -> list[Evidence]:
    """What `save` wrote. Raises DataError for files that it did not write."""
    try:
        document = json.loads((Path(folder) / "evidence.json").read_text())
        with np.load(Path(folder) / "evidence.npz", allow_pickle=False) as arrays:
            return _unpack(document, dict(arrays))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"what the checked code's process wrote in {folder} cannot be read: {error}."
        ) from error


def _pack(value: Any, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise TypeError(f"an array of {value.dtype} cannot be recorded.")
        arrays[name := f"a{len(arrays)}"] = value
        return {"array": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _pack(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        return {"dict": [[_pack(k, arrays), _pack(v, arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(item, arrays) for item in value]}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} cannot be recorded.")


def _unpack(value: Any, arrays: dict[str, Array]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "complex" in value:
        return complex(*value["complex"])
    if "type" in value:
        fields = {name: _unpack(v, arrays) for name, v in value["fields"].items()}
        return _TYPES[value["type"]](**fields)
    if "dict" in value:
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in value["dict"]}
    return [_unpack(item, arrays) for item in value["list"]]
