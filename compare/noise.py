"""How far rounding alone may move every tensor of a network: a running error analysis.

Along the reference's own values, each stage adds what its arithmetic can lose, C u (|x| |w| + |b|) for a
product, C u times the condition for an elementwise function, and hands on what came in: independent errors,
so in squares, through squared weights. The result is an elementwise bound of the size of the error, not an
estimate; correct implementations stay well below it. Source: Higham, Accuracy and Stability, ch. 3 and 26.
"""

import numpy as np

from compare import magnitude
from compare.structure import Stage, stages
from scratch.learner import Architecture
from scratch.network import Masks, Watched

Array = np.ndarray
Noise = dict[str, Array]
C = 16.0  # a product of n terms loses at most 3 u |x| |w| (measured, n = 16 ... 32768), on both sides


class Analysis:
    """Noise of every value and gradient of one watched pass, in units of the roundoff u of the arithmetic.

    propagate=False gives what a single stage adds when it is fed the reference's own input and cotangent.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: dict[str, Array],
        seen: Watched,
        t: Array,
        masks: Masks | None,
        propagate: bool = True,
    ) -> None:
        self.architecture, self.weights, self.seen = architecture, weights, seen
        self.masks, self.propagate = masks or {}, propagate
        self.values: Noise = {}
        self.gradients: Noise = {}
        chain = stages(architecture)
        first = chain[0].source
        self.values[first] = np.zeros_like(seen.values[first])
        for stage in chain:
            self._forward(stage)
        self._loss(chain[-1].output, t)
        for stage in reversed(chain):
            self._backward(stage)
        for name, w in weights.items():
            if architecture.penalize_biases or name.endswith("/W"):
                self.gradients[name] += C * (architecture.l1 * (w != 0) + architecture.l2 * np.abs(w))

    def _incoming(self, noise: Noise, name: str) -> Array:
        return noise[name] if self.propagate else np.zeros_like(noise[name])

    def _forward(self, stage: Stage) -> None:
        x, y = self.seen.values[stage.source], self.seen.values[stage.output]
        n = self._incoming(self.values, stage.source)
        match stage.op:
            case "dense" | "conv":
                w, b = self.weights[f"{stage.layer}/W"], self.weights[f"{stage.layer}/b"]
                product = magnitude.conv if stage.op == "conv" else np.matmul
                own = C * (product(np.abs(x), np.abs(w)) + np.abs(b))
                out = np.sqrt(product(n * n, w * w) + own * own)
            case "activation":
                slope, _ = self._slope(x, y, n)
                out = self._select(x, n) * slope + self._function_error(y)
            case "pool":
                pieces, winner = pool_pieces(n), pool_pieces(x).argmax(-1)[..., None]
                out = np.take_along_axis(pieces, winner, -1)[..., 0]
            case "dropout":
                out = n * self._keep(stage) + C * np.abs(y)
            case _:
                out = n.reshape(y.shape)
        self.values[stage.output] = out

    def _loss(self, logits: str, t: Array) -> None:
        z, n = self.seen.values[logits], self._incoming(self.values, logits)
        count = len(z)
        one_hot = t[:, None] == np.arange(z.shape[1])
        if self.architecture.output == "softmax":
            shifted = z - z.max(axis=1, keepdims=True)
            p = np.exp(shifted)
            p = p / p.sum(axis=1, keepdims=True)
            drift = n + (p * n).sum(axis=1, keepdims=True) + C * (1 + np.abs(shifted))
            noise, summands = p * drift, np.abs(z).max(axis=1) + 1
        else:
            p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
            noise, summands = p * (1 - p) * n + C * p * (1 + np.abs(z)), (np.abs(z) + 1).sum(axis=1)
        self.values[logits.replace("net_input", "activation")] = noise
        self.gradients[logits] = (noise + C * (p + one_hot)) / count
        self.loss = float(C * summands.mean() + np.sqrt((((p - one_hot) * n) ** 2).sum()) / count) + C * abs(
            self.seen.loss
        )

    def _backward(self, stage: Stage) -> None:
        x, d = self.seen.values[stage.source], self.seen.gradients[stage.output]
        y = self.seen.values[stage.output]
        nx = self._incoming(self.values, stage.source)
        nd = self._incoming(self.gradients, stage.output)
        match stage.op:
            case "dense" | "conv":
                w = self.weights[f"{stage.layer}/W"]
                if stage.op == "dense":
                    self.gradients[f"{stage.layer}/W"] = _rss(
                        (x * x).T @ (nd * nd),
                        (nx * nx).T @ (d * d),
                        C * (np.abs(x).T @ np.abs(d)),
                    )
                    out = _rss((nd * nd) @ (w * w).T, 0, C * (np.abs(d) @ np.abs(w).T))
                else:
                    to_kernel, to_input = magnitude.conv_to_kernel, magnitude.conv_to_input
                    self.gradients[f"{stage.layer}/W"] = _rss(
                        to_kernel(x * x, nd * nd, w.shape),
                        to_kernel(nx * nx, d * d, w.shape),
                        C * to_kernel(np.abs(x), np.abs(d), w.shape),
                    )
                    out = _rss(
                        to_input(nd * nd, w * w, x.shape),
                        0,
                        C * to_input(np.abs(d), np.abs(w), x.shape),
                    )
                axes = tuple(range(d.ndim - 1))
                self.gradients[f"{stage.layer}/b"] = _rss(
                    (nd * nd).sum(axis=axes), 0, C * np.abs(d).sum(axis=axes)
                )
            case "activation":
                slope, slope_noise = self._slope(x, y, nx)
                out = self._spread(x, nd * slope + np.abs(d) * slope_noise)
            case "pool":
                pieces = pool_pieces(x)
                spread = np.zeros_like(pieces)
                np.put_along_axis(spread, pieces.argmax(-1)[..., None], nd[..., None], -1)
                out = pool_unpieces(spread, x.shape)
            case "dropout":
                out = nd * self._keep(stage) + C * np.abs(d)
            case _:
                out = nd.reshape(x.shape)
        self.gradients[stage.source] = out

    def _keep(self, stage: Stage) -> Array | float:
        mask = self.masks.get(stage.output)
        return 1.0 if mask is None else mask / (1 - self.architecture.dropout)

    def _slope(self, z: Array, y: Array, nz: Array) -> tuple[Array, Array]:
        """|f'(z)| of the branch that is taken, in the shape of y, and how far it may be off."""
        match self.architecture.activation:
            case "sigmoid":
                slope = y * (1 - y)
                return slope, C * y + slope * np.abs(1 - 2 * y) * nz
            case "tanh":
                slope = 1 - y * y
                return slope, C * (1 + y * y) + 2 * np.abs(y) * slope * nz
            case "leaky_relu":
                slope = np.where(z > 0, 1, 0.01)
            case "relu":
                slope = (z > 0).astype(z.dtype)
            case _:
                slope = np.ones_like(y)
        return slope, C * slope * (self.architecture.activation == "leaky_relu")

    def _function_error(self, y: Array) -> Array | float:
        smooth = self.architecture.activation not in ("relu", "maxout")
        return C * np.abs(y) if smooth else 0.0

    def _select(self, z: Array, n: Array) -> Array:
        """n at the winning piece of a maxout unit; n itself for every other activation."""
        if self.architecture.activation != "maxout":
            return n
        winner = maxout_pieces(z).argmax(-1)[..., None]
        return np.take_along_axis(maxout_pieces(n), winner, -1)[..., 0]

    def _spread(self, z: Array, n: Array) -> Array:
        """The transpose of `_select`."""
        if self.architecture.activation != "maxout":
            return n
        pieces = maxout_pieces(z)
        out = np.zeros_like(pieces)
        np.put_along_axis(out, pieces.argmax(-1)[..., None], n[..., None], -1)
        return out.reshape(z.shape)


def maxout_pieces(z: Array) -> Array:
    """(..., 2 F) as (..., F, 2): the pieces of a unit stand next to each other."""
    return z.reshape(*z.shape[:-1], -1, 2)


def pool_pieces(x: Array) -> Array:
    """(N, H, W, C) as (N, H//2, W//2, C, 4): the four pixels of every pooling window, row by row."""
    n, h, w, c = x.shape
    blocks = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)


def pool_unpieces(pieces: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `pool_pieces`, with zeros where an odd last row or column was left out."""
    n, h, w, c = shape
    blocks = pieces.reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    out = np.zeros(shape, pieces.dtype)
    out[:, : h // 2 * 2, : w // 2 * 2] = blocks.reshape(n, h // 2 * 2, w // 2 * 2, c)
    return out


def _rss(first: Array, second: Array | float, own: Array) -> Array:
    return np.sqrt(first + second + own * own)
