"""Style `layer-functions`: pairs `name_forward(x, ...) -> (out, cache)`, `name_backward(dout, cache)`."""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compare.adapters.function_pairs import pairs
from compare.adapters.function_returns import returned_names
from compare.adapters.opnames import FURTHER, Call, Plan, canonical_op, plans
from compare.adapters.subject import Claims, Context, Point, Subject, draw, positional
from compare.adapters.targets import Targets
from scratch.errors import UsageError

Array = np.ndarray
STYLE = "layer-functions"
EXAMPLE = """\
def affine_forward(x, w, b):
    return x @ w + b, (x, w, b)

def affine_backward(dout, cache):
    x, w, b = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)"""
FORWARD = re.compile(r"^(?:(?P<a>.+)_(?:forward|fwd|fw)|(?:forward|fwd|fw)_(?P<b>.+))(?P<c>_.*)?$", re.I)
LOSS = re.compile(r"(softmax|svm|hinge|cross_?entropy|xent|mse|bce|logistic).*(loss|cost)?", re.I)
ROLES = {  # canonical argument: what it is called
    "x": re.compile(r"^(x|a|z|s|h|u|v|inp|inputs?|data|img|images?|logits|scores|x_.*|.*_in)$", re.I),
    "w": re.compile(r"^(w\d?|weights?|kernel|filters?|f|theta|wx)$", re.I),
    "b": re.compile(r"^(b\d?|bias(es)?|b_.*)$", re.I),
    "gamma": re.compile(r"^(gamma|g|scale)$", re.I),
    "beta": re.compile(r"^(beta|shift|offset)$", re.I),
}
TRAINING = re.compile(r"^(is_)?train(ing|_mode)?$", re.I)
TARGETS = re.compile(r"^(y|t|labels?|targets?|y_true)$", re.I)
OPTION = {  # what a scalar argument of the forward asks for
    "stride": re.compile(r"^(stride|s)$", re.I),
    "pad": re.compile(r"^(pad|padding)$", re.I),
    "size": re.compile(r"^(size|pool_size|kernel_size|k|pool)$", re.I),
    "p": re.compile(r"^(p|rate|drop(out)?(_rate|_prob)?|keep_prob)$", re.I),
    "slope": re.compile(r"^(slope|alpha|leak|negative_slope)$", re.I),
    "eps": re.compile(r"^(eps|epsilon)$", re.I),
}


def find(context: Context) -> Iterator[Subject]:
    """Every pair of the file, then every loss that returns its value with the gradient."""
    if context.wanted and context.wanted not in context.functions():
        return
    functions = {n: o for n, o in context.objects.items() if inspect.isfunction(o)}
    for name, forward in functions.items():
        if pair := _pair(name, functions):
            if context.wanted in (None, name, pair[1], pair[0]):
                yield LayerFunctions(pair[0], forward, functions[pair[1]])
    apart = {o for pair in pairs(functions) for o in (pair.f, *(g for g, _ in pair.gradients))}
    for name, function in functions.items():
        if function in apart and len(returned_names(function)) < 2:
            continue  # its gradient is a function of its own: style `function`
        names = [p.name for p in positional(function)]
        takes = len(names) >= 2 and bool(ROLES["x"].match(names[0])) and bool(TARGETS.match(names[1]))
        if takes and LOSS.search(name) and name.lower().endswith(("loss", "cost", "entropy", "grad")):
            if context.wanted in (None, name):
                yield LayerFunctions(name, function, None)


def _pair(name: str, functions: dict[str, Any]) -> tuple[str, str] | None:
    """(what the pair is called, the name of its backward)."""
    if not (match := FORWARD.match(name)):
        return None
    what, rest = match["a"] or match["b"], match["c"] or ""
    for pattern in (
        "{}_backward",
        "{}_bwd",
        "{}_bw",
        "{}_back",
        "backward_{}",
        "bwd_{}",
        "{}_backprop",
        "{}_grad",
    ):
        for tail in (rest, "") if rest else ("",):
            if (other := pattern.format(what) + tail) in functions:
                return what + tail, other
    return None


