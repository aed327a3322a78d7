"""Update functions that take hyperparameters and memory one by one, `rule(w, dw, v, lr=0.1) -> (w, v)`."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from compare.adapters.subject import positional
from compare.submission.hyperparameters import RATE, is_number, roles, rule_of

Array = np.ndarray
COUNTERS = ("t", "step", "steps", "iter", "iteration", "iterations", "timestep", "count", "n", "k", "i")
STATES = (
    "v",
    "velocity",
    "vel",
    "m",
    "s",
    "cache",
    "r",
    "state",
    "memory",
    "buf",
    "buffer",
    "moment",
    "accumulator",
)
USUAL = {RATE: 0.0625, "momentum": 0.875, "rho": 0.8125, "beta_1": 0.75, "beta_2": 0.9375, "epsilon": 0.0625}


class Spread:
    """Such a function, to be called as rule(w, dw, config); what it returns goes into the config."""

    def __init__(self, function: Callable, parameters: list[inspect.Parameter], memory: list[str]) -> None:
        self.function, self.parameters, self.memory = function, parameters, memory
        self.names = [p.name for p in parameters]
        self.meant = {
            n: role
            for role, names in roles(self.names, rule_of(function.__name__) or None).items()
            for n in names
        }

    @classmethod
    def of(cls, function: Callable) -> "Spread | None":
        """None where a parameter is neither a hyperparameter nor a memory by its name."""
        parameters = positional(function)[2:]
        memory = [
            p.name for p in parameters if p.name.lower() in (*STATES, *COUNTERS) and not is_number(p.default)
        ]
        found = cls(function, parameters, memory)
        if not parameters or any(p.name not in memory and p.name not in found.meant for p in parameters):
            return None
        return found

    def __call__(
        self, w: Array, dw: Array, config: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        config = {} if config is None else config
        for p in self.parameters:
            if p.name not in config:
                config[p.name] = self._first(p, w)
        arguments = {p.name: config[p.name] for p in self.parameters}
        counters = [n for n in self.memory if n.lower() in COUNTERS]
        if counters and config[counters[0]] is None:  # whoever counts the steps himself returns the number
            trial = self.function(
                w.copy(), dw.copy(), **{n: np.copy(a) if np.ndim(a) else a or 1 for n, a in arguments.items()}
            )
            counts = isinstance(trial, tuple) and len(trial) > len(self.memory)
            arguments[counters[0]] = config[counters[0]] = 0 if counts else 1
        result = self.function(w, dw, **arguments)
        parts = list(result) if isinstance(result, tuple) else [result]
        returned = (
            self.memory if len(parts) > len(self.memory) else [n for n in self.memory if n not in counters]
        )
        config.update(zip(returned, parts[1:], strict=False))
        config.update({n: config[n] + 1 for n in counters if n not in returned})
        return w if parts[0] is None else parts[0], config

    def _first(self, p: inspect.Parameter, w: Array) -> Any:
        if p.name in self.memory:
            return None if p.name.lower() in COUNTERS else np.zeros_like(w)
        return USUAL.get(self.meant[p.name], 0.0) if p.default is inspect.Parameter.empty else p.default
