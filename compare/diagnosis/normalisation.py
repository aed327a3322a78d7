"""Mistakes in the backward pass of batch and layer normalisation."""

from collections.abc import Callable, Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.operation import Op, normalised, of, ops_of
from compare.submission.evidence import Trial

AXES = {"batchnorm": (0,), "layernorm": (1,), "spatial_batchnorm": (0, 2, 3)}


@hypothesis("operation")
def wrong_normalisation(case: Case) -> Iterator[Hypothesis]:
    """A term of dx is missing, or gamma's and beta's sums are wrong."""
    if not ops_of(case, *AXES):
        return
    for cause, text, wrong in _mistakes():

        def predict(trial: Trial, wrong: Callable[[Op], dict[str, Array]] = wrong) -> dict[str, Array]:
            return wrong(of(case.evidence, trial))

        yield Hypothesis(cause, text, predict)


def _mistakes() -> Iterator[tuple[str, str, Callable[[Op], dict[str, Array]]]]:
    yield (
        "batchnorm-mean-term",
        "The term of dx through the mean is missing: subtract the mean of dxhat.",
        lambda o: o.users(x=_dx(o, mean=0.0)),
    )
    yield (
        "batchnorm-variance-term",
        "The term of dx through the variance is missing: subtract xhat times the mean of dxhat * xhat.",
        lambda o: o.users(x=_dx(o, variance=0.0)),
    )
    yield (
        "batchnorm-variance-term",
        "Mean and variance are taken for constants: both of their terms of dx are missing.",
        lambda o: o.users(x=_dx(o, mean=0.0, variance=0.0)),
    )
    for factor in (0.5, 2.0, -1.0):
        yield (
            "batchnorm-variance-term",
            f"The term of dx through the variance is {factor:g} times what it should be.",
            lambda o, f=factor: o.users(x=_dx(o, variance=f)),
        )
        yield (
            "batchnorm-mean-term",
            f"The term of dx through the mean is {factor:g} times what it should be.",
            lambda o, f=factor: o.users(x=_dx(o, mean=f)),
        )
    yield (
        "batchnorm-variance-term",
        "The term of dx through the variance sums over the batch without dividing by its size.",
        lambda o: o.users(x=_dx(o, variance=float(_count(o)))),
    )
    yield (
        "batchnorm-mean-term",
        "The term of dx through the mean sums over the batch without dividing by its size.",
        lambda o: o.users(x=_dx(o, mean=float(_count(o)))),
    )
    yield (
        "batchnorm-variance-term",
        "The terms of dx divide by the variance (or its root) once too often or too rarely.",
        lambda o: o.users(x=_dx(o) / normalised(o)[2]),
    )
    yield (
        "constant-factor",
        "gamma is missing in dx: dxhat = dout * gamma.",
        lambda o: o.users(x=_dx(o, gamma=np.ones_like(o.gamma))),
    )
    yield (
        "wrong-cached-value",
        "The gradient of gamma is formed with x instead of the normalised xhat.",
        lambda o: o.users(gamma=(o.dy * o.x).sum(axis=_features(o))),
    )
    yield (
        "wrong-cached-value",
        "The gradient of gamma is formed with x - mean instead of the normalised xhat.",
        lambda o: o.users(gamma=(o.dy * (o.x - normalised(o)[1])).sum(axis=_features(o))),
    )
    yield (
        "bias-reduction",
        "The gradient of beta is averaged: sum dout over the examples.",
        lambda o: o.users(beta=o.dy.mean(axis=_features(o))),
    )
    yield (
        "bias-reduction",
        "The gradient of gamma is averaged: sum dout * xhat over the examples.",
        lambda o: o.users(gamma=(o.dy * normalised(o)[0]).mean(axis=_features(o))),
    )
    for name in ("beta", "gamma"):
        yield (
            "bias-reduction",
            f"The gradient of {name} is summed over the features instead of the examples.",
            lambda o, name=name: o.users(
                **{name: (o.dy * (1 if name == "beta" else normalised(o)[0])).sum(axis=1)}
            ),
        )
        yield (
            "bias-reduction",
            f"The gradient of {name} is the first example's only.",
            lambda o, name=name: o.users(**{name: (o.dy * (1 if name == "beta" else normalised(o)[0]))[0]}),
        )


def _features(o: Op) -> tuple[int, ...]:
    """The axes that gamma and beta do not have."""
    return (0, 2, 3) if o.op == "spatial_batchnorm" else (0,)


def _count(o: Op) -> int:
    return int(np.prod([o.x.shape[axis] for axis in AXES[o.op]]))


def _dx(o: Op, mean: float = 1.0, variance: float = 1.0, gamma: Array | None = None) -> Array:
    """dx with its two terms weighted; in test mode there are none."""
    xhat, _, deviation = normalised(o)
    shape = (1, -1, 1, 1) if o.op == "spatial_batchnorm" else (1, -1)
    dxhat = o.dy * (o.gamma if gamma is None else gamma).reshape(shape)
    if o.options.get("mode") == "test":
        return dxhat / deviation
    axes = AXES[o.op]
    by_mean = dxhat.mean(axis=axes, keepdims=True)
    by_variance = xhat * (dxhat * xhat).mean(axis=axes, keepdims=True)
    return (dxhat - mean * by_mean - variance * by_variance) / deviation
