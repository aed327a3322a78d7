"""Making one module by itself: what its constructor is given, by the names and places of its parameters."""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from compare.adapters.build import ACTIVATION, ACTIVATIONS, SPELLINGS
from compare.adapters.hidden_randomness import drawing
from compare.adapters.module_signatures import KEEP, RATE, parameters
from scratch.errors import UsageError

D, M = 6, 5  # features in and out, where a module has them and nothing else is asked for
DROP = 0.3  # not 1/2, where keeping and dropping are the same
IN = re.compile(
    r"d|d_?in|n_?in|in|nin|.*input.*|in_?\w+|\w+_in|fan_?in|prev\w*|from_\w+|n|rows?|dim_?1|d1|n1", re.I
)
OUT = re.compile(
    r"m|h|k|d_?out|n_?out|nout|.*output.*|out_?\w+|\w+_out|fan_?out|units?|neurons?|n?_?hid\w*|next\w*|to_\w+|cols?|dim_?2|d2|n2|classes",
    re.I,
)
ONE = re.compile(
    r".*feature.*|.*size.*|.*dims?|shape|n|m|d|units|channels|width|c|num_\w+|n_\w+|input\w*", re.I
)
LAYERS = re.compile(
    r"layers?|modules?|blocks?|stack|nodes|components|parts|ops|children|steps|list_?of_?\w+", re.I
)
VALUES: tuple[tuple[str, Callable[[], Any]], ...] = (  # required parameters that are the same in all modules
    (r"seed|random_?(seed|state)", lambda: 0),
    (r"rng|gen|generator|random", lambda: np.random.default_rng(0)),
    (r"name|label|scope", lambda: "module"),
    (r"eps|epsilon", lambda: 1e-5),
    (r"momentum|decay", lambda: 0.9),
    (r"lr|learning_?rate|eta|step", lambda: 0.1),
    (r".*scale|std|sigma|stddev", lambda: 0.3),
    (r"slope|alpha|leak\w*|negative_?slope", lambda: 0.125),
    (r"(use_?)?bias|trainable|inplace", lambda: True),
    (r"activation|act", lambda: "tanh"),
)
ARRAYS = re.compile(r"W|w|weights?|kernel|b|bias|gamma|beta")
IMAGES = re.compile(r"conv|pool|2d|flatten|reshape", re.I)
SLIDING: tuple[tuple[str, str], ...] = (  # (name of a parameter, key of the build)
    (r"stride|s|strides|step", "stride"),
    (r"pad|padding|p", "pad"),
    (r"in_?c\w*|c|c_?in|\w*in_?(channels?|depth|maps)|channels|n_?c\w*|input_?\w*|in_\w+|depth", "channels"),
    (
        r"f|out_?c\w*|c_?out|\w*out_?(channels?|depth|maps)|filters?|n_?f\w*|num_?\w*|out_\w+|output_?\w*|k_?n",
        "filters",
    ),
    (
        r"k|size|kernel\w*|filter_?(size|dim)\w*|field|f_?size|h|w|hh|ww|pool_?\w*|k_?\w+|kw|kh|window\w*|height|width",
        "size",
    ),
)


@dataclass
class Maker:
    """Makes one kind of module. fixed: it has the sizes it has, whatever the build says."""

    kind: type
    label: str
    make: Callable[[dict[str, Any]], Any]
    fixed: bool = False
    rate_name: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, build: dict[str, Any]) -> Any:
        """The same object for the same build: what it draws, it draws from the same seed."""
        with drawing(0):
            return self.make(build)


def makers(
    name: str, kind: type, instances: list[Any], asked: str | None = None, only_instances: bool = False
) -> Iterator[Maker]:
    """By the constructor, for each activation that it takes; then from the instances that the file makes."""
    own = parameters(kind.__init__) if "__init__" in dir(kind) else []  # type: ignore[misc]
    slot = next((p for p in own if ACTIVATION.fullmatch(p.name)), None)
    if slot is None and re.search("activ|nonlin", kind.__name__, re.I):
        slot = next((p for p in own if p.default is p.empty or isinstance(p.default, str)), None)
    chosen: list[dict[str, Any]] = [{}]
    if slot is not None and (slot.default is slot.empty or isinstance(slot.default, str)):
        spelled = [_spelling(kind, own, slot.name, a) for a in ((asked,) if asked else ACTIVATIONS)]
        chosen = [{slot.name: s} for s in spelled if s] or [{}]
    for options in () if only_instances else chosen:
        label = f"{name}({next(iter(options.values()))})" if options else name
        rate = next((p.name for p in own if RATE.fullmatch(p.name)), "")
        yield Maker(
            kind,
            label,
            partial(construct, kind, own, options),
            rate_name=rate,
            options=options,
        )
    for thing in instances:
        yield Maker(kind, name, partial(_copy_of, thing), fixed=True)


