"""What all tests share: the referees, loaded once, in the order that does not crash."""

import signal

import pytest

from compare.referees import Referees

# Where the tests were started in the background, SIGINT is ignored, and so it would be by all they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def referees() -> Referees:
    """PyTorch, Keras and arithmetic. A missing framework is an error here, not a skip."""
    return Referees(("torch", "keras", "numeric"))
