"""The output of the fork server and the bot files that it imports, as lines without a session.

The fork server must not have the runner's standard output: a bot file could write there as the
runner. It gets a pipe in the place of its standard input, which it puts where its output goes.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from typing import Final

from cordboard.context import EMPTY
from cordboard.emit import forward_line, raw
from cordboard.runner import pipes, record_filter

SETTLE_S: Final = 1.0
_PAUSE_S: Final = 0.02


class ForkServerOutput:
    """The pipe that one fork server writes to, and the thread that reads it to its end."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        threading.Thread(target=self._follow, name="cordboard imports", daemon=True).start()

    @contextlib.contextmanager
    def as_standard_input(self) -> Iterator[None]:
        """Let a process that is started inside the block have the pipe as its standard input."""
        usual = os.dup(0)
        os.dup2(self._write, 0)
        os.close(self._write)
        try:
            yield
        finally:
            os.dup2(usual, 0)
            os.close(usual)

    def settle(self) -> None:
        """Wait, for a bounded time, until what was written has been read."""
        deadline = time.monotonic() + SETTLE_S
        with contextlib.suppress(OSError, ValueError):  # at its end it is closed
            while select.select([self._read], [], [], 0)[0] and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
        time.sleep(_PAUSE_S)

    def _follow(self) -> None:
        with os.fdopen(self._read, "rb") as lines:
            while line := lines.readline(pipes.LINE_MAX_BYTES):
                if line.startswith(b"{"):
                    forward_line(
                        line, service="bot", context=EMPTY, accept=record_filter.of_no_session
                    )
                elif line.strip():
                    raw(line.decode("utf-8", "replace"), service="bot", context=EMPTY)
