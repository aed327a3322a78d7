"""Penalties on the size of the parameters, added to the loss."""

import numpy as np

Array = np.ndarray


class Penalty:
    """l1 sum |W| + l2/2 sum W^2, over the weights, and over the biases too where `biases` is set.

    Its gradient is l1 sign(W) + l2 W; the derivative of |W| at 0 is taken as 0.
    Source: Goodfellow et al., Deep Learning, 7.1.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, biases: bool = False) -> None:
        self.l1, self.l2, self.biases = l1, l2, biases

    def covers(self, name: str) -> bool:
        """Whether the parameter of this name (`fc1/W`, `fc1/b`) is penalised at all."""
        return bool(self.l1 or self.l2) and (self.biases or name.endswith("/W"))

    def value(self, params: dict[str, Array]) -> Array | float:
        """The penalty, to be added to the loss."""
        return sum(
            self.l1 * (p * np.sign(p.real)).sum() + self.l2 / 2 * (p * p).sum()
            for name, p in params.items()
            if self.covers(name)
        )

    def gradient(self, p: Array) -> Array:
        """The penalty's gradient with respect to one parameter that it covers."""
        return self.l1 * np.sign(p.real) + self.l2 * p
