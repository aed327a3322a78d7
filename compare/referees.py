"""The referees: PyTorch, Keras and arithmetic. What one has computed for a case is kept."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from compare.case import Case
from compare.numeric_referee import Derivative, differentiate
from compare.opcases import OpCase, derivatives
from frameworks import guard
from scratch.errors import UsageError
from scratch.learner import Architecture, Learner
from scratch.network import Watched

Array = np.ndarray
Result = TypeVar("Result")
FRAMEWORKS = ("torch", "keras")
NAMES = (*FRAMEWORKS, "numeric")


class Referees:
    """Those in use, by name; frameworks are imported here and nowhere else in compare.

    Raises MissingError where one asked for is not installed, UsageError for an unknown name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if unknown := set(names) - set(NAMES):
            came = ", ".join(map(repr, sorted(unknown)))
            raise UsageError(f"the framework must be one of {', '.join(NAMES)}, but {came} came.")
        self.names = tuple(name for name in NAMES if name in names)
        self.frameworks = tuple(name for name in FRAMEWORKS if name in names)
        self._known: dict[tuple, Any] = {}
        if "torch" in self.frameworks:
            guard.load_torch()
        if "keras" in self.frameworks:
            guard.load_keras()

    @classmethod
    def installed(cls) -> tuple[str, ...]:
        """The names of the referees that can be used here."""
        needs = {"torch": ("torch",), "keras": ("keras", "tensorflow"), "numeric": ()}
        return tuple(name for name in NAMES if all(guard.installed(package) for package in needs[name]))

    def once(self, key: tuple, compute: Callable[[], Result]) -> Result:
        """What `compute` gave when this key was first asked for."""
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def forget(self) -> None:
        """Free what was computed, learners too."""
        self._known.clear()

    def learner(self, framework: str, architecture: Architecture, dtype: str) -> Learner:
        """The framework's own network; the same object for the same question."""
        return self.once((framework, architecture, dtype), lambda: build(framework, architecture, dtype))

    def watch(self, framework: str, case: Case, dtype: str) -> Watched:
        """The framework's forward and backward pass over the case."""

        def run() -> Watched:
            learner = self.learner(framework, case.architecture, dtype)
            learner.load(case.weights)
            return learner.watch(case.x, case.t, case.masks)

        return self.once((framework, dtype, case.key), run)

    def derivatives(self, case: Case) -> tuple[float, dict[str, Derivative]]:
        """(loss, derivatives) by complex step."""
        return self.once(("numeric", case.key), lambda: differentiate(case))

    def operation(
        self, framework: str, case: OpCase, cotangent: Array, dtype: str
    ) -> tuple[Array, dict[str, Array]]:
        """(y, gradients) of one operation in a framework."""

        def run() -> tuple[Array, dict[str, Array]]:
            arrays = {name: a.astype(dtype) for name, a in case.arrays.items()}
            return _evaluator(framework)(case.op, arrays, case.options, cotangent.astype(dtype))

        return self.once((framework, dtype, case.label, cotangent.tobytes()), run)

    def operation_derivatives(self, case: OpCase, cotangent: Array) -> dict[str, Array]:
        """Gradients of one operation by complex step."""
        return self.once(("numeric", case.label, cotangent.tobytes()), lambda: derivatives(case, cotangent))


def build(
    framework: str, architecture: Architecture, dtype: str, optimizer: str = "sgd", **hyperparameters: Any
) -> Learner:
    """A framework's Learner; the framework must have been loaded through the guard."""
    if framework == "torch":
        from frameworks.pytorch.learner import TorchLearner

        return TorchLearner(architecture, optimizer, dtype, **hyperparameters)
    from frameworks.keras_tf.learner import KerasLearner

    return KerasLearner(architecture, optimizer, dtype, **hyperparameters)


def _evaluator(framework: str) -> Callable[..., tuple[Array, dict[str, Array]]]:
    if framework == "torch":
        from frameworks.pytorch.ops import evaluate
    else:
        from frameworks.keras_tf.ops import evaluate
    return evaluate
