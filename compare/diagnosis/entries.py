"""What can be seen in a tensor without knowing what computes it: exchanged, transposed, clipped, partly wrong."""

from collections.abc import Iterator

import numpy as np

from compare.diagnosis.hypothesis import Array, Case, Hypothesis, hypothesis
from compare.submission.evidence import Trial

ALL = ("network", "operation")
FEW = 0.5  # of the entries: more than that is not called single


@hypothesis(*ALL)
def swapped(case: Case) -> Iterator[Hypothesis]:
    """The gradients of two tensors are exchanged, or one is given for both."""
    for i, a in enumerate(case.wrong):
        for b in case.names:
            if b != a:
                if _opposite(case, a, b):
                    continue  # a sign, then
                both = b in case.wrong[i + 1 :]

                def exchanged(trial: Trial, a: str = a, b: str = b, both: bool = both) -> dict[str, Array]:
                    one, other = case.truth(trial, a), case.truth(trial, b)
                    if one is None or other is None:
                        return {}
                    return {a: other} | ({b: one} if both else {})

                what = (
                    f"The gradients of {a} and {b} are exchanged" if both else f"This is the gradient of {b}"
                )
                yield Hypothesis("swapped-tensors", f"{what}: return them in the right order.", exchanged)


def _opposite(case: Case, a: str, b: str) -> bool:
    """Whether the right gradients differ by the sign alone."""
    pairs = [(case.truth(t, a), case.truth(t, b)) for t in case.trials]
    return all(
        p is not None and q is not None and p.shape == q.shape and np.allclose(p, -q, rtol=1e-9)
        for p, q in pairs
    )


@hypothesis(*ALL)
def transposed(case: Case) -> Iterator[Hypothesis]:
    """The tensor itself, transposed."""
    for name in case.wrong:
        yield Hypothesis(
            "transpose",
            f"The gradient of {name} is transposed.",
            case.everywhere(lambda t, n, g, name=name: g.T if n == name and g.ndim == 2 else None),
        )
        yield Hypothesis(
            "conv-kernel-not-flipped" if case.evidence.description.get("op") == "conv" else "transpose",
            f"The gradient of {name} is turned by 180 degrees.",
            case.everywhere(lambda t, n, g, name=name: _turned(g) if n == name and g.ndim > 2 else None),
        )


@hypothesis(*ALL)
def clipped(case: Case) -> Iterator[Hypothesis]:
    """Every entry, or the norm, is limited."""
    groups = [case.wrong, *([n] for n in case.wrong)] if len(case.wrong) > 1 else [case.wrong]
    for names in groups:
        claims = [np.abs(c).max() for n in names for _, c, _ in case.pairs(n) if c.size]
        if not claims or not max(claims):
            continue
        limit = float(max(claims))
        if not limit:
            continue
        yield Hypothesis(
            "gradient-clipped",
            f"Every entry is limited to +-{limit:.6g}: check gradients before they are clipped.",
            case.everywhere(lambda t, n, g, names=names, c=limit: np.clip(g, -c, c) if n in names else None),
        )
        norms = [float(np.linalg.norm(c)) for n in names for _, c, _ in case.pairs(n)]
        bound = max(norms)
        yield Hypothesis(
            "gradient-clipped",
            f"The norm is limited to {bound:.6g}: check gradients before they are clipped.",
            case.everywhere(lambda t, n, g, names=names, b=bound: _limited(g, b) if n in names else None),
        )
    if len(case.names) > 1:
        norms = [
            np.sqrt(sum(float(np.sum(c**2)) for c in t.claims.values() if c is not None)) for t in case.trials
        ]
        bound = float(max(norms))

        def globally(trial: Trial) -> dict[str, Array]:
            truths = {n: g for n in case.names if (g := case.truth(trial, n)) is not None}
            norm = np.sqrt(sum(float(np.sum(g**2)) for g in truths.values()))
            return {n: g * min(1.0, bound / norm) for n, g in truths.items()}

        yield Hypothesis(
            "gradient-clipped",
            f"The norm over all gradients is limited to {bound:.6g}: check gradients before they are clipped.",
            globally,
        )


@hypothesis(*ALL)
def never_computed(case: Case) -> Iterator[Hypothesis]:
    """Zeros, or nothing, where there is a gradient."""
    for names in [case.wrong, *([n] for n in case.wrong)]:
        yield Hypothesis(
            "returns-early",
            "This gradient is never computed: it is zero everywhere.",
            case.everywhere(lambda t, n, g, names=names: np.zeros_like(g) if n in names else None),
        )


@hypothesis(*ALL)
def single_entries(case: Case) -> Iterator[Hypothesis]:
    """The same few entries, row or column, wrong in every trial, all others right."""
    for name in case.wrong:
        wrong: dict[tuple[int, ...], Array] = {}
        others = False  # whether anything that is right says so, by not being 0
        for _, claim, truth in case.pairs(name):
            off = np.abs(claim - truth) > 1e-7 * max(float(np.sqrt(np.mean(truth**2))), 1e-300)
            wrong[off.shape] = wrong.get(off.shape, np.zeros(off.shape, bool)) | off
            others |= bool(truth[~off].any())
        if not others:
            continue
        for off in wrong.values():
            if not off.any() or off.mean() > FEW or off.size == 1:
                continue
            where = _where(off)

            def patched(
                trial: Trial, name: str = name, wrong: dict[tuple[int, ...], Array] = wrong
            ) -> dict[str, Array]:
                claim, truth = case.claim(trial, name), case.truth(trial, name)
                if claim is None or truth is None or claim.shape != truth.shape:
                    return {}
                mask = wrong[truth.shape]
                return {name: np.where(mask, claim, truth)} if mask.mean() <= FEW else {}

            text = f"Only {where} of {name} is wrong, everything else is right: look at loops, slices and indices."
            yield Hypothesis("single-entries", text, patched)
            break


def _where(off: Array) -> str:
    """A row, a column, or entries, in words."""
    indices = np.argwhere(off)
    for axis in range(off.ndim):
        values = set(indices[:, axis])
        if len(values) == 1 and off.ndim > 1:
            at = int(indices[0, axis])
            last = " (the last)" if at == off.shape[axis] - 1 else ""
            return f"{('row', 'column', 'axis 2,', 'axis 3,')[axis]} {at}{last}"
    if off.ndim == 2 and (indices[:, 0] == indices[:, 1]).all():
        return "the diagonal"
    shown = ", ".join(str(tuple(map(int, i))) for i in indices[:4])
    return f"{'entry' if len(indices) == 1 else 'entries'} {shown}{' ...' if len(indices) > 4 else ''}"


def _turned(g: Array) -> Array:
    """The two axes of a kernel in reverse, whichever layout: the two smallest equal ones at the end."""
    return g[..., ::-1, ::-1]


def _limited(g: Array, bound: float) -> Array:
    norm = float(np.linalg.norm(g))
    return g * (bound / norm) if norm > bound else g
