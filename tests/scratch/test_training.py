"""The loop: batches, masks, rates and evaluation depend on the plan alone."""

from itertools import islice

import numpy as np
import pytest

from scratch import data, initializers, schedules, training
from scratch.errors import UsageError
from scratch.learner import Architecture, NumpyLearner
from scratch.optimizers import Adam

ARCHITECTURE = Architecture(sizes=(4, 6, 5, 3), dropout=0.5)


def examples(n=23):
    rng = np.random.default_rng(0)
    t = rng.integers(0, 3, n)
    return data.Examples(rng.normal(size=(n, 4)) + 3 * t[:, None], t)


def learner():
    network = ARCHITECTURE.network(np.float64)
    network.load(initializers.draw(network.shapes, "he_normal", np.random.default_rng(1)))
    return NumpyLearner(network, Adam())


def plan(steps=12, batch_size=5, schedule=None, seed=3):
    draw = ARCHITECTURE.network().draw_masks
    return training.Plan(steps, batch_size, schedule or schedules.constant(0.01), draw, seed)


def test_an_epoch_takes_every_example_once_and_leaves_the_short_batch_out():
    seen = list(training.train(learner(), examples(), plan()))
    assert [step.number for step in seen] == list(range(1, 13))
    assert [step.epoch for step in seen] == [0] * 4 + [1] * 4 + [2] * 4
    for epoch in range(3):
        rows = np.concatenate([step.x for step in seen if step.epoch == epoch])
        assert len(np.unique(rows, axis=0)) == len(rows) == 20
    first, second = (np.concatenate([s.x for s in seen if s.epoch == e]) for e in (0, 1))
    assert not np.array_equal(first, second)


def test_a_run_taken_up_in_the_middle_is_the_same_run():
    whole, part = learner(), learner()
    steps = list(training.train(whole, examples(), plan()))
    for _ in islice(training.train(part, examples(), plan()), 6):
        pass
    taken_up = learner()
    taken_up.load(part.weights())
    taken_up.load_optimizer_state(part.optimizer_state())
    rest = list(training.train(taken_up, examples(), plan(), start=6))
    assert [step.loss for step in rest] == [step.loss for step in steps[6:]]
    for name, value in whole.weights().items():
        np.testing.assert_array_equal(taken_up.weights()[name], value)


def test_masks_come_from_seed_and_step():
    p = plan()
    for name, mask in p.masks(4).items():
        np.testing.assert_array_equal(mask, plan().masks(4)[name])
        assert mask.shape[0] == 5
        assert not np.array_equal(mask, p.masks(5)[name])
        assert not np.array_equal(mask, plan(seed=4).masks(4)[name])


def test_the_schedule_counts_epochs():
    seen = training.train(learner(), examples(), plan(schedule=schedules.step(0.5, 0.5, every=2)))
    assert [step.learning_rate for step in seen] == [0.5] * 8 + [0.25] * 4


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UsageError, match="batch of 50"):
        next(training.train(learner(), examples(), plan(batch_size=50)))


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_evaluation_is_the_loss_of_the_network_without_dropout(output):
    architecture = Architecture(sizes=(4, 6, 3), output=output, dropout=0.5, l2=0.5)
    network = architecture.network(np.float64)
    network.load(initializers.draw(network.shapes, "he_normal", np.random.default_rng(1)))
    some = examples()
    scores = training.evaluate(NumpyLearner(network), some, output, batch_size=7)
    penalty = float(network.penalty.value(network.params))
    logits = network.forward(some.x)
    assert scores.loss == pytest.approx(float(network.loss(logits, some.t)) - penalty, rel=1e-12)
    assert scores.error == (logits.argmax(axis=1) != some.t).mean()
    assert 0 < scores.error < 1


def test_evaluation_of_huge_logits_is_finite():
    z = np.array([[1000.0, -1000.0], [0.0, 1000.0]])
    for output, wanted in (("softmax", [0.0, 1000.0]), ("sigmoid", [0.0, 1000.69314718])):
        np.testing.assert_allclose(training.losses_of(z, np.array([0, 0]), output), wanted, atol=1e-6)


def test_no_examples_score_nan():
    none = data.Examples(np.zeros((0, 4)), np.zeros(0, np.int64))
    assert np.isnan(training.evaluate(learner(), none, "softmax").error)


def test_it_learns():
    subject, some = learner(), examples(200)
    before = training.evaluate(subject, some, "softmax").error
    for _ in training.train(subject, some, plan(steps=400, batch_size=20)):
        pass
    assert training.evaluate(subject, some, "softmax").error < before / 3
