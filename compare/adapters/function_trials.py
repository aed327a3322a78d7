"""Which shapes and values a function takes: as its author says, else the first that give finite numbers.

Where the text leaves a choice, shapes in which every gradient has the shape of its argument come first, and of
those the first in which the gradients are right: code is not blamed for a call that it was not written for.
"""

import inspect
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from compare.adapters import function_shapes as shapes
from compare.adapters.examine import CheckedCodeError, calling
from compare.adapters.function_calls import EMPTY, Caller, copied
from compare.adapters.function_returns import Returned
from compare.adapters.function_values import DISCRETE, NUMBERS, POOLS, Layout, Sizes, sizes_for, values
from compare.adapters.subject import draw
from scratch.errors import UsageError

Array = np.ndarray
SECONDS, TRIES, FURTHER, FEW = 4.0, 3000, 150, 6
FLAT = 1e-11
STEPS, NEAR = (2.0**-13, 2.0**-8), 1e-3  # of differences that only have to tell right from wrong
NUMBER = re.compile(
    r"eps\w*|epsilon|alpha|beta|gamma|lam\w*|lmbda|reg|delta|c|k|n|tau|temp\w*|slope|margin|power|degree|scale|sigma|"
    r"rate|nu|rho|kappa|scalar|shift|lo|hi|low|high|lower|upper|dt|step|order|axis|threshold",
    re.I,
)
WHOLE = re.compile(r"k|n|axis|degree|order|n_\w+|num_\w+|stride|pad|size|window", re.I)
POSITIVE = re.compile(
    r"sigma\w*|var\w*|std\w*|scale|tau|temp\w*|length_?scale|rate|lam\w*|eps\w*|delta|precision|nu", re.I
)
CHANCE = re.compile(r"p|q|probs?\w*|p_\w+|y_?hat|yh|y_?pred|preds?|predictions?|a|prediction|targets?", re.I)
LABELS = re.compile(
    r"y|t|y_?true|(\w+_)?labels?|(\w+_)?targets?|idx|index|indices|ids?|tokens|words|cls|classes", re.I
)
MATRIX = re.compile(r"[A-Z]\w*|\w*(matrix|weights?|logits|scores|images?)|weight|kernel", re.S)
VECTOR = re.compile(r"b\d?|bias(es)?|w|theta|mu|mean", re.S)
DIMS2 = (("n", "d"), ("d", "m"), ("n", "m"), ("n", "n"), ("d", "d"), ("m", "d"), ("d", "n"), ("m", "n"))


@dataclass
class Attempt:
    """One call. quality: 0 f fails, 1 only f works, 2 gradients come, 3 of the right shapes, 4 and they are right."""

    layout: Layout
    sizes: Sizes
    given: dict[str, Any] = field(default_factory=dict)
    outputs: list[Array] = field(default_factory=list)
    quality: int = 0
    error: str = ""
    flat: bool = False  # every derivative is zero there
    names: list[str] = field(default_factory=list)  # of the arguments whose gradients come
    silent: list[str] = field(default_factory=list)  # of those for which None comes


