"""Small changes to a gradient function, the likeliest first: those that undo the mistakes that people make.

An edit replaces one node of the syntax tree (or exchanges the text of a statement); what it says about the
mistake is its cause. Which of them makes the gradients right is found out by trying: compare.adapters.function_repairs.
"""

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

SUMS = {
    "sum": "mean",
    "mean": "sum",
    "reduce_sum": "reduce_mean",
    "reduce_mean": "reduce_sum",
    "nansum": "nanmean",
}
AXES = ("axis", "dim")
FLIPS: dict[type, tuple[type, ...]] = {
    ast.Gt: (ast.Lt, ast.GtE), ast.Lt: (ast.Gt, ast.LtE), ast.GtE: (ast.LtE, ast.Gt), ast.LtE: (ast.GtE, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
}  # fmt: skip
WRAPS = ("exp", "log", "tanh", "sqrt", "square", "abs", "sign", "cos", "sin")


@dataclass
class Edit:
    """apply() changes the tree, undo() changes it back; old and new: source texts; what: the kind of mistake.

    statement: the statement that it is in, before (before()) and after.
    """

    what: str
    old: str
    new: str
    line: int
    apply: Callable[[], None] = field(repr=False)
    undo: Callable[[], None] = field(repr=False)
    statement: Callable[[], str] = field(repr=False)


@dataclass
class Scope:
    """What an edit may use: variables of the function, numbers of its module, its own one-argument functions."""

    variables: list[str]
    numbers: list[str]
    functions: list[str]
    arrays: list[str]  # arguments that have a length
    library: str = "np"


def scope_of(tree: ast.AST, space: dict[str, Any], arrays: Sequence[str]) -> Scope:
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)):
            names[node.arg if isinstance(node, ast.arg) else node.id] = None
    numbers = [
        n
        for n, v in space.items()
        if isinstance(v, float | int) and not isinstance(v, bool) and not n.startswith("__")
    ]
    library = next((n for n in ("np", "numpy", "torch", "tf") if n in space), "np")
    own = [
        n
        for n, v in space.items()
        if callable(v) and getattr(getattr(v, "__code__", None), "co_argcount", 0) == 1
    ]
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    arrays = [n for n in arrays if n in names]
    return Scope(
        [n for n in names if n not in ("ctx", "self")],
        numbers[:6],
        [n for n in own if n not in used][:4] + [n for n in own if n in used][:4],
        arrays,
        library,
    )


def edits(regions: Sequence[ast.AST], scope: Scope) -> Iterator[Edit]:
    """All of them, stage by stage."""
    places = [place for region in regions for place in _places(region)]
    for stage in (_simple, _statements, _constants, _drops, _names, _factors, _wraps, _terms):
        for place in places:
            yield from stage(place, scope)


@dataclass
class Place:
    """A node, where it hangs, and what stands around it."""

    node: ast.AST
    parent: ast.AST
    slot: str
    index: int | None
    above: tuple[ast.AST, ...]

    def set(self, new: Any) -> None:
        if self.index is None:
            setattr(self.parent, self.slot, new)
        else:
            getattr(self.parent, self.slot)[self.index] = new

    def replaced(self, what: str, new: ast.AST) -> Edit:
        ast.copy_location(new, self.node)
        ast.fix_missing_locations(new)
        line = getattr(self.node, "lineno", getattr(self.parent, "lineno", 0))
        around = next((n for n in self.above if isinstance(n, ast.stmt)), None)

        def statement() -> str:
            whole = isinstance(self.node, ast.stmt) or around is None or isinstance(around, ast.FunctionDef)
            return "" if whole or around is None else ast.unparse(around).splitlines()[0]

        return Edit(
            what,
            ast.unparse(self.node),
            ast.unparse(new),
            line,
            lambda: self.set(new),
            lambda: self.set(self.node),
            statement,
        )

    def inside(self, *kinds: type) -> bool:
        return any(isinstance(node, kinds) for node in self.above)

    @property
    def is_value(self) -> bool:
        """Whether this is a number in a formula: an operand, what is assigned or returned, an argument."""
        if self.slot in ("func", "target", "targets", "slice", "annotation", "iter", "test") or self.inside(
            ast.Subscript, ast.keyword
        ):
            return False
        return isinstance(self.node, ast.expr) and isinstance(getattr(self.node, "ctx", ast.Load()), ast.Load)


