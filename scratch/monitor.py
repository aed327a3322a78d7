"""What of a training run is logged: the same tags, whichever backend trains."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scratch import pictures
from scratch.data import NAMES
from scratch.events import Domain, EventWriter, write_hparams_config
from scratch.health import Health
from scratch.initializers import ALIASES, INITIALIZERS
from scratch.layers import ACTIVATIONS
from scratch.learner import KINDS, Architecture
from scratch.network import LOSSES, Watched
from scratch.optimizers import DIALECTS, OPTIMIZERS
from scratch.schedules import SCHEDULES
from scratch.tally import Tally, rms_ratio

Array = np.ndarray
SPLITS = ("train_eval", "validation", "test")
MEASURES = ("min", "max", "mean", "std")
STEEP = 0.01  # of its greatest value: an output with less slope than that is saturated
METRICS = ("test/error", "validation/error", "validation/loss", "train_eval/error", "time/step_ms")
CHARTS = {
    name: {
        f"{name}: training, validation, test": [rf"^(train_eval|validation|test)/{name}$"],
        f"{name} of the minibatches": [rf"^train/{name}$"],
    }
    for name in ("loss", "error")
}
SHOWN = ("framework", "activation", "init", "optimizer", "lr")  # columns that are there without a click
HPARAMS: dict[str, Domain] = {  # all columns of the HParams tab, by the names of the settings
    "model": KINDS,
    "framework": ("numpy", "torch", "keras"),
    "data": NAMES,
    "activation": tuple(ACTIVATIONS),
    "init": (*INITIALIZERS, *ALIASES),
    "output": tuple(LOSSES),
    "optimizer": tuple(OPTIMIZERS),
    "dialect": DIALECTS,
    "schedule": tuple(SCHEDULES),
    "dtype": ("float32", "float64"),
    "hidden": (),
    "lr": (0.0, 10.0),
    "momentum": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "l1": (0.0, 1.0),
    "l2": (0.0, 1.0),
    "dropout": (0.0, 1.0),
    "batch_size": (1, 60_000),
    "steps": (0, 10_000_000),
    "seed": (0, 1_000_000),
}
# a run that was interrupted may go on, and TensorBoard keeps the first status it finds
ENDS = {"finished": "success", "failed": "failure", "interrupted": None}

Row = tuple[str, str, str, float | None, float | None]


class Monitor:
    """Writes a training run to an EventWriter and watches over its health.

    Steps count updates from 1; losses are in nats per example, errors fractions of the examples.
    Raises TrainingFailed (from any method that is given a loss or tensors) where one is not finite, after it
    has been logged; the log is flushed then, at evaluations and after tensors.
    """

    def __init__(self, writer: EventWriter, architecture: Architecture, health: Health | None = None) -> None:
        self.writer, self.architecture, self.health = writer, architecture, health or Health()

    def start(
        self, config: Mapping[str, Any], trial_id: str = "", runs_dir: str | Path | None = None
    ) -> None:
        """Configuration, graph, charts and the run's row among the HParams; once a run, not at a resume.

        config: settings by the names of HPARAMS, and others. Runs with one trial_id share a row; by default
        it is the run's folder, a row for each. runs_dir: what TensorBoard is started on, where the columns
        are named; by default what the run's folder lies in.
        """
        network = self.architecture.network()
        inputs = self.architecture.image if self.architecture.kind == "dcn" else self.architecture.sizes[:1]
        hparams = {name: _plain(config[name]) for name in HPARAMS if config.get(name) is not None}
        write_hparams_config(runs_dir or self.writer.folder.parent, HPARAMS, METRICS, SHOWN)
        self.writer.hparams(hparams, trial_id or self.writer.folder.name)
        self.writer.text("configuration", configuration(config))
        self.writer.graph(network.layers, inputs, network.output)
        self.writer.custom_scalars(CHARTS)
        self.writer.flush()

    def end(self, status: str) -> None:
        """The run's status among the HParams: finished or failed; interrupted leaves it open."""
        if status not in ENDS:
            raise ValueError(f"the status must be one of {', '.join(ENDS)}, but {status!r} came.")
        if ended := ENDS[status]:
            self.writer.session_end(ended)
        self.writer.flush()

    def batch(
        self,
        step: int,
        loss: float,
        error: float,
        learning_rate: float,
        step_ms: float,
        look: Callable[[], tuple[Watched, Mapping[str, Array]]] | None = None,
    ) -> None:
        """One minibatch.

        look gives the (watched, weights) of it; it is called to name a tensor where the loss is not finite.
        """
        scalars = {"train/loss": loss, "train/error": error}
        self.writer.scalars(scalars | {"learning_rate": learning_rate, "time/step_ms": step_ms}, step)
        if not np.isfinite(loss):
            if look:
                self.tensors(step, *look())
            self._finite(step, {}, {"train/loss": loss})

    def evaluation(self, step: int, split: str, loss: float, error: float) -> None:
        """Loss and error of one of SPLITS."""
        if split not in SPLITS:
            raise ValueError(f"the split must be one of {', '.join(SPLITS)}, but {split!r} came.")
        self.writer.scalars({f"{split}/loss": loss, f"{split}/error": error}, step)
        self.writer.flush()
        self._finite(step, {}, {f"{split}/loss": loss})

    def tensors(self, step: int, watched: Watched, weights: Mapping[str, Array]) -> list[str]:
        """Histograms and exact measures of all tensors of a pass; returns warnings that are new.

        The tags are those of `tags_of`, the measures `<tag>/min`, `/max`, `/mean` and `/std`; besides them
        `<layer>/dead_fraction` or `<layer>/saturated_fraction` for the hidden layers.
        """
        tallies = write_tensors(self.writer, step, watched, weights)
        fractions = dict(self._fractions(watched.values))
        self.writer.scalars(fractions, step)
        self._finite(step, tallies, {"train/loss": watched.loss})
        self.writer.flush()
        return self.health.warnings(step, tallies, fractions)

    def updates(self, step: int, before: Mapping[str, Array], after: Mapping[str, Array]) -> None:
        """`<layer>/W_update_ratio`: rms of a step's move over rms of the weights before; none from zero."""
        ratios = {f"{tag}_update_ratio": rms_ratio(before[tag], after[tag]) for tag in _weights_of(before)}
        self.writer.scalars({tag: ratio for tag, ratio in ratios.items() if not np.isnan(ratio)}, step)

    def pictures(
        self, step: int, weights: Mapping[str, Array], x: Array, t: Array, predictions: Array
    ) -> None:
        """First-layer kernels and misclassified examples, where the inputs are images.

        x (N, H, W, C) or (N, H W C), t (N,), predictions (N,) classes or (N, M) scores.
        """
        first, image = next(_weights_of(weights)), self.architecture.image
        if weights[first].ndim == 2:
            if weights[first].shape[0] != np.prod(image):
                return
            kernels = weights[first].reshape(*image, -1)
        else:
            kernels = weights[first]
        self.writer.image(f"{first}/kernels", pictures.kernels(kernels), step)
        found = predictions if predictions.ndim == 1 else predictions.argmax(axis=1)
        self.writer.image("misclassified", pictures.mistakes(x.reshape(-1, *image), t, found), step)

    def _fractions(self, values: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
        """Units that are active for no example, or outputs on a flat piece of a sigmoid or tanh."""
        activation = self.architecture.activation
        for layer in _layers(values)[:-1]:
            y = values[f"{layer}/activation"]
            if activation in ("relu", "leaky_relu"):
                best = y.max(axis=tuple(range(y.ndim - 1)))
                yield f"{layer}/dead_fraction", np.count_nonzero(best <= 0) / best.size
            elif activation in ("tanh", "sigmoid"):
                bound = np.sqrt(1 - STEEP)  # tanh' = 1 - y^2; a sigmoid is (1 + tanh(z / 2)) / 2
                low, high = (-bound, bound) if activation == "tanh" else ((1 - bound) / 2, (1 + bound) / 2)
                flat = np.count_nonzero(y < low) + np.count_nonzero(y > high)
                yield f"{layer}/saturated_fraction", flat / y.size

    def _finite(self, step: int, tallies: Mapping[str, Tally], scalars: Mapping[str, float]) -> None:
        try:
            self.health.finite(step, tallies, scalars)
        except Exception:
            self.writer.flush()
            raise


def tags_of(watched: Watched, weights: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """(tag, tensor): weights and values in forward order, then gradients in backward order.

    `<layer>/W`, `/b`, `/net_input`, `/activation`, `/pooled` where there is one; `<layer>/W_gradient`,
    `/b_gradient` and `/net_input_gradient`, the backpropagated error.
    """
    layers = _layers(watched.values)
    for layer in layers:
        for source, parts in ((weights, ("W", "b")), (watched.values, ("net_input", "activation", "pooled"))):
            yield from ((f"{layer}/{p}", source[f"{layer}/{p}"]) for p in parts if f"{layer}/{p}" in source)
    for layer in reversed(layers):
        for part in ("net_input", "W", "b"):
            if f"{layer}/{part}" in watched.gradients:  # code that is being checked may have lost one
                yield f"{layer}/{part}_gradient", watched.gradients[f"{layer}/{part}"]


def write_tensors(
    writer: EventWriter, step: int, watched: Watched, weights: Mapping[str, Array]
) -> dict[str, Tally]:
    """The histogram and the measures of every tensor of `tags_of`; returns the tallies by tag.

    `<tag>/nonfinite` counts the elements that are left out of them, where there are any.
    """
    tallies = {tag: writer.histogram(tag, tensor, step) for tag, tensor in tags_of(watched, weights)}
    measures = {
        f"{tag}/{name}": getattr(known, name)
        for tag, known in tallies.items()
        for name in MEASURES
        if known.count
    }
    lost = {f"{tag}/nonfinite": known.nonfinite for tag, known in tallies.items() if known.nonfinite}
    writer.scalars(measures | lost, step)
    return tallies


def log_check(
    writer: EventWriter, step: int, watched: Watched, weights: Mapping[str, Array], rows: Iterable[Row]
) -> None:
    """A comparison as a run: all tensors, and `error/<tag>/<referee>`, `error_over_allowed/<tag>/<referee>`.

    rows: (name, kind, referee, error, allowed), kind value, gradient or update; the tag is the name, with
    `_gradient` or `_update` behind it. A row without an error was not tested and is left out.
    """
    write_tensors(writer, step, watched, weights)
    scalars: dict[str, float] = {}
    for name, kind, referee, error, allowed in rows:
        tag = f"{name if kind == 'value' else f'{name}_{kind}'}/{referee}"
        if error is not None:
            scalars[f"error/{tag}"] = error
        if error is not None and allowed is not None:
            worst = float("inf") if error else 0.0  # where nothing is allowed
            scalars[f"error_over_allowed/{tag}"] = error / allowed if allowed else worst
    writer.scalars(scalars, step)
    writer.flush()


def _layers(values: Mapping[str, Array]) -> list[str]:
    return [name.removesuffix("/net_input") for name in values if name.endswith("/net_input")]


def _weights_of(weights: Mapping[str, Array]) -> Iterator[str]:
    return (name for name in weights if name.endswith("/W"))


def _plain(value: Any) -> bool | int | float | str:
    """What an HParam can hold."""
    if isinstance(value, bool | int | float | str):
        return value
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def configuration(config: Mapping[str, Any]) -> str:
    """Settings as a table in Markdown."""
    rows = (f"| {_cell(name)} | {_cell(value)} |" for name, value in config.items())
    return "\n".join(("| setting | value |", "|---|---|", *rows))


def _cell(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
