"""The text of a script that shows one wrong tensor without gradparity: NumPy, literal arrays, the file.

Two kinds of code need two templates: gradients are set against a central difference of the user's own forward
pass, update rules against the weights that the rule gives.
"""

import re
import sys
from collections.abc import Sequence
from itertools import groupby
from string import Template
from typing import Any

import numpy as np

Array = np.ndarray
WIDTH = 100
SHARED = 3  # lines that two functions have in common, from which on a third function has them
# (step, tolerance, floor of the relative error as a part of the value): of code in float64, and in float32
STEPS = {False: (6e-6, 1e-5, 1e-5), True: (2.0**-6, 3e-2, 1e-3)}
UPDATE = {False: 1e-9, True: 1e-4}  # tolerance of weights
LOOP = 3  # lines that set arrays, from which on a loop does it
LOAD = "checked = load()"
SET = (  # lines that set an array, and the same with `name` for its name
    (re.compile(r"(.*)\['(\w+)'\]\[\.\.\.\] = given\['\2'\]"), "{}[name][...] = given[name]"),
    (re.compile(r"(\w+)\.(\w+)\[\.\.\.\] = given\['\2'\]"), "getattr({}, name)[...] = given[name]"),
)
UNSEEDED = re.compile(r"default_rng\(\s*(None)?\s*\)")

HEAD = Template('''\
"""$title

Written by gradparity, which it does not need: NumPy and the checked file are enough.
`python $name [FILE.py]` ends with 1 where the two differ, with 0 where they do not, as in a corrected file.
"""

$imports

import numpy as np

PATH = os.path.abspath(sys.argv[1] if sys.argv[1:] else $path)
TENSOR, INDEX = $tensor, $index
GIVEN = {
$given
}
if not os.path.exists(PATH):
    sys.exit(print(f"{PATH} is not there; name the file: python $name FILE.py", file=sys.stderr) or 2)
sys.path.insert(0, os.path.dirname(PATH))
$settings

def load():
    """The file, run anew for each call: nothing lingers, and what it draws at random is the same."""
$seeds
    spec = importlib.util.spec_from_file_location("checked", PATH)
    module = sys.modules["checked"] = importlib.util.module_from_spec(spec)
$execute
    return module


''')
MOVED = Template('''\
def moved(h):
    """What is given, with the entry of the tensor moved by h."""
    given = copy.deepcopy(GIVEN)
    given[TENSOR][INDEX] += h
    return given


h = $step * max(1.0, abs(GIVEN[TENSOR][INDEX]))
right = $scale(value(moved(h)) - value(moved(-h))) / (2 * h)
claim = np.asarray(gradient(moved(0.0)))
if claim.shape != GIVEN[TENSOR].shape:
    sys.exit(f"{TENSOR} has the shape {GIVEN[TENSOR].shape}, but its gradient has {claim.shape}")
yours = claim[INDEX]
error = abs(yours - right) / max(abs(yours), abs(right), $floor * abs(value(moved(0.0))), 1e-12)
print(f"{os.path.basename(PATH)}: the gradient of {TENSOR} at {INDEX}\\n  yours               {yours:.12g}")
print(f"  central difference  {right:.12g}\\n  relative error      {error:.1e} (allowed: $tolerance)")
sys.exit(0 if error <= $tolerance else 1)
''')
UPDATED = Template("""\
EXPECTED = $expected  # $steps
claim = np.asarray(value(copy.deepcopy(GIVEN)))
if claim.shape != EXPECTED.shape:
    sys.exit(f"{TENSOR} has the shape {claim.shape}, but it had {EXPECTED.shape}")
yours, right = claim[INDEX], EXPECTED[INDEX]
error = abs(yours - right) / max(abs(yours), abs(right), 1e-12)
print(f"{os.path.basename(PATH)}: {TENSOR} at {INDEX}, $steps\\n  yours           {yours:.12g}")
print(f"  by the rule     {right:.12g}\\n  relative error  {error:.1e} (allowed: $tolerance)")
sys.exit(0 if error <= $tolerance else 1)
""")


def gradient(
    script: dict[str, Any], tensor: str, index: tuple[int, ...], scale: float, single: bool, **head: str
) -> str:
    """Of one tensor's gradient. script: see compare.adapters.transcript; scale: of a convention, else 1."""
    step, tolerance, floor = STEPS[single]
    value, slope = script["value"], script["gradients"][tensor]
    functions = _two_functions(value, slope, tensor)
    words = f"{scale:g} * " if scale != 1 else ""  # sums over N examples beside a loss that is their mean
    tail = MOVED.substitute(step=step, tolerance=tolerance, floor=floor, scale=words)
    return _head(script, tensor, index, [*value, *slope], **head) + functions + tail


