"""`gradparity train`: one run of one backend, logged, evaluated, checkpointed, resumed where it ended."""

import math
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from compare import interrupts
from compare.referees import build
from frameworks import guard, runtime
from scratch import checkpoint, data, initializers, optimizers, schedules, training
from scratch.checkpoint import Checkpoint
from scratch.errors import UsageError
from scratch.events import EventWriter
from scratch.health import TrainingFailed
from scratch.layers import ACTIVATIONS
from scratch.learner import KINDS, Architecture, Learner, NumpyLearner
from scratch.monitor import Monitor
from scratch.network import Watched
from scratch.rundir import RunDirectory

Array = np.ndarray
FRAMEWORKS = ("numpy", "torch", "keras")
TRAIN_EVAL = 10_000  # examples of the training set that are evaluated, always the first ones
PICTURED = 1_000  # examples of the test set among which mistakes are looked for, to be shown
# The course's DCN; the MLP starts on the bundled digits.
DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {
        "init": "he_normal",
        "bias": 0.0,
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
        "lr": 1e-3,
        "data": "mnist-5k",
        "steps": 1200,
        "eval_every": 100,
    },
    "dcn": {
        "init": "truncated_normal",
        "bias": 0.1,
        "dropout": 0.5,
        "l1": 0.0,
        "l2": 0.0,
        "lr": 1e-4,
        "data": "mnist",
        "steps": 5500,
        "eval_every": 1100,
    },
}


