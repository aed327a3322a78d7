"""`gradparity check`: which architectures, data and updates are compared, and in which order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from compare import case, drift, opcheck, parity, updates
from compare.referees import NAMES, Referees
from compare.verdict import Target
from scratch import data
from scratch.errors import GradparityError, UsageError
from scratch.initializers import ALIASES, INITIALIZERS
from scratch.layers import ACTIVATIONS
from scratch.learner import Architecture
from scratch.optimizers import OPTIMIZERS

TARGETS = ("mlp", "dcn", "ops")
# What a check exercises where the user asks for nothing else: a fault in a penalty must not hide.
DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {
        "init": "he_normal",
        "bias": 0.0,
        "dropout": 0.2,
        "l1": 1e-4,
        "l2": 1e-2,
        "optimizer": "all",
        "weight_decays": (0.01,),
    },
    "dcn": {
        "init": "truncated_normal",
        "bias": 0.1,
        "dropout": 0.5,
        "l1": 0.0,
        "l2": 0.0,
        "optimizer": "adam",
        "weight_decays": (0.0,),
    },
}


@dataclass(frozen=True)
class Options:
    """What the user chose; None leaves the default of the target."""

    targets: tuple[str, ...] = TARGETS
    dtypes: tuple[str, ...] = parity.DTYPES
    activation: str = "relu"
    init: str | None = None
    hidden: tuple[int, ...] | None = None
    output: str = "softmax"
    dropout: float | None = None
    l1: float | None = None
    l2: float | None = None
    penalize_biases: bool = False
    optimizer: str | None = None
    steps: int = 2
    batch_size: int = 12
    data: str = "mnist-5k"
    data_dir: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        def among(what: str, value: str, known: tuple[str, ...]) -> None:
            if value not in known:
                raise UsageError(f"{what} must be one of {', '.join(known)}, but {value!r} came.")

        def number(what: str, value: float | None, valid: bool, allowed: str) -> None:
            if value is not None and not valid:
                raise UsageError(f"{what} must be {allowed}, but {value} came.")

        for target in self.targets:
            among("a target", target, TARGETS)
        among("--activation", self.activation, tuple(ACTIVATIONS))
        if self.init is not None:
            among("--init", self.init, (*INITIALIZERS, *ALIASES))
        if self.optimizer not in (None, "all"):
            for name in str(self.optimizer).split(","):
                among("--optimizer", name, (*OPTIMIZERS, "all"))
                if name == "all":
                    raise UsageError(f"--optimizer takes a list or all, but {self.optimizer!r} came.")
        for what, rate in (("--l1", self.l1), ("--l2", self.l2)):
            number(what, rate, 0 <= (rate or 0) < np.inf, "finite and not negative")
        number("--dropout", self.dropout, 0 <= (self.dropout or 0) < 1, "in [0, 1)")
        number("--seed", self.seed, self.seed >= 0, "0 or more")
        data.check_name(self.data, self.data_dir)
        for what, count in (("--batch-size", self.batch_size), ("--steps", self.steps)):
            if count < 1:
                raise UsageError(f"{what} must be at least 1, but {count} came.")

    def of(self, target: str, name: str) -> Any:
        """The user's choice, or the target's default."""
        chosen = getattr(self, name)
        return DEFAULTS[target][name] if chosen is None else chosen

    def optimizers(self, target: str) -> tuple[str, ...]:
        names = str(self.of(target, "optimizer"))
        return tuple(OPTIMIZERS) if names == "all" else tuple(names.split(","))


def architecture(options: Options, target: str, examples: data.Examples, classes: int) -> Architecture:
    """What `options` make of a target on data of this kind; raises UsageError where they do not fit."""
    shared = {
        "activation": options.activation,
        "output": options.output,
        "penalize_biases": options.penalize_biases,
        "dropout": float(options.of(target, "dropout")),
        "l1": float(options.of(target, "l1")),
        "l2": float(options.of(target, "l2")),
    }
    if target == "mlp":
        hidden = (64, 32) if options.hidden is None else options.hidden
        sizes = (int(np.prod(examples.x.shape[1:])), *hidden, classes)
        return Architecture(kind="mlp", sizes=sizes, **shared)  # type: ignore[arg-type]
    if examples.x.ndim != 4:
        raise UsageError(
            f"the DCN needs images, but {options.data!r} has {examples.x.shape[1]} features an example; "
            "use --data mnist-5k, or the target mlp."
        )
    if options.hidden is not None and len(options.hidden) != 1:
        raise UsageError(
            f"the DCN has one hidden dense layer: --hidden takes one size, {len(options.hidden)} came."
        )
    hidden = (1024,) if options.hidden is None else options.hidden
    image = examples.x.shape[1:]
    return Architecture(kind="dcn", sizes=(*hidden, classes), image=image, **shared)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Part:
    """One stretch of a check: a network's passes, its updates, the drift, or the operations."""

    target: str
    name: str
    run: Callable[[], list[Target]]
    judged: bool = True


