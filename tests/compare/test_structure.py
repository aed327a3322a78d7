"""The chain of stages names just what a pass gives, in the order in which divergence is sought."""

import numpy as np
import pytest

from compare.structure import gradient_order, stages, value_order
from scratch.learner import Architecture

HIDDEN = (7, 6, 5, 4, 3)
ARCHITECTURES = [
    *(Architecture(kind="mlp", sizes=(8, *HIDDEN[:n], 2)) for n in range(6)),
    *(Architecture(kind="mlp", sizes=(8, *HIDDEN[:n], 2), dropout=0.5) for n in range(6)),
    *(
        Architecture(kind="dcn", image=(7, 5, 2), filters=(3, 4), kernel=3, sizes=(6, 2), dropout=rate)
        for rate in (0.0, 0.5)
    ),
]
each = pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=lambda a: f"{a.kind}{len(a.sizes) - 1}{'-dropout' * bool(a.dropout)}"
)


def inputs(architecture, n=3):
    rng = np.random.default_rng(0)
    shape = architecture.image if architecture.kind == "dcn" else architecture.sizes[:1]
    masks = architecture.network().draw_masks(n, rng)
    return rng.random((n, *shape)), rng.integers(0, architecture.sizes[-1], n), masks


@each
def test_orders_are_those_of_the_scratch_network(architecture):
    seen = architecture.network(np.float64).watch(*inputs(architecture))
    assert list(seen.values) == value_order(architecture)
    assert list(seen.gradients) == gradient_order(architecture)


@each
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_frameworks_give_everything_that_is_named(architecture, framework, referees):
    seen = referees.learner(framework, architecture, "float64").watch(*inputs(architecture))
    assert set(seen.values) == set(value_order(architecture))
    assert set(seen.gradients) == set(gradient_order(architecture))


@each
def test_no_name_comes_twice(architecture):
    for names in (value_order(architecture), gradient_order(architecture)):
        assert len(set(names)) == len(names)


@each
def test_every_stage_starts_where_the_one_before_ends(architecture):
    chain = stages(architecture)
    assert [stage.source for stage in chain[1:]] == [stage.output for stage in chain[:-1]]


@each
def test_dropout_is_a_stage_just_where_it_has_a_mask(architecture):
    dropped = {stage.output for stage in stages(architecture) if stage.op == "dropout"}
    assert dropped == set(architecture.network().draw_masks(1, np.random.default_rng(0)))
