"""`gradparity export`: a run's weights in a file that PyTorch, Keras or NumPy reads without gradparity."""

import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from compare import export_code
from compare.destination import destination
from frameworks import guard
from scratch import checkpoint, files
from scratch.checkpoint import Checkpoint
from scratch.errors import DataError, UsageError
from scratch.learner import Architecture
from scratch.rundir import RunDirectory

Array = np.ndarray
SCHEMA = "gradparity/export/1"
ENDINGS = {"torch": ".safetensors", "keras": ".weights.h5", "npz": ".npz"}


def export(
    run_dir: str, to: str, best: bool = False, output: str | None = None, force: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the weights of a run's newest checkpoint, or of its best: (what was done, as JSON values; notes).

    The keys are path, format, step, names (canonical name: name in the file) and code, the Python that loads
    the file. Raises UsageError for a run without such a checkpoint and for a file that is there already,
    MissingError without the framework.
    """
    run = RunDirectory.view(run_dir)
    asked = output or run.path.resolve().name + ENDINGS[to]
    path = destination(asked, "the export", (ENDINGS[to],), force)
    found = checkpoint.load(_best(run) if best else run.checkpoints)
    if to == "npz":
        data, names = _npz(found.weights)
        code = export_code.npz(list(names), asked)
    else:
        architecture, trained_on = _architecture(found), str(run.config.get("data"))
        data, names = (_torch if to == "torch" else _keras)(architecture, found.weights)
        write = export_code.torch if to == "torch" else export_code.keras
        code = write(architecture, trained_on, asked)
    with files.writing(f"the export {asked}"):
        files.write_atomically(path, data)
    told = {"schema": SCHEMA, "path": asked, "format": to, "step": found.step, "names": names, "code": code}
    return told, found.notes


def _best(run: RunDirectory) -> Path:
    if found := checkpoint.best(run.checkpoints):
        return found
    raise UsageError(
        f"the run {run.path} has no best checkpoint: none was saved at an evaluation on validation examples; "
        "leave out --best for the newest."
    )


def _architecture(found: Checkpoint) -> Architecture:
    try:
        known: dict[str, Any] = found.info["architecture"]
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
        return Architecture(**values)
    except (KeyError, TypeError) as error:
        raise DataError(f"the checkpoint {found.path} does not say of which network it is.") from error


def _npz(weights: dict[str, Array]) -> tuple[bytes, dict[str, str]]:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **weights)
    return file.getvalue(), {name: name for name in weights}


def _torch(architecture: Architecture, weights: dict[str, Array]) -> tuple[bytes, dict[str, str]]:
    """A state_dict: PyTorch's names and layouts, fc1 after a flattening in the order of NCHW images."""
    guard.load_torch()
    from safetensors.torch import save

    from frameworks.pytorch.learner import TorchLearner

    learner = TorchLearner(architecture, dtype=_dtype(weights))
    learner.load(weights)
    names = {name: entry.name for name, entry in learner.table.items()}
    return save(learner.model.state_dict(), metadata={"format": "pt"}), names


def _keras(architecture: Architecture, weights: dict[str, Array]) -> tuple[bytes, dict[str, str]]:
    """Keras's own file, which numbers the layers of each class and ignores names and layers without weights.

    So every Sequential or functional model with these Conv2D and Dense layers in this order can load it.
    """
    guard.load_keras()
    from frameworks.keras_tf.learner import KerasLearner

    learner = KerasLearner(architecture, dtype=_dtype(weights))
    learner.load(weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"export{ENDINGS['keras']}"
        with warnings.catch_warnings():  # of Keras 3.15's own conversion to NumPy 2
            warnings.simplefilter("ignore", DeprecationWarning)
            learner.model.save_weights(path)
        data = path.read_bytes()
    names, counted = {}, {"conv2d": 0, "dense": 0}
    for name in weights:
        if name.endswith("/W"):
            kind = "conv2d" if weights[name].ndim == 4 else "dense"
            group = f"layers/{kind}_{counted[kind]}" if counted[kind] else f"layers/{kind}"
            counted[kind] += 1
        names[name] = f"{group}/vars/{0 if name.endswith('/W') else 1}"
    return data, names


def _dtype(weights: dict[str, Array]) -> str:
    return next(iter(weights.values())).dtype.name
