"""The one loop that trains all three backends, and the evaluation that they share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from scratch import data
from scratch.errors import UsageError
from scratch.learner import Learner
from scratch.network import Masks
from scratch.schedules import Schedule

Array = np.ndarray


@dataclass(frozen=True)
class Plan:
    """What fixes a run besides the weights it starts from: the same plan feeds every backend the same.

    draw_masks: Network.draw_masks of the architecture. Batches depend on (seed, epoch) and dropout masks on
    (seed, step) alone, so a resumed run draws what the uninterrupted one would have drawn.
    """

    steps: int
    batch_size: int
    schedule: Schedule
    draw_masks: Callable[[int, np.random.Generator], Masks]
    seed: int = 0

    def masks(self, step: int) -> Masks:
        """Dropout masks of a step."""
        return self.draw_masks(self.batch_size, np.random.default_rng([self.seed, 1, step]))


@dataclass(frozen=True)
class Step:
    """One training step: `number` counts from 1; loss in nats per example and error before the update."""

    number: int
    epoch: int
    loss: float
    error: float
    learning_rate: float
    milliseconds: float
    x: Array
    t: Array
    masks: Masks


@dataclass(frozen=True)
class Scores:
    """Mean loss in nats per example, without penalty, and the fraction of wrong answers."""

    loss: float
    error: float


def train(learner: Learner, examples: data.Examples, plan: Plan, start: int = 0) -> Iterator[Step]:
    """Take steps start + 1 ... plan.steps, one at each `next`; the caller looks on in between.

    An epoch is a permutation of the examples drawn from (seed, epoch); its short last batch is left out.
    Raises UsageError where a batch does not fit the examples.
    """
    per_epoch, number = steps_per_epoch(examples, plan.batch_size), start
    while number < plan.steps:
        epoch, done = divmod(number, per_epoch)
        learner.learning_rate = plan.schedule(epoch)
        for batch in list(data.batches(len(examples), plan.batch_size, plan.seed, epoch))[done:]:
            number += 1
            x, t, masks = examples.x[batch], examples.t[batch], plan.masks(number)
            before = perf_counter()
            loss, error = learner.step(x, t, masks)
            took = 1000 * (perf_counter() - before)
            yield Step(number, epoch, loss, error, learner.learning_rate, took, x, t, masks)
            if number == plan.steps:
                return


def steps_per_epoch(examples: data.Examples, batch_size: int) -> int:
    """Whole batches in the examples; raises UsageError where there is none."""
    if batch_size > len(examples):
        raise UsageError(
            f"a batch of {batch_size} does not fit {len(examples)} training examples; lower --batch-size."
        )
    return len(examples) // batch_size


def evaluate(learner: Learner, examples: data.Examples, output: str, batch_size: int = 1000) -> Scores:
    """Loss and error over all examples, dropout off; NaN for none."""
    losses, wrong = [], []
    for start in range(0, len(examples), batch_size):
        t = examples.t[start : start + batch_size]
        z = learner.logits(examples.x[start : start + batch_size]).astype(np.float64)
        losses.append(losses_of(z, t, output))
        wrong.append(z.argmax(axis=1) != t)
    if not losses:
        return Scores(float("nan"), float("nan"))
    return Scores(float(np.concatenate(losses).mean()), float(np.concatenate(wrong).mean()))


def losses_of(z: Array, t: Array, output: str) -> Array:
    """Loss (N,) of each example in nats: cross-entropy of softmax or of sigmoid outputs, z (N, M), t (N,)."""
    if output == "softmax":
        return np.logaddexp.reduce(z, axis=1) - z[np.arange(len(t)), t]
    one_hot = t[:, None] == np.arange(z.shape[1])
    return (np.logaddexp(0, z) - z * one_hot).sum(axis=1)
