"""Which small change to the user's gradient function would make its gradients right: found by trying many.

A change counts only where it makes every gradient right at every point. It is the most useful thing that can be
said of a mistake: which line, and what should stand there.
"""

import ast
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compare.adapters.function_calls import Caller
from compare.adapters.function_edits import Edit, edits, scope_of
from compare.adapters.function_pairs import tree_of

SECONDS, ENOUGH, HELPERS = 2.5, 3, 4
Right = Callable[[int], bool]  # whether all gradients are right at the point of this number


@dataclass
class Program:
    """One of the functions that make the gradients, as a tree that can be changed and compiled."""

    function: Any
    tree: ast.FunctionDef
    regions: list[ast.AST]
    first: int  # line of the file before the tree's first

    def compiled(self, space: dict[str, Any]) -> Any:
        module = ast.Module([self.tree], [])
        exec(compile(module, "<changed>", "exec"), space)
        return space[self.function.__name__]


def repairs(caller: Caller, points: int, right: Right, arrays: Sequence[str]) -> list[dict[str, Any]]:
    """The first few changes after which right(number) holds for every point, as plain data."""
    until, found = time.monotonic() + SECONDS, []
    for program, install in _programs(caller) if points else ():
        space = dict(program.function.__globals__)
        if program.function.__closure__:
            cells = zip(program.function.__code__.co_freevars, program.function.__closure__, strict=True)
            space |= {n: c.cell_contents for n, c in cells}
        scope = scope_of(program.tree, space, arrays)
        for edit in edits(program.regions, scope):
            if time.monotonic() > until or len(found) >= ENOUGH:
                break
            if _helps(program, install, space, edit, points, right):
                found.append(_said(edit, program))
        install(None)
    return found


def _said(edit: Edit, program: Program) -> dict[str, Any]:
    before = edit.statement()
    edit.apply()
    after = edit.statement()
    edit.undo()
    return {
        "what": edit.what,
        "old": edit.old,
        "new": edit.new,
        "before": before or edit.old.splitlines()[0],
        "after": after or edit.new.splitlines()[0],
        "line": edit.line + program.first,
        "function": program.function.__name__,
    }


def _helps(
    program: Program,
    install: Callable[[Any], None],
    space: dict[str, Any],
    edit: Edit,
    points: int,
    right: Right,
) -> bool:
    edit.apply()
    try:
        install(program.compiled(space))
        return all(right(number) for number in range(points))
    except Exception:  # nonsense, then
        return False
    finally:
        edit.undo()


def _programs(caller: Caller) -> Iterator[tuple[Program, Callable[[Any], None]]]:
    """The gradient functions, and the helpers that they alone call; each with the way to put another in its place."""
    for function, install, inner in caller.gradient_functions():
        program = _program(function, inner)
        if program is None:
            continue
        yield program, install
        body = caller.body()
        shared = {h.__name__ for h in _helpers(body)} | {getattr(body, "__name__", "")}
        for helper in _helpers(function):
            if helper.__name__ not in shared and not inner and (own := _program(helper, False)) is not None:
                yield own, _in_module(helper)


def _program(function: Any, inner: bool) -> Program | None:
    tree = tree_of(function)
    if tree is None:
        return None
    tree.decorator_list = []
    regions: list[ast.AST] = [tree]
    if inner:
        regions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda) and n is not tree]
    return Program(function, tree, regions, function.__code__.co_firstlineno - 1) if regions else None


def _in_module(helper: Any) -> Callable[[Any], None]:
    space, name = helper.__globals__, helper.__name__

    def install(other: Any) -> None:
        space[name] = helper if other is None else other

    return install


def _helpers(function: Any) -> list[Any]:
    """Functions of the same file that this one calls, however deep."""
    if not inspect.isfunction(function):
        return []
    found: dict[str, Any] = {}
    todo = [function]
    while todo:
        one = todo.pop()
        for name in one.__code__.co_names:
            other = one.__globals__.get(name)
            if inspect.isfunction(other) and other.__code__.co_filename == function.__code__.co_filename:
                if name not in found and other is not function:
                    found[name] = other
                    todo.append(other)
    return [*found.values()]
