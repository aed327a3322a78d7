"""Which functions of a file are a function and its gradient: read off their names.

`df` and `f_prime` belong to `f`, `grad_loss_w` and `dloss_dw` to `loss` for its argument w alone; a bare
`gradient` belongs to the one function that can be meant.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compare.adapters.subject import positional

GRADIENT = frozenset(
    "grad grads gradient gradients derivative derivatives deriv derivs der prime backward backwards bwd bw "
    "backprop back vjp pullback adjoint jac jacobian nabla d".split()
)
FILLERS = frozenset(
    "of the wrt with respect to analytic analytical analytically exact manual manually my our compute computes "
    "computed calc calculate get eval evaluate by hand formula closed form".split()
)
MAIN = frozenset(
    "f fun fn func function loss cost objective obj energy error value forward fwd j l nll risk".split()
)
OTHER = frozenset(  # words of functions that check, use or change gradients instead of computing them
    "num numeric numerical numerically approx approximate approximation check checker checking test finite fd "
    "central plot clip clipped clipping descent ascent step steps update updates train fit sgd zero apply boost "
    "boosting compare verify print show second double hess hessian laplacian dd history cached hook".split()
)
GLUED = re.compile(r"^(?:(?:d|grad|nabla|deriv)(?P<a>\w+)|(?P<b>\w+?)(?:_?prime|grad|deriv))$")
RATIO = re.compile(r"^d_?(?P<f>\w+?)_?d_?(?P<x>\w+)$")
BOTH = re.compile(
    r"(^|_)(and|with|n)_?(its_?|the_?)?(grads?|gradients?|deriv\w*|jac)(_\w+)?$|^value_?and_?grad", re.I
)
INNER = re.compile(r"grad|back|bwd|vjp|pull|deriv|adjoint", re.I)


@dataclass(frozen=True)
class Pair:
    """gradients: (function, the argument whose gradient it gives, None for all); none: f gives them itself."""

    name: str
    f: Callable
    gradients: tuple[tuple[Callable, str | None], ...] = ()
    how: str = "pair"  # or "both": f returns (value, gradients); "closure": (value, backward)
    by_name: bool = True  # False: a bare `gradient`, which may belong to something else


def pairs(functions: Mapping[str, Callable]) -> Iterator[Pair]:
    """Every function with a gradient of its own, in the order of the file."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in functions:
        for base, argument in _bases(name, functions):
            found.setdefault(base, []).append((name, argument))
            break
    for name, f in functions.items():
        if name in found:
            whole = [(g, a) for g, a in found[name] if a is None]
            parts = [(g, a) for g, a in found[name] if a is not None]
            for number, (g, _) in enumerate(whole):
                title = name if number == 0 else f"{name}, {g}"
                yield Pair(
                    title, f, ((functions[g], None),), by_name=bool(set(split(g)) - GRADIENT - FILLERS)
                )
            if parts and not whole:
                yield Pair(name, f, tuple((functions[g], a) for g, a in parts))
        elif name not in {g for gs in found.values() for g, _ in gs}:
            if how := _by_itself(name, f):
                yield Pair(name, f, (), how)


def _bases(name: str, functions: Mapping[str, Callable]) -> Iterator[tuple[str, str | None]]:
    """(function, argument) that a gradient function of this name may belong to, the likeliest first."""
    words = split(name)
    if OTHER & set(words) or BOTH.search(name):
        return
    keys = {base: _key(base) for base in functions if base != name}
    if ratio := RATIO.match(name):
        for base in keys:
            if base.lower() == ratio["f"].lower():
                if argument := _argument(functions[base], ratio["x"]):
                    yield base, argument
    if len(words) > 1 and words[-1][0] == "d":
        for base, key in keys.items():
            if "".join(words[:-1]) in key and (argument := _argument(functions[base], words[-1][1:])):
                yield base, argument
    rests = []
    for at, word in enumerate(words):
        if word in GRADIENT:
            rests.append([w for w in words[:at] + words[at + 1 :] if w not in FILLERS])
    if glued := GLUED.match("_".join(words)):
        rests.append(split(glued["a"] or glued["b"]))
    for rest in rests:
        whole = "".join(rest)
        yield from ((base, None) for base, key in keys.items() if whole and whole in key)
        for cut in range(1, len(rest)):
            for part, last in (("".join(rest[:cut]), rest[cut:]), ("".join(rest[cut:]), rest[:cut])):
                for base, key in keys.items():
                    if part in key and (argument := _argument(functions[base], "_".join(last))):
                        yield base, argument
    if any(not rest for rest in rests):
        yield from ((base, None) for base in _meant(name, functions))


def _key(name: str) -> set[str]:
    """What a gradient function may call this function."""
    words = split(name)
    bare = [w for w in words if w not in FILLERS]
    out = {"".join(words), "".join(bare)}
    for ends in (
        ("forward", "fwd", "value", "fn", "func", "function", "fun"),
        ("loss", "cost", "objective", "energy"),
    ):
        if len(bare) > 1 and bare[-1] in ends:
            bare = bare[:-1]
            out.add("".join(bare))
        if len(bare) > 1 and bare[0] in ends[:3]:
            out.add("".join(bare[1:]))
    return out - {""}


def _meant(name: str, functions: Mapping[str, Callable]) -> list[str]:
    """The one function that a bare `grad` belongs to: by its name, or because nothing else takes the same."""
    others = [
        n for n in functions if n != name and not (GRADIENT & set(split(n))) and not OTHER & set(split(n))
    ]
    named = [n for n in others if set(split(n)) - FILLERS <= MAIN]
    if len(named) == 1:
        return named
    wants = [p.name for p in positional(functions[name])]
    same = [n for n in others if wants and {p.name for p in positional(functions[n])} <= {*wants}]
    same = [n for n in same if len(positional(functions[n])) >= len(wants) - 1]
    return same if len(same) == 1 else []


def _argument(function: Callable, name: str) -> str | None:
    names = [p.name for p in positional(function)]
    exact = [n for n in names if n == name]
    return next(iter(exact or [n for n in names if n.lower() == name.lower().strip("_")]), None)


def split(name: str) -> list[str]:
    """The words of a name: `gradMean_softplus` is grad, mean, softplus."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z]{2})(?=[A-Z])", "_", name)
    return [word for word in apart.lower().split("_") if word]


def _by_itself(name: str, f: Callable) -> str:
    """How a function gives its own gradient, as its name and its return say."""
    if BOTH.search(name) and not OTHER & set(split(name)):
        return "both"
    tree = tree_of(f)
    if tree is None or tree.decorator_list:
        return ""
    inner = {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and INNER.search(n.name)}
    inner |= {
        t.id
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Lambda)
        for t in n.targets
        if isinstance(t, ast.Name) and INNER.search(t.id)
    }
    for node in own_nodes(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
            last = node.value.elts[1]
            if (isinstance(last, ast.Name) and last.id in inner) or isinstance(last, ast.Lambda):
                return "closure"
    return ""


def tree_of(f: Any) -> ast.FunctionDef | None:
    """The definition of a function as a syntax tree; None where there is no source, or a lambda's."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(f))))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None
    return tree.body[0] if tree.body and isinstance(tree.body[0], ast.FunctionDef) else None


def own_nodes(tree: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions defined inside it."""
    todo: list[ast.AST] = [*tree.body]
    while todo:
        node = todo.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            todo = [*ast.iter_child_nodes(node), *todo]