class Trials:
    """Finds the layout of a caller. `order`: its arguments without a default; `returned` has learned afterwards."""

    def __init__(self, caller: Caller, returned: Returned) -> None:
        self.caller, self.returned = caller, returned
        self.parameters = [p for p in caller.parameters if p.default is EMPTY]
        self.order = [p.name for p in self.parameters]
        self.mode = ""  # "sum": an array's gradient without dy is that of the sum of its entries
        sources = [shapes_source(caller.body())]
        signature = shapes.of_signature(caller.name, self.order, caller.texts)
        self.said = {n: shapes.said(n, self.order, caller.texts) for n in self.order}
        for p in self.parameters:
            hint = shapes.of_hint(p.annotation) if p.annotation is not EMPTY else shapes.Said()
            known = self.said[p.name]
            dims = next((d for d in (known.dims, signature.get(p.name), hint.dims) if d is not None), None)
            self.said[p.name] = shapes.Said(dims, known.domain or hint.domain, known.rank)
        self.coded = shapes.of_code(self.order, sources)
        self.lengths = lengths(caller.body())
        self.source = sources[0]

    def find(self, rng: np.random.Generator) -> Attempt:
        """The best attempt. Raises UsageError where the function could not be called at all."""
        self.deadline = time.monotonic() + SECONDS
        best: Attempt | None = None
        for one in self._documented(rng) if self._complete() else ():
            best = one if best is None or one.quality > best.quality else best
            if best.quality >= 2:
                break
        if best is None or best.quality == 0:
            found = self._tried(rng)
            best = found if found is not None and (best is None or found.quality > 0) else best
        if best is None or best.quality == 0:
            raise UsageError(self._sentence(best))
        if best.quality == 3 and not self.caller.takes_dy:
            self._other_meaning(best)
        return self.attempt(
            best.layout, best.sizes, np.random.default_rng(0)
        )  # so that `returned` is of this one

    def _other_meaning(self, best: Attempt) -> None:
        """A derivative in terms of the value, or the gradient of the sum of an array's entries.

        Raises UsageError where an array's gradient without dy can mean several things.
        """

        def right() -> bool:
            return self.attempt(best.layout, best.sizes, np.random.default_rng(0)).quality == 4

        if self.caller.may_be_by_output:
            self.caller.by_output = True
            if right():
                return
            self.caller.by_output = False
        if best.outputs[0].ndim == 0 or self._by_entry(best):
            return
        self.mode = "sum"
        if not right():
            raise UsageError(
                f"{self.caller.name} returns an array of shape {best.outputs[0].shape}, and its gradient function takes "
                "no gradient dy that arrives, so what it is the gradient of cannot be told; "
                "give it one more argument dy and return the gradients of sum(dy * y)."
            )

    def _by_entry(self, best: Attempt) -> bool:
        """Whether every entry of the value depends on the same entry of the arguments alone."""
        for n, x in best.given.items():
            if np.shape(x) == best.outputs[0].shape and np.asarray(x).dtype.kind == "f":
                moved = np.array(x)
                moved.flat[0] += 0.1
                with calling(0):
                    y = self.caller.value(copied(best.given | {n: moved}))[0]
                if (np.ravel(y != best.outputs[0])[1:]).any():
                    return False
        return True

    def _complete(self) -> bool:
        return all(self.said[n].dims is not None for n in self.order)

    def _documented(self, rng: np.random.Generator) -> Iterator[Attempt]:
        dims = {n: d for n in self.order if (d := self.said[n].dims) is not None}
        layout = Layout(dims, self._domains(dims), True)
        for pool in (*POOLS, (4,) * 6):
            sizes = (
                sizes_for(layout.symbols(), pool)
                if pool[0] != pool[1]
                else dict.fromkeys(layout.symbols(), 4)
            )
            yield self._best_domain(layout, sizes, rng)
            for length, symbol in product(self.lengths, layout.symbols()):
                yield self._best_domain(layout, sizes | {symbol: length}, rng)

    def _tried(self, rng: np.random.Generator) -> Attempt | None:
        best, since, tries = None, 0, 0
        for dims in self._combinations():
            if best is not None and best.quality >= 3 and self._says_less(dims, best):
                continue
            if tries >= TRIES or since > FURTHER or time.monotonic() > self.deadline:
                break
            layout = Layout(dict(dims), self._domains(dims))
            one = self._best_domain(layout, sizes_for(layout.symbols(), POOLS[0]), rng)
            tries, since = tries + 1, since + (best is not None and best.quality >= 3)
            settled = best is not None and best.quality >= 3 and one.names != best.names
            if best is None or (one.quality > best.quality and not settled):
                best = one
            if best.quality == 4:
                break
        return best

    def _says_less(self, dims: Mapping[str, shapes.Dims], best: Attempt) -> bool:
        """Numbers or short vectors where others will do, for which more is right; and arrays of many axes."""
        numbers = any(not d and best.layout.dims[n] and n in best.names for n, d in dims.items())
        short = any(d[0] in ("2", "3", "4") and int(d[0]) not in self.lengths for d in dims.values() if d)
        return numbers or short or any(len(d) > 2 for d in dims.values())

    def _combinations(self) -> Iterator[dict[str, shapes.Dims]]:
        """Every choice of shapes, the likeliest first."""
        choices = [self._choices(p) for p in self.parameters]
        while np.prod([len(c) for c in choices], dtype=float) > 20_000:
            choices = [c[: max(1, len(c) - 1)] for c in choices]
        every = sorted(product(*choices), key=lambda chosen: sum(cost for cost, _ in chosen))
        for chosen in every:
            yield {n: dims for n, (_, dims) in zip(self.order, chosen, strict=True)}

    def _choices(self, p: inspect.Parameter) -> list[tuple[float, shapes.Dims]]:
        said = self.said[p.name]
        if said.dims is not None:
            return [(0.0, said.dims)]
        cost = {1: 0.0, 2: 1.0, 0: 2.5, 3: 4.0, 4: 5.0}
        if MATRIX.fullmatch(p.name):
            cost = {2: 0.0, 1: 1.5, 0: 3.0, 3: 3.0, 4: 4.0}
        elif NUMBER.fullmatch(p.name) and not all(NUMBER.fullmatch(n) for n in self.order):
            cost = {0: 0.0, 1: 0.5, 2: 2.0}
        elif VECTOR.fullmatch(p.name):
            cost = {1: 0.0, 2: 2.0, 0: 2.0}
        if said.rank is not None:
            cost = {said.rank: 0.0}
        known = [
            s
            for n in self.order
            if (d := self.said[n].dims) and d != shapes.ANY
            for s in shapes.symbols_of(d)
        ]
        symbols = [*dict.fromkeys([*known, "n", "d", "m"])]
        names = dict(zip("ndm", symbols, strict=False))
        out = [(0.0, self.coded[p.name])] if p.name in self.coded else []
        more = 1.0 if out else 0.0
        for rank, start in cost.items():
            forms: Sequence[tuple[str, ...]] = {0: ((),), 1: (("n",), ("d",), ("m",)), 2: DIMS2}.get(
                rank, (("n", "d", "m", "k")[:rank],)
            )
            out += [(more + start + 0.3 * i, tuple(names.get(s, s) for s in f)) for i, f in enumerate(forms)]
            if rank == 1:
                out += [(start - 0.1 + 0.1 * i, (str(n),)) for i, n in enumerate(self.lengths[:4])]
                out += [(more + start + 1.0 + 0.1 * i, (str(n),)) for i, n in enumerate((2, 3, 4))]
            if rank == 2:
                both = product(self.lengths[:3], (*(str(n) for n in self.lengths[:3]), "n"))
                out += [(start + 0.05 * i, (str(a), b)) for i, (a, b) in enumerate(both)]
        return sorted(out, key=lambda choice: choice[0])

    def _domains(self, dims: Mapping[str, shapes.Dims]) -> dict[str, str]:
        """What each argument holds, as far as text and name say."""
        found = {}
        for n in self.order:
            domain = self.said[n].domain
            square = len(dims[n]) == 2 and dims[n][0] == dims[n][1]
            if domain in ("spd", "symmetric") and not square:
                domain = ""
            if domain == "onehot" and not dims[n]:
                domain = ""
            if not domain and dims[n] == () and WHOLE.fullmatch(n):
                domain = (
                    "int"
                    if re.search(rf"range\([^)]*\b{n}\b|\*\*\s*{n}\b|axis=\s*{n}\b", self.source)
                    else ""
                )
            if not domain and POSITIVE.fullmatch(n):
                domain = "small" if n.lower().startswith("eps") else "positive"
            if not domain and "log" in self.source and CHANCE.fullmatch(n) and len(self.order) > 1:
                domain = "unit" if f"log({n}" in self.source.replace(" ", "").replace("np.", "") else ""
            found[n] = domain
        return found

    def _best_domain(self, layout: Layout, sizes: Sizes, rng: np.random.Generator) -> Attempt:
        """The first values with which f is finite; labels in the coding with which the gradients are right."""
        best = self.attempt(layout, sizes, rng)
        if best.quality and not self._steady(layout, sizes, rng):
            best = Attempt(layout, sizes, error=NOT_FINITE)
        if best.quality == 0 and best.error == NOT_FINITE:
            squares = {n: "spd" for n, d in layout.dims.items() if len(d) == 2 and d[0] == d[1]}
            for other in (dict.fromkeys(self.order, "positive"), squares, dict.fromkeys(self.order, "unit"),
                          dict.fromkeys(self.order, "positive") | squares, dict.fromkeys(self.order, "above one")):  # fmt: skip
                one = self.attempt(layout.with_domains(other), sizes, rng)
                if one.quality > best.quality and self._steady(one.layout, sizes, rng):
                    best = one
                    break
        free = [n for n in self.order if n not in self.returned.names or best.quality == 0]
        for n in free:
            if LABELS.fullmatch(n) and best.quality < 4 and (best.quality or best.error != NOT_FINITE):
                asked = self.said[n].domain
                for coding in (asked,) if asked else ("onehot", "labels", "pm1", "binary", "distribution"):
                    one = self.attempt(best.layout.with_domains({n: coding}), sizes, rng)
                    if one.quality > best.quality:
                        best = one
        if best.quality == 0 and best.error != NOT_FINITE:
            numbers = [n for n in self.order if layout.dims[n] == () and WHOLE.fullmatch(n)]
            if numbers:
                one = self.attempt(layout.with_domains(dict.fromkeys(numbers, "int")), sizes, rng)
                best = one if one.quality else best
        numbers = [n for n in best.silent if not layout.dims[n] or self.said[n].dims is None]
        if numbers:  # None in the place of a gradient: is it that of a number?
            plain = Layout(
                layout.dims | dict.fromkeys(numbers, ()),
                best.layout.domains | dict.fromkeys(numbers, "number"),
            )
            plain.documented = layout.documented
            one = self.attempt(plain, sizes, rng)
            best = one if one.quality >= best.quality else best
        discrete = {n: "" for n in self.returned.names if best.layout.domains.get(n) in DISCRETE}
        if discrete and best.quality > 1:
            one = self.attempt(best.layout.with_domains(discrete), sizes, rng)
            best = one if one.quality >= best.quality else best
        return best

    def _steady(self, layout: Layout, sizes: Sizes, rng: np.random.Generator) -> bool:
        """Whether a function of a few numbers is finite for others too: one may have been positive by chance."""
        if sum(int(np.prod(layout.shape(n, sizes))) for n in layout.dims) > FEW:
            return True
        return all(self.attempt(layout, sizes, rng).error != NOT_FINITE for _ in range(FEW))

    def attempt(
        self,
        layout: Layout,
        sizes: Sizes,
        rng: np.random.Generator,
        stretch: float = 1.0,
        options: Mapping = {},
    ) -> Attempt:
        """Call f and its gradient function once. stretch: of arguments that take every number."""
        out = Attempt(layout, sizes)
        try:
            out.given = values(layout, sizes, rng)
            for n, a in out.given.items():
                if stretch != 1 and not layout.domains.get(n) and np.asarray(a).dtype.kind == "f":
                    out.given[n] = np.asarray(stretch * a)
            out.given |= options
        except (ValueError, KeyError, ZeroDivisionError, np.linalg.LinAlgError) as error:
            out.error = str(error)
            return out
        try:
            with calling(0):
                out.outputs = self.caller.value(copied(out.given))
        except (CheckedCodeError, UsageError) as error:
            out.error = NOT_FINITE if DOMAIN.search(str(error)) else str(error)
            return out
        if not all(np.isfinite(y).all() for y in out.outputs) or any(
            y.dtype.kind == "c" for y in out.outputs
        ):
            out.error = NOT_FINITE
            return out
        out.quality = 1
        dys = [draw(rng, *y.shape) for y in out.outputs]
        if not self.caller.takes_dy:
            dys = [np.ones(()) if y.ndim == 0 else dy for y, dy in zip(out.outputs, dys, strict=True)]
        kinds = {n: layout.domains.get(n) for n in layout.dims}
        floats = {
            n: out.given[n].shape for n, kind in kinds.items() if kind not in ("labels", "mask", *NUMBERS)
        }
        try:
            with calling(0):
                result = self.caller.gradients(copied(out.given), dys)
        except (CheckedCodeError, UsageError) as error:
            out.error = str(error)
            return out
        slope = Slopes(self.caller, out.given, dys)
        self.returned.after_value = _begins_with(result, out.outputs)
        try:
            known = self.returned.learn(result, floats, self.order, slope.fits)
            claims = self.claims(result, out.given, out.outputs, dys)
        except (TypeError, ValueError) as error:
            out.error = str(error)
            return out
        out.quality, out.names = 2, self.returned.names
        there = [(n, g) for n, g in claims.items() if g is not None]
        out.silent = [n for n, g in claims.items() if g is None]
        if (
            known
            and there
            and all(g.shape == floats[n] and g.dtype.kind in "fc" and np.isfinite(g).all() for n, g in there)
        ):
            out.quality = 4 if all([slope.fits(n, g) for n, g in there]) else 3
        out.flat = slope.flat()
        return out

    def claims(
        self, result: Any, given: Mapping[str, Array], outputs: Sequence[Array], dys: Sequence[Array]
    ) -> dict[str, Array | None]:
        """The gradients of <dy, y>, however the user's function has them."""
        found = self.returned.read(result, {n: np.shape(a) for n, a in given.items()})
        if self.caller.takes_dy or self.mode == "sum" or outputs[0].ndim == 0:
            return found
        return {n: None if g is None else with_dy(g, np.shape(given[n]), dys[0]) for n, g in found.items()}

    def _sentence(self, best: Attempt | None) -> str:
        given = ", ".join(f"{n} {np.shape(a)}" for n, a in best.given.items()) if best else ""
        what = f"; with {given} it stops with {best.error}" if best and best.error else ""
        names = ", ".join(f"{n}: (N,)" for n in self.order[:2])
        return (
            f"gradparity does not know how to call {self.caller.name}({', '.join(self.order)}){what}; "
            f"write the shapes of its arguments into its docstring, such as `{names}`."
        )