def update(
    script: dict[str, Any],
    tensor: str,
    index: tuple[int, ...],
    expected: Array,
    steps: int,
    single: bool,
    **head: str,
) -> str:
    """Of the weights that an update rule makes in some steps."""
    lines = script["value"]
    function = _function("value", f"{tensor} after the last of {steps} steps by the file.", [LOAD, *lines])
    tail = UPDATED.substitute(
        expected=literal(expected, 0), steps=f"after {steps} steps", tolerance=UPDATE[single]
    )
    return _head(script, tensor, index, lines, **head) + function + tail


def _head(
    script: dict[str, Any],
    tensor: str,
    index: tuple[int, ...],
    lines: Sequence[str],
    title: str,
    name: str,
    path: str,
    text: str,
) -> str:
    """text: of the user's file: some lines are there only for what is in it."""
    used, seed = "\n".join(lines), script["seed"]
    given = {n: a for n, a in script["given"].items() if f"given[{n!r}]" in used or n == tensor}
    modules, seeds, settings = ["copy", "importlib.util", "os", "sys"], [f"np.random.seed({seed})"], []
    execute = ["spec.loader.exec_module(module)"]
    if re.search(r"^\s*(import|from) random\b", text, re.M):
        modules.append("random")
        seeds.append(f"random.seed({seed})")
    if re.search(r"^print\b", text, re.M):
        modules += ["contextlib", "io"]
        execute = ["with contextlib.redirect_stdout(io.StringIO()):", f"    {execute[0]}"]
    if "matplotlib" in text:
        settings.append('os.environ["MPLBACKEND"] = "Agg"')
    if UNSEEDED.search(text):
        settings.append("make = np.random.default_rng")
        settings.append(f"np.random.default_rng = lambda seed=None: make({seed} if seed is None else seed)")
    return HEAD.substitute(
        title=title,
        name=name,
        path=repr(path),
        tensor=repr(tensor),
        index=index,
        given="\n".join(f"    {n!r}: {literal(a, 4)}," for n, a in given.items()),
        imports="\n".join(f"import {module}" for module in sorted(modules)),
        settings="".join(f"{line}\n" for line in settings),
        seeds=_indented(seeds),
        execute=_indented(execute),
    )


def _two_functions(value: list[str], slope: list[str], tensor: str) -> str:
    """value(given) and gradient(given); what both begin with stands in a function of its own."""
    pairs = zip(value[:-1], slope[:-1], strict=False)
    count = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(value), len(slope)) - 1)
    out, call, shared = "", LOAD, value[:count]
    if count >= SHARED:
        left = "\n".join([*value[count:], *slope[count:]])
        names = ["checked", *dict.fromkeys(line.partition(" = ")[0] for line in shared if _defines(line))]
        names = [n for n in names if re.search(rf"\b{n}\b", left)]
        out = _function("prepared", "What both begin with.", [LOAD, *shared, f"return {', '.join(names)}"])
        call = f"{', '.join(names)} = prepared(given)"
        value, slope = value[count:], slope[count:]
    out += _function("value", "The number whose gradient is claimed.", [call, *value])
    return out + _function("gradient", f"The gradient of {tensor} by the file.", [call, *slope])


def _defines(line: str) -> bool:
    return line.partition(" = ")[0].isidentifier()


def _function(name: str, sentence: str, lines: Sequence[str]) -> str:
    return f'def {name}(given):\n    """{sentence}"""\n{_indented(_shortened(lines))}\n\n\n'


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _shortened(lines: Sequence[str]) -> list[str]:
    """Arrays that are set alike are set in a loop, and what is only returned needs no name."""
    out: list[str] = []
    for words, run in groupby(lines, lambda line: _setting(line)[0]):
        group = list(run)
        if words and len(group) >= LOOP:
            names = ", ".join(repr(_setting(line)[1]) for line in group)
            out += [f"for name in ({names}):", f"    {words}"]
        else:
            out += group
    *before, last, end = ["", *out] if len(out) < 2 else out
    variable, equals, call = last.partition(" = ")
    if equals and end.count(variable) == 1 and (rest := end.removeprefix(f"return {variable}")) != end:
        if not rest or rest[0] in "[.":
            out = [*before, f"return {call}{rest}"]
    return out


def _setting(line: str) -> tuple[str, str]:
    """(the line for any name, its name) of one that sets an array; empty where it does something else."""
    for pattern, words in SET:
        if found := pattern.fullmatch(line):
            return words.format(found[1]), found[2]
    return "", ""


def literal(a: Array, indent: int) -> str:
    """An array in full precision, as Python text."""
    a = np.asarray(a)
    kind = "" if a.dtype in (np.float64, np.int64, np.bool_) else f", dtype=np.{a.dtype.name}"
    if not a.size:
        return f"np.zeros({a.shape}{kind or f', dtype={a.dtype.name!r}'})"
    text = np.array2string(
        a,
        separator=", ",
        threshold=sys.maxsize,
        floatmode="unique",
        max_line_width=WIDTH - indent,
        prefix=" " * indent,
    )
    if "\n" in text:
        below = text.replace("\n", "\n    ")
        text = f"\n{' ' * (indent + 4)}{below}\n{' ' * indent}"
    return f"np.array({text}{kind})"