class LayerFunctions(Subject):
    """One pair, or one loss; tensors are called by the forward's own argument names."""

    style, kind = STYLE, "operation"

    def __init__(self, name: str, forward: Callable, backward: Callable | None) -> None:
        self.name, self.forward, self.backward = name, forward, backward
        self.takes = tuple(f.__name__ for f in (forward, backward) if f is not None)
        self.op = canonical_op(name)
        self.targets = Targets("integers")
        self.roles: dict[str, str] = {}  # user's argument: canonical one
        self.order, self.description = [], {}

    def points(self, rng: np.random.Generator) -> list[Point]:
        self.roles = self._roles()
        found: list[Point] = []
        problems: list[str] = []
        for plan in plans(self.op, self.roles, self.backward is None):
            point = self._point(plan, rng)
            if found or self._runs(point, problems):
                found.append(point)
        if not found and problems:
            raise UsageError(
                f"gradparity does not know how to call {self.name}"
                f"{inspect.signature(self.forward)}: {problems[0]}."
            )
        layout = found[0].build["layout"]
        found = [p for p in found if p.build["layout"] == layout]
        ranks = ("w", "gamma", "b", "beta", "x", "z")
        names = sorted(found[0].inputs, key=lambda n: ranks.index(self.roles.get(n, "x")))
        self.order = [f"{self.name}/{name}" for name in names]
        for point in found:
            point.inputs = {f"{self.name}/{name}": a for name, a in point.inputs.items()}
        self.description = {
            "op": self.op,
            "arguments": {role: f"{self.name}/{n}" for n, role in self.roles.items()},
            "layout": layout,
            "loss": self.backward is None,
        }
        return found

    def value(self, state: Any, point: Point) -> Any:
        if self.backward is None:
            return self._loss(point)[0]
        return np.sum(self._forward(point)[0] * point.data["dy"])

    def claims(self, state: Any, point: Point) -> tuple[Any, Claims]:
        if self.backward is None:
            loss, gradients = self._loss(point)
        else:
            out, cache, arguments = self._forward(point)
            loss, gradients = np.sum(out * point.data["dy"]), self._backward(point, cache, arguments)
        names = [name for name in arguments_of(self.forward) if f"{self.name}/{name}" in point.inputs]
        given = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
        if isinstance(gradients, dict):
            given = [gradients.get(n, gradients.get(f"d{n}")) for n in names]
        given += [None] * (len(names) - len(given))
        return loss, {f"{self.name}/{n}": g for n, g in zip(names, given, strict=False)}

    def output(self, state: Any, point: Point) -> Array | None:
        return None if self.backward is None else np.asarray(self._forward(point)[0])

    def source(self, tensor: str) -> Any:
        return self.backward or self.forward

    def extra(self, rng: np.random.Generator) -> dict[str, Any]:
        names = [n for n in arguments_of(self.forward) if OPTION["p"].match(n)]
        call = Call(self.op, self.name, self.roles, self._apply, names[0] if names else "p")
        return FURTHER[self.op](call, rng) if self.op in FURTHER else {}

    def _apply(self, inputs: dict[str, Array], data: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
        """(y, gradients) by canonical argument: what a further look at an operation calls."""
        names = {role: name for name, role in self.roles.items()}
        point = Point("", {f"{self.name}/{names[role]}": a for role, a in inputs.items()}, dict(data))
        out, cache, arguments = self._forward(point)
        if "dy" not in data:
            point.data["dy"] = np.ones(np.shape(out))
        given = self._backward(point, cache, arguments)
        parts = list(given) if isinstance(given, tuple | list) else [given]
        keys = [n for n in arguments_of(self.forward) if f"{self.name}/{n}" in point.inputs]
        return np.asarray(out), {self.roles[n]: np.asarray(g) for n, g in zip(keys, parts, strict=False)}

    def _roles(self) -> dict[str, str]:
        """The user's argument names by what they are, where that is a tensor."""
        roles: dict[str, str] = {}
        for parameter in positional(self.forward):
            for role, pattern in ROLES.items():
                if pattern.match(parameter.name) and role not in roles.values():
                    if self.op in ("batchnorm", "layernorm", "spatial_batchnorm") and role in ("w", "b"):
                        role = {"w": "gamma", "b": "beta"}[role]
                    roles[parameter.name] = role
                    break
        if not roles and (first := positional(self.forward)[:1]):
            roles[first[0].name] = "x"
        return roles

    def _point(self, plan: Plan, rng: np.random.Generator) -> Point:
        inputs = {}
        for name, role in self.roles.items():
            if (shape := plan.shapes.get(role)) is not None:
                inputs[name] = plan.values(role, draw(rng, *shape), rng)
        data: dict[str, Any] = dict(plan.options)
        if self.backward is None:
            n, classes = plan.shapes["x"]
            data |= {"t": rng.integers(classes, size=n), "classes": classes}
        point = Point(plan.label, inputs, data, {"layout": plan.layout}, seed=plan.seed)
        if self.backward is not None:
            own = Point("", {f"{self.name}/{n}": a for n, a in inputs.items()}, data)
            try:
                with np.errstate(all="ignore"):
                    shape = np.shape(self._forward(own)[0])
            except Exception:  # shown when it is called in earnest
                shape = ()
            point.data["dy"] = draw(rng, *shape)
        return point

    def _runs(self, point: Point, problems: list[str]) -> bool:
        own = point.copy()
        own.inputs = {f"{self.name}/{n}": a for n, a in own.inputs.items()}
        try:
            with np.errstate(all="ignore"):
                self.claims(None, own)
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
            return False
        return True

    def _arguments(self, point: Point) -> dict[str, Any]:
        """Everything the forward takes, by its own names."""
        out: dict[str, Any] = {}
        for parameter in positional(self.forward):
            name = parameter.name
            if (full := f"{self.name}/{name}") in point.inputs:
                out[name] = point.inputs[full]
            elif TARGETS.match(name) and "t" in point.data:
                continue
            elif (option := _option(name, point.data)) is not None:
                out[name] = option
            elif parameter.default is inspect.Parameter.empty:
                out[name] = _dictionary(self.op, point.data)
            elif name.endswith(("param", "params", "config", "cfg", "options")):
                out[name] = _dictionary(self.op, point.data)
        return out

    def _forward(self, point: Point) -> tuple[Any, Any, dict[str, Any]]:
        arguments = self._arguments(point)
        result = self.forward(**copy.copy(arguments))
        if isinstance(result, tuple) and len(result) == 2:
            return result[0], result[1], arguments
        if isinstance(result, tuple) and len(result) > 2:
            return result[0], result[1:], arguments
        if result is None:
            raise UsageError(f"{self.forward.__name__} returns None; it should return (out, cache).")
        return result, None, arguments

    def _backward(self, point: Point, cache: Any, arguments: dict[str, Any]) -> Any:
        assert self.backward is not None
        parameters = positional(self.backward)
        names = [p.name for p in parameters]
        if len(names) == 2:
            first_is_cache = "cache" in names[0].lower() and "cache" not in names[1].lower()
            if cache is None and names[1] in arguments:
                return self.backward(point.data["dy"], arguments[names[1]])
            if cache is None and (tensors := [a for a in arguments.values() if isinstance(a, np.ndarray)]):
                cache = tensors[0]
            pair = (cache, point.data["dy"]) if first_is_cache else (point.data["dy"], cache)
            return self.backward(*pair)
        given: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.name in arguments:
                given[parameter.name] = arguments[parameter.name]
            elif "cache" in parameter.name.lower():
                given[parameter.name] = cache
            elif not given or parameter.name.lower().startswith(("d", "grad", "upstream")):
                given[parameter.name] = point.data["dy"]
            elif parameter.default is inspect.Parameter.empty:
                given[parameter.name] = cache
        return self.backward(**given)

    def _loss(self, point: Point) -> tuple[Any, Any]:
        (x,) = (a for a in point.inputs.values())
        result = self.targets.call(lambda y: self.forward(x, y), point.data["t"], point.data["classes"])
        if not (isinstance(result, tuple) and len(result) >= 2):
            raise UsageError(f"{self.name}(x, y) must return (loss, dx), but {type(result).__name__} came.")
        return result[0], result[1]


def arguments_of(function: Callable) -> list[str]:
    return [parameter.name for parameter in positional(function)]


def _option(name: str, data: dict[str, Any]) -> Any:
    for key, pattern in OPTION.items():
        if key in data and pattern.match(name):
            return data[key]
    if "mode" in data and TRAINING.match(name):
        return data["mode"] == "train"
    return data.get("mode") if name == "mode" else None


def _dictionary(op: str, data: dict[str, Any]) -> dict[str, Any]:
    """A new dictionary of options under the usual names."""
    out: dict[str, Any] = {}
    for key, names in {
        "stride": ("stride",),
        "pad": ("pad",),
        "size": ("pool_height", "pool_width", "size"),
        "slope": ("slope", "alpha"),
        "p": ("p",),
        "mode": ("mode",),
        "eps": ("eps",),
        "momentum": ("momentum",),
        "seed": ("seed",),
    }.items():
        if key in data:
            out |= dict.fromkeys(names, data[key])
    for key in ("running_mean", "running_var"):
        if key in data:
            out[key] = np.array(data[key])
    return out