NOT_FINITE = "a value that is not finite"
DOMAIN = re.compile(
    r"math (domain|range)|positive|Singular|OverflowError|ZeroDivision|must (be|lie) (in|between|less|greater)",
    re.I,
)


class Slopes:
    """Derivatives of <dy, y> along a random direction, just good enough to tell right from wrong."""

    def __init__(self, caller: Caller, given: dict[str, Array], dys: Sequence[Array]) -> None:
        self.caller, self.given, self.dys = caller, given, dys
        self.known: dict[tuple[str, float, int], float] = {}

    def fits(self, name: str, claim: Array) -> bool:
        """Whether a gradient of this argument gives the slopes that f has."""
        x = np.asarray(self.given[name])
        if claim.shape != x.shape or x.dtype.kind != "f":
            return False
        return any(self._fits(name, claim, x, step) for step in STEPS)

    def _fits(self, name: str, claim: Array, x: Array, step: float) -> bool:
        for seed in range(2):
            v = np.random.default_rng(x.size + seed).standard_normal(x.shape)
            if (name, step, seed) not in self.known:
                try:
                    near, far = (
                        (self._at(name, x + h * v) - self._at(name, x - h * v)) / (2 * h)
                        for h in (step, 2 * step)
                    )
                    self.known[name, step, seed] = (4 * near - far) / 3
                except (CheckedCodeError, UsageError):
                    self.known[name, step, seed] = np.nan
            size = float(np.linalg.norm(claim)) * float(np.linalg.norm(v))
            if not abs(float(np.sum(claim * v)) - self.known[name, step, seed]) <= NEAR * max(
                size, 1e-12
            ) / np.sqrt(max(x.size, 1)):
                return False
        return True

    def flat(self) -> bool:
        """Whether all that has been asked for is zero but for rounding."""
        return all(abs(slope) < FLAT for slope in self.known.values()) and bool(self.known)

    def _at(self, name: str, x: Array) -> float:
        with calling(0):
            outputs = self.caller.value(copied(self.given | {name: x}))
        return float(sum(np.sum(dy * y) for dy, y in zip(self.dys, outputs, strict=False)))


