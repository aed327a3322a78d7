"""Mistakes around a dense layer: transposes, the bias's sum, the wrong cached value, other weights."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.diagnosis.replay import Backward, canonical

BiasSum = Callable[[Array], Array]
BIAS_SUMS: dict[str, BiasSum] = {
    "the mean over the examples instead of the sum": lambda d: d.mean(axis=0),
    "the first example's only": lambda d: d[0],
    "the last example's only": lambda d: d[-1],
    "that of the last example in which it is not zero": lambda d: _last_nonzero(d),
    "summed over the units instead of the examples": lambda d: d.sum(axis=1),
    "the mean over the units instead of the sum over the examples": lambda d: d.mean(axis=1),
    "summed over everything": lambda d: np.full(d.shape[1], d.sum()),
    "the mean over everything": lambda d: np.full(d.shape[1], d.mean()),
    "the largest example's": lambda d: d.max(axis=0),
}


def _last_nonzero(d: Array) -> Array:
    """Of each column, the last entry that is not zero: what a loop leaves that assigns instead of adding."""
    rows = np.arange(len(d))[:, None] * (d != 0)
    return d[rows.max(axis=0), np.arange(d.shape[1])]


@hypothesis("network")
def wrong_bias_sum(case: Case) -> Iterator[Hypothesis]:
    """The bias's gradient is not the sum of the errors over the examples."""
    for number, layer in _layers(case):
        for what, total in BIAS_SUMS.items():
            yield _step(
                case,
                "bias-reduction",
                f"The gradient of {layer['b'] or layer['W']} is {what}: sum the layer's error over the examples "
                "(axis=0 where they are rows).",
                "bias",
                number,
                lambda self, number, delta, total=total: total(delta),
            )


@hypothesis("network")
def wrong_transpose(case: Case) -> Iterator[Hypothesis]:
    """Something is transposed that should not be, or the reverse; only square shapes let it run."""
    for number, layer in _layers(case):
        yield _step(
            case,
            "transpose",
            f"{layer['W']} is used without its transpose (or with one too many) on the way back through its layer.",
            "behind",
            number,
            lambda self, number, delta: delta @ self.w[number],
        )
        yield _step(
            case,
            "transpose",
            f"The gradient of {layer['W']} is transposed.",
            "weight",
            number,
            lambda self, number, delta: (self.a[number].T @ delta).T,
        )
        yield _step(
            case,
            "transpose",
            f"The transpose is missing in the product that gives the gradient of {layer['W']}.",
            "weight",
            number,
            lambda self, number, delta: self.a[number] @ delta,
        )


@hypothesis("network")
def wrong_cached_value(case: Case) -> Iterator[Hypothesis]:
    """The gradient of a weight is formed with another tensor than the layer's input."""
    for number, layer in _layers(case):
        values: dict[str, Callable[[Backward, int], Array]] = {
            "the net input before the activation": lambda b, n: b.z[n - 1] if n else b.x,
            "the layer's output": lambda b, n: b.a[n + 1],
            "the activation, applied twice,": lambda b, n: b.f(b.a[n]) if n else b.f(b.x),
            "the derivative of the activation": lambda b, n: b.slope_of(b.z[n - 1]) if n else b.x,
            "the network's input": lambda b, n: b.x,
        }
        for what, value in values.items():
            yield _step(
                case,
                "wrong-cached-value",
                f"The gradient of {layer['W']} is formed with {what} instead of what the layer received.",
                "weight",
                number,
                lambda self, number, delta, value=value: value(self, number).T @ delta,
            )
        shuffles: dict[str, Callable[[Array], Array]] = {
            "in reverse order": lambda a: a[::-1],
            "shifted by one example": lambda a: np.roll(a, 1, axis=0),
            "of the first example only": lambda a: a * (np.arange(len(a)) == 0)[:, None],
            "of the last example only": lambda a: a * (np.arange(len(a)) == len(a) - 1)[:, None],
        }
        for what, shuffle in shuffles.items():
            yield _step(
                case,
                "single-entries" if "only" in what else "wrong-cached-value",
                f"The gradient of {layer['W']} is formed with the layer's inputs {what}.",
                "weight",
                number,
                lambda self, number, delta, shuffle=shuffle: shuffle(self.a[number]).T @ delta,
            )


