"""Ctrl-C and SIGTERM as something to look at between two steps, where nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard(once: bool = False) -> Iterator[list[int]]:
    """The signals that have come, for as long as this lasts. once: a second one acts as it did before.

    One that the process ignores stays ignored, and a thread other than the main one hears none.
    """
    signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: Any) -> None:
        signals.append(number)
        if once:
            restore()

    for number in before:
        signal.signal(number, hear)
    try:
        yield signals
    finally:
        restore()