def _places(region: ast.AST) -> Iterator[Place]:
    todo: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(region, ())]
    while todo:
        node, above = todo.pop(0)
        if isinstance(node, ast.While):
            continue  # an edit there may never end
        for slot, value in ast.iter_fields(node):
            if slot in ("decorator_list", "args", "returns") and isinstance(node, ast.FunctionDef):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    yield Place(child, node, slot, index, (node, *above))
                    todo.append((child, (node, *above)))


def _simple(place: Place, scope: Scope) -> Iterator[Edit]:
    node = place.node
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand) if (
            not isinstance(operand, ast.Constant) or place.is_value
        ):
            yield place.replaced("sign", operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield place.replaced("sign", ast.BinOp(left, ast.Sub(), right))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            yield place.replaced("sign", ast.BinOp(left, ast.Add(), right))
            yield place.replaced("sign", ast.BinOp(right, ast.Sub(), left))
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            yield place.replaced("transpose", ast.BinOp(right, ast.MatMult(), left))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            yield place.replaced("factor", ast.BinOp(left, ast.Div(), right))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            yield place.replaced("factor", ast.BinOp(left, ast.Mult(), right))
            yield place.replaced("factor", ast.BinOp(right, ast.Div(), left))
        case ast.Compare(ops=[op]):
            for other in FLIPS.get(type(op), ()):
                yield place.replaced("mask", ast.Compare(node.left, [other()], node.comparators))
        case ast.Attribute(value=value, attr="T"):
            yield place.replaced("transpose", value)
        case ast.Call(func=ast.Attribute(attr=name)) if name in SUMS:
            yield place.replaced(
                "sum", _call(node, func=ast.Attribute(node.func.value, SUMS[name], ast.Load()))
            )
        case ast.Call(args=[first, second, *rest]) if _name(node) in (
            "outer",
            "dot",
            "matmul",
            "mm",
            "kron",
            "subtract",
            "divide",
        ):
            yield place.replaced(
                "transpose" if _name(node) != "subtract" else "sign", _call(node, args=[second, first, *rest])
            )
        case ast.Call(func=ast.Attribute(value=value, attr="t" | "transpose"), args=[]):
            yield place.replaced("transpose", value)
        case ast.keyword(arg="transpose_a" | "transpose_b", value=ast.Constant(value=bool(given))):
            yield place.replaced("transpose", ast.keyword(node.arg, ast.Constant(not given)))
        case ast.Subscript(value=value, slice=where) if _turns(where) and isinstance(node.ctx, ast.Load):
            yield place.replaced("flip", value)
        case ast.Return(value=ast.Tuple(elts=parts)) if len(parts) < 6:
            for i in range(len(parts)):
                for j in range(i):
                    order = list(parts)
                    order[i], order[j] = order[j], order[i]
                    yield place.replaced("swap", ast.Return(ast.Tuple(order, ast.Load())))
    if (
        place.is_value
        and isinstance(node, ast.Name | ast.BinOp | ast.Call | ast.Attribute)
        and place.slot in ("left", "right", "args", "value")
    ):
        if place.inside(ast.BinOp, ast.Call, ast.Return) and not isinstance(node, ast.Attribute):
            yield place.replaced("transpose", ast.Attribute(node, "T", ast.Load()))


def _statements(place: Place, scope: Scope) -> Iterator[Edit]:
    node = place.node
    match node:
        case ast.Assign(targets=[target], value=value) if isinstance(target, ast.Subscript) or place.inside(
            ast.For
        ):
            plus = ast.AugAssign(copy.deepcopy(target), ast.Add(), value)
            yield place.replaced("assigned", plus)
        case ast.AugAssign(target=target, op=op, value=value):
            for other in (ast.Sub(), ast.Add()):
                if type(op) is not type(other):
                    yield place.replaced("sign", ast.AugAssign(target, other, value))
            yield place.replaced("added", ast.Assign([copy.deepcopy(target)], value))
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.If) and place.slot in ("body", "orelse"):
        yield place.replaced("statement", ast.Pass())


