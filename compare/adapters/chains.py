"""Which of a network's arrays are weights and biases, in which order and layout: read off their shapes.

Sizes that are all distinct leave no choice. What is found is the `layers` of a network's description:
[{"W": name, "b": name or None, "transposed": W is (out, in), "folded": "" or where the bias row stands}].
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
BIAS = re.compile(r"b|.*bias", re.I)
STEPS = 2000  # of the search, which equal sizes make long


def layers_of(arrays: dict[str, Array], inputs: int, outputs: int) -> list[dict[str, Any]] | None:
    """The layers from `inputs` features to `outputs` logits; None where the shapes make no such chain."""
    vectors = {n: a.size for n, a in arrays.items() if a.ndim == 1 or (a.ndim == 2 and 1 in a.shape)}
    weights = {n: a.shape for n, a in arrays.items() if a.ndim == 2}
    weights = dict(sorted(weights.items(), key=lambda item: item[0] in vectors and bool(BIAS.match(item[0]))))
    if not weights or any(a.ndim not in (1, 2) for a in arrays.values()):
        return None
    found = []
    for transposed in (False, True):
        for folded in ("", "row"):
            chain = _Search(weights, vectors, outputs, transposed, folded).chain(inputs, ())
            if chain is not None:
                found.append(chain)
    return min(found, key=lambda chain: _oddity(chain, list(weights)), default=None)


def _oddity(chain: list[dict[str, Any]], names: list[str]) -> tuple[int, bool]:
    """Of several chains the one whose weights are not called biases and come as the user has them."""
    places = [names.index(layer["W"]) for layer in chain]
    return sum(bool(BIAS.match(layer["W"])) for layer in chain), places != sorted(places)


def sizes_of(arrays: dict[str, Array]) -> tuple[int, ...] | None:
    """(inputs, hidden ..., outputs) of weights that are there, the first of which is the first layer's."""
    shapes = [a.shape for a in arrays.values() if a.ndim == 2]
    if not shapes:
        return None
    ends = [n for shape in shapes for n in shape]
    for inputs in dict.fromkeys([*shapes[0], *(n - 1 for n in shapes[0]), *ends]):
        for outputs in dict.fromkeys([*reversed(shapes[-1]), *reversed(ends)]):
            if inputs and (layers := layers_of(arrays, inputs, outputs)) is not None:
                columns = (arrays[layer["W"]].shape[0 if layer["transposed"] else 1] for layer in layers)
                return (inputs, *columns)
    matrices = [
        shape for shape in shapes if 1 not in shape
    ]  # beside other parameters, such as gamma and beta
    for one, other in ((0, 1), (1, 0)):
        if matrices and all(a[other] == b[one] for a, b in itertools.pairwise(matrices)):
            return (matrices[0][one], *(shape[other] for shape in matrices))
    return None


class _Search:
    """One layer after the other, and back where that leads nowhere: a matrix of one row may be a bias too."""

    def __init__(
        self,
        weights: Mapping[str, Sequence[int]],
        vectors: Mapping[str, int],
        outputs: int,
        transposed: bool,
        folded: str,
    ) -> None:
        self.weights, self.vectors, self.outputs = weights, vectors, outputs
        self.transposed, self.folded, self.steps = transposed, folded, STEPS

    def chain(self, width: int, used: tuple[str, ...]) -> list[dict[str, Any]] | None:
        """In the order of the dict wherever that fits, so that equal sizes are read as they were written."""
        self.steps -= 1
        if len(used) == len(self.weights.keys() | self.vectors.keys()):
            return [] if width == self.outputs else None
        for name, (rows, columns) in self.weights.items():
            if self.transposed:
                rows, columns = columns, rows
            if name in used or rows != width + bool(self.folded) or self.steps < 0:
                continue
            for bias in self._biases(columns, (*used, name)):
                taken = (*used, name) if bias is None else (*used, name, bias)
                if (rest := self.chain(columns, taken)) is not None:
                    layer = {"W": name, "b": bias, "transposed": self.transposed, "folded": self.folded}
                    return [layer, *rest]
        return None

    def _biases(self, columns: int, used: tuple[str, ...]) -> list[str | None]:
        fits = [b for b, size in self.vectors.items() if size == columns and b not in used]
        return [None] if self.folded else [*fits[:1], None]


def backward_order(layers: list[dict[str, Any]]) -> list[str]:
    """The parameters' names: the last layer first, weight before bias."""
    return [layer[part] for layer in reversed(layers) for part in ("W", "b") if layer[part] is not None]
