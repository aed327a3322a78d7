"""Checkpoints: weights and optimizer state as safetensors, all else as JSON beside it, safe against a kill.

A save writes both files under temporary names, renames the tensors, then the record. The record names the
SHA-256 of its tensors, so a pair that does not belong together is never taken for a checkpoint; a kill
between the two renames leaves the new tensors with their record waiting as `.json.tmp`, which counts.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scratch import files
from scratch.errors import DataError, GradparityError, UsageError

Array = np.ndarray
SCHEMA = 1
RECORD = dict(step=int, best=bool, sha256=str, weights=list, optimizer_state=list, info=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A run at one step: what Learner.load and load_optimizer_state take, and what is worth knowing of it.

    info: JSON values: architecture, optimizer, dialect, dtype, framework, metrics, seed, ...
    best, path and notes (damaged checkpoints that were passed over) are filled in by `load`.
    """

    step: int
    weights: dict[str, Array]
    optimizer_state: dict[str, Array]
    info: dict[str, Any]
    best: bool = False
    path: Path | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


def save(folder: str | os.PathLike, checkpoint: Checkpoint, best: bool = False, keep: int = 2) -> Path:
    """Write step-XXXXXXXX.safetensors and .json; then remove all but the last `keep` and the best.

    Only steps up to this one are counted or removed; the newest one saved as best is the best. A step that
    is there already is replaced, and stays the best if its tensors are the same.
    Raises GradparityError where the disk is full or cannot be written: all that was there is there still.
    """
    folder = Path(folder)
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    record_path = path.with_suffix(".json")
    data = _serialize({**checkpoint.weights, **checkpoint.optimizer_state})
    digest = hashlib.sha256(data).hexdigest()
    record = {
        "schema": SCHEMA,
        "step": checkpoint.step,
        "best": best or _is_best(record_path, digest),
        "sha256": digest,
        "weights": list(checkpoint.weights),
        "optimizer_state": list(checkpoint.optimizer_state),
        "info": checkpoint.info,
    }
    with files.writing(f"the checkpoint {path}", "the checkpoints before it are intact"):
        folder.mkdir(parents=True, exist_ok=True)
        _settle(folder)
        try:
            files.write(files.waiting(path), data)
            files.write(files.waiting(record_path), files.to_json(_sealed(record)))
        except BaseException:
            files.waiting(path).unlink(missing_ok=True)
            files.waiting(record_path).unlink(missing_ok=True)
            raise
        os.replace(files.waiting(path), path)
        os.replace(files.waiting(record_path), record_path)
        files.sync(folder)
        _prune(folder, checkpoint.step, keep)
    return path


def load(path: str | os.PathLike) -> Checkpoint:
    """The checkpoint in a file, or the newest intact one in a folder, with a note for each passed over.

    Raises UsageError where there is none or a newer gradparity wrote it, DataError where it is damaged.
    """
    path = Path(path)
    with files.reading(path):
        if not path.is_dir():
            return _load_file(path)
    errors: list[GradparityError] = []
    for file in _files(path):
        try:
            found = _load_file(file)
        except GradparityError as error:
            errors.append(error)
            continue
        notes = tuple(f"Passed over a checkpoint: {error}" for error in errors)
        return dataclasses.replace(found, notes=notes)
    if errors:
        raise type(errors[0])(f"no checkpoint in {path} is intact; of the newest: {errors[0]}")
    raise UsageError(f"there is no checkpoint in {path}.")


def best(folder: str | os.PathLike) -> Path | None:
    """The newest intact checkpoint that was saved as the best."""
    for file in _files(Path(folder)):
        with suppress(GradparityError):
            if _intact(file)[0]["best"]:
                return file
    return None


def drop_after(folder: str | os.PathLike, step: int) -> None:
    """Remove the checkpoints of later steps, which a run that goes on from `step` writes anew."""
    folder = Path(folder)
    with files.writing(f"the folder {folder}"):
        for file in _files(folder):
            if _step(file) > step:
                _remove(file)


def check_fits(
    checkpoint: Checkpoint,
    weights: Mapping[str, Array],
    optimizer_state: Mapping[str, Array],
    **settings: Any,
) -> None:
    """Raise UsageError, naming the first difference, unless a learner can go on from this checkpoint.

    weights, optimizer_state: the learner's own. settings: what must equal the checkpoint's info, such as
    architecture, optimizer, dialect, dtype; what the info does not hold is not compared.
    """
    where = checkpoint.path or f"of step {checkpoint.step}"
    kinds = (
        ("network", weights, checkpoint.weights),
        ("optimizer", optimizer_state, checkpoint.optimizer_state),
    )
    for kind, here, there in kinds:
        for name in (*here, *there):
            expected, came = (f"{np.shape(a[name])}" if name in a else "missing" for a in (here, there))
            if expected != came:
                raise UsageError(
                    f"the checkpoint {where} is of another {kind}: "
                    f"{name} is {came} there and {expected} here."
                )
    info = json.loads(files.to_json(checkpoint.info))
    for name, setting in json.loads(files.to_json(settings)).items():
        if name in info and (differences := _differences(setting, info[name], name)):
            raise UsageError(f"the checkpoint {where} is of another run: {differences[0]}.")


