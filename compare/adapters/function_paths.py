"""What part of a function's derivative goes through each of its expressions: the function with that one held fixed.

The function and its helpers are compiled anew with every expression handed through a hook, which can give back
what the expression was at the base point (held fixed), zero for a constant (its term left out), or let the
argument of a call through as if its derivative were 1 (passed).
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.adapters.function_pairs import tree_of

HOOK = "__look__"
HELPERS, NODES = 8, 160


@dataclass(frozen=True)
class Spot:
    """An expression of the user's source. rank: calls before arithmetic before names; constant: a number.

    inner: the spots of a call's arguments.
    """

    text: str
    line: int
    rank: int
    constant: bool = False
    inner: tuple[int, ...] = ()


class Paths:
    """f compiled with a hook around every expression; `call` is f. Raises ValueError where f has no source."""

    def __init__(self, f: Callable) -> None:
        f = inspect.unwrap(f)
        space = dict(f.__globals__)
        self.spots: list[Spot] = []
        self.kept: dict[int, list[Any]] = {}
        self.recorded = False
        self.changed: dict[int, str] = {}  # "hold", "zero" or "pass" by spot
        self.counts: dict[int, int] = {}
        self.latest: dict[int, tuple[Any, Any]] = {}  # of a spot: what it was, what it is now
        space[HOOK] = self._look
        if f.__closure__:
            space |= {n: c.cell_contents for n, c in zip(f.__code__.co_freevars, f.__closure__, strict=True)}
        for helper in [*_helpers(f), f]:
            tree = tree_of(helper)
            if tree is None:
                raise ValueError(f"{helper} has no source.")
            first = helper.__code__.co_firstlineno - 1
            tree.decorator_list = []
            arguments = [a.arg for a in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)]
            hooked = _Hooks(self.spots, first, helper.__globals__, arguments).visit(tree)
            module = ast.fix_missing_locations(ast.Module([hooked], []))
            exec(compile(module, "<held fixed>", "exec"), space)
        self.call: Callable = space[f.__name__]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Every expression's values are kept meanwhile."""
        self.kept, self.recorded = {}, True
        try:
            yield
        finally:
            self.recorded = False

    @contextmanager
    def changing(self, changes: Mapping[int, str]) -> Iterator[None]:
        """Expressions are held fixed, zero or passed in one call of f."""
        self.changed, self.counts = dict(changes), {}
        for spot, how in changes.items():
            if how == "pass":
                self.changed |= {inner: "watch" for inner in self.spots[spot].inner}
        try:
            yield
        finally:
            self.changed = {}

    def _look(self, spot: int, value: Any) -> Any:
        if self.recorded:
            if _is_number(value):
                self.kept.setdefault(spot, []).append(_copy(value))
            return value
        how = self.changed.get(spot)
        if how is None or not _is_number(value):
            return value
        if how == "zero":
            return value * 0
        count = self.counts.get(spot, 0)
        self.counts[spot] = count + 1
        kept = self.kept.get(spot, [])
        if count >= len(kept):
            return value
        if how == "watch":
            self.latest[spot] = kept[count], value
        if how == "pass":
            seen = [self.latest[i] for i in self.spots[spot].inner if i in self.latest]
            alike = [(was, now) for was, now in seen if np.shape(was) == np.shape(value)]
            if len(alike) == 1:
                was, now = alike[0]
                return _like(kept[count], now) + (now - was)
        return _like(kept[count], value) if how == "hold" else value


class _Hooks(ast.NodeTransformer):
    def __init__(self, spots: list[Spot], first: int, space: dict[str, Any], arguments: list[str]) -> None:
        self.spots, self.first, self.space, self.arguments = spots, first, space, arguments
        self.depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if self.depth:  # a backward pass inside: not what is differentiated
            return node
        self.depth += 1
        node.returns = None
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.value = self.visit(node.value) if node.value else None
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._hooked(node, 1)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        text, line = ast.unparse(node), node.lineno
        if isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [
            k if k.arg in ("axis", "dim", "keepdims", "dtype") else self.visit(k) for k in node.keywords
        ]
        arguments = [a for a in node.args if isinstance(a, ast.Call) and getattr(a.func, "id", "") == HOOK]
        inner = tuple(a.args[0].value for a in arguments if isinstance(a.args[0], ast.Constant))
        return self._hook(node, text, line, 0, inner=inner)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.ctx, ast.Load):
            return self._hooked(node, 2)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if not isinstance(node.ctx, ast.Load):
            return node
        value = self.space.get(node.id)
        constant = (
            node.id not in self.arguments and isinstance(value, int | float) and not isinstance(value, bool)
        )
        return self._hook(node, node.id, node.lineno, 3, constant)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, float):
            return self._hook(node, repr(node.value), node.lineno, 4, True)
        return node

    def _hooked(self, node: Any, rank: int) -> ast.AST:
        text, line = ast.unparse(node), node.lineno
        return self._hook(self.generic_visit(node), text, line, rank)

    def _hook(
        self, node: Any, text: str, line: int, rank: int, constant: bool = False, inner: tuple[int, ...] = ()
    ) -> ast.AST:
        if len(self.spots) >= NODES:
            return node
        self.spots.append(Spot(text, line + self.first, rank, constant, inner))
        call = ast.Call(ast.Name(HOOK, ast.Load()), [ast.Constant(len(self.spots) - 1), node], [])
        return ast.copy_location(call, node)


def _helpers(f: Any) -> list[Any]:
    """The functions of the same file that f calls, however deep."""
    found: dict[str, Any] = {}
    todo = [f]
    while todo and len(found) < HELPERS:
        one = todo.pop()
        for name in one.__code__.co_names:
            other = one.__globals__.get(name)
            if inspect.isfunction(other) and other.__code__.co_filename == f.__code__.co_filename:
                if (
                    name not in found
                    and other is not f
                    and other.__closure__ is None
                    and tree_of(other) is not None
                ):
                    found[name] = other
                    todo.append(other)
    return [*found.values()]


def _is_number(value: Any) -> bool:
    """Whether derivatives can go through this: a real or complex number, array or tensor."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fc"
    if isinstance(value, float | complex):
        return True
    kind = getattr(value, "dtype", None)
    return bool(
        getattr(kind, "is_floating_point", False)
        or getattr(kind, "is_floating", False)
        or getattr(kind, "is_complex", False)
    )


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.detach().clone() if hasattr(value, "detach") else value


def _like(kept: Any, value: Any) -> Any:
    """What was kept, in the type that the expression has now: complex, say."""
    if isinstance(value, np.ndarray):
        return np.array(kept).astype(value.dtype)
    if hasattr(value, "detach"):
        return kept.clone().to(value.dtype)
    if hasattr(value, "dtype") and not isinstance(value, np.generic):
        return sys.modules["tensorflow"].cast(kept, value.dtype)
    return kept