def _copy_of(thing: Any, _: dict[str, Any]) -> Any:
    return copy.deepcopy(thing)


def _spelling(kind: type, own: list[inspect.Parameter], slot: str, activation: str) -> str | None:
    for spelling in SPELLINGS.get(activation, (activation,)):
        try:
            construct(kind, own, {slot: spelling}, {})
        except Exception:  # another spelling, or none of them
            continue
        return spelling
    return None


def construct(
    kind: type, own: list[inspect.Parameter], options: dict[str, Any], build: dict[str, Any]
) -> Any:
    """Raises UsageError for a required parameter about which nothing is known."""
    given: dict[str, Any] = dict(options)
    images, drops = bool(IMAGES.search(kind.__name__)), bool(re.search("drop", kind.__name__, re.I))
    d, m = build.get("d", D), build.get("m", M)
    arrays = not images and any(
        re.fullmatch("W|w|weights?|kernel|gamma", p.name) for p in own if p.default is p.empty
    )
    unknown: list[str] = []
    for p in own:
        needed = p.default is p.empty
        number = isinstance(p.default, int) and not isinstance(p.default, bool)
        if p.name in given:
            continue
        if drops and RATE.fullmatch(p.name):
            given[p.name] = rate_for(p.name)
        elif images and (needed or number) and (key := _sliding(p.name)) in build:
            given[p.name] = build[key]
        elif needed and arrays and ARRAYS.fullmatch(p.name):
            given[p.name] = _array(p.name, d, m)
        elif needed and (value := _usual(p.name)) is not None:
            given[p.name] = value
        elif needed:
            unknown.append(p.name)
    given |= _sizes(own, unknown, d, m)
    if left := [n for n in unknown if n not in given]:
        raise UsageError(
            f"{kind.__name__}() needs {', '.join(left)}, and gradparity does not know what to give; make one "
            "in a function without arguments or at the top level of the file, and it is taken from there."
        )
    positions = [given.pop(p.name) for p in own if p.kind is p.POSITIONAL_ONLY and p.name in given]
    return kind(*positions, **given)


def rate_for(name: str) -> float:
    """What a dropout's parameter of this name is given."""
    return 1 - DROP if KEEP.fullmatch(name) else DROP


def _sizes(own: list[inspect.Parameter], unknown: list[str], d: int, m: int) -> dict[str, Any]:
    """Features in and out: one parameter is the features, two are (in, out) by name, else by place."""
    optional = [
        p.name
        for p in own
        if isinstance(p.default, int) and not isinstance(p.default, bool) and p.default > 1
        if IN.fullmatch(p.name) or OUT.fullmatch(p.name)
        if not re.search("seed|epoch|batch|iter|step", p.name, re.I)
    ]
    names = [p.name for p in own if p.name in unknown or p.name in optional]
    if len(names) == 1:
        (name,) = names
        if re.search("shape", name, re.I):
            return {name: (d, m)}
        if re.search("sizes|dims", name, re.I):
            return {name: [d, m]}
        return {name: d} if ONE.fullmatch(name) or IN.fullmatch(name) or OUT.fullmatch(name) else {}
    if len(names) == 2:
        first, second = names
        if (
            OUT.fullmatch(first)
            and IN.fullmatch(second)
            and not (IN.fullmatch(first) or OUT.fullmatch(second))
        ):
            return {first: m, second: d}
        return {first: d, second: m}
    return {}


def _usual(name: str) -> Any:
    return next((value() for pattern, value in VALUES if re.fullmatch(pattern, name, re.I)), None)


def _sliding(name: str) -> str:
    return next((key for pattern, key in SLIDING if re.fullmatch(pattern, name, re.I)), "")


def _array(name: str, d: int, m: int) -> Any:
    rng = np.random.default_rng(len(name))
    if re.fullmatch("gamma|beta", name):
        return rng.standard_normal(d)
    return (
        rng.standard_normal((d, m))
        if re.fullmatch("w|weights?|kernel", name, re.I)
        else rng.standard_normal(m)
    )