def _serialize(tensors: dict[str, Array]) -> bytes:
    from safetensors import SafetensorError
    from safetensors.numpy import save as serialize

    # not ascontiguousarray, which makes a scalar a vector
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    try:
        return serialize(arrays, metadata={"format": "np"})
    except (SafetensorError, KeyError, ValueError) as error:
        dtypes = ", ".join(sorted({a.dtype.name for a in arrays.values()}))
        raise UsageError(f"safetensors cannot hold all of the dtypes {dtypes}: {error}.") from error


def _load_file(path: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    path = path.with_suffix(".safetensors") if path.suffix == ".json" else path
    record, data = _intact(path)
    try:
        tensors = parse(data)
        weights = {name: tensors.pop(name) for name in record["weights"]}
        state = {name: tensors.pop(name) for name in record["optimizer_state"]}
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{path} does not hold the tensors that its record names: {error}.") from error
    return Checkpoint(record["step"], weights, state, record["info"], record["best"], path)


def _intact(path: Path) -> tuple[dict[str, Any], bytes]:
    """A checkpoint's record and the bytes of its tensors, which are the very ones it was saved with."""
    record_path = path.with_suffix(".json")
    with files.reading(path):
        if not path.is_file():
            if record_path.is_file():
                raise DataError(f"{record_path} is half a checkpoint: its tensors, {path.name}, are missing.")
            raise UsageError(f"there is no checkpoint {path}.")
        data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    with suppress(GradparityError):  # a save that was killed between its two renames
        waiting = _record(files.waiting(record_path))
        if waiting["sha256"] == digest:
            return waiting, data
    record = _record(record_path)
    if record["sha256"] != digest:
        raise DataError(f"{path} is damaged: its bytes are not those that were saved (SHA-256 differs).")
    return record, data


def _record(path: Path) -> dict[str, Any]:
    """The JSON half of a checkpoint, checked for what it must hold."""
    if not path.is_file():
        raise DataError(
            f"{path.with_suffix('.safetensors')} is half a checkpoint, or none of gradparity's: "
            f"{path.name} is missing beside it."
        )
    record = files.read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise DataError(f"{path} is no record of a gradparity checkpoint.")
    if record["schema"] > SCHEMA:
        raise UsageError(
            f"{path} was written by a newer gradparity (format {record['schema']}, known up to {SCHEMA}); "
            f"upgrade to read it."
        )
    if _sealed(record) != record or not all(isinstance(record.get(k), t) for k, t in RECORD.items()):
        raise DataError(f"{path} is damaged: its text is not the one that was saved.")
    return record


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with a digest of itself, so that a changed digit does not pass."""
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    return rest | {"record_sha256": hashlib.sha256(files.to_json(rest)).hexdigest()}


def _differences(here: Any, there: Any, name: str) -> list[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        return [d for k in here | there for d in _differences(here.get(k), there.get(k), f"{name}.{k}")]
    return [] if here == there else [f"{name} is {there!r} there and {here!r} here"]


def _is_best(record_path: Path, digest: str) -> bool:
    with suppress(GradparityError):
        record = _record(record_path)
        return record["best"] and record["sha256"] == digest
    return False


def _files(folder: Path) -> list[Path]:
    """The tensor files of all steps of which a half or both are there, newest first."""
    found = (re.fullmatch(r"(step-\d+)\.(safetensors|json)", file.name) for file in folder.glob("step-*"))
    names = {match[1] for match in found if match}
    return sorted((folder / f"{name}.safetensors" for name in names), key=_step, reverse=True)


def _prune(folder: Path, step: int, keep: int) -> None:
    records: dict[Path, dict[str, Any]] = {}
    orphans = []
    for file in _files(folder):
        if _step(file) > step:
            continue
        if not (file.exists() and file.with_suffix(".json").exists()):
            orphans.append(file)
            continue
        with suppress(GradparityError):  # what cannot be read is not ours to remove
            records[file] = _record(file.with_suffix(".json"))
    kept = [*records][: max(keep, 1)] + [file for file, record in records.items() if record["best"]][:1]
    for file in [*orphans, *(file for file in records if file not in kept)]:
        _remove(file)


def _remove(file: Path) -> None:
    """The record first: tensors without one are no checkpoint, and the next save removes them."""
    for path in (file.with_suffix(".json"), file):
        files.waiting(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Finish a save that was killed between its two renames; remove what other kills have left."""
    for waiting in folder.glob("step-*.json.tmp"):
        record_path = waiting.with_suffix("")
        with suppress(GradparityError):
            record, _ = _intact(record_path.with_suffix(".safetensors"))
            if record["record_sha256"] == _record(waiting)["record_sha256"]:
                os.replace(waiting, record_path)
    for stray in folder.glob("step-*.tmp"):
        stray.unlink()


def _step(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))
