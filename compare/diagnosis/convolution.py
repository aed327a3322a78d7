"""Mistakes in the backward pass of a convolution, and of pooling, whose windows are the same."""

from collections.abc import Callable, Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.operation import Op, of, ops_of, padded, places, window
from compare.submission.evidence import Trial

Wrong = Callable[[Op], dict[str, Array]]


def input_gradient(
    o: Op, kernel: Array | None = None, stride: int | None = None, assign: bool = False
) -> Array:
    """d/dx before the padding is cropped off: every output spreads the kernel over its window."""
    dx, w = np.zeros(padded(o).shape), o.w if kernel is None else kernel
    for i, row in enumerate(places(o, stride)):
        for j, s in enumerate(row):
            share = np.einsum("nf,fckl->nckl", o.dy[:, :, i, j], w)
            if dx[s].shape == share.shape:
                dx[s] = share if assign else dx[s] + share
    return dx


def kernel_gradient(o: Op, x: Array | None = None, stride: int | None = None, assign: bool = False) -> Array:
    """d/dw: every output adds its window."""
    x, dw = padded(o) if x is None else x, np.zeros(o.w.shape)
    for i, row in enumerate(places(o, stride)):
        for j, s in enumerate(row):
            share = np.einsum("nf,nckl->fckl", o.dy[:, :, i, j], x[s])
            dw = share if assign else dw + share
    return dw


def crop(o: Op, dx: Array, shift: int = 0) -> Array:
    """Without the padding; shift: where the cut begins, relative to where it should."""
    pad, (height, width) = o.options.get("pad", 0) + shift, o.x.shape[2:]
    return dx[:, :, pad : pad + height, pad : pad + width]


@hypothesis("operation")
def wrong_convolution(case: Case) -> Iterator[Hypothesis]:
    """One gradient of a convolution by another formula."""
    if not ops_of(case, "conv"):
        return
    for cause, text, wrong in _convolution():
        yield Hypothesis(cause, text, lambda trial, wrong=wrong: wrong(of(case.evidence, trial)))


def _convolution() -> Iterator[tuple[str, str, Wrong]]:
    flips: dict[str, Callable[[Array], Array]] = {
        "turned by 180 degrees": lambda w: w[:, :, ::-1, ::-1],
        "flipped top to bottom": lambda w: w[:, :, ::-1],
        "flipped left to right": lambda w: w[:, :, :, ::-1],
        "with its rows and columns exchanged": lambda w: w.swapaxes(2, 3),
        "with its channels and filters exchanged": lambda w: w.swapaxes(0, 1),
    }
    for what, flip in flips.items():
        cause = "transpose" if "exchanged" in what else "conv-kernel-not-flipped"
        text = f"The input's gradient uses the kernel {what} against what the forward pass needs."
        yield cause, text, lambda o, flip=flip: o.users(x=crop(o, input_gradient(o, flip(o.w))))
        text = f"The kernel's gradient is {what}."
        yield cause, text, lambda o, flip=flip: o.users(w=flip(kernel_gradient(o)))
    yield (
        "conv-stride-ignored",
        "The input's gradient ignores the stride: output (i, j) looks at rows from i * stride on.",
        lambda o: o.users(x=crop(o, input_gradient(o, stride=1))),
    )
    yield (
        "conv-stride-ignored",
        "The kernel's gradient ignores the stride: output (i, j) looks at rows from i * stride on.",
        lambda o: o.users(w=kernel_gradient(o, stride=1)),
    )
    yield (
        "overlap-assigned",
        "Where windows overlap the input's gradient is assigned instead of added (= for +=).",
        lambda o: o.users(x=crop(o, input_gradient(o, assign=True))),
    )
    yield (
        "overlap-assigned",
        "The kernel's gradient keeps only the last window: add over all of them (+= for =).",
        lambda o: o.users(w=kernel_gradient(o, assign=True)),
    )
    for shift in (-1, 1):
        yield (
            "conv-padding-crop",
            f"The padding of the input's gradient is cropped {abs(shift)} too {'early' if shift < 0 else 'late'}.",
            lambda o, shift=shift: o.users(x=crop(o, input_gradient(o), shift)),
        )
    yield (
        "conv-padding-crop",
        "The padding of the input's gradient is cut off at the far end only: it starts at pad.",
        lambda o: o.users(x=crop(o, input_gradient(o), -o.options.get("pad", 0))),
    )
    yield (
        "conv-padding-crop",
        "All the padding of the input's gradient is cut off at the front: it starts at pad, not at 2 pad.",
        lambda o: o.users(x=crop(o, input_gradient(o), o.options.get("pad", 0))),
    )
    yield (
        "conv-padding-crop",
        "The padding of the input's gradient is never cropped off.",
        lambda o: o.users(x=input_gradient(o)),
    )
    for shift in (-1, 1):
        yield (
            "conv-padding-crop",
            "The kernel's gradient is formed with the input shifted by one: look at where its padding begins.",
            lambda o, shift=shift: o.users(w=kernel_gradient(o, np.roll(padded(o), shift, axis=(2, 3)))),
        )
    sums: dict[str, Callable[[Array], Array]] = {
        "averaged over everything": lambda dy: dy.mean(axis=(0, 2, 3)),
        "averaged over the examples": lambda dy: dy.sum(axis=(2, 3)).mean(axis=0),
        "averaged over the positions": lambda dy: dy.mean(axis=(2, 3)).sum(axis=0),
        "that of the first example": lambda dy: dy[0].sum(axis=(1, 2)),
        "that of the first row": lambda dy: dy[:, :, 0].sum(axis=(0, 2)),
        "that of the first column": lambda dy: dy[:, :, :, 0].sum(axis=(0, 2)),
        "that of one position": lambda dy: dy[:, :, 0, 0].sum(axis=0),
        "that of the last position": lambda dy: dy[:, :, -1, -1].sum(axis=0),
        "summed over the filters too": lambda dy: np.full(dy.shape[1], dy.sum()),
        "summed over the wrong axes": lambda dy: dy.sum(axis=(1, 2, 3)),
        "summed over the filters and columns": lambda dy: dy.sum(axis=(0, 1, 3)),
        "summed over the filters and rows": lambda dy: dy.sum(axis=(0, 1, 2)),
    }
    for what, total in sums.items():
        text = f"The bias's gradient is {what}: sum dout over examples, rows and columns."
        yield "bias-reduction", text, lambda o, total=total: o.users(b=total(o.dy))


