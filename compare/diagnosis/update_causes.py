"""Why an update rule is wrong: every mistake is tried in every form of the rule, and must predict w in all steps."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from compare.diagnosis.hypothesis import Finding
from compare.diagnosis.update_faults import faults
from compare.diagnosis.update_fit import Block, Fit, candidates, close, rounding, run
from compare.diagnosis.update_rules import Array, Fault
from compare.submission.hyperparameters import RATE


def cause(
    tensor: str,
    found: Sequence[Block],
    tried: Sequence[Fit],
    constants: Sequence[float],
    single: bool,
    named: bool = True,
) -> Finding | None:
    """The mistake that predicts w; None where none does. tried: all forms, none of which fits.

    named: the rule is known by its name; else only rules come in question of which the config tells all.
    """
    best = nearest(tried)
    if not named:
        tried = [fit for fit in tried if len(candidates(found[0], fit.form.rule, constants)) == 1]
    whole = [True] * len(found)
    for form_faults in zip_longest(*(_faults(fit, found, constants, named) for fit in tried)):
        for fit, one in zip(tried, form_faults, strict=True):
            if one is not None and _predicts(one, fit, found, constants, whole, single):
                return _finding(tensor, one, found, whole)
    wrong = [not mask.all() for mask in best.right]
    if not named:
        return None
    if any(wrong) and not all(wrong) and (where := _where(best, found, wrong)):
        for one in _faults(best, found, constants, named):
            if _predicts(one, best, found, constants, wrong, single):
                return _finding(tensor, one, found, wrong, where)
    return entries(tensor, best, found)


def nearest(tried: Sequence[Fit]) -> Fit:
    """The form that predicts most entries; of equals the first, which is the most usual."""
    return max(tried, key=lambda fit: fit.count)


def unexplained(tensor: str, best: Fit, found: Sequence[Block]) -> Finding:
    """Where it first goes wrong."""
    for block, path, mask in zip(found, best.paths, best.right, strict=True):
        if mask.all():
            continue
        step = int((~mask.reshape(len(mask), -1)).any(axis=1).argmax())
        off = np.where(mask[step], -1.0, np.nan_to_num(np.abs(path[step] - block.claim[step]), nan=np.inf))
        at = tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))
        part = f" of {block.part}" if block.part else ""
        place = (
            f"first wrong after step {step + 1}, at {at}{part}: yours {block.claim[step][at]:.9g}, right "
            f"{path[step][at]:.9g} ({block.label})"
        )
        return Finding(
            "unexplained",
            tensor,
            f"None of the known mistakes gives these weights. {place[0].upper()}{place[1:]}.",
            (tensor,),
            evidence=place,
        )
    raise ValueError("every entry is right.")


def _faults(fit: Fit, found: Sequence[Block], constants: Sequence[float], named: bool) -> Iterator[Fault]:
    given = [n for n in fit.h[0] if n != RATE and any(h.get(n) for h in fit.h)]
    ratio = _ratio(fit, found)
    first = float(fit.h[0].get(RATE, found[0].rates[0]))
    return faults(fit.form, fit.rule, given, constants, ratio, ratio * first, named)


def _ratio(fit: Fit, found: Sequence[Block]) -> float:
    """How long the first step is in units of the right one."""
    mine, right = found[0].claim[0] - found[0].w, fit.paths[0][0] - found[0].w
    with np.errstate(all="ignore"):
        ratio = float(np.vdot(right, mine) / np.vdot(right, right))
    return ratio if np.isfinite(ratio) else 0.0


def _predicts(
    one: Fault,
    fit: Fit,
    found: Sequence[Block],
    constants: Sequence[float],
    wrong: Sequence[bool],
    single: bool,
) -> bool:
    """Whether the mistake, made in the wrong blocks, gives what the code has there."""
    kind, seen = one.of(fit.rule), False
    for block, use in zip(found, wrong, strict=True):
        if use:
            if not any(
                _matches(kind, fit, h, block, single) for h in candidates(block, fit.form.rule, constants)
            ):
                return False
            seen = True
    return seen


def _matches(kind: Any, fit: Fit, h: dict[str, float], block: Block, single: bool) -> bool:
    path = _path(kind, fit, h, block)
    if path is None or path.shape != block.claim.shape:
        return False
    spread = rounding(kind, fit.form, h, block, path) if single else 0.0
    return bool(close(path, block, spread).all())


def _path(kind: Any, fit: Fit, h: dict[str, float], block: Block) -> Array | None:
    try:
        return run(kind, fit.form, h, block)
    except (ValueError, IndexError, KeyError, ZeroDivisionError):  # the mistake fits no such shape
        return None


def _where(best: Fit, found: Sequence[Block], wrong: Sequence[bool]) -> str:
    """What the wrong blocks have in common that the others have not; "" where nothing is seen."""
    parts = list(dict.fromkeys(b.part for b in found))
    bad = {b.part for b, w in zip(found, wrong, strict=True) if w}
    good = {b.part for b, w in zip(found, wrong, strict=True) if not w}
    keys = {part.rsplit("/", 1)[-1] for part in bad}
    if len(parts) > 1 and len(keys) == 1 and not any(p.rsplit("/", 1)[-1] in keys for p in good - bad):
        if bad != set(parts):
            return f"in {keys.pop()} of every module"
    if len(parts) > 1 and bad != set(parts):
        return f"in {', '.join(p for p in parts if p in bad)}"
    momentum = [bool(h.get("momentum")) for h in best.h]
    pairs = list(zip(momentum, wrong, strict=True))
    if any(momentum) and not all(momentum):
        if not any(w for m, w in pairs if m):
            return "without momentum"
        if not any(w for m, w in pairs if not m):
            return "with momentum"
    return ""


def _finding(
    tensor: str, one: Fault, found: Sequence[Block], wrong: Sequence[bool], where: str = ""
) -> Finding:
    used = [block for block, use in zip(found, wrong, strict=True) if use]
    labels = list(dict.fromkeys(block.label for block in used))
    text = f"{one.text[:-1]}, but only {where}." if where else one.text
    evidence = f"predicts all {len(used[0].claim)} steps of {len(labels)} runs to rounding"
    return Finding(one.cause, tensor, text, (tensor,), None, evidence)


def entries(tensor: str, best: Fit, found: Sequence[Block]) -> Finding | None:
    """Some entries of w are wrong in every run, and the rest is right."""
    places, frozen, whole = [], True, True
    for block, mask in zip(found, best.right, strict=True):
        bad: Array = ~np.asarray(mask.all(axis=0))
        moved = (block.gradients != 0).any(axis=0)
        if bad.any() and not bad[moved].all():
            places.append((block, [tuple(int(i) for i in at) for at in np.argwhere(bad)]))
            frozen &= bool((block.claim[:, bad] == block.w[bad]).all())
        elif bad.any():
            whole = False
    if not places or not whole:
        return None
    block, at = places[0]
    if not frozen and 2 * len(at) > block.w.size:
        return None
    listed = ", ".join(str(i[0] if len(i) == 1 else i) for i in at[:4]) + (", ..." if len(at) > 4 else "")
    what = "are left alone" if frozen else "are wrong"
    text = (
        f"Some entries of w {what}, and the others are right: in w of shape {block.w.shape} it is {listed}."
    )
    return Finding(
        "single-entries",
        tensor,
        text,
        (tensor,),
        None,
        f"{len(at)} of {block.w.size} entries ({block.label})",
    )
