"""The pytest plugin: a fixture `check_gradients`. Nothing but pytest is imported until a test calls it.

    def test_my_net(check_gradients):
        check_gradients(MyNet)

It lies in the package gradparity since pytest loads plugins before all else: in compare, it would keep a
project's own compare.py from its tests, or that would keep pytest from starting. gradparity/__init__.py says
what is done about such names, and what cannot be done.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def check_gradients() -> Callable[..., Any]:
    """Fails the test unless every gradient of a thing is right; takes the arguments of assert_gradients.

    Returns the report: `check_gradients(MyNet, style="loss-and-grads").document()`.
    """
    from gradparity import assert_gradients

    def check(thing: Any, **options: Any) -> Any:
        __tracebackhide__ = True  # the line of the test is what a reader wants to see
        return assert_gradients(thing, **options)

    return check