def _constants(place: Place, scope: Scope) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, ast.keyword) and node.arg in AXES:
        for other in (0, 1, -1, None, (0, 1)):
            yield place.replaced("axis", ast.keyword(node.arg, ast.Constant(other)))
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool | str | bytes) or node.value is None:
        return
    number = node.value
    where = "axis" if _is_axis(place) else "index" if place.inside(ast.Subscript) else "constant"
    others = (
        [number + 1, number - 1]
        if where != "constant"
        else [2 * number, -number, number + 1, number - 1, number / 2, 3 * number, number / 3, 0, 1, 0.5]
    )
    for other in others:
        if other != number and not (isinstance(other, float) and where != "constant"):
            yield place.replaced(where, ast.Constant(other))
    for name in (*scope.variables, *scope.numbers):
        yield place.replaced("constant", ast.Name(name, ast.Load()))
        yield place.replaced("constant", ast.BinOp(ast.Name(name, ast.Load()), ast.Sub(), ast.Constant(1)))


def _drops(place: Place, scope: Scope) -> Iterator[Edit]:
    """One operand too many."""
    node = place.node
    if not isinstance(node, ast.BinOp):
        return
    what = {ast.Add: "term", ast.Sub: "term", ast.Mult: "more", ast.Div: "more", ast.Pow: "more"}.get(
        type(node.op), "more"
    )
    yield place.replaced(what, node.left)
    if isinstance(node.left, ast.BinOp):
        yield place.replaced(what, node.left.left)
        yield place.replaced(what, ast.BinOp(node.left.left, node.op, node.right))
    if not isinstance(node.op, ast.Pow):
        right: ast.expr = node.right
        right = ast.UnaryOp(ast.USub(), right) if isinstance(node.op, ast.Sub) else right
        right = ast.BinOp(ast.Constant(1.0), ast.Div(), right) if isinstance(node.op, ast.Div) else right
        yield place.replaced(what, right)


def _names(place: Place, scope: Scope) -> Iterator[Edit]:
    """Another variable."""
    node = place.node
    if (
        isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node.id in scope.variables
        and place.slot != "func"
    ):
        kind = (
            "compared"
            if place.inside(ast.Compare)
            else "indexed"
            if place.inside(ast.Subscript) and place.slot != "value"
            else "name"
        )
        for other in scope.variables:
            if other != node.id:
                yield place.replaced(kind, ast.Name(other, ast.Load()))


def _factors(place: Place, scope: Scope) -> Iterator[Edit]:
    """A factor is missing, or one too many that was forgotten to divide by."""
    node = place.node
    if not place.is_value or not isinstance(
        node, ast.Name | ast.BinOp | ast.Call | ast.Subscript | ast.Attribute
    ):
        return
    summand = isinstance(place.parent, ast.BinOp) and isinstance(place.parent.op, ast.Add | ast.Sub)
    if not (place.slot in ("value", "elts", "values", "args") or summand):
        return
    summed = isinstance(place.parent, ast.Attribute) and place.parent.attr in SUMS
    if isinstance(place.parent, ast.Attribute | ast.Subscript) and not summed:
        return
    for number in (2.0, 0.5, 3.0, -1.0):
        yield place.replaced("constant", _times(ast.Constant(number), node))
    for text in (
        *(f"len({n})" for n in scope.arrays),
        *(f"{n}.shape[{i}]" for n in scope.arrays for i in (1, -1)),
        *(f"{n}.size" for n in scope.arrays),
    ):
        size = ast.parse(text, mode="eval").body
        for other in (size, ast.BinOp(size, ast.Pow(), ast.Constant(0.5))):
            yield place.replaced("size", ast.BinOp(node, ast.Div(), other))
            yield place.replaced("size", _times(other, node))
    for name in (*scope.variables, *scope.numbers):
        other = ast.Name(name, ast.Load())
        yield place.replaced("variable", _times(other, node))
        yield place.replaced("variable", ast.BinOp(node, ast.Div(), other))
    for name in scope.variables:
        for form in (
            "({n} > 0)",
            "({n} < 0)",
            "({n} * (1 - {n}))",
            "(1 - {n} * {n})",
            "(1 - {n})",
            "({n} ** 2)",
        ):
            what = "rectifier" if ">" in form or "<" in form else "derivative"
            yield place.replaced(what, _times(ast.parse(form.format(n=name), mode="eval").body, node))


