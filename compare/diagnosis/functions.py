"""Mistakes in the gradient of a function that nobody knows: what its Jacobian, its sizes and its matrices tell."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.submission.evidence import Trial

Prediction = dict[str, Array]


@hypothesis("operation")
def wrong_sum(case: Case) -> Iterator[Hypothesis]:
    """The gradient of an argument that is broadcast is not summed over what it was repeated along."""
    spread = case.evidence.facts.get("spread", {})
    for name in case.wrong:
        if not any(name in found for found in spread.values()):
            continue
        for text, total in SUMS.items():

            def predict(trial: Trial, name: str = name, total: Callable = total) -> Prediction:
                wide, shape = spread[trial.label][name], trial.inputs[name].shape
                return {name: total(np.asarray(wide), shape)}

            yield Hypothesis(
                "bias-reduction",
                f"{name} is repeated by broadcasting, and its gradient is {text}: sum over the axes along which "
                "it is repeated.",
                predict,
            )


def _extra(wide: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of wide along which an array of this shape is repeated."""
    more = wide.ndim - len(shape)
    return (*range(more), *(more + i for i, n in enumerate(shape) if n == 1 != wide.shape[more + i]))


def _reduced(wide: Array, shape: tuple[int, ...], how: Callable[[Array, tuple[int, ...]], Array]) -> Array:
    return how(wide, _extra(wide, shape)).reshape(shape)


def _along_other(how: str) -> Callable[[Array, tuple[int, ...]], Array]:
    def total(wide: Array, shape: tuple[int, ...]) -> Array:
        kept = tuple(i for i in range(wide.ndim) if i not in _extra(wide, shape))
        found = getattr(np, how)(wide, axis=kept)
        return found.reshape(shape) if found.size == np.prod(shape) and len(shape) > 1 else found

    return total


def _first(wide: Array, axes: tuple[int, ...]) -> Array:
    return wide[tuple(0 if i in axes else slice(None) for i in range(wide.ndim))]


def _last(wide: Array, axes: tuple[int, ...]) -> Array:
    return wide[tuple(-1 if i in axes else slice(None) for i in range(wide.ndim))]


def _mixed(which: int) -> Callable[[Array, tuple[int, ...]], Array]:
    """The mean over one of several axes, the sum over the others."""

    def total(wide: Array, axes: tuple[int, ...]) -> Array:
        if len(axes) < 2:
            raise ValueError("one axis")
        return wide.sum(axis=axes) / wide.shape[axes[which]]

    return total


SUMS: dict[str, Callable[[Array, tuple[int, ...]], Array]] = {
    "the mean instead of the sum": lambda w, s: _reduced(w, s, lambda a, axes: a.mean(axis=axes)),
    "that of the first row only": lambda w, s: _reduced(w, s, _first),
    "that of the last row only": lambda w, s: _reduced(w, s, _last),
    "summed over the other axis": _along_other("sum"),
    "averaged over the other axis": _along_other("mean"),
    "summed over everything": lambda w, s: np.full(s, w.sum()),
    "averaged over everything": lambda w, s: np.full(s, w.mean()),
    "the largest entry instead of the sum": lambda w, s: _reduced(w, s, lambda a, axes: a.max(axis=axes)),
    "a mean over some axes and a sum over others": lambda w, s: _reduced(w, s, _mixed(0)),
    "a sum over some axes and a mean over others": lambda w, s: _reduced(w, s, _mixed(1)),
    "not summed at all": lambda w, s: w,
}


@hypothesis("operation")
def assigned(case: Case) -> Iterator[Hypothesis]:
    """A loop assigns what it should add: only the last (or first) output that an entry goes into counts."""
    jacobians = case.evidence.facts.get("jacobians", {})
    for name in case.wrong:
        if not any(name in found for found in jacobians.values()):
            continue
        rank = max(np.ndim(t.data.get("dy", 0.0)) for t in case.trials)
        groups = [tuple(range(rank)), *((k,) for k in range(rank)), *combinations(range(rank), 2)]
        for axes in dict.fromkeys(groups):
            for which in ("last", "first"):

                def predict(
                    trial: Trial, name: str = name, axes: tuple = axes, which: str = which
                ) -> Prediction:
                    dy = np.asarray(trial.data["dy"])
                    j = jacobians[trial.label][name]
                    return {name: _one_of(dy, j, axes, which, trial.inputs[name].shape)}

                yield Hypothesis(
                    "overlap-assigned",
                    f"Of all outputs that an entry of {name} goes into, only the {which} counts: add (+=) where the "
                    "loop assigns (=).",
                    predict,
                )


