"""How a composition is called: its forward, its loss and its backward, from their signatures and by trying.

`forward_pass(model, x, y)` and `backward_pass(model, x, y, cache)`, or methods `loss(x, y)` and `backward()`,
or `forward(x)` and `backward(grad)`, in which case the loss is cross-entropy of what comes out.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.adapters import module_signatures as signatures
from compare.adapters.module_calls import LR, Calls, Memory
from scratch.errors import UsageError

Array = np.ndarray
MODEL = re.compile(r"_?(model|net\w*|nn|mlp|layers?|modules?|parts?|stack|seq\w*|blocks?|network)s?", re.I)
X = re.compile(
    r"[xX]\d?|[xX]s|[xX]_?(batch|train|b|in|mini|data)|[xX]b|inputs?|inp|data|images?|imgs?|features?|samples?|examples?",
    re.I,
)
REG = re.compile(r"reg\w*|lam\w*|l2\w*|weight_?decay|wd|penalty|decay|lmbda", re.I)
LOSSES = re.compile(
    r"(compute|calc|calculate|get|eval|evaluate|forward|total|data)?_?(loss|error|cost|objective|criterion)(_fn|_function|_value)?",
    re.I,
)
FORWARD = re.compile(r"forward|fprop|fwd|feed_?forward|propagate$", re.I)
BACKWARD = re.compile(
    r"backward|bprop|bwd|back_?prop|^back$|^(compute_?|calc\w*_?|get_?)?(gradients?|grads?)$", re.I
)
BOTH = re.compile(r"(loss|forward|cost).*(and|_).*(grad|backward)|grad.*loss", re.I)


@dataclass
class Run:
    """One forward pass. value: the loss; scores: what the loss was taken of, where that is known."""

    value: Any
    scores: Any = None
    extras: list[Any] = field(default_factory=list)
    result: Any = None
    x: Any = None
    t: Any = None
    reg: float | None = None
    arriving: Any = None  # the gradient for a backward that takes one
    loss_module: tuple[Any, Calls, Memory] | None = None


@dataclass
class Flow:
    """forward and backward: functions, or names of methods. loss: the same, where the loss is by itself.

    takes_model: functions get the model as an argument, methods and functions on globals do not.
    criterion: (makes one, its calls) of the file's loss module, where forward ends at the scores.
    """

    forward: Callable | str
    backward: Callable | str | None
    loss: Callable | str | None = None
    takes_model: bool = True
    criterion: tuple[Callable[[], Any], Calls] | None = None
    columns: bool = False

    def run(self, root: Any, x: Any, t: Any, reg: float | None = None, training: bool = True) -> Run:
        """Raises UsageError where there is no loss, and whatever the user's code raises."""
        function = _bound(root, self.forward)
        values: dict[str, Any] = {"x": x, "t": t, "train": training}
        if reg is not None:
            values["reg"] = reg
        if self.takes_model:
            values["model"] = root
        result = _fill(function, values, [])
        value, extras = _parts(result)
        run = Run(value, None, extras, result, x, t, reg)
        run.scores = next((a for a in extras if isinstance(a, np.ndarray) and a.ndim == 2), None)
        if value is None and self.loss is not None:
            self._loss(root, run, values)
        if run.value is None:
            self._own_loss(run, t)
        return run

    def backward_of(self, root: Any, run: Run) -> Any:
        """What the user's backward returns; the result of the forward where one function does both."""
        if self.backward is None:
            return run.extras[0] if len(run.extras) == 1 else run.result
        values: dict[str, Any] = {"x": run.x, "t": run.t, "lr": LR}
        if self.takes_model:
            values["model"] = root
        if run.reg is not None:
            values["reg"] = run.reg
        function = _bound(root, self.backward)
        if self.takes_gradient(root):
            values["grad"] = self._gradient(run)
        return _fill(function, values, list(run.extras))

    def takes_gradient(self, root: Any) -> bool:
        """Whether the backward needs the gradient that arrives from a loss."""
        if self.backward is None:
            return False
        own = signatures.required(_bound(root, self.backward))
        return any(_role(p.name, {"model", "x", "t", "reg", "lr"}) == "grad" for p in own)

    def updates(self, root: Any) -> bool:
        """Whether it takes a learning rate, and so changes the parameters itself."""
        functions = [_bound(root, f) for f in (self.forward, self.backward) if f]
        return any(signatures.LR.fullmatch(p.name) for f in functions for p in signatures.parameters(f))

    def takes_targets(self, root: Any) -> bool:
        own = signatures.parameters(_bound(root, self.backward)) if self.backward is not None else []
        return any(_role(p.name, {"model", "x", "t", "reg", "lr"}) == "t" for p in own)

    def _loss(self, root: Any, run: Run, values: dict[str, Any]) -> None:
        function = _bound(root, self.loss)
        first = run.scores if run.scores is not None else (run.extras[0] if run.extras else None)
        run.value, _ = _parts(_fill(function, values | {"x": first}, [first]))

    def _own_loss(self, run: Run, t: Any) -> None:
        """The file's criterion, else cross-entropy of the scores, else a fixed sum of probabilities."""
        if run.scores is None:
            raise UsageError("the forward pass returns neither a loss nor a matrix of scores.")
        if self.criterion is not None:
            make, calls = self.criterion
            module = make()
            memory = calls.forward(module, run.scores, t)
            run.value, run.loss_module = calls.scalar(memory), (module, calls, memory)
            return
        z = run.scores.T if self.columns else run.scores
        real = z.real
        if (real >= 0).all() and np.allclose(real.sum(axis=1), 1, atol=1e-5):
            dy = np.sin(1.0 + np.arange(z.size)).reshape(z.shape)
            run.value, run.arriving = np.sum(dy * z), dy.T if self.columns else dy
            return
        one_hot = np.eye(z.shape[1])[np.asarray(t, int) if np.ndim(t) == 1 else np.zeros(len(z), int)]
        shifted = z - real.max(axis=1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(axis=1, keepdims=True)
        run.value = np.sum(np.log(total[:, 0]) - (shifted * one_hot).sum(axis=1)) / len(z)
        dz = ((e / total - one_hot) / len(z)).real
        run.arriving = dz.T if self.columns else dz

    def _gradient(self, run: Run) -> Any:
        if run.loss_module is not None:
            module, calls, memory = run.loss_module
            returned = calls.backward(module, memory, 1.0)
            return calls.input_gradient(module, returned, np.asarray(memory.x))
        if run.arriving is None:
            raise UsageError(
                "the backward pass needs a gradient, but the forward pass ends with the loss: let backward "
                "take nothing, or let forward return the scores."
            )
        return np.array(run.arriving)


def _bound(root: Any, function: Callable | str | None) -> Callable:
    found = getattr(root, function) if isinstance(function, str) else function
    assert callable(found)
    return found


def _role(name: str, left: set[str]) -> str | None:
    """What a parameter of a composition's function stands for; left: what is still to be given."""
    if "model" in left and MODEL.fullmatch(name):
        return "model"
    if signatures.TRAIN.fullmatch(name):
        return "train"
    if REG.fullmatch(name):
        return "reg"
    if "x" in left and X.fullmatch(name):
        return "x"
    if "t" in left and signatures.TARGET.fullmatch(name):
        return "t"
    if signatures.LR.fullmatch(name) and "lr" in left:
        return "lr"
    if signatures.GRADIENT.fullmatch(name) and not signatures.CACHE.fullmatch(name):
        return "grad"
    return None


def _fill(function: Callable, values: dict[str, Any], extras: list[Any]) -> Any:
    """Call it with what its parameters' names ask for; names that say nothing get `extras` in order."""
    given: dict[str, Any] = {}
    left = set(values)
    blank = []
    for p in signatures.parameters(function):
        role = _role(p.name, left)
        needed = p.default is p.empty
        if role == "train":
            given[p.name] = signatures.train_flag(p, bool(values.get("train", True)))
        elif (
            role is not None
            and role in left
            and (needed or role in ("t", "reg", "grad", "x") or p.default is None)
        ):
            given[p.name] = values[role]
            left.discard(role)
        elif needed:
            blank.append(p.name)
        elif extras and signatures.CACHE.fullmatch(p.name):
            blank.append(p.name)
    if blank and "model" in left:
        given[blank.pop(0)] = values["model"]
    if len(blank) == len(extras) - 1 and blank:
        extras = (
            [a for a in extras if not isinstance(a, np.ndarray)] if len(blank) == 1 else extras[: len(blank)]
        )
    if len(blank) == 1 and len(extras) > 1:
        extras = [tuple(extras)]
    for name in [n for n in blank if len(extras) == 1 and isinstance(extras[0], dict) and n in extras[0]]:
        given[name] = extras[0][name]
        blank.remove(name)
    given |= dict(zip(blank, extras, strict=False))
    if missing := [n for n in blank if n not in given]:
        what = getattr(function, "__name__", str(function))
        raise UsageError(
            f"{what} needs {', '.join(missing)}, and gradparity does not know what to give: it expects "
            "what the forward pass returned, x, the targets, or the gradient that arrives; give it a default."
        )
    return function(**given)


def _parts(result: Any) -> tuple[Any, list[Any]]:
    """(the one number in it, everything else); a dict may hold the loss too."""
    items = list(result) if isinstance(result, tuple) else [result]
    number = next((i for i, a in enumerate(items) if _is_number(a)), None)
    if number is not None:
        return np.asarray(items[number]).reshape(())[()], [*items[:number], *items[number + 1 :]]
    for item in items:
        if isinstance(item, dict):
            for key, value in item.items():
                if LOSSES.fullmatch(str(key)) and _is_number(value):
                    return np.asarray(value).reshape(())[()], items
    return None, [item for item in items if item is not None]


def _is_number(a: Any) -> bool:
    if isinstance(a, bool | str | dict | list | tuple) or a is None:
        return False
    return np.size(a) == 1 and np.ndim(a) == 0 and np.asarray(a).dtype.kind in "iufc"
