"""Which name in a config means which hyperparameter of an update rule: from their usual names.

Some names are ambiguous: alpha is a learning rate or a momentum, decay is a weight decay or RMSprop's rho. A
role first takes the names that can mean nothing else; those left empty then share what is left.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

RATE = "learning_rate"
ROLES = {  # what each rule needs; weight decay besides, in every rule
    "sgd": (RATE,),
    "momentum": (RATE, "momentum"),
    "nesterov": (RATE, "momentum"),
    "adagrad": (RATE, "epsilon"),
    "rmsprop": (RATE, "rho", "epsilon"),
    "adadelta": (RATE, "rho", "epsilon"),
    "adam": (RATE, "beta_1", "beta_2", "epsilon"),
    "adamw": (RATE, "beta_1", "beta_2", "epsilon"),
}
ALL = (RATE, "momentum", "rho", "beta_1", "beta_2", "epsilon", "weight_decay")
SURE = {
    RATE: "learningrate lr eta rate stepsize learnrate lrate",
    "momentum": "momentum mu mom friction",
    "rho": "rho decayrate",
    "beta_1": "beta1 b1 betaone rho1 betam",
    "beta_2": "beta2 b2 betatwo rho2 betav",
    "epsilon": "eps epsilon smoothing fudge",
    "weight_decay": "weightdecay wd l2 l2reg reg lambda lambd lmbda lam regularization penalty l2penalty",
}
PERHAPS = {
    RATE: "alpha",
    "momentum": "beta gamma rho alpha beta1 b1",
    "rho": "decay beta gamma alpha beta2 b2 keep forget",
    "beta_1": "momentum rho",
    "beta_2": "",
    "epsilon": "delta tiny small",
    "weight_decay": "decay",
}
# Names of rules, the longest first: of two that stand in a function's name, the more special one counts.
NAMES = (
    ("adamw", r"adamw|adamweightdecay|decoupledadam"),
    ("adam", r"adam"),
    ("adadelta", r"adadelta"),
    ("adagrad", r"adagrad|adaptivegradient"),
    ("rmsprop", r"rmsprop|rootmeansquareprop"),
    ("nesterov", r"nesterov|(?<![a-z])nag(?![a-z])|acceleratedgrad"),
    ("momentum", r"momentum|heavyball|polyak"),
    ("sgd", r"sgd|gradientdescent|graddescent|vanilla|(?<![a-z])gd(?![a-z])|steepestdescent"),
)
OTHERS = re.compile(
    r"adamax|nadam|radam|amsgrad|adabound|adabelief|adafactor|sgdr|sign(sgd|um|descent|grad)|svrg|lars(?![a-z])|lamb(?![a-z])|lion"
    r"|rprop|ftrl|asgd|yogi|adan(?![a-z])|averaged|cyclical|newton|lbfgs",
    re.I,
)


def rule_of(name: str) -> str | None:
    """The rule that a function's name tells; "" for a rule that is none of ours; None where it tells none."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    flat = words.replace("_", "")
    if OTHERS.search(flat):
        return ""
    for rule, pattern in NAMES:
        if re.search(pattern, words) or re.search(pattern, flat):
            return rule
    return None


def roles(names: Iterable[str], rule: str | None) -> dict[str, list[str]]:
    """{role: those of the names that mean it} for a rule; for None, as far as can be said without one."""
    wanted = (*ROLES[rule], "weight_decay") if rule else ALL
    free = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in names if isinstance(name, str)}
    found: dict[str, list[str]] = {}
    for table in (SURE, PERHAPS):
        for role in wanted:
            if role in found:
                continue
            for word in table[role].split():
                mine = [name for name, flat in free.items() if flat == word]
                if mine and (table is SURE or role not in found):
                    found.setdefault(role, []).extend(mine)
                    for name in mine:
                        del free[name]
    return found


def values(config: Mapping[str, Any], rule: str | None) -> dict[str, float]:
    """{role: value} of what stands in a config under its usual names; a pair `betas` counts as both."""
    found = {}
    for role, names in roles(config, rule).items():
        numbers = [config[n] for n in names if is_number(config[n])]
        if numbers:
            found[role] = float(numbers[0])
    pair = config.get("betas")
    if isinstance(pair, tuple | list) and len(pair) == 2 and rule in ("adam", "adamw", None):
        found = {"beta_1": float(pair[0]), "beta_2": float(pair[1])} | found
    return found


def is_number(value: Any) -> bool:
    """A real number that is no truth value."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind is not None:
        return kind in "fiu" and getattr(value, "ndim", 0) == 0
    return isinstance(value, int | float) and not isinstance(value, bool)
