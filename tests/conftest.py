"""What all tests share: the referees, loaded once, in the order that does not crash."""

import pytest

from compare.referees import Referees


@pytest.fixture(scope="session")
def referees() -> Referees:
    """PyTorch, Keras and arithmetic. A missing framework is an error here, not a skip."""
    return Referees(("torch", "keras", "numeric"))
