"""Whether gradients that a module adds up are set to zero by other code of the file, and doing the same."""

import ast
import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from compare.adapters.module_calls import CLEAR
from compare.adapters.module_signatures import required
from compare.adapters.module_slots import Slot
from compare.adapters.subject import Context


def function_for(context: Context) -> Callable[[Any], None] | None:
    """The file's own function that sets gradients to zero, if it has one."""
    for name, function in context.objects.items():
        if inspect.isfunction(function) and CLEAR.fullmatch(name) and len(required(function)) <= 1:
            return function if required(function) else partial(_without, function)
    return None


def _without(function: Callable[[], Any], _: Any) -> None:
    function()


def clears(context: Context, kind: type) -> bool:
    """Whether code outside the module sets its gradients to zero: a function for it, or an assignment."""
    if function_for(context) is not None:
        return True
    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(kind)))  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError):
        return False
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and _is_zero(node.value)
            and any(_is_foreign_gradient(t) for t in node.targets)
        ):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fill":
            if node.args and _is_zero(node.args[0]) and _is_foreign_gradient(node.func.value):
                return True
    return False


def _is_zero(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return node.value == 0 and not isinstance(node.value, bool)
    return isinstance(node, ast.Call) and "zeros" in ast.unparse(node.func)


def _is_foreign_gradient(node: ast.AST) -> bool:
    """layer.dW, model["L1"].gradient["W"]: of something other than self."""
    text = ast.unparse(node)
    return bool(re.search(r"\.(d[A-Za-z]\w*|\w*grad\w*)", text)) and not text.startswith("self.")


def set_to_zero(module: Any, own: list[Slot]) -> None:
    for slot in own:
        gradient = slot.gradient(module)
        if isinstance(gradient, np.ndarray) and gradient.flags.writeable:
            gradient[...] = 0
