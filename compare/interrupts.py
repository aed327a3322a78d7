"""Ctrl-C between two steps of a run, where nothing is lost."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard_between_steps() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT or SIGTERM has come; a second one acts at once.

    A signal that the process ignores stays ignored, and a thread other than the main one hears none.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        for known, handler in before.items():
            signal.signal(known, handler)

    before = {known: signal.getsignal(known) for known in SIGNALS}
    before = {known: handler for known, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for known in before:
        signal.signal(known, hear)
    try:
        yield lambda: bool(heard)
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
