"""Every update rule in both dialects: right for steps on end, and named when it is wrong."""

import re

import numpy as np
import pytest

from compare.case import Case
from compare.mutants import catalogue
from compare.planting import planted
from compare.updates import check_updates
from scratch import optimizers
from scratch.learner import Architecture
from scratch.optimizers import OPTIMIZERS

DTYPES = ("float64", "float32")
ARCHITECTURE = Architecture(kind="mlp", sizes=(7, 5, 4), activation="tanh", dropout=0.3, l2=0.01)
RULES = [(name, decay) for name in OPTIMIZERS for decay in (0.0, 0.01)]
BUGS = [mutant for mutant in catalogue() if mutant.operation in OPTIMIZERS]
STEPS = 5


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(2)
    network = ARCHITECTURE.network(np.float64)
    weights = {
        name: rng.normal(0, 0.5, shape).astype(np.float32).astype(np.float64)
        for name, shape in network.shapes.items()
    }
    x, t = rng.normal(size=(6, 7)).astype(np.float32).astype(np.float64), rng.integers(0, 4, 6)
    return Case(ARCHITECTURE, weights, x, t, network.draw_masks(6, rng), key=("updates of seven features",))


def run(case, referees, rules, steps=STEPS):
    with np.errstate(all="ignore"):
        return check_updates("mlp", case, referees, rules, steps, DTYPES)


def rule_of(quantity):
    """The rule that a note names, with or without weight decay."""
    return re.match(r"[a-z]+", quantity.note).group()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule[0]}-{rule[1]}")
def test_rules_agree(rule, case, referees):
    for result in run(case, referees, [rule]):
        assert result.verdict == "agree", result.first_divergence
        slots = [q.name for q in result.quantities if q.referee == "torch"]
        per_parameter = 1 + len(OPTIMIZERS[rule[0]].slots)
        assert len(set(slots)) == len(slots) == 4 * per_parameter
        assert {q.referee for q in result.quantities} == {"torch", "keras"}
        assert {q.kind for q in result.quantities} == {"update"}
        silent = [q.name for q in result.quantities if q.verdict != "agree"]
        tiny = rule[0] == "adadelta" and result.dtype == "float32"  # Keras's moves are 1e-7 of the weights
        assert tiny or not silent


def test_all_rules_at_once(case, referees):
    for result in run(case, referees, RULES):
        assert result.verdict == "agree"
        labels = {q.note.rsplit(", step ", 1)[0] for q in result.quantities}
        assert labels == {*OPTIMIZERS, *(f"{name}+decay" for name in OPTIMIZERS)}


@pytest.mark.parametrize("mutant", BUGS, ids=lambda mutant: mutant.name)
def test_planted_bugs_are_named_by_rule(mutant, case, referees):
    with planted(mutant):
        results = run(case, referees, RULES)
    for result in results:
        assert result.verdict == "disagree"
        assert rule_of(result.first_divergence) == mutant.operation
        wrong = {rule_of(q) for q in result.quantities if q.verdict == "disagree"}
        heirs = {name for name, rule in OPTIMIZERS.items() if issubclass(rule, OPTIMIZERS[mutant.operation])}
        assert wrong <= heirs


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_one_millionth_off_is_found(name, case, referees, monkeypatch):
    right = OPTIMIZERS[name].rule

    def wrong(self, w, g, **h):
        before = w.copy()
        right(self, w, g, **h)
        w[...] = before + (w - before) * (1 + 1e-6)

    monkeypatch.setattr(OPTIMIZERS[name], "rule", wrong)
    exact, _ = run(case, referees, [(name, 0.0)])
    first = exact.first_divergence
    assert first.note.startswith(f"{name}, step ") and first.name == "fc1/W" and first.kind == "update"


@pytest.mark.parametrize(
    "slot", [(name, slot) for name in OPTIMIZERS for slot in OPTIMIZERS[name].slots], ids="-".join
)
def test_a_wrong_slot_is_found_where_the_weights_still_agree(slot, case, referees, monkeypatch):
    name, memory = slot
    right = OPTIMIZERS[name].rule

    def wrong(self, w, g, **h):
        right(self, w, g, **h)
        self.state[memory][-1] *= 1.01  # the last of the last layer's biases

    monkeypatch.setattr(OPTIMIZERS[name], "rule", wrong)
    exact, rounded = run(case, referees, [(name, 0.0)])
    assert exact.first_divergence.name == rounded.first_divergence.name == f"fc2/b/{memory}"


def test_parting_after_the_rate_changes_is_found(case, referees, monkeypatch):
    """Keras's momentum in torch's place: equal until the learning rate is halved."""
    monkeypatch.setattr(optimizers.Momentum, "rule", _rate_in_the_velocity(optimizers.Momentum.rule))
    exact, _ = run(case, referees, [("momentum", 0.0)])
    weights = [q for q in exact.quantities if q.referee == "torch" and q.name == "fc1/W"]
    assert [q.verdict for q in weights] == ["disagree"]
    assert int(weights[0].note.rsplit(" ", 1)[1]) > (STEPS + 1) // 2


def _rate_in_the_velocity(right):
    """torch's rule with v = m v + lr g, kept as v / (the first rate), so that it shows only when lr moves."""

    def rule(self, w, g, *, learning_rate, momentum):
        if self.dialect == "keras":
            return right(self, w, g, learning_rate=learning_rate, momentum=momentum)
        first = OPTIMIZERS["momentum"].defaults["torch"]["learning_rate"]
        v = self.state["velocity"]
        v *= momentum
        v += g * (learning_rate / optimizers.snap(first))
        w -= optimizers.snap(first) * v

    return rule


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_never_passed_over(bad, case, referees, monkeypatch):
    def wrong(self, w, g, **h):
        w[0] = bad

    monkeypatch.setattr(optimizers.SGD, "rule", wrong)
    for result in run(case, referees, [("sgd", 0.0)]):
        assert result.first_divergence.name == "fc1/W" and result.first_divergence.judgement.error == np.inf


def test_one_step_is_enough_to_run(case, referees):
    for result in run(case, referees, [("adam", 0.0)], steps=1):
        assert result.verdict == "agree"
        assert {q.note for q in result.quantities} == {"adam, step 1"}


def test_each_step_is_judged_by_itself(case, referees, monkeypatch):
    """A rule that is wrong in its third step only is wrong there and nowhere else."""
    right, counted = optimizers.SGD.rule, []

    def wrong(self, w, g, **h):
        right(self, w, g, **h)
        if self.step == 3:
            counted.append(w.size)
            w += 1e-3

    monkeypatch.setattr(optimizers.SGD, "rule", wrong)
    exact, _ = run(case, referees, [("sgd", 0.0)])
    assert counted and all(q.note == "sgd, step 3" for q in exact.quantities if q.verdict == "disagree")
    assert {q.verdict for q in exact.quantities} == {"disagree"}