def _one_of(dy: Array, j: Array, axes: tuple[int, ...], which: str, shape: tuple[int, ...]) -> Array:
    """The last contribution to each entry that is not zero, where those of equal index along `axes` are one."""
    if any(k >= dy.ndim for k in axes):
        raise ValueError("no such axis")
    parts = dy.reshape(*dy.shape, *(1,) * len(shape)) * j
    others = tuple(k for k in range(dy.ndim) if k not in axes)
    touched = (j != 0).any(axis=others) if others else j != 0
    parts = parts.sum(axis=others).reshape(-1, *shape)
    touched = touched.reshape(-1, *shape)
    if which == "last":
        parts, touched = parts[::-1], touched[::-1]
    at = touched.argmax(axis=0)
    return np.take_along_axis(parts, at[None], axis=0)[0]


@hypothesis("operation")
def mean_left_in(case: Case) -> Iterator[Hypothesis]:
    """Without its mean the gradient would be right: the path through a mean that is subtracted is forgotten."""
    for name in case.wrong if "sizes" in case.evidence.facts else []:
        for axis in (None, -1, 0):

            def predict(trial: Trial, name: str = name, axis: int | None = axis) -> Prediction:
                claim, truth = case.claim(trial, name), case.truth(trial, name)
                if (
                    claim is None
                    or truth is None
                    or claim.shape != truth.shape
                    or claim.ndim < (1 if axis is None else 2)
                ):
                    raise ValueError("nothing to subtract")
                return {name: truth + claim.mean(axis=axis, keepdims=True)}

            text = f"The mean has to be subtracted: without its mean the gradient of {name} is right."
            yield Hypothesis("batchnorm-mean-term", text, predict)


@hypothesis("operation")
def wrong_cotangent(case: Case) -> Iterator[Hypothesis]:
    """dy is not used, or not as it comes; or the Jacobian is used the wrong way round."""
    jacobians = case.evidence.facts.get("jacobians", {})
    if not jacobians:
        yield from _scalar_cotangent(case)
        return
    pointwise = is_pointwise(case)
    for text, cause, how in (
        ("The gradient dy that arrives is not used: multiply by it.", "", lambda d: np.ones_like(d)),
        ("The square of the gradient dy that arrives is used.", "", lambda d: d * d),
        ("The gradient dy that arrives is used without its sign.", "", np.abs),
        ("Only the sign of the gradient dy that arrives is used.", "", np.sign),
        (
            "The mean of the gradient dy that arrives is used for all of its entries.",
            "",
            lambda d: np.full_like(d, d.mean()),
        ),
        (
            "The sum of the gradient dy that arrives is used for all of its entries.",
            "",
            lambda d: np.full_like(d, d.sum()),
        ),
    ):
        cause = "activation-derivative-wrong" if pointwise else "wrong-cached-value"
        for names in [case.wrong, *([n] for n in case.wrong)]:

            def predict(trial: Trial, how: Callable = how, names: list[str] = names) -> Prediction:
                dy = np.asarray(trial.data["dy"], float)
                found = jacobians[trial.label]
                return {n: np.tensordot(how(dy), found[n], axes=dy.ndim) for n in names}

            yield Hypothesis(cause, text, predict)
    for name in case.wrong:

        def turned(trial: Trial, name: str = name) -> Prediction:
            dy, j = np.asarray(trial.data["dy"], float), jacobians[trial.label][name]
            if dy.shape != trial.inputs[name].shape:
                raise ValueError("no square Jacobian")
            return {name: np.tensordot(j, dy, axes=dy.ndim)}

        def diagonal(trial: Trial, name: str = name) -> Prediction:
            dy, j = np.asarray(trial.data["dy"], float), jacobians[trial.label][name]
            if dy.shape != trial.inputs[name].shape:
                raise ValueError("no square Jacobian")
            return {name: dy * np.diagonal(j.reshape(dy.size, dy.size)).reshape(dy.shape)}

        yield Hypothesis("transpose", "The Jacobian is used where its transpose should be.", turned)
        yield Hypothesis(
            "activation-derivative-wrong",
            f"Only the derivative of each output with respect to its own entry of {name} is used: every output depends "
            "on other entries too.",
            diagonal,
        )


