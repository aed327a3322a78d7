"""The target `ops`: every operation by itself, with random cotangents; a cotangent of ones proves little."""

import numpy as np

from compare import magnitude, tolerance
from compare.noise import C
from compare.opcases import OpCase, cases
from compare.referees import Referees
from compare.verdict import Quantity, Target

Array = np.ndarray


def check_ops(referees: Referees, seed: int, dtypes: tuple[str, ...]) -> list[Target]:
    """Compare every operation with every referee, in each precision."""
    results = [Target("ops", dtype, referees.names) for dtype in dtypes]
    for number, case in enumerate(cases(seed)):
        for result in results:
            result.quantities += _check(case, referees, np.random.default_rng([seed, number]), result.dtype)
    for result in results:
        if unexercised := result.unexercised():
            result.reason = f"nothing to judge in {', '.join(unexercised)}"
    return results


def _check(case: OpCase, referees: Referees, rng: np.random.Generator, dtype: str) -> list[Quantity]:
    cotangent, y, gradients = _scratch(case, rng, dtype)
    noise = _noise(case, y, cotangent, dtype)
    quantities = []
    for referee in referees.frameworks:
        exact_y, exact = referees.operation(referee, case, cotangent, "float64")
        for name, mine in {"y": y, **gradients}.items():
            theirs = exact_y if name == "y" else exact[name]
            error = 0.0
            if dtype == "float32":
                rounded_y, rounded = referees.operation(referee, case, cotangent, dtype)
                error = tolerance.rms((rounded_y if name == "y" else rounded[name]) - theirs)
            judgement = tolerance.judge(mine, theirs, noise[name], dtype, error)
            kind = "value" if name == "y" else "gradient"
            quantities.append(Quantity(f"{case.label}/{name}", kind, referee, judgement))
    if "numeric" in referees.names:
        for name, derivative in referees.operation_derivatives(case, cotangent).items():
            judgement = tolerance.judge(gradients[name], derivative, noise[name], dtype)
            quantities.append(Quantity(f"{case.label}/{name}", "gradient", "numeric", judgement))
    return quantities


def _scratch(case: OpCase, rng: np.random.Generator, dtype: str) -> tuple[Array, Array, dict[str, Array]]:
    """(cotangent, y, gradients) of scratch; other calls in between must leave no trace."""
    with np.errstate(all="ignore"):
        y, backward = case.call({}, dtype)
        cotangent = rng.normal(size=np.shape(y)).astype(np.float32).astype(np.float64)
        others = {name: a[::-1].astype(dtype) for name, a in case.arrays.items()}
        other_y, other_backward = case.call(others, dtype)
        other_backward(np.ones_like(other_y))
        backward(np.ones_like(y))
        gradients = backward(cotangent.astype(dtype) if np.ndim(y) else np.dtype(dtype).type(cotangent))
    return cotangent, np.asarray(y), dict(zip(case.arrays, gradients, strict=True))


def _noise(case: OpCase, y: Array, cotangent: Array, dtype: str) -> dict[str, Array | float]:
    """What rounding may do to y and to each gradient: C u times the magnitudes that are added up."""
    u = C * tolerance.UNIT[dtype]
    a = {name: np.abs(array) for name, array in case.arrays.items()}
    d = np.abs(cotangent)
    match case.op:
        case "dense":
            scales = {
                "y": a["x"] @ a["w"] + a["b"],
                "x": d @ a["w"].T,
                "w": a["x"].T @ d,
                "b": d.sum(axis=0),
            }
        case "conv2d":
            scales = {
                "y": magnitude.conv(a["x"], a["w"], **case.options) + a["b"],
                "x": magnitude.conv_to_input(d, a["w"], a["x"].shape, **case.options),
                "w": magnitude.conv_to_kernel(a["x"], d, a["w"].shape, **case.options),
                "b": d.sum(axis=(0, 1, 2)),
            }
        case "max_pool2d":
            scales = {"y": 0.0, "x": case.options.get("size", 2) ** 2 * d.max()}
        case "softmax_cross_entropy" | "sigmoid_cross_entropy":
            z = case.arrays["z"]
            summands = (
                np.abs(z).max(axis=1) + 1 if case.op.startswith("softmax") else (a["z"] + 1).sum(axis=1)
            )
            scales = {"y": summands.mean(), "z": d * 2 / len(z)}
        case _:
            (name,) = case.arrays
            keep = 1 / (1 - case.options.get("rate", 0.0))
            scales = {"y": np.abs(y).astype(np.float64) * keep, name: keep * d.max()}
    return {name: u * scale for name, scale in scales.items()}