@dataclass(frozen=True)
class Options:
    """What the user chose; None leaves the model's default. The resolved options are a run's config.json."""

    model: str = "mlp"
    framework: str = "numpy"
    activation: str = "relu"
    init: str | None = None
    optimizer: str = "adam"
    dialect: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    l1: float | None = None
    l2: float | None = None
    penalize_biases: bool = False
    dropout: float | None = None
    hidden: tuple[int, ...] | None = None
    output: str = "softmax"
    batch_size: int = 50
    steps: int | None = None
    epochs: int | None = None
    schedule: str = "constant"
    schedule_factor: float | None = None
    schedule_every: int | None = None
    split: tuple[int, int, int] | None = None
    log_every: int = 100
    eval_every: int | None = None
    checkpoint_every: int = 1100
    seed: int = 0
    dtype: str = "float32"
    threads: int | None = None
    device: str = "cpu"
    data: str | None = None
    data_dir: str | None = None

    def resolved(self) -> "Options":
        """The same with every default filled in; raises UsageError for what makes no run."""

        def among(what: str, value: str, known: tuple[str, ...]) -> None:
            if value not in known:
                raise UsageError(f"{what} must be one of {', '.join(known)}, but {value!r} came.")

        among("the model", self.model, KINDS)
        among("--framework", self.framework, FRAMEWORKS)
        among("--activation", self.activation, tuple(ACTIVATIONS))
        among("--optimizer", self.optimizer, tuple(optimizers.OPTIMIZERS))
        if self.dialect and self.framework not in ("numpy", self.dialect):
            raise UsageError(
                f"--dialect chooses the update rules of numpy; {self.framework} follows its own, "
                f"but {self.dialect!r} came."
            )
        for name in (
            "batch_size",
            "log_every",
            "eval_every",
            "checkpoint_every",
            "steps",
            "epochs",
            "threads",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, but {value} came.")
        bounds = {
            "lr": (self.lr, 0 < (self.lr or 1) < np.inf, "finite and above 0"),
            "dropout": (self.dropout, 0 <= (self.dropout or 0) < 1, "in [0, 1)"),
            "l1": (self.l1, 0 <= (self.l1 or 0) < np.inf, "finite and not negative"),
            "l2": (self.l2, 0 <= (self.l2 or 0) < np.inf, "finite and not negative"),
            "seed": (self.seed, self.seed >= 0, "0 or more"),
        }
        for name, (value, valid, allowed) in bounds.items():
            if not valid:
                raise UsageError(f"--{name} must be {allowed}, but {value} came.")
        among("--device", self.device, runtime.DEVICES)
        self.rates(1.0)
        chosen = {
            name: getattr(self, name) for name in ("init", "dropout", "lr", "l1", "l2", "data", "eval_every")
        }
        filled = {name: DEFAULTS[self.model][name] for name, value in chosen.items() if value is None}
        own = "torch" if self.framework == "numpy" else self.framework
        return replace(self, dialect=self.dialect or own, **filled)

    def rates(self, learning_rate: float) -> schedules.Schedule:
        """The schedule; raises UsageError where it does not take its parameters."""
        given = {"factor": self.schedule_factor, "every": self.schedule_every}
        parameters = {name: value for name, value in given.items() if value is not None}
        return schedules.make(self.schedule, learning_rate, **parameters)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Options":
        """The options of a run, from its config.json."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.items()
            if name in known
        }
        return cls(**values)


@dataclass(frozen=True)
class Look:
    """What a run tells its watcher: a step (loss), an evaluation (its record) or a warning."""

    step: int
    steps: int
    loss: float
    error: float
    record: dict[str, Any] | None = None
    warning: str = ""


def start(
    options: Options, runs_dir: str, name: str | None, look: Callable[[Look], None] = lambda _: None
) -> dict[str, Any]:
    """Train in a new run directory below runs_dir; returns the summary."""
    setting = Setting(options.resolved())
    dataset = setting.dataset
    source = {"name": dataset.name, "source": dataset.source, "order": dataset.order}
    config = asdict(setting.options) | {"steps": setting.steps, "split": setting.split}
    setting.draw_weights()  # before anything is written: an unknown initialiser leaves no folder
    with RunDirectory.create(runs_dir, config, name, source) as run:
        return _Run(setting, run, look).go(0)


def resume(path: str, look: Callable[[Look], None] = lambda _: None) -> dict[str, Any]:
    """Take a run up from its newest intact checkpoint, or from its start where there is none."""
    with RunDirectory.open(path) as run:
        setting = Setting(Options.from_config(run.config).resolved())
        notes, done = run.notes, 0
        if not any(run.checkpoints.glob("step-*.safetensors")):
            setting.draw_weights()
        else:
            found = checkpoint.load(run.checkpoints)  # one that is damaged is not begun anew in silence
            learner, settings = setting.learner, setting.recorded()
            checkpoint.check_fits(found, learner.weights(), learner.optimizer_state(), **settings)
            learner.load(found.weights)
            learner.load_optimizer_state(found.optimizer_state)
            notes, done = (*notes, *found.notes), found.step
        run.rewind(done)
        for note in notes:
            look(Look(done, setting.steps, math.nan, math.nan, warning=note))
        return _Run(setting, run, look).go(done)


class Setting:
    """Data, network and learner of a run: what the options alone decide. dataset: theirs, if it is there."""

    def __init__(self, options: Options, dataset: data.Dataset | None = None) -> None:
        if options.framework != "numpy":
            guard.load_torch() if options.framework == "torch" else guard.load_keras()
        if options.threads is not None:
            runtime.limit_threads(options.framework, options.threads)
        runtime.make_deterministic(options.framework)
        self.device = runtime.choose_device(options.framework, options.device)
        self.dataset = dataset or data.load(
            str(options.data), options.split, options.data_dir, dtype=np.dtype(options.dtype).type
        )
        shape, classes = self.dataset.train.x.shape[1:], self.dataset.classes
        hidden = options.hidden
        if options.model == "dcn":
            if len(shape) != 3:
                raise UsageError(f"the DCN needs images, but {options.data!r} has none; use --data mnist-5k.")
            hidden = (1024,) if hidden is None else hidden
        else:
            hidden = (64, 32) if hidden is None else hidden
            shape = (math.prod(shape),)
            flat: dict[str, Any] = {
                part: data.Examples(examples.x.reshape(len(examples), *shape), examples.t)
                for part, examples in self.parts().items()
            }
            self.dataset = replace(self.dataset, **flat)
        self.options = replace(options, hidden=hidden)
        self.architecture = Architecture(
            kind=options.model,
            sizes=(*hidden, classes) if options.model == "dcn" else (*shape, *hidden, classes),
            image=shape if options.model == "dcn" else (28, 28, 1),  # type: ignore[arg-type]
            activation=options.activation,
            output=options.output,
            dropout=float(options.dropout or 0.0),
            l1=float(options.l1 or 0.0),
            l2=float(options.l2 or 0.0),
            penalize_biases=options.penalize_biases,
        )
        self.learner = self._learner()
        per_epoch = training.steps_per_epoch(self.dataset.train, options.batch_size)
        if options.epochs is not None:
            self.steps = options.epochs * per_epoch
        else:
            self.steps = options.steps or DEFAULTS[options.model]["steps"]
        self.plan = training.Plan(
            self.steps,
            options.batch_size,
            options.rates(float(options.lr)),  # type: ignore[arg-type]
            self.architecture.network(np.float32).draw_masks,
            options.seed,
        )

    def parts(self) -> dict[str, data.Examples]:
        return {part: getattr(self.dataset, part) for part in ("train", "validation", "test")}

    @property
    def split(self) -> tuple[int, ...]:
        return tuple(len(examples) for examples in self.parts().values())

    def recorded(self) -> dict[str, Any]:
        """What a checkpoint says of itself, and what must be the same to go on from it."""
        return {"options": asdict(self.options), "architecture": asdict(self.architecture)}

    def draw_weights(self) -> None:
        """The initial weights: the same for every backend, from the seed alone."""
        shapes, bias = self.architecture.network(np.float64).shapes, DEFAULTS[self.options.model]["bias"]
        rng = np.random.default_rng([self.options.seed, 0])
        self.learner.load(initializers.draw(shapes, str(self.options.init), rng, bias))

    def _learner(self) -> Learner:
        options = self.options
        given = {
            "learning_rate": options.lr,
            "momentum": options.momentum,
            "weight_decay": options.weight_decay,
        }
        hyperparameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if options.framework == "numpy":
            rule = optimizers.make(options.optimizer, str(options.dialect), **hyperparameters)
            return NumpyLearner(self.architecture.network(np.dtype(options.dtype)), rule)
        if options.framework == "torch":
            hyperparameters["device"] = self.device
        return build(
            options.framework, self.architecture, options.dtype, options.optimizer, **hyperparameters
        )


class _Run:
    """The steps of a run with all that is written on the way."""

    def __init__(self, setting: Setting, run: RunDirectory, look: Callable[[Look], None]) -> None:
        self.setting, self.run, self.look = setting, run, look
        self.options, self.learner = setting.options, setting.learner
        evaluations = [record for record in run.metrics() if "train_eval_loss" in record]
        errors = [r["validation_error"] for r in evaluations if r.get("validation_error") is not None]
        self.best = min(errors, default=math.inf)
        self.last = evaluations[-1] if evaluations else {}
        self.rows: list[dict[str, Any]] = []  # of metrics.jsonl, one a step, not yet written

    def go(self, done: int) -> dict[str, Any]:
        """Steps done + 1 to the last; returns the summary."""
        began = perf_counter()
        try:
            with np.errstate(all="ignore"):  # what overflows is found by its tensor, and said once
                self._steps(done)
        except KeyboardInterrupt as interrupt:
            where = str(interrupt) or "stopped at once; what follows the last checkpoint is done again"
            command = f"gradparity train --resume {shlex.quote(str(self.run.path))}"
            raise KeyboardInterrupt(f"{where}; {command} goes on.") from interrupt
        self.run.mark("finished", self.setting.steps)
        return {
            "run_dir": str(self.run.path),
            "steps": self.setting.steps,
            **{name: self.last.get(name) for name in ("train_loss", "validation_error", "test_error")},
            "seconds": perf_counter() - began,
        }

    def _steps(self, done: int) -> None:
        options, setting = self.options, self.setting
        if not done:  # killed before its first checkpoint, a run is begun anew
            for old in self.run.path.glob("events.out.tfevents.*"):
                old.unlink()
        with EventWriter(self.run.path, resumed_at=done + 1 if done else None) as writer:
            self.monitor = Monitor(writer, setting.architecture)
            if not done:
                self.monitor.start(self.run.config)
            try:
                before = self.learner.weights()
                with interrupts.heard(once=True) as signals:
                    for step in training.train(self.learner, setting.dataset.train, setting.plan, done):
                        at_end = step.number == setting.steps
                        self._batch(step, before, at_end)
                        if step.number % (options.eval_every or setting.steps) == 0 or at_end:
                            self._evaluate(step)
                        if step.number % options.log_every == 0 or at_end:
                            self._write_rows()
                        if step.number % options.checkpoint_every == 0 or at_end or signals:
                            self._save(step.number)
                        if signals and not at_end:
                            raise KeyboardInterrupt(f"stopped after step {step.number}")
                        if (step.number + 1) % options.log_every == 0:
                            before = self.learner.weights()
            except TrainingFailed as error:
                self._write_rows()
                self.monitor.end("failed")
                self.run.mark("failed", error.step, str(error))
                raise
            self.monitor.end("finished")

    def _batch(self, step: training.Step, before: dict[str, Array], at_end: bool) -> None:
        def see() -> tuple[Watched, dict[str, Array]]:
            return self.learner.watch(step.x, step.t, step.masks), self.learner.weights()

        row = {"step": step.number, "epoch": step.epoch, "train_loss": step.loss, "train_error": step.error}
        self.rows.append(row | {"learning_rate": step.learning_rate})
        number, steps = step.number, self.setting.steps
        self.monitor.batch(number, step.loss, step.error, step.learning_rate, step.milliseconds, see)
        self.look(Look(number, steps, step.loss, step.error))
        if number % self.options.log_every and not at_end:
            return
        watched, weights = see()
        if number % self.options.log_every == 0:
            self.monitor.updates(number, before, weights)
        for warning in self.monitor.tensors(number, watched, weights):
            self.look(Look(number, steps, step.loss, step.error, warning=warning))

    def _evaluate(self, step: training.Step) -> None:
        dataset, output = self.setting.dataset, self.options.output
        some = data.Examples(dataset.train.x[:TRAIN_EVAL], dataset.train.t[:TRAIN_EVAL])
        parts = {"train_eval": some, "validation": dataset.validation, "test": dataset.test}
        record = self.rows[-1]
        for part, examples in parts.items():
            if len(examples):
                scores = training.evaluate(self.learner, examples, output)
                self.monitor.evaluation(step.number, part, scores.loss, scores.error)
                record |= {f"{part}_loss": scores.loss, f"{part}_error": scores.error}
        shown = dataset.test if len(dataset.test) else some
        x, t = shown.x[:PICTURED], shown.t[:PICTURED]
        self.monitor.pictures(step.number, self.learner.weights(), x, t, self.learner.logits(x))
        self.last = record
        self.look(Look(step.number, self.setting.steps, step.loss, step.error, record))

    def _write_rows(self) -> None:
        rows, self.rows = self.rows, []
        self.run.log(*rows)

    def _save(self, number: int) -> None:
        error = self.last.get("validation_error") if self.last.get("step") == number else None
        info = self.setting.recorded()
        self._write_rows()
        saved = Checkpoint(number, self.learner.weights(), self.learner.optimizer_state(), info)
        self.run.save(saved, best=error is not None and error < self.best)
        self.best = min(self.best, math.inf if error is None else error)
        self.run.mark("running", number)