def _scalar_cotangent(case: Case) -> Iterator[Hypothesis]:
    def unused(trial: Trial) -> Prediction:
        dy = float(trial.data["dy"])
        return {n: truth / dy for n in case.wrong if (truth := case.truth(trial, n)) is not None}

    def squared(trial: Trial) -> Prediction:
        dy = float(trial.data["dy"])
        return {n: truth * dy for n in case.wrong if (truth := case.truth(trial, n)) is not None}

    if all(np.ndim(t.data.get("dy", np.zeros(2))) == 0 for t in case.trials):
        yield Hypothesis(
            "constant-factor", "The gradient dy that arrives is not used: multiply by it.", unused
        )
        yield Hypothesis("constant-factor", "The gradient dy that arrives is multiplied by twice.", squared)


@hypothesis("operation")
def wrong_size(case: Case) -> Iterator[Hypothesis]:
    """A factor made of the sizes of the arrays: N, 1/N, sqrt(d), the number of all entries."""
    sizes = case.evidence.facts.get("sizes", {})
    symbols = [*dict.fromkeys(s for found in sizes.values() for s in found)]
    for names in [case.wrong, *([n] for n in case.wrong)] if len(case.wrong) > 1 else [case.wrong]:
        for symbol in symbols:
            examples = all(sizes[t.label].get(symbol) == t.examples for t in case.trials if t.label in sizes)
            for power, said in (
                (1, "{}"),
                (-1, "1/{}"),
                (0.5, "sqrt({})"),
                (-0.5, "1/sqrt({})"),
                (2, "{}^2"),
                (-2, "1/{}^2"),
            ):
                cause = "batch-scale" if examples and abs(power) == 1 else "constant-factor"
                text = f"The gradient is {said.format(symbol)} times the right one, where {symbol} is a size of the arrays."

                def factor(trial: Trial, symbol: str = symbol, power: float = power) -> float:
                    return float(sizes[trial.label][symbol]) ** power

                if len({factor(t) for t in case.trials if symbol in sizes.get(t.label, {})}) > 1:
                    yield Hypothesis(cause, text, _scaled(case, names, factor))
        for power, said in ((1, "large"), (-1, "small")):

            def count(trial: Trial, power: int = power, names: list[str] = names) -> float:
                return float(np.size(trial.data.get("dy", trial.inputs[names[0]]))) ** power

            text = f"The gradient is too {said} by the number of all entries: a mean on one side is a sum on the other."
            yield Hypothesis("batch-scale", text, _scaled(case, names, count))


def _scaled(case: Case, names: list[str], factor: Callable[[Trial], float]) -> Callable[[Trial], Prediction]:
    def predict(trial: Trial) -> Prediction:
        found = {n: case.truth(trial, n) for n in names}
        return {n: g * factor(trial) for n, g in found.items() if g is not None}

    return predict


@hypothesis("operation")
def wrong_matrix(case: Case) -> Iterator[Hypothesis]:
    """A matrix is used where its transpose should be, or as if it were symmetric."""
    facts = case.evidence.facts
    for argument, found in facts.get("transposed", {}).items():

        def predict(trial: Trial, found: dict = found) -> Prediction:
            return {n: g for n, g in found[trial.label].items() if n in case.wrong}

        yield Hypothesis(
            "transpose",
            f"The transpose of {argument} is used where {argument} should be, or the reverse.",
            predict,
        )
        for name in case.wrong:

            def one(trial: Trial, found: dict = found, name: str = name) -> Prediction:
                return {name: found[trial.label][name]}

            yield Hypothesis(
                "transpose",
                f"The transpose of {argument} is used where {argument} should be, or the reverse.",
                one,
            )
    for name, argument in facts.get("right_if_symmetric", {}).items():

        def same(trial: Trial, name: str = name) -> Prediction:
            claim = case.claim(trial, name)
            return {} if claim is None else {name: claim}

        yield Hypothesis(
            "transpose",
            f"This is right only where {argument} is symmetric: {argument} stands where its transpose, or both, should.",
            same,
        )


def is_pointwise(case: Case, name: str | None = None) -> bool:
    """Whether every entry of the value depends on the same entry of the argument alone, in all trials."""
    if (name or case.wrong[0]) in case.evidence.facts.get("separable", []):
        return True
    jacobians = case.evidence.facts.get("jacobians", {})
    found = [
        (j, t)
        for t in case.trials
        for n, j in jacobians.get(t.label, {}).items()
        if n == (name or case.wrong[0])
    ]
    for j, trial in found:
        size = np.size(trial.data.get("dy", 0.0))
        if j.size != size * size:
            return False
        square = j.reshape(size, size)
        if np.any(square - np.diag(np.diagonal(square))):
            return False
    return bool(found)
