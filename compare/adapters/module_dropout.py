"""How a dropout behaves over many draws: how often it keeps a unit, by what it scales, what evaluation does.

The facts are for compare.diagnosis.dropout, whatever the style.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from compare.adapters.module_build import DROP
from compare.adapters.module_signatures import RATE
from compare.adapters.module_slots import attributes

Array = np.ndarray
DRAWS, SHAPE = 60, (40, 25)  # 60,000 entries: the share of those kept is known to 0.002
ZERO = 1e-12


def facts(
    train: Callable[[Array, int], tuple[Any, Any]],
    evaluate: Callable[[Array], Any] | None,
    rate: float | None,
    rate_name: str,
) -> dict[str, Any]:
    """train(x, seed) -> (y, the gradient for a cotangent of ones); evaluate(x) -> y; both with all x = 1.

    rate: what the code was given under the name rate_name; None where that is not known.
    kept: share of entries that are not zero; kept_mean, kept_spread: of y / x where it is not zero; values:
    up to 4 different ones; mean: of y / x over all; same_mask: of forward and backward; eval_*: evaluation
    against x.
    """
    x = np.ones(SHAPE)
    masks, same, backward = [], True, []
    for seed in range(DRAWS):
        y, dx = train(x.copy(), seed)
        y = np.asarray(y, np.float64)
        if y.shape != x.shape:
            return {}
        masks.append(y)
        if dx is not None and np.shape(dx) == x.shape:
            dx = np.asarray(dx, np.float64)
            backward.append(dx)
            same &= bool(((np.abs(dx) > ZERO) == (np.abs(y) > ZERO)).all())
    every = np.array(masks)
    kept = every[np.abs(every) > ZERO]
    found: dict[str, Any] = {
        "rate": rate,
        "rate_name": rate_name,
        "entries": int(every.size),
        "kept": float(kept.size / every.size),
        "kept_mean": float(kept.mean()) if kept.size else 0.0,
        "kept_spread": float(kept.std()) if kept.size else 0.0,
        "values": [float(v) for v in np.unique(np.round(kept, 12))[:4]],
        "mean": float(every.mean()),
        "draws": len({mask.tobytes() for mask in masks}),
        "same_mask": same if backward else None,
        "whole_rows": _constant(every, 2),
        "whole_columns": _constant(every, 1),
    }
    if backward:
        given = np.array(backward)
        found["backward_mean"] = (
            float(given[np.abs(given) > ZERO].mean()) if np.abs(given).max() > ZERO else 0.0
        )
    if evaluate is not None:
        own = np.arange(1.0, 1 + x.size).reshape(x.shape)
        y = np.asarray(evaluate(own.copy()), np.float64)
        ratio = y / own if y.shape == own.shape else np.full(own.shape, np.nan)
        change = float(np.nanmax(np.abs(ratio - 1))) if np.isfinite(ratio).any() else np.inf
        found |= {
            "eval_identity": change <= 1e-6,
            "eval_max_change": change,
            "eval_scale": float(ratio.mean()),
            "eval_spread": float(ratio.std()),
        }
    return {"dropout": found}


def _constant(every: Array, axis: int) -> bool:
    """Whether one draw decides about whole rows (axis 2), or whole columns (axis 1)."""
    return bool((every == every.take([0], axis=axis)).all()) and len(np.unique(every)) > 1


def rate_of(module: Any, name: str) -> float | None:
    """The rate that a dropout has: the attribute of this name, else the only one that looks like a rate."""
    own = attributes(module)
    if isinstance(own.get(name), float):
        return float(own[name])
    found = [
        v for n, v in own.items() if RATE.fullmatch(n.strip("_")) and isinstance(v, float) and 0 <= v < 1
    ]
    return float(found[0]) if len(found) == 1 else None


def set_rate(module: Any, rate: float | None, kept: Callable[[Any], bool]) -> bool:
    """Make it keep everything (rate 0), or, where it does so now, drop some (None); False where that fails.

    kept(module): whether it keeps everything in training. A rate may be that of what is kept, under any name.
    """
    if rate is None and not kept(module):
        return True
    for name, value in attributes(module).items():
        if (
            not RATE.fullmatch(name.strip("_"))
            or isinstance(value, bool)
            or not isinstance(value, float | int)
        ):
            continue
        for candidate in (0.0, 1.0) if rate is not None else (DROP, 1 - DROP):
            setattr(module, name, candidate)
            if kept(module) == (rate is not None):
                return True
        setattr(module, name, value)
    return False
