"""The self-test of the check: it counts honestly, and the check catches what is planted."""

import json

import numpy as np
import pytest

from compare.check import Options
from compare.mutants import catalogue
from compare.planting import Mutant
from compare.selftest import document, passed, selftest
from scratch import ops, optimizers
from scratch.errors import GradparityError
from scratch.regularizers import Penalty

OPS = Options(targets=("ops",))
SMALL = Options(targets=("mlp",), hidden=(6,), batch_size=4, dropout=0.3, optimizer="sgd,adam")
NETWORK_ONLY = {  # in `ops` each case is called once before anything else, with nothing before it
    "dense.w: activations of the call before",
    "conv2d.w: activations of the call before",
    "max_pool2d.x: rows and columns swapped",
}
BACKWARD = [m for m in catalogue() if m.operation in vars(ops) and m.name not in NETWORK_ONLY]
NOTHING = Mutant("dense", "w", "no bug at all", lambda call: call.gradients[1])


def chosen(*names):
    found = [mutant for mutant in catalogue() if mutant.name in names]
    assert len(found) == len(names)
    return found


@pytest.fixture(scope="module")
def outcomes(referees):
    return selftest(referees, OPS, mutants=BACKWARD)


def test_every_bug_of_an_operation_is_caught_and_named(outcomes, referees):
    assert len(outcomes) == len(BACKWARD) > 60
    assert [o.mutant.name for o in outcomes if not o.caught] == []
    assert [(o.mutant.name, o.first) for o in outcomes if not o.named] == []
    assert passed(document(outcomes, referees))


def test_each_referee_alone_would_have_caught_it(outcomes):
    assert [o.mutant.name for o in outcomes if set(o.by) != {"torch", "keras", "numeric"}] == []


def test_bugs_of_updates_and_penalties_are_caught_in_a_small_network(referees):
    found = selftest(
        referees,
        SMALL,
        mutants=chosen(
            "dense.w: activations of the call before",
            "penalty.W: L2 term missing",
            "penalty.b: on biases too",
            "sgd.update: weight decay ignored",
            "adam.rule: bias correction missing",
        ),
    )
    assert [(o.mutant.name, o.first) for o in found if not (o.caught and o.named)] == []


def test_no_bug_is_not_caught(referees):
    (outcome,) = selftest(referees, OPS, mutants=[NOTHING])
    assert (outcome.caught, outcome.named, outcome.by, outcome.first) == (False, False, (), "")
    assert not passed(document([outcome], referees))


def test_a_bug_that_nothing_meets_is_left_out(referees):
    assert selftest(referees, OPS, mutants=chosen("sgd.rule: sign")) == []


def test_planting_nothing_is_no_success(referees):
    assert not passed(document([], referees))


def test_one_that_is_not_caught_fails_the_self_test(outcomes, referees):
    (missed,) = selftest(referees, OPS, mutants=[NOTHING])
    assert not passed(document([*outcomes, missed], referees))


@pytest.mark.parametrize(
    ("planted", "caught", "named", "expected"),
    [(100, 100, 95, True), (100, 100, 94, False), (100, 99, 99, False), (60, 60, 60, True)],
)
def test_passing(planted, caught, named, expected):
    assert passed({"planted": planted, "caught": caught, "named": named}) is expected


def test_a_bug_in_the_wrong_place_is_caught_but_not_named(referees):
    """It says dense.w, but db is what is wrong."""
    elsewhere = Mutant("dense", "all", "bias", lambda c: (*c.gradients[:2], -c.gradients[2]))
    wrong_name = Mutant("dense", "w", "bias", elsewhere.bug)
    object.__setattr__(wrong_name, "argument", "w")
    (right,) = selftest(referees, OPS, mutants=[elsewhere])
    assert right.caught and right.named and right.first == "ops dense plain/b gradient"


@pytest.mark.parametrize("options", [OPS, SMALL], ids=["ops", "mlp"])
def test_code_that_is_wrong_to_begin_with_is_refused(options, referees, monkeypatch):
    right = ops.dense

    def wrong(x, w, b):
        y, backward = right(x, w, b)
        return y, lambda dy: (*backward(dy)[:2], -backward(dy)[2])

    monkeypatch.setattr(ops, "dense", wrong)
    with pytest.raises(GradparityError, match="before any bug is planted; run gradparity check"):
        selftest(referees, options, mutants=chosen("dense.b: averaged"))
    assert ops.dense is wrong


def test_nothing_lingers(referees):
    owners = [ops, Penalty, *optimizers.OPTIMIZERS.values()]
    before = [dict(vars(owner)) for owner in owners]
    selftest(referees, SMALL, mutants=chosen("dense.w: sign", "adam.rule: bias correction missing"))
    assert [dict(vars(owner)) for owner in owners] == before


def test_progress_counts(referees):
    told = []
    selftest(referees, OPS, lambda outcome, number, total: told.append((number, total)), BACKWARD[:3])
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_document(outcomes, referees):
    found = json.loads(json.dumps(document(outcomes, referees), allow_nan=False))
    assert found["schema"] == "gradparity/selftest/1"
    assert found["planted"] == found["caught"] == found["named"] == len(found["mutants"]) == len(BACKWARD)
    first = found["mutants"][0]
    assert first.keys() == {"name", "target", "caught", "named", "by", "first_divergence"}
    assert (first["name"], first["target"]) == ("dense.w: sign", "dense.w")
    assert first["first_divergence"] == "ops dense plain/w gradient"


@pytest.mark.slow
def test_the_whole_catalogue(referees):
    with np.errstate(all="ignore"):
        found = document(selftest(referees), referees)
    referees.forget()
    missed = [m["name"] for m in found["mutants"] if not m["caught"]]
    unnamed = [(m["name"], m["first_divergence"]) for m in found["mutants"] if not m["named"]]
    planted = found["planted"]
    print(
        f"\n{planted} planted, {found['caught'] / planted:.1%} caught, {found['named'] / planted:.1%} named"
    )
    for name in (*missed, *unnamed):
        print(" ", name)
    assert planted >= 60
    assert found["caught"] == planted, missed
    assert found["named"] >= 0.95 * planted, unnamed
