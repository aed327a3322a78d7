"""The Learner protocol: a model with its optimizer, seen from outside, NumPy in and NumPy out.

Loop, monitor, comparison and command know the three backends only through it. Names and layouts are
canonical: x (N, D) or NHWC images, kernels (K, L, C, F), dense weights (D, M), `conv1/W`, `fc1/b`, ...
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from scratch import models, optimizers
from scratch.errors import UsageError
from scratch.network import Masks, Network, Watched, check_names
from scratch.regularizers import Penalty

Array = np.ndarray
KINDS = ("mlp", "dcn")


@dataclass(frozen=True)
class Architecture:
    """What a user chooses about a network; each backend builds its own from these values.

    sizes: (D, hidden ..., M) of an MLP; (hidden, M) of the DCN, whose image, filters and kernel are apart.
    l1, l2: the loss gains l1 sum |W| + l2/2 sum W^2, over the biases too where penalize_biases is set.
    """

    kind: str = "mlp"
    sizes: tuple[int, ...] = (784, 64, 32, 10)
    image: tuple[int, int, int] = (28, 28, 1)
    filters: tuple[int, int] = (32, 64)
    kernel: int = 5
    activation: str = "relu"
    output: str = "softmax"
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    penalize_biases: bool = False

    def __post_init__(self) -> None:
        for name in ("dropout", "l1", "l2"):  # Keras keeps no more of them than a float32, in any precision
            object.__setattr__(self, name, optimizers.snap(getattr(self, name)))

    def network(self, dtype: Any = np.float32) -> Network:
        """The NumPy network of this architecture; raises UsageError where the values make none."""
        penalty = Penalty(self.l1, self.l2, self.penalize_biases)
        if self.kind == "mlp":
            return models.mlp(self.sizes, self.activation, self.output, self.dropout, penalty, dtype)
        if self.kind == "dcn":
            if len(self.sizes) != 2:
                raise UsageError(f"the DCN takes two sizes, (hidden, classes), but {self.sizes} came.")
            hidden, classes = self.sizes
            return models.dcn(
                image=self.image,
                filters=self.filters,
                kernel=self.kernel,
                hidden=hidden,
                classes=classes,
                activation=self.activation,
                output=self.output,
                dropout=self.dropout,
                penalty=penalty,
                dtype=dtype,
            )
        raise UsageError(f"the model must be one of {', '.join(KINDS)}, but {self.kind!r} came.")


class Learner(Protocol):
    """A model with its optimizer. Arrays that come back are copies; loading is strict in names and shapes."""

    framework: str
    learning_rate: float

    def weights(self) -> dict[str, Array]: ...

    def load(self, weights: dict[str, Array]) -> None: ...

    def logits(self, x: Array) -> Array:
        """Logits (N, M), dropout off."""
        ...

    def loss_and_grads(
        self, x: Array, t: Array, masks: Masks | None = None
    ) -> tuple[float, dict[str, Array]]:
        """Mean loss with the penalty, and its gradient by parameter name; dropout by masks, else off."""
        ...

    def watch(self, x: Array, t: Array, masks: Masks | None = None) -> Watched:
        """The same pass with everything in between; see Watched."""
        ...

    def apply(self, gradients: dict[str, Array]) -> None:
        """One optimizer update with the given gradients."""
        ...

    def step(self, x: Array, t: Array, masks: Masks | None = None) -> tuple[float, float]:
        """One training step: the minibatch's loss and error (see error_of) before the update."""
        ...

    def optimizer_state(self) -> dict[str, Array]:
        """`step` (an integer scalar) and `<parameter>/<slot>` arrays, such as `fc1/W/velocity`."""
        ...

    def load_optimizer_state(self, state: dict[str, Array]) -> None: ...


def error_of(logits: Array, t: Array) -> float:
    """Fraction of the rows of logits (N, M) whose greatest is not the target: t (N,), or 1s in t (N, M)."""
    found = logits.argmax(axis=1)
    return float((t[np.arange(len(t)), found] == 0).mean() if t.ndim == 2 else (found != t).mean())


class NumpyLearner:
    """scratch's own Learner: hand-written gradients, an optimizer over the flat vector."""

    framework = "numpy"

    def __init__(self, network: Network, optimizer: optimizers.Optimizer | None = None) -> None:
        self.network, self.optimizer = network, optimizer or optimizers.SGD()

    @property
    def learning_rate(self) -> float:
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer.learning_rate = value

    def weights(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self.network.params.items()}

    def load(self, weights: dict[str, Array]) -> None:
        self.network.load(weights)

    def logits(self, x: Array) -> Array:
        return self.network.forward(self._cast(x))

    def loss_and_grads(
        self, x: Array, t: Array, masks: Masks | None = None
    ) -> tuple[float, dict[str, Array]]:
        loss, gradients = self.network.loss_and_grads(self._cast(x), t, masks)
        return loss, {name: value.copy() for name, value in gradients.items()}

    def watch(self, x: Array, t: Array, masks: Masks | None = None) -> Watched:
        return self.network.watch(self._cast(x), t, masks)

    def apply(self, gradients: dict[str, Array]) -> None:
        check_names(gradients, self.network.shapes)
        flat = np.empty_like(self.network.flat)
        for name, view in self.network.named(flat).items():
            view[...] = gradients[name]
        self.optimizer.update(self.network.flat, flat)

    def step(self, x: Array, t: Array, masks: Masks | None = None) -> tuple[float, float]:
        watched = self.network.watch(self._cast(x), t, masks)
        self.network.collect(watched.gradients)
        self.optimizer.update(self.network.flat, self.network.flat_gradient)
        return watched.loss, error_of(watched.values[self.network.logits_name], t)

    def optimizer_state(self) -> dict[str, Array]:
        slots = self.optimizer.state or self.optimizer.initial_state(self.network.flat)
        state: dict[str, Array] = {"step": np.int64(self.optimizer.step)}  # type: ignore[dict-item]
        for slot, flat in slots.items():
            state |= {f"{name}/{slot}": view.copy() for name, view in self.network.named(flat).items()}
        return state

    def load_optimizer_state(self, state: dict[str, Array]) -> None:
        slots = self.optimizer.initial_state(self.network.flat)
        shapes = {f"{n}/{slot}": s for slot in slots for n, s in self.network.shapes.items()}
        check_names(state, {"step": ()} | shapes)
        for slot, flat in slots.items():
            for name, view in self.network.named(flat).items():
                view[...] = state[f"{name}/{slot}"]
        self.optimizer.state, self.optimizer.step = slots, int(state["step"])

    def _cast(self, x: Array) -> Array:
        return np.asarray(x, self.network.flat.dtype)