@hypothesis("network")
def first_layer_forgotten(case: Case) -> Iterator[Hypothesis]:
    """What is passed back skips a layer's activation, or its weights are those of an earlier moment."""
    for number, layer in _layers(case):
        if not number:
            continue
        yield _step(
            case,
            "stale-weights",
            f"The error is passed back through {layer['W']} as it was when the object was made, not as it is now.",
            "behind",
            number,
            lambda self, number, delta, layer=layer: delta @ _initial(self, layer, number).T,
        )
        for rate in _rates(case, layer, number):
            yield _step(
                case,
                "stale-weights",
                f"The error is passed back through {layer['W']} after its update (by about {rate:.3g} times its "
                "gradient): compute all gradients before any weight is changed.",
                "behind",
                number,
                lambda self, number, delta, rate=rate: (
                    delta @ (self.w[number] - rate * _moved(self, number, delta)).T
                ),
            )
        matrix = _feedback(case, number)
        if matrix is not None:
            yield _step(
                case,
                "random-feedback",
                f"The error is passed back through a fixed matrix that is not the transpose of {layer['W']}.",
                "behind",
                number,
                lambda self, number, delta, matrix=matrix: delta @ matrix,
            )


@hypothesis("network")
def penalty_wrong(case: Case) -> Iterator[Hypothesis]:
    """The L2 term of one weight's gradient, or of all, is missing or has another factor."""
    if (model := case.model) is None or not any(t.data.get("reg") for t in case.trials):
        return
    parts = [(number, part) for number in reversed(range(len(model.layers))) for part in ("W", "b")]
    for where in [
        [pair for pair in parts if pair[1] == "W"],
        parts,
        [pair for pair in parts if pair[1] == "b"],
        *([pair] for pair in parts),
    ]:
        unpenalised = not model.penalty.biases and all(part == "b" for _, part in where)
        for factor, per_example in _penalty_factors(case, 0.0 if unpenalised else model.penalty.factor):

            def penalty(
                self: Backward, w: Array, number: int, part: str, where=where, f=factor, n=per_example
            ):
                if (number, part) not in where:
                    return Backward.penalty(self, w, number, part)
                return 2 * f * self.strength * w * self.share(n)

            fault = type("Fault", (Backward,), {"penalty": penalty})
            if factor and unpenalised:
                cause, text = (
                    "regularizer-factor",
                    f"The gradient of {_names(case, where)} has an L2 term, but the loss has none of it.",
                )
            elif factor:
                cause, text = (
                    "regularizer-factor",
                    (
                        f"The L2 term of the gradient is {2 * factor:g} * lambda * W{' / N' if per_example else ''}, "
                        f"but that of the loss is {_penalty_text(model.penalty.factor, model.penalty.per_example)}."
                    ),
                )
            else:
                cause, text = (
                    "missing-regularizer",
                    (
                        "The loss has an L2 term, but the gradient of "
                        f"{_names(case, where)} lacks it: add its derivative."
                    ),
                )
            yield Hypothesis(cause, text, lambda trial, fault=fault: fault(model, trial).gradients())
    if model.times_n:
        once = type("Fault", (Backward,), {"penalty": lambda b, *a: Backward.penalty(b, *a) / b.n})
        yield Hypothesis(
            "batch-scale",
            "The data's part of the gradient is a sum over the examples, the L2 term's is that of the mean: divide "
            "the data's part by N.",
            lambda trial: once(model, trial).gradients(),
        )


def _penalty_factors(case: Case, right: float) -> list[tuple[float, bool]]:
    return [
        (f, n)
        for f in (0.0, 0.5, 1.0, 0.25, 2.0, -0.5, -1.0)
        for n in (False, True)
        if not (n and f == 0.0) and (f, n) != (right, case.model.penalty.per_example)  # type: ignore[union-attr]
    ]


def _penalty_text(factor: float, per_example: bool) -> str:
    share = " / N" if per_example else ""
    return f"{factor:g} * lambda * sum W^2{share}, whose derivative is {2 * factor:g} * lambda * W{share}"


