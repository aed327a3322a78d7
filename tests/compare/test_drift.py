"""The free-running difference is measured and shown; it judges nothing."""

import numpy as np
import pytest

from compare import case, drift, verdict
from compare.mutants import catalogue
from compare.planting import planted
from compare.report import drift_line
from scratch.learner import Architecture
from scratch.optimizers import OPTIMIZERS


@pytest.fixture(scope="module")
def small():
    def batch(rng):
        return rng.normal(size=(6, 5)), rng.integers(0, 3, 6)

    return case.draw(Architecture(sizes=(5, 4, 3), activation="tanh"), batch, "he_normal", 0.0, 0, 0)


def test_correct_rules_drift_by_rounding_alone(small, referees):
    found = drift.free_running("mlp", small, referees, tuple(OPTIMIZERS), 3).drift
    assert len(found) == 2 * len(OPTIMIZERS)
    assert all(0 <= one.difference < 1e-9 for one in found)
    assert any(one.difference > 0 for one in found)


def test_a_wrong_rule_drifts_far_and_is_not_judged(small, referees):
    mutant = next(m for m in catalogue() if m.name == "sgd.rule: sign")
    with planted(mutant):
        result = drift.free_running("mlp", small, referees, ("sgd",), 2)
    assert all(one.difference > 1 for one in result.drift)
    assert not result.quantities
    clean = verdict.Target("mlp", "float64", referees.names)
    assert verdict.overall([clean]) == verdict.overall([result])


def test_it_is_printed_and_in_the_document(small, referees):
    result = drift.free_running("mlp", small, referees, ("adam",), 1)
    assert "torch: adam" in drift_line(result) and "not judged" in drift_line(result)
    document = result.document()["drift"]
    assert [d["referee"] for d in document] == ["torch", "keras"]
    assert np.isfinite([d["difference"] for d in document]).all()
