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


def test_exponential():
    assert rates(schedules.exponential(8.0, 0.5), 4) == [8, 4, 2, 1]
    assert schedules.exponential(1.0)(2) == pytest.approx(0.9025)


def test_made_by_name():
    assert rates(schedules.make("constant", 0.3), 2) == [0.3] * 2
    assert rates(schedules.make("step", 8.0, factor=0.5, every=3)) == [8, 8, 8, 4, 4, 4, 2]
    assert rates(schedules.make("exponential", 8.0, factor=0.5), 4) == [8, 4, 2, 1]
    assert set(schedules.SCHEDULES) == {"constant", "step", "exponential"}


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("cosine", {}, "constant, step, exponential, but 'cosine' came"),
        ("step", {"every": 0}, "1 or more epochs, but 0 came"),
        ("step", {"factor": 0.0}, "above 0, but 0.0 came"),
        ("exponential", {"factor": float("nan")}, "but nan came"),
        ("exponential", {"every": 2}, "takes factor, but every=2 came"),
        ("constant", {"factor": 0.5}, "takes no parameter, but factor=0.5 came"),
    ],
)
def test_what_makes_no_schedule_is_refused(name, parameters, sentence):
    with pytest.raises(UsageError, match=sentence):
        schedules.make(name, 1.0, **parameters)
