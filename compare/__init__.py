"""Do they agree, where not, and why?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare.api import Report, assert_gradients, check_gradients

__all__ = ["Report", "assert_gradients", "check_gradients"]


def __getattr__(name: str) -> Any:
    """The library call is loaded when it is asked for; the command needs none of it."""
    if name in __all__:
        from compare import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