def with_dy(claim: Array, shape: tuple[int, ...], dy: Array) -> Array:
    """The gradient of <dy, y> from a derivative without dy: entry by entry, or a Jacobian."""
    if claim.shape == dy.shape + shape and claim.shape != shape:
        return np.tensordot(dy, claim, axes=dy.ndim)
    if claim.shape != dy.shape:
        return claim
    product_ = dy * claim
    while product_.ndim > len(shape):
        product_ = product_.sum(axis=0)
    axes = tuple(i for i, n in enumerate(shape) if n == 1 != product_.shape[i])
    return product_.sum(axis=axes, keepdims=True) if axes else product_


def _begins_with(result: Any, outputs: Sequence[Array]) -> bool:
    """Whether a gradient function gives the value before the gradients."""
    if not isinstance(result, tuple) or len(result) < 2 or len(outputs) != 1 or outputs[0].ndim:
        return False
    first = result[0]
    return (
        np.ndim(first) == 0
        and not isinstance(first, dict | str)
        and first is not None
        and bool(np.isclose(first, outputs[0], rtol=1e-12))
    )


def lengths(function: Any) -> list[int]:
    """The sizes of the arrays of the module that a function uses: its arguments may have to fit them."""
    function = inspect.unwrap(function)
    code, space = getattr(function, "__code__", None), dict(getattr(function, "__globals__", {}))
    names = [] if code is None else [*code.co_names, *code.co_freevars]
    for name, cell in zip(
        code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=False
    ):
        space[name] = cell.cell_contents
    arrays = [space[n] for n in names if isinstance(space.get(n), np.ndarray)]
    return [*dict.fromkeys(n for a in arrays for n in reversed(a.shape) if 1 < n < 60)]


def shapes_source(function: Any) -> str:
    """The source of a function; "" where there is none."""
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return ""
