"""What ends a run, and what is said of it once. The rest of health is tested through the monitor."""

import numpy as np
import pytest

from scratch.health import Health, TrainingFailed
from scratch.tally import tally


def test_the_first_of_several_tensors_is_named():
    good, bad = tally(np.ones(3)), tally(np.array([1, np.nan]))
    tallies = {"conv1/W": good, "conv2/net_input": bad, "fc1/net_input": bad, "fc1/W_gradient": bad}
    with pytest.raises(TrainingFailed, match=r"conv2/net_input .*, nor are 2 of the tensors after it"):
        Health().finite(1, tallies, {"train/loss": np.nan})
    Health().finite(1, {"conv1/W": good}, {"train/loss": 3.0})


def warnings_of(scale):
    """Backpropagated errors of rms 1 at the output layer and `scale` at the two before."""
    tallies = {
        "fc3/net_input_gradient": tally(np.array([1.0, -1.0])),
        "fc2/net_input_gradient": tally(np.array([scale, -scale])),
        "fc1/net_input_gradient": tally(np.array([scale, -scale])),
    }
    health = Health()
    said = health.warnings(7, tallies, {})
    assert not health.warnings(8, tallies, {})
    return said


def test_vanishing_and_exploding_errors_are_said_with_the_number():
    assert warnings_of(1e-4) == warnings_of(1.0) == warnings_of(900.0) == []
    _, text = warnings_of(1e-6)
    assert text.startswith(
        "fc1 at step 7: the backpropagated error vanishes (rms 1.0e-06, 1.0e-06 of that at fc3)"
    )
    _, text = warnings_of(2e3)
    assert text.startswith("fc1 at step 7: the backpropagated error explodes (rms 2.0e+03,")
    assert [text.partition(" vanishes")[0] for text in warnings_of(0.0)] == [
        f"{layer} at step 7: the backpropagated error" for layer in ("fc2", "fc1")
    ]
    nothing = {"fc2/net_input_gradient": tally(np.zeros(3)), "fc1/net_input_gradient": tally(np.zeros(3))}
    assert Health().warnings(1, nothing, {}) == []  # all examples perfectly right
