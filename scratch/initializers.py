"""Initial weights: name -> draw(shape, rng), always float64, so that every backend starts from the same.

Fan-in and fan-out of a dense weight (D, M) are D and M, of a kernel (K, L, C, F) K*L*C and K*L*F.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from scratch.errors import UsageError

Array = np.ndarray
Shape = Sequence[int]
STD = 0.1  # of normal and truncated_normal, as in "Deep MNIST for Experts"


def fans(shape: Shape) -> tuple[int, int]:
    """(fan-in, fan-out) of a weight."""
    field = int(np.prod(shape[:-2]))
    return shape[-2] * field, shape[-1] * field


def normal(shape: Shape, rng: np.random.Generator, std: float = STD) -> Array:
    """N(0, std^2)."""
    return rng.normal(0, std, shape)


def truncated_normal(shape: Shape, rng: np.random.Generator, std: float = STD) -> Array:
    """N(0, std^2), drawn again wherever a value lies beyond 2 std; source: TensorFlow."""
    values = rng.normal(0, std, shape)
    while (far := np.abs(values) > 2 * std).any():
        values[far] = rng.normal(0, std, int(far.sum()))
    return values


def _scaled(fan: str, gain: float, uniform: bool) -> Callable[[Shape, np.random.Generator], Array]:
    """Mean 0 and variance gain / fan, where fan is `in` or the `average` of in and out."""

    def draw(shape: Shape, rng: np.random.Generator) -> Array:
        fan_in, fan_out = fans(shape)
        variance = gain / (fan_in if fan == "in" else (fan_in + fan_out) / 2)
        if uniform:
            limit = np.sqrt(3 * variance)
            return rng.uniform(-limit, limit, shape)
        return rng.normal(0, np.sqrt(variance), shape)

    return draw


def orthogonal(shape: Shape, rng: np.random.Generator) -> Array:
    """Rows or columns orthonormal, whichever are fewer, of the weight as (fan-in, units).

    Source: Saxe, McClelland and Ganguli, arXiv:1312.6120.
    """
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
    return (q if rows >= columns else q.T).reshape(shape)


def zeros(shape: Shape, rng: np.random.Generator) -> Array:
    """All zero: no two units of a layer ever differ; for experiments on just that."""
    return np.zeros(shape)


INITIALIZERS: dict[str, Callable[[Shape, np.random.Generator], Array]] = {
    "normal": normal,
    "truncated_normal": truncated_normal,
    "xavier_uniform": _scaled("average", 1, uniform=True),  # Glorot and Bengio, 2010
    "xavier_normal": _scaled("average", 1, uniform=False),
    "he_uniform": _scaled("in", 2, uniform=True),  # He et al., arXiv:1502.01852
    "he_normal": _scaled("in", 2, uniform=False),  # untruncated, as in PyTorch
    "lecun_uniform": _scaled("in", 1, uniform=True),  # LeCun et al., Efficient BackProp, 1998
    "lecun_normal": _scaled("in", 1, uniform=False),
    "orthogonal": orthogonal,
    "zeros": zeros,
}
ALIASES = {"glorot_uniform": "xavier_uniform", "glorot_normal": "xavier_normal"}


def draw(
    shapes: Mapping[str, Shape], init: str, rng: np.random.Generator, bias: float = 0.0
) -> dict[str, Array]:
    """Weights for the parameter names and shapes of a network, in their order; every bias is `bias`.

    Raises UsageError for an unknown initialiser.
    """
    name = ALIASES.get(init, init)
    if name not in INITIALIZERS:
        known = ", ".join([*INITIALIZERS, *ALIASES])
        raise UsageError(f"init must be one of {known}, but {init!r} came.")
    return {
        key: INITIALIZERS[name](shape, rng) if key.endswith("/W") else np.full(shape, float(bias))
        for key, shape in shapes.items()
    }
