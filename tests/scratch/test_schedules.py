"""Learning rates by epoch."""

import pytest

from scratch import schedules
from scratch.errors import UsageError


def rates(schedule, epochs=7):
    return [schedule(epoch) for epoch in range(epochs)]


def test_constant():
    assert rates(schedules.constant(0.3)) == [0.3] * 7


def test_step():
    assert rates(schedules.step(8.0, 0.5, 3)) == [8, 8, 8, 4, 4, 4, 2]
    assert schedules.step(1.0)(9) == 1.0
    assert schedules.step(1.0)(10) == pytest.approx(0.1)
    assert rates(schedules.step(8.0, 0.5, 1), 3) == [8, 4, 2]
    with pytest.raises(UsageError, match="0 came"):
        schedules.step(1.0, every=0)


def test_exponential():
    assert rates(schedules.exponential(8.0, 0.5), 4) == [8, 4, 2, 1]
    assert schedules.exponential(1.0)(2) == pytest.approx(0.9025)


def test_all_are_listed():
    assert schedules.SCHEDULES == {
        "constant": schedules.constant,
        "step": schedules.step,
        "exponential": schedules.exponential,
    }
