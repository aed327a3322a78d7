"""How the file's own code unpacks what its backward pass returns: `dW1, dW2, db1, db2 = self.backprop(X, y)`.

Where it is unpacked, the order is a promise: gradients returned in another order are exchanged.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable
from typing import Any


def names(functions: Iterable[Any], called: str) -> list[str] | None:
    """The names in their order, by the functions that call it; None where none does, or not in one order."""
    found = []
    for function in functions:
        if (tree := syntax_of(function, called)) is None:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and _is_call(node.value, called):
                for target in node.targets:
                    if isinstance(target, ast.Tuple | ast.List):
                        found.append([_name(element) for element in target.elts])
    alike = bool(found) and all(one == found[0] for one in found)
    return [str(n) for n in found[0]] if alike and None not in found[0] else None


def in_order(functions: Iterable[Any], called: str) -> bool:
    """Whether one calls it and none turns lists round: then lists are in the order of the layers."""
    callers = [t for f in functions if (t := syntax_of(f, called)) is not None]
    return bool(callers) and not any(_reverses(node) for tree in callers for node in ast.walk(tree))


def _reverses(node: ast.AST) -> bool:
    if isinstance(node, ast.Name | ast.Attribute):
        return _name(node) in ("reversed", "reverse", "flip", "pop")
    step = node.step if isinstance(node, ast.Slice) else None
    return isinstance(step, ast.UnaryOp) and isinstance(step.op, ast.USub)


def syntax_of(function: Any, called: str) -> ast.AST | None:
    """The syntax of a function that calls it."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or called not in code.co_names:
        return None
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def functions_of(kind: Any, others: Iterable[Any]) -> list[Any]:
    """The methods of a class, its bases' too, and other functions of the file."""
    bases = inspect.getmro(kind)[:-1] if inspect.isclass(kind) else ()
    return [*(f for base in bases for f in vars(base).values()), *others]


def _is_call(node: ast.AST, called: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return called in (getattr(function, "attr", None), getattr(function, "id", None))


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Starred):
        return None
    return getattr(node, "id", None) or getattr(node, "attr", None)