@hypothesis("operation")
def wrong_pooling(case: Case) -> Iterator[Hypothesis]:
    """The input's gradient of a pooling by another rule."""
    if not ops_of(case, "max_pool", "avg_pool"):
        return

    def spread(
        o: Op, share: Callable[[Array], Array], assign: bool = False, stride: int | None = None
    ) -> Array:
        """share(window (N, C, k, l)) says what part of dy each pixel gets."""
        dx = np.zeros(o.x.shape)
        for (i, j), s, source in _windows(o, stride):
            given = o.dy[:, :, i, j, None, None] * share(o.x[source])
            if dx[s].shape == given.shape:
                dx[s] = given if assign else dx[s] + given
        return dx

    def first(w: Array) -> Array:
        flat = w.reshape(*w.shape[:2], -1)
        return (np.arange(flat.shape[-1]) == flat.argmax(-1)[..., None]).reshape(w.shape) * 1.0

    def maxima(w: Array) -> Array:
        return (w == w.max(axis=(2, 3), keepdims=True)) * 1.0

    def mean(w: Array) -> Array:
        return np.full(w.shape, 1 / (w.shape[2] * w.shape[3]))

    def corner(w: Array) -> Array:
        out = np.zeros(w.shape)
        out[:, :, 0, 0] = 1
        return out

    right = maxima if case.evidence.description["op"] == "max_pool" else mean
    rules: list[tuple[str, str, Callable[[Op], Array]]] = [
        ("overlap-assigned", "Where windows overlap the gradient is assigned instead of added (= for +=).", lambda o: spread(o, right, assign=True)),
        ("conv-stride-ignored", "The stride is ignored on the way back: output (i, j) belongs to rows from i * stride on.", lambda o: spread(o, right, stride=1)),
        ("conv-stride-ignored", "The window's size is used as stride on the way back.", lambda o: spread(o, right, stride=window(o)[0])),
        ("pool-average", "The gradient is shared among the window as in average pooling: the maximum takes it all.", lambda o: spread(o, mean)),
        ("pool-average", "Every pixel of the window gets the whole gradient: in a maximum only the largest one does.", lambda o: spread(o, np.ones_like)),
        ("single-entries", "The first pixel of each window gets the gradient, wherever the maximum is.", lambda o: spread(o, corner)),
        ("relu-mask-inverted", "The smallest pixel of each window gets the gradient instead of the largest.", lambda o: spread(o, lambda w: first(-w))),
    ]  # fmt: skip
    if right is mean:
        rules = [r for r in rules if r[0] != "pool-average"]
        rules.append(
            (
                "constant-factor",
                "The gradient is not divided by the window's size.",
                lambda o: spread(o, np.ones_like),
            )
        )
        rules.append(
            (
                "pool-average",
                "Only the maximum gets the gradient: in average pooling all pixels share it.",
                lambda o: spread(o, maxima),
            )
        )
    for cause, text, wrong in rules:

        def predict(trial: Trial, wrong: Callable[[Op], Array] = wrong) -> dict[str, Array]:
            o = of(case.evidence, trial)
            return o.users(x=wrong(o))

        yield Hypothesis(cause, text, predict)


def _windows(
    o: Op, stride: int | None
) -> Iterator[tuple[tuple[int, int], tuple[slice, ...], tuple[slice, ...]]]:
    """((i, j), where the gradient goes, where the forward pass looked)."""
    for i, (rows, sources) in enumerate(zip(places(o, stride), places(o), strict=True)):
        for j, (s, source) in enumerate(zip(rows, sources, strict=True)):
            yield (i, j), s, source
