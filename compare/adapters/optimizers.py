"""Style `optimizers`: update rules `rule(w, dw, config) -> (next_w, config)`, minibatch steps in place."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from compare.adapters.minibatch_step import MinibatchStep, arguments_of
from compare.adapters.subject import Context, Subject, positional
from compare.adapters.update_rule import UpdateRule
from compare.adapters.update_spread import Spread
from compare.submission.hyperparameters import rule_of

STYLE = "optimizers"
EXAMPLE = """\
def sgd_momentum(w, dw, config=None):
    config = {"learning_rate": 1e-2, "momentum": 0.9, "velocity": 0} | (config or {})
    v = config["momentum"] * config["velocity"] - config["learning_rate"] * dw
    return w + v, config | {"velocity": v}

def sgd_step(model, momentum, lam, alpha, lr):       # in place
    for name, module in model.items():
        for key, w in module.params.items():
            momentum[name, key] = alpha * momentum.get((name, key), 0) - lr * (module.gradient[key] + lam * w)
            w += momentum[name, key]"""
GRADIENT = re.compile(
    r"^d_?(w|x|p|b|v|theta|params?|weights?|l|j|loss)\w*$|grad|^g(_?[twk])?$|nabla|^deriv", re.I
)
CONFIG = re.compile(r"conf|cfg|opt|settings|state|hyper|hp$|^h$|^c$|^s$|kw|memory|options|params$", re.I)
NOT_WEIGHTS = re.compile(r"^(x|y|t|f|fun|func|model|net|loss|data|x_?train|inputs?|targets?|self|cls)$")


def find(context: Context) -> Iterator[Subject]:
    """Every update function, known by its name and arguments, and every minibatch step."""
    found: list[UpdateRule | MinibatchStep] = []
    for name, function in context.functions().items():
        wanted = name == context.wanted
        if name.startswith("_") and not wanted:
            continue
        if (arguments := arguments_of(function)) is not None:
            found.append(MinibatchStep(name, function, arguments, context))
        elif (call := _update(name, function, wanted)) is not None:
            found.append(UpdateRule(name, function, call))
    rules = [one for one in found if isinstance(one, UpdateRule)]
    for one in rules:
        one.siblings = [other for other in rules if other is not one]
    yield from found


def _update(name: str, function: Any, wanted: bool) -> Any:
    """The function as `rule(w, dw, config)`, or None where it is something else."""
    parameters = positional(function)
    required = [p for p in parameters if p.default is inspect.Parameter.empty]
    if len(parameters) < 2 or len(required) < 1:
        return None
    first, second, *rest = parameters
    known = rule_of(name) is not None
    alike = bool(GRADIENT.search(second.name)) and (known or not NOT_WEIGHTS.match(first.name))
    if not (alike or wanted):
        return None
    spread = Spread.of(function) if rest and (known or wanted) else None
    if rest and len(required) <= 3 and (CONFIG.search(rest[0].name) or isinstance(rest[0].default, dict)):
        works = UpdateRule(name, function, function).works()
        if not works and spread is not None and UpdateRule(name, function, spread).works():
            return spread
        return function if works or known or wanted else None
    if len(parameters) == 3 and rest[0].default is None and (known or wanted):
        return function
    return spread
