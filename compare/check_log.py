"""A check as a run beside the trained ones: its document, an event file for each network and precision."""

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from compare.verdict import Target
from scratch import files
from scratch.events import EventWriter
from scratch.monitor import Row, configuration, log_check


def write(runs_dir: str | os.PathLike, targets: list[Target], document: Mapping[str, Any]) -> Path | None:
    """`<runs_dir>/<date>-check/` with check.json and `<target>-<dtype>/`; None where no network was checked.

    Raises GradparityError where it cannot be written.
    """
    networks = [target for target in targets if target.passed is not None]
    if not networks:
        return None
    folder = _new_folder(Path(runs_dir))
    with files.writing(f"the log {folder}"):
        files.write_atomically(folder / "check.json", files.to_json(document))
    facts = {k: v for k, v in document.items() if isinstance(v, str | int | list) and k != "targets"}
    for target in networks:
        assert target.passed is not None
        network, watched = target.passed
        where = folder / f"{target.target}-{target.dtype}"
        with EventWriter(where) as writer, np.errstate(all="ignore"):  # what is checked may overflow
            own = {"target": target.target, "dtype": target.dtype, "verdict": target.verdict}
            writer.text("configuration", configuration(facts | own))
            log_check(writer, 0, watched, network.params, _rows(target))
            shape = watched.values[network.input_of(0)].shape[1:]
            writer.graph(network.layers, shape, network.output)
    return folder


def _rows(target: Target) -> Iterator[Row]:
    for name, j in target.loss.items():
        yield "loss", "value", name, j.error, j.allowed
    for q in target.quantities:
        tested = q.verdict != "untested"
        rule = q.note.partition(",")[0]  # of the optimizer whose update it is
        kind = f"update/{rule}" if q.kind == "update" else q.kind
        yield q.name, kind, q.referee, q.judgement.error if tested else None, q.judgement.allowed


def _new_folder(runs_dir: Path) -> Path:
    stamp, number = datetime.now().strftime("%Y-%m-%d-%H%M%S"), 1
    with files.writing(f"the log of this check in {runs_dir}"):
        runs_dir.mkdir(parents=True, exist_ok=True)
        while True:
            folder = runs_dir / (f"{stamp}-check" if number == 1 else f"{stamp}-check-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                continue
            return folder
