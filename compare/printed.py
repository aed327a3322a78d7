"""What the checked code prints while it runs in this process: kept, not shown."""

import contextlib
import io
from typing import Any

from compare.submission.sandbox import SHOWN


class Printed(contextlib.ExitStack):
    """As a context, holds back stdout and stderr of Python code; the beginning of it is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = _Beginning()
        # A file like the real ones: with a buffer for those who write bytes.
        self._file = io.TextIOWrapper(self._bytes, "utf-8", "replace", write_through=True)

    def __enter__(self) -> "Printed":
        super().__enter__()
        self.enter_context(contextlib.redirect_stdout(self._file))
        self.enter_context(contextlib.redirect_stderr(self._file))
        return self

    def text(self) -> str:
        """Its first characters, as many as of a file's."""
        text = self._bytes.getvalue().decode("utf-8", "replace")
        return (
            f"{text[:SHOWN]}\n[cut here: only the first {SHOWN:,} characters are kept]\n"
            if text[SHOWN:]
            else text
        )


class _Beginning(io.BytesIO):
    """Takes everything and keeps what it has room for: a loop that prints exhausts no memory."""

    ROOM = 4 * SHOWN + 4

    def write(self, data: Any) -> int:
        super().write(memoryview(data)[: max(0, self.ROOM - self.tell())])
        return len(data)
