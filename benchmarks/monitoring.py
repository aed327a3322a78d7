"""What a monitored, checkpointed run costs beside the bare loop of its framework.

    python benchmarks/monitoring.py --framework torch,keras --steps 1100 --pairs 5

Both train the DCN on the same batches with the same optimizer, dropout, thread count and evaluations (10,000
training examples, the validation and the test set, every 1,100 steps). The bare loop is the framework's own:
its model, its dropout, its optimizer, data in its own tensors, the loss read once a step, and nothing logged
or saved. The two take turns, whoever begins; the figure is the median over the pairs of monitored / bare.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

EVAL_EVERY, TRAIN_EVAL = 1100, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", default="torch,keras", help="(default: torch,keras)")
    parser.add_argument("--steps", type=int, default=EVAL_EVERY, help=f"(default: {EVAL_EVERY})")
    parser.add_argument("--pairs", type=int, default=5, help="(default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="(default: 2)")
    parser.add_argument("--data-dir", help="where full MNIST lies; without it mnist-5k is trained on")
    parser.add_argument("--own", help=argparse.SUPPRESS)  # this process measures one framework
    options = parser.parse_args()
    if options.own:
        measure(options)
        return
    for framework in options.framework.split(","):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--own", framework], check=True)


def measure(options: argparse.Namespace) -> None:
    """Pairs of runs in this process, printed as they come."""
    from compare import train
    from frameworks import guard, runtime

    framework = options.own
    guard.load_torch() if framework == "torch" else guard.load_keras()
    runtime.limit_threads(framework, options.threads)
    chosen = train.Options(
        model="dcn",
        framework=framework,
        steps=options.steps,
        data="mnist" if options.data_dir else "mnist-5k",
        data_dir=options.data_dir,
    )
    with tempfile.TemporaryDirectory() as folder:
        bare = {"torch": BareTorch, "keras": BareKeras}[framework](train.Setting(chosen.resolved()))

        def monitored(number: int) -> float:
            return train.start(chosen, folder, f"run-{number}")["seconds"]

        bare(50)  # warm up: first calls, traces, pages
        ratios = []
        for pair in range(options.pairs):
            first, second = (bare, monitored) if pair % 2 else (monitored, bare)
            times = {}
            for run in (first, second):
                times[run is bare] = run(options.steps if run is bare else pair)
            ratios.append(times[False] / times[True])
            print(
                f"{framework} pair {pair + 1}: monitored {times[False]:.1f} s, bare {times[True]:.1f} s, "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(
        f"{framework}, {options.threads} threads, {options.steps} steps of 50: monitored / bare = "
        f"{statistics.median(ratios):.3f} (median of {len(ratios)}; {min(ratios):.3f} ... {max(ratios):.3f})"
    )


class BareTorch:
    """The loop as one writes it in PyTorch; a call trains from new weights and gives the seconds."""

    def __init__(self, setting: Any) -> None:
        import torch

        self.setting, self.data = setting, {}
        for part, examples in parts(setting).items():
            x = torch.tensor(examples.x.transpose(0, 3, 1, 2).copy())
            self.data[part] = x, torch.tensor(examples.t, dtype=torch.int64)

    def __call__(self, steps: int) -> float:
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Sequential(
            *(nn.Conv2d(1, 32, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 10)),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        x, t = self.data["train"]
        began = perf_counter()
        for number, batch in enumerate(batches(self.setting, steps), start=1):
            rows = torch.from_numpy(batch)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), t[rows])
            loss.backward()
            optimizer.step()
            loss.item()
            if number % EVAL_EVERY == 0 or number == steps:
                model.eval()
                with torch.no_grad():
                    for images, targets in self.data.values():
                        images, targets = images[:TRAIN_EVAL], targets[:TRAIN_EVAL]
                        for some, wanted in zip(images.split(1000), targets.split(1000), strict=True):
                            logits = model(some)
                            F.cross_entropy(logits, wanted).item(), (logits.argmax(1) != wanted).sum().item()
                model.train()
        return perf_counter() - began


class BareKeras:
    """The loop as one writes it for Keras on TensorFlow: one traced function a step."""

    def __init__(self, setting: Any) -> None:
        import tensorflow as tf

        self.setting, self.data = setting, {}
        for part, examples in parts(setting).items():
            self.data[part] = tf.constant(examples.x), tf.constant(examples.t.astype("int64"))

    def __call__(self, steps: int) -> float:
        import keras
        import tensorflow as tf
        from keras import layers

        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                *(layers.Conv2D(32, 5, padding="same", activation="relu"), layers.MaxPooling2D()),
                *(layers.Conv2D(64, 5, padding="same", activation="relu"), layers.MaxPooling2D()),
                *(layers.Flatten(), layers.Dense(1024, "relu"), layers.Dropout(0.5), layers.Dense(10)),
            ]
        )
        optimizer, cross_entropy = (
            keras.optimizers.Adam(1e-4),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        optimizer.build(model.trainable_variables)

        @tf.function
        def step(x: Any, t: Any, rows: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = cross_entropy(tf.gather(t, rows), model(tf.gather(x, rows), training=True))
            optimizer.apply(tape.gradient(loss, model.trainable_variables))
            return loss

        @tf.function
        def scores(x: Any, t: Any) -> Any:
            logits = model(x)
            return cross_entropy(t, logits), tf.reduce_sum(tf.cast(tf.argmax(logits, 1) != t, tf.int32))

        x, t = self.data["train"]
        began = perf_counter()  # a run traces its functions too
        for number, batch in enumerate(batches(self.setting, steps), start=1):
            step(x, t, tf.constant(batch)).numpy()
            if number % EVAL_EVERY == 0 or number == steps:
                for images, targets in self.data.values():
                    images, targets = images[:TRAIN_EVAL], targets[:TRAIN_EVAL]
                    for i in range(0, len(images), 1000):
                        [score.numpy() for score in scores(images[i : i + 1000], targets[i : i + 1000])]
        return perf_counter() - began


def parts(setting: Any) -> dict[str, Any]:
    return {part: examples for part, examples in setting.parts().items() if len(examples)}


def batches(setting: Any, steps: int) -> Iterator[Any]:
    """The run's own batches, as rows of the training set."""
    from scratch import data

    examples, number = len(setting.dataset.train), 0
    for epoch in count():
        for batch in data.batches(examples, 50, 0, epoch):
            if number == steps:
                return
            number += 1
            yield batch


if __name__ == "__main__":
    main()
