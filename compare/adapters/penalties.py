"""How strongly a loss penalises each parameter: c in c * sum W^2, measured by the loss itself."""

from collections.abc import Callable

import numpy as np

from compare.adapters.subject import Point


def measured(
    points: list[Point], value: Callable[[Point], float], names: list[str]
) -> dict[str, dict[str, float]]:
    """By point and tensor, 2 c: what times W is the penalty's gradient. {} for a point without penalty."""
    found: dict[str, dict[str, float]] = {}
    for point in points:
        found[point.label] = {}
        if not point.data.get("reg"):
            continue
        for name in names:
            w = point.inputs[name]
            size = float(np.sum(w**2))
            shares = []
            for factor in (1.0, 2.0):
                own = point.copy()
                own.inputs[name] = factor * w
                with_it = value(own)
                own = point.copy()
                own.inputs[name] = factor * w
                own.data["reg"] = 0.0
                shares.append(with_it - value(own))
            c = (shares[1] - shares[0]) / (3 * size) if size else 0.0
            found[point.label][name] = 2 * c if abs(c) > 1e-9 else 0.0
    return found
