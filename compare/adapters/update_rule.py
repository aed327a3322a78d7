"""An update function `rule(w, dw, config) -> (next_w, config)`: what it takes, and what it makes of w."""

import inspect
import re
from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np

from compare.adapters.examine import CheckedCodeError, Stage, calling
from compare.adapters.subject import Subject, draw, positional, source_of
from compare.adapters.update_calls import (
    Config,
    Memory,
    code_of,
    declared,
    keeps_w,
    missing,
    promised,
    scalars,
)
from compare.adapters.update_spread import COUNTERS, Spread
from compare.submission.evidence import Evidence, Trial
from compare.submission.hyperparameters import RATE, is_number, roles, rule_of
from scratch.errors import UsageError

Array = np.ndarray
STYLE = "optimizers"
STEPS, CHANGE = 8, 4  # the learning rate changes after so many steps
RATE_1, FACTOR = 0.0625, 0.375  # these and the following are float32 numbers: Keras takes them as they are
GIVEN = {"momentum": 0.875, "rho": 0.8125, "beta_1": 0.75, "beta_2": 0.9375, "epsilon": 0.0625}
OTHER = {"momentum": 0.5, "rho": 0.625, "beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2.0**-27}
DECAY = 0.125
SCHEDULE = re.compile(r"decay|schedule|anneal|warm", re.I)  # of the learning rate, if the code names one


class UpdateRule(Subject):
    """One function. call: how it is called as rule(w, dw, config); siblings: the file's other rules."""

    style, kind = STYLE, "update"

    def __init__(self, name: str, function: Callable, call: Callable) -> None:
        self.name, self.function, self.call = name, function, call
        self.rule = rule_of(name)
        self.tensor = f"{name}/w"
        self.order, self.description = [self.tensor], {}
        self.siblings: list[UpdateRule] = []
        self.memory = Memory(function)
        texts, self.constants, _ = code_of(function)
        if isinstance(call, Spread):
            texts += call.names
        self.texts = texts
        self.names = {text for text in texts if not text.startswith(" ")} | promised(function)
        self.opening: (
            dict[str, Any] | None
        ) = {}  # what must stand in a fresh config; None: it may be left out
        self.facts: dict[str, Any] = {}
        self.fails_without = ""  # what it raises where the config is left out, though that may be left out
        self.in_place = False
        self.single = any(text.strip() in ("float32", "single") for text in texts)

    def works(self) -> bool:
        """Whether it returns new weights and a dict when it is called as an update function."""
        try:
            self._probe()
        except (CheckedCodeError, UsageError):
            return False
        finally:
            self.memory.restore()
        return not self.facts and isinstance(self.probed, MutableMapping)

    def record(self, stage: Stage = lambda _: None) -> Evidence:
        """The evidence: w over several steps, with its own and given hyperparameters, and started twice."""
        stage(f"{self.name}: steps")
        self._probe()
        found = Evidence(self.style, self.kind, self.name, list(self.order))
        if source := source_of(self.function):
            found.sources = {self.tensor: source}
        rng = np.random.default_rng(0)
        for label, shape, config, zeros in self._plan():
            w = draw(rng, *shape)
            gradients = draw(rng, STEPS, *shape)
            gradients[:, :1] *= 0.0 if zeros else 1.0
            try:
                found.trials.append(self._trial(label, w, gradients, config))
            except CheckedCodeError as error:
                if not found.trials:
                    raise
                found.facts.setdefault("failed", {})[label] = str(error)
        self._twice(found, draw(rng, 4, 3), draw(rng, STEPS, 4, 3))
        self._in_place(found)
        self._left_out(found)
        found.description = {
            "rule": self.rule,
            "memory": self.remembers,
            "constants": self.constants,
            "declared": declared(self.function),
        }
        found.facts |= self.facts | {"float32": self.single}
        return found

    # how it wants to be called

    def _probe(self) -> None:
        """Find out what a fresh config must hold, and what the function puts into it.

        Raises CheckedCodeError where it fails with everything given, UsageError where it asks for what nobody
        knows.
        """
        w, g = _some()
        parameters = positional(self.call)
        optional = len(parameters) < 3 or parameters[2].default is not inspect.Parameter.empty
        full = self._values(self.names, GIVEN)
        failed: CheckedCodeError | None = None
        for opening in (*([None] if optional else []), {}, full):
            needed: dict[str, Any] = {}
            for _ in range(8):
                self.opening = None if opening is None else opening | needed
                try:
                    _, self.probed = self._step(w.copy(), g.copy(), self._fresh(w), 0)
                except CheckedCodeError as error:
                    failed = error
                    if opening is None:
                        self.fails_without = str(error)
                    name = missing(error.__cause__)
                    if opening is None or name is None or name in needed:
                        break
                    needed |= self._values([name], GIVEN) or {name: 0 if name in COUNTERS else None}
                    continue
                self._names()
                self._known(needed)
                return
        assert failed is not None
        raise failed

    def _known(self, needed: dict[str, Any]) -> None:
        """Zeros stand for a memory; where they stay zeros they have stood for something else."""
        config = self.probed if isinstance(self.probed, MutableMapping) else {}
        for name, value in needed.items():
            if value is None and name in config and not np.any(config[name]):
                raise UsageError(
                    f"{self.name} needs config[{name!r}], and gradparity does not know what that is: give it "
                    "a default in the function."
                )

    def _fresh(self, w: Array) -> dict[str, Any] | None:
        """A config to start with, all that leaked from earlier starts put back."""
        self.memory.restore()
        return self._config(w)

    def _config(self, w: Array) -> dict[str, Any] | None:
        """Zeros where it needs a memory; None where the config may be left out."""
        if self.opening is None:
            return None
        return Config({n: np.zeros_like(w) if value is None else value for n, value in self.opening.items()})

    def _names(self) -> None:
        """What it reads are names in its code and numbers in its config, except those of its memory."""
        config = self.probed if isinstance(self.probed, MutableMapping) else {}
        numbers = scalars(config)
        memory = {n for n, v in config.items() if isinstance(n, str) and n not in numbers and v is not None}
        self.remembers = bool(memory)
        self.names = {n for n in self.names | set(numbers) if n not in memory and n not in COUNTERS}
        known = {n for names in roles(self.names, self.rule or None).values() for n in names}
        for name, value in numbers.items():
            if name not in known and isinstance(value, float) and name not in COUNTERS:
                self.constants.append(value)
        if RATE not in roles(self.names, self.rule or None):
            self.rate_names = self._rate_by_trying({n: v for n, v in numbers.items() if n not in COUNTERS})
        else:
            self.rate_names = roles(self.names, self.rule or None)[RATE]

    def _rate_by_trying(self, numbers: dict[str, Any]) -> list[str]:
        """Names of which twice the value gives twice the first step."""
        w, g = _some()
        found = []
        for name, value in numbers.items():
            moved = []
            for factor in (1, 2):
                try:
                    config = Config((self._fresh(w) or {}) | {name: value * factor})
                    moved.append(np.asarray(self._step(w.copy(), g.copy(), config, 0)[0], float) - w)
                except (CheckedCodeError, UsageError, TypeError, ValueError):
                    break
            if len(moved) == 2 and moved[0].any() and np.allclose(moved[1], 2 * moved[0], rtol=1e-6, atol=0):
                found.append(name)
        return found

    def _values(self, names: Any, values: dict[str, float]) -> dict[str, Any]:
        """{name: value} for the names that mean a hyperparameter."""
        found: dict[str, Any] = {}
        for role, own in roles(names, self.rule or None).items():
            found |= {name: RATE_1 if role == RATE else values.get(role, 0.0) for name in own}
        if "betas" in names:
            found["betas"] = (values["beta_1"], values["beta_2"])
        return found

    def _plan(self) -> list[tuple[str, tuple[int, ...], dict[str, Any], bool]]:
        """(label, shape, what is given, whether some gradients are 0) of each trial."""
        rate = {name: RATE_1 for name in self.rate_names}
        filled = scalars(self.probed)
        own = {} if any(name in filled for name in self.rate_names) else rate
        meant = roles(self.names, self.rule or None)
        plan = [
            ("its own defaults", (4, 3), own, False),
            ("given hyperparameters", (4, 3), self._values(self.names, GIVEN) | rate, False),
            ("some gradients 0", (3, 5), self._values(self.names, OTHER) | rate, True),
            ("a vector", (5,), self._values(self.names, OTHER) | rate, False),
        ]
        if "weight_decay" in meant:
            given = self._values(self.names, GIVEN | {"weight_decay": DECAY}) | rate
            plan.insert(2, ("with weight decay", (3, 5), given, False))
        return plan

    # calls

    def _trial(self, label: str, w: Array, gradients: Array, given: dict[str, Any], seed: int = 0) -> Trial:
        config = self._fresh(w)
        if given:
            config = Config((config or {}) | given)
        return self._walk(label, w, gradients, config, seed)

    def _walk(
        self, label: str, w0: Array, gradients: Array, config: Any, seed: int = 0, change: bool = True
    ) -> Trial:
        """All steps from one start; the learning rate in the config is changed on the way."""
        given = [g.copy() for g in gradients]
        asked = scalars(config)
        numbers: dict[str, Any] = dict(asked)
        path: list[Array] = []
        rates: list[float] = []
        changed: set[str] = set()
        w: Any = w0.copy()
        for k in range(STEPS):
            if k == CHANGE and change:
                self._change_rate(config, rates[-1])
                rates.append(rates[-1] * FACTOR)
            elif k:
                rates.append(self._rate_in(config, rates[-1]))
            before = np.array(w)
            following, config = self._step(w, given[k], config, seed + k)
            self.in_place |= not np.array_equal(np.asarray(w), before, equal_nan=True)
            if k == 0:
                numbers = scalars(config) | numbers
                rates.append(self._rate_in(numbers, float("nan")))
                if lost := sorted(asked.keys() - scalars(config).keys()):
                    self.facts["lost"] = lost
            if abs(self._rate_in(config, rates[-1]) - rates[-1]) > 1e-6 * abs(rates[-1]):
                self.facts["rate changed"] = not any(SCHEDULE.search(text) for text in self.texts)
            if any(not np.array_equal(a, b) for a, b in zip(given, gradients, strict=True)):
                changed.add("dw")
                given = [g.copy() for g in gradients]
            w = following
            self.single |= np.asarray(w).dtype == np.float32
            path.append(np.array(w, np.float64))
            if path[-1].shape != w0.shape:
                break
        data = {"gradients": gradients, "rates": np.array(rates), "config": numbers}
        claims: dict[str, Array | None] = {self.tensor: np.array(path)}
        return Trial(label, {"w": w0}, data, output=np.array(path), claims=claims, changed=sorted(changed))

    def _change_rate(self, config: Any, rate: float) -> None:
        """As a caller does it who lowers the learning rate."""
        if isinstance(config, MutableMapping) and not np.isnan(rate):
            names = [name for name in self.rate_names if name in config] or self.rate_names
            config.update(dict.fromkeys(names, rate * FACTOR))

    def _rate_in(self, config: Any, otherwise: float) -> float:
        for name in self.rate_names if isinstance(config, MutableMapping) else ():
            if is_number(config.get(name)):
                return float(config[name])
        return otherwise

    def _step(self, w: Any, g: Array, config: Any, seed: int) -> tuple[Any, Any]:
        """(next w, config) of one call; the caller's own config where none is returned."""
        with calling(seed):
            result = self.call(w, g) if config is None else self.call(w, g, config)
        if isinstance(result, tuple | list) and any(isinstance(r, MutableMapping) for r in result):
            where = next(i for i, r in enumerate(result) if isinstance(r, MutableMapping))
            if where == 0:
                self.facts["returned"] = "swapped"
            arrays = [r for i, r in enumerate(result) if i != where]
            if len(result) == 2 and _is_weights(arrays[0]):
                return arrays[0], result[where]
        elif isinstance(result, tuple) and len(result) == 2 and _is_weights(result[0]) and result[1] is None:
            return result[0], None
        elif result is None:
            self.facts["returned"] = "nothing"
            return w, config
        elif _is_weights(result):
            self.facts["returned"] = "w alone"
            return result, config
        raise UsageError(
            f"{self.name}(w, dw, config) must return (next_w, config) with an array and a dict, but "
            f"{_what(result)} came."
        )

    # what one start does not show

    def _twice(self, found: Evidence, w: Array, gradients: Array) -> None:
        """Two fresh starts, first with nothing put back between them, then with other random numbers."""
        try:
            self.memory.restore()
            for label in ("the first start", "a second start"):
                found.sequence.append(self._walk(label, w, gradients, self._config(w), change=False))
            one = self._trial("", w, gradients, {}, seed=0)
            two = self._trial("", w, gradients, {}, seed=1000)
            a, b = one.claims[self.tensor], two.claims[self.tensor]
            found.facts["nondeterministic"] = not np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        except CheckedCodeError as error:
            found.facts["failed_in_sequence"] = str(error)

    def _in_place(self, found: Evidence) -> None:
        """Whether changing the caller's w is this author's way, or a slip."""
        if not self.in_place:
            return
        says = keeps_w(self.function)
        pure = any(not other.changes_w() for other in self.siblings)
        if self.facts.get("returned") != "nothing" and (says or (says is None and pure)):
            found.trials[0].changed.append("w")
        else:
            found.notes.append(f"{self.name} changes the caller's w in place.")

    def _left_out(self, found: Evidence) -> None:
        """Whether a config that may be left out but must not is this author's way, or a slip."""
        if not self.fails_without:
            return
        if any(other.tried() and other.opening is None for other in self.siblings):
            found.facts.setdefault("failed", {})["the config left out"] = self.fails_without
        else:
            found.notes.append(f"{self.name} fails where the config is left out: {self.fails_without}")

    def tried(self) -> bool:
        """Whether it can be called; then it is known how."""
        try:
            if not hasattr(self, "probed"):
                self._probe()
        except (CheckedCodeError, UsageError):
            return False
        return True

    def changes_w(self) -> bool:
        """Whether one step changes the w that it is given."""
        w, g = _some()
        own = w.copy()
        if not self.tried():
            return True
        try:
            self._step(own, g, self._fresh(w), 0)
        except (CheckedCodeError, UsageError):
            return True
        return not np.array_equal(own, w)


def _some() -> tuple[Array, Array]:
    """Some w and dw to try a call with."""
    return np.linspace(-1.0, 1.0, 12).reshape(4, 3), np.linspace(0.5, 1.5, 12).reshape(4, 3)


def _is_weights(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "fiu" and np.ndim(value) > 0
    except ValueError:
        return False


def _what(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__
