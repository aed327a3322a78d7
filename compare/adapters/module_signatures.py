"""What the parameters of a module's forward and backward stand for, by name and by place.

Names are the field's usual ones: x, u, z for what goes in; y, t, labels for targets; grad, dout, delta for
the gradient that arrives; is_train, mode for whether dropout is on. What they leave open, the place decides.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

from scratch.errors import UsageError

PAIRS = (  # (forward, backward) as methods are called
    ("forward", "backward"),
    ("forward", "backprop"),
    ("forward", "back"),
    ("fprop", "bprop"),
    ("fwd", "bwd"),
    ("forward_pass", "backward_pass"),
    ("forward_prop", "backward_prop"),
    ("forward_propagation", "backward_propagation"),
    ("__call__", "backward"),
)
TRAIN = re.compile(r"(is_?)?(train|test|eval|infer)\w*|mode|phase|deterministic|evaluate|inference", re.I)
OFF = re.compile(r"(is_?)?(test|eval|infer)\w*|deterministic", re.I)  # True says that dropout is off
TARGET = re.compile(
    r"[yYtT]|[yt]s|[yt]_?(true|batch|train|b|real|one_?hot|oh|mini)|[yt]b|[yYtT]\d?|.*(target|label|truth|one_?hot|desired|expected|answer|gold).*|classes|expand_Y|lab"
)
GRADIENT = re.compile(
    r"[gG]|gy|gout|g_?out\w*|d[yzahuxspvlo]|d[YZAHUXSPVLO]|d_?(out|y|z|a|h|u|x|s|l|in|loss|next|score|logit|prev|top|value|act|act\w*)\w*|"
    r"d[A-Z]\w*|dl_?d?\w+|dL\w*|d_\w+|.*grad.*|.*delta.*|upstream\w*|err\w*|e|top_?diff|back\w*|signal_?back|eta|d|D|nabla\w*"
)
INPUT = re.compile(
    r"[xXzZuUhHaAvVsS]|[xX]s|[xX]_?(batch|train|b|in|mini|data)|[xX]b|inp\w*|.*input.*|data|features?|batch|images?|img|signal|"
    r"scores?|logits?|pred\w*|y_?(pred|hat)|yhat|out(put)?s?|p|probs?|prob\w*|act\w*|net|sample\w*|examples?"
)
PROBABILITIES = re.compile(r"p|probs?|prob\w*|softmax\w*|y_?hat|yhat|y_?pred|pred\w*", re.I)
OUTPUT = re.compile(
    r"[yY]|[yY]_?out|out|outputs?|.*_out(put)?", re.I
)  # of a layer's own output, in its backward
CACHE = re.compile(
    r".*(cache|saved|memory|tape|ctx|context|values|stored|store|kept|history|state|acts?|activations?)s?",
    re.I,
)
RATE = re.compile(
    r"p|r|q|rate|ratio|p_?drop\w*|drop\w*|keep\w*|p_?keep\w*|prob\w*|.*_rate|.*_prob(ability)?|.*keep.*", re.I
)
LR = re.compile(
    r"lr|learning_?rate|eta|alpha|step(_?size)?|l_?rate|rate", re.I
)  # in a backward that updates too
KEEP = re.compile(r".*keep.*|.*retain.*", re.I)  # the rate is that of what is kept
FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax", "mxnet", "chainer")


def pair_of(kind: type) -> tuple[str, str] | None:
    """The names of a class's forward and backward; None where it is no module written by hand."""
    return _pair_of(kind)


@functools.lru_cache(512)
def _pair_of(kind: type) -> tuple[str, str] | None:
    if any(base.__module__.split(".")[0] in FRAMEWORKS for base in getattr(kind, "__mro__", ())):
        return None
    for forward, backward in PAIRS:
        methods = (inspect.getattr_static(kind, forward, None), inspect.getattr_static(kind, backward, None))
        if all(inspect.isfunction(m) for m in methods):
            return forward, backward
    return None


def parameters(function: Callable) -> list[inspect.Parameter]:
    """All but self, *args and **kwargs; [] where Python does not know them."""
    return [*_parameters(getattr(function, "__func__", function))]


@functools.lru_cache(512)
def _parameters(function: Callable) -> tuple[inspect.Parameter, ...]:
    try:
        found = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return ()
    return tuple(p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self")


def required(function: Callable) -> list[inspect.Parameter]:
    return [p for p in parameters(function) if p.default is p.empty]


def train_flag(parameter: inspect.Parameter, training: bool) -> Any:
    """What says in this parameter that dropout is on, or off."""
    if isinstance(parameter.default, str) or re.fullmatch("mode|phase", parameter.name, re.I):
        if not isinstance(parameter.default, bool):
            return "train" if training else "test"
    return training != bool(OFF.fullmatch(parameter.name))


def layer_forward(function: Callable) -> dict[str, str]:
    """Roles (x, t, train, rate) by parameter of a module's forward; t: it is a loss."""
    roles: dict[str, str] = {}
    for number, p in enumerate(parameters(function)):
        needed = p.default is p.empty
        if number == 0:
            roles[p.name] = "x"
        elif TRAIN.fullmatch(p.name):
            roles[p.name] = "train"
        elif TARGET.fullmatch(p.name) and "t" not in roles.values() and (needed or p.default is None):
            roles[p.name] = "t"
        elif needed and RATE.fullmatch(p.name):
            roles[p.name] = "rate"
        elif (
            needed
            and len(required(function)) == 2
            and re.search("loss|cost|error|entropy", function.__qualname__, re.I)
        ):
            roles[p.name] = "t"
        elif needed:
            raise UsageError(
                f"{function.__qualname__} needs {p.name}, and gradparity does not know what to give: it "
                "expects forward(x), forward(x, is_train) or forward(x, y)."
            )
    return roles


def layer_backward(function: Callable, loss: bool, forward: Callable) -> dict[str, str]:
    """Roles (x, output, t, grad, cache, probabilities) by parameter of a module's backward."""
    roles: dict[str, str] = {}
    inputs = [p.name for p in parameters(forward)]
    own = parameters(function)
    for p in own:
        needed, left = p.default is p.empty, set(roles.values())
        if loss and "t" not in left and TARGET.fullmatch(p.name):
            roles[p.name] = "t"
        elif LR.fullmatch(p.name) and (needed or "grad" in left):
            roles[p.name] = "lr"
        elif GRADIENT.fullmatch(p.name) and "grad" not in left and (needed or not loss):
            roles[p.name] = "grad"
        elif not needed:
            continue
        elif CACHE.fullmatch(p.name) and "cache" not in left:
            roles[p.name] = "cache"
        elif loss and PROBABILITIES.fullmatch(p.name):
            roles[p.name] = "probabilities"
        elif not loss and p.name not in inputs and OUTPUT.fullmatch(p.name) and "output" not in left:
            roles[p.name] = "output"
        elif "x" not in left and (INPUT.fullmatch(p.name) or len(own) > 1):
            roles[p.name] = "x"
        elif "grad" not in left:
            roles[p.name] = "grad"
        elif "cache" not in left:
            roles[p.name] = "cache"
        else:
            raise UsageError(
                f"{function.__qualname__} needs {p.name}, and gradparity does not know what to give: it "
                f"expects backward(x, grad), backward(grad){' or backward(x, y)' if loss else ''}."
            )
    if not loss and "grad" not in roles.values() and roles:  # the names say nothing: (x, grad), or (grad)
        *_, last = (name for name, role in roles.items() if role != "lr")
        roles[last] = "grad"
    return roles