def _names(case: Case, where: list[tuple[int, str]]) -> str:
    layers = case.model.layers  # type: ignore[union-attr]
    return ", ".join(str(layers[number][part]) for number, part in where if layers[number][part])


def _layers(case: Case) -> Iterator[tuple[int, dict[str, Any]]]:
    """From the last layer back."""
    if case.model is not None:
        yield from reversed(list(enumerate(case.model.layers)))


def _step(
    case: Case, cause: str, text: str, step: str, where: int, wrong: Callable[..., Array]
) -> Hypothesis:
    """One step of the backward pass replaced in one layer."""

    def replaced(self: Backward, number: int, delta: Array) -> Array:
        return wrong(self, number, delta) if number == where else getattr(Backward, step)(self, number, delta)

    fault = type("Fault", (Backward,), {step: replaced})
    model = case.model
    assert model is not None
    return Hypothesis(cause, text, lambda trial: fault(model, trial).gradients())


def _initial(b: Backward, layer: dict[str, Any], number: int) -> Array:
    initial = b.trial.data.get("initial") or {}
    return canonical(layer, initial)[0] if initial else np.full_like(b.w[number], np.nan)


def _moved(b: Backward, number: int, delta: Array) -> Array:
    return b.weight(number, delta) + b.penalty(b.w[number], number, "W")


def _errors_behind(case: Case, number: int) -> Iterator[tuple[Backward, Array, Array]]:
    """(pass, delta of layer `number`, claimed gradient of the weight before it, its penalty taken off)."""
    before = case.model.layers[number - 1]  # type: ignore[union-attr]
    for trial in case.trials:
        claim = case.claim(trial, before["W"])
        b = Backward(case.model, trial)  # type: ignore[arg-type]
        if claim is None or claim.shape != np.shape(trial.inputs[before["W"]]):
            continue
        own, _ = canonical(
            before,
            {
                before["W"]: claim,
                **({before["b"]: np.zeros(b.w[number - 1].shape[1])} if before["b"] else {}),
            },
        )
        delta = b.delta()
        for n in range(b.last, number, -1):
            delta = b.behind(n, delta) * b.slope(n - 1, delta)
        yield b, delta, own - b.penalty(b.w[number - 1], number - 1, "W")


def _feedback(case: Case, number: int) -> Array | None:
    """The fixed matrix through which the error must have gone, by least squares over trials of one shape."""
    rows, right, equations = [], [], 0
    shape: tuple[int, ...] | None = None
    for b, delta, claim in _errors_behind(case, number):
        m, h = b.w[number].shape[1], b.w[number].shape[0]
        if shape not in (None, (m, h)):
            continue
        shape = (m, h)
        slope, x = b.slope(number - 1, delta), b.a[number - 1]
        # claim[i, j] = sum_nk x[n, i] slope[n, j] delta[n, k] B[k, j]
        rows.append(np.einsum("ni,nj,nk->jik", x, slope, delta))
        right.append(claim)
        equations += min(len(x), x.shape[1])  # those of one example are all alike
    if shape is None or equations <= shape[0]:
        return None
    matrix = np.zeros(shape)
    for j in range(shape[1]):
        system = np.concatenate([block[j] for block in rows])
        wanted = np.concatenate([claim[:, j] for claim in right])
        if len(system) < 2 * shape[0]:
            return None
        matrix[:, j] = np.linalg.lstsq(system, wanted, rcond=None)[0]
    return matrix if np.abs(matrix).max() > 1e-9 else None  # else nothing at all came back


def _rates(case: Case, layer: dict[str, Any], number: int) -> Iterator[float]:
    """A learning rate by which the layer's weight was moved before it was used, if one fits."""
    matrices: list[float] = []
    for b, delta, claim in _errors_behind(case, number):
        moved = _moved(b, number, delta)
        slope, x = b.slope(number - 1, delta), b.a[number - 1]
        base = x.T @ ((delta @ b.w[number].T) * slope)
        per_rate = -x.T @ ((delta @ moved.T) * slope)
        if per_rate.any():
            matrices.append(float(np.vdot(per_rate, claim - base) / np.vdot(per_rate, per_rate)))
    if matrices and np.isfinite(matrices).all() and abs(rate := float(np.median(matrices))) > 1e-9:
        yield rate