def load_data(options: Options) -> data.Dataset | None:
    """The data set that the check draws its batch from; None where no target needs one."""
    if set(options.targets) == {"ops"}:
        return None
    return data.load(options.data, data_dir=options.data_dir, dtype=np.float64)


def parts(
    options: Options,
    referees: Referees,
    dataset: data.Dataset | None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Part]:
    """What a check consists of, in order; nothing is compared before `run` is called."""
    found: list[Part] = []
    for target in ("mlp", "dcn"):
        if target not in options.targets or dataset is None:
            continue
        chosen = architecture(options, target, dataset.train, dataset.classes)
        batch = _batches(dataset.train, options.batch_size)

        def draw(attempt: int, target=target, chosen=chosen, batch=batch) -> case.Case:
            init, bias = str(options.of(target, "init")), float(DEFAULTS[target]["bias"])
            return case.draw(chosen, batch, init, bias, options.seed, attempt)

        def passes(target=target, draw=draw) -> list[Target]:
            progress(f"{target}: passes")
            return parity.check_network(target, draw, referees, options.dtypes)

        def steps(target=target, draw=draw) -> list[Target]:
            progress(f"{target}: updates")
            rules = list(product(options.optimizers(target), DEFAULTS[target]["weight_decays"]))
            return updates.check_updates(target, draw(0), referees, rules, options.steps, options.dtypes)

        def free(target=target, draw=draw) -> list[Target]:
            progress(f"{target}: free-running steps")
            rules = options.optimizers(target)
            return [drift.free_running(target, draw(0), referees, rules, options.steps)]

        found += [Part(target, "passes", passes), Part(target, "updates", steps)]
        if "float64" in options.dtypes and referees.frameworks:
            found.append(Part(target, "drift", free, judged=False))
    if "ops" in options.targets:

        def operations() -> list[Target]:
            progress("ops")
            return opcheck.check_ops(referees, options.seed, options.dtypes)

        found.append(Part("ops", "operations", operations))
    return found


def check(
    options: Options,
    referees: Referees,
    dataset: data.Dataset | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Target]:
    """Run the check; one Target for each target and precision. Loads the data unless it is given."""
    dataset = load_data(options) if dataset is None else dataset
    return merge(run(part) for part in parts(options, referees, dataset, progress))


def run(part: Part) -> list[Target]:
    """Run one part. What the checked code refuses is its failure, not the user's usage."""
    try:
        return part.run()
    except UsageError as error:
        raise GradparityError(f"the checked code failed in {part.target} ({part.name}): {error}") from error


def merge(results: Iterable[list[Target]]) -> list[Target]:
    """The results of all parts, one Target for each target and precision."""
    merged: dict[tuple[str, str], Target] = {}
    for result in (result for part in results for result in part):
        into = merged.setdefault((result.target, result.dtype), result)
        if into is not result:
            into.quantities += result.quantities
            into.drift += result.drift
            into.passed = into.passed or result.passed
    return list(merged.values())


def choose_referees(asked: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(referees to use, referees not installed). Asked for by name, a missing one is not passed over."""
    if asked is not None:
        return tuple(dict.fromkeys(name.strip() for name in asked.split(","))), ()
    here = Referees.installed()
    return here, tuple(name for name in NAMES if name not in here)


def _batches(examples: data.Examples, size: int) -> case.Batch:
    if size > len(examples):
        raise UsageError(f"--batch-size {size} is more than the {len(examples)} training examples.")

    def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.choice(len(examples), size, replace=False)
        return examples.x[chosen], examples.t[chosen]

    return batch