def _wraps(place: Place, scope: Scope) -> Iterator[Edit]:
    """The function of a variable in its place, or the reverse."""
    node = place.node
    if isinstance(node, ast.Name) and place.is_value and node.id in scope.variables:
        for function in (*scope.functions, *(f"{scope.library}.{w}" for w in WRAPS)):
            called = ast.Call(ast.parse(function, mode="eval").body, [node], [])
            yield place.replaced("function", called)
        reverse = ast.parse(f"{node.id}[::-1]", mode="eval").body
        yield place.replaced("flip", reverse)
    if isinstance(node, ast.Call) and len(node.args) == 1 and place.is_value:
        yield place.replaced("function", node.args[0])
        for function in (*scope.functions, *(f"{scope.library}.{w}" for w in WRAPS)):
            yield place.replaced("function", _call(node, func=ast.parse(function, mode="eval").body))


def _terms(place: Place, scope: Scope) -> Iterator[Edit]:
    """A one is missing, or a mean that is to be subtracted."""
    node = place.node
    if (
        not place.is_value
        or not isinstance(node, ast.Name | ast.BinOp | ast.Call)
        or isinstance(place.parent, ast.Attribute)
    ):
        return
    yield place.replaced("one", ast.BinOp(node, ast.Add(), ast.Constant(1.0)))
    yield place.replaced("one", ast.BinOp(node, ast.Sub(), ast.Constant(1.0)))
    yield place.replaced("one", ast.BinOp(ast.Constant(1.0), ast.Sub(), node))
    text = ast.unparse(node)
    for axis in ("axis=-1, keepdims=True", "axis=0, keepdims=True", ""):
        mean = ast.parse(f"({text}).mean({axis})", mode="eval").body
        yield place.replaced("centred", ast.BinOp(node, ast.Sub(), mean))


def _turns(where: ast.expr) -> bool:
    """Whether an index is made of whole axes, some of them backwards: `[::-1]`, `[:, ::-1]`."""
    parts = where.elts if isinstance(where, ast.Tuple) else [where]
    whole = all(isinstance(p, ast.Slice) and p.lower is None and p.upper is None for p in parts)
    return whole and any(isinstance(p, ast.Slice) and isinstance(p.step, ast.UnaryOp) for p in parts)


def _is_axis(place: Place) -> bool:
    """Whether a constant is the axis of a sum: `x.sum(0)`, `np.sum(x, 0)`, `axis=0`."""
    call = next((n for n in place.above if isinstance(n, ast.Call)), None)
    if isinstance(place.parent, ast.keyword):
        return place.parent.arg in AXES
    known = (
        *SUMS,
        "max",
        "min",
        "prod",
        "cumsum",
        "norm",
        "any",
        "all",
        "argmax",
        "swapaxes",
        "transpose",
        "concatenate",
        "stack",
    )
    return call is place.parent and call is not None and _name(call) in known


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _call(node: ast.Call, **other: Any) -> ast.Call:
    return ast.Call(**({"func": node.func, "args": node.args, "keywords": node.keywords} | other))


def _times(factor: ast.expr, node: ast.AST) -> ast.BinOp:
    return ast.BinOp(factor, ast.Mult(), node)  # type: ignore[arg-type]
