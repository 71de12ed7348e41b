"""Forward the output of the fork server and of the bot files that it imports, as lines without a session.

The fork server must not inherit the runner's standard output: a bot file could write there as the runner.
It inherits a socket as its standard input instead, because the standard library starts it and passes on no
other descriptor. On this socket it receives a pipe for its standard output and standard error, and whatever
else it needs.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from cordboard.context import EMPTY
from cordboard.emit import forward_line, raw
from cordboard.runner.output_capture import write_or_report
from cordboard.runner.pipes import LINE_MAX_BYTES
from cordboard.runner.record_filter import filter_import_record

# How long `wait_until_read` waits at most: a bot file that writes without end must not delay an error.
SETTLE_S: Final = 1.0

_POLL_S: Final = 0.02


class ForkServerOutput:
    """The pipe that one fork server writes to, and the thread that reads it to its end."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        threading.Thread(target=self._forward, name="cordboard imports", daemon=True).start()

    @contextlib.contextmanager
    def as_standard_input(self, descriptors: Sequence[int]) -> Iterator[None]:
        """Let a process that is started inside the block receive the pipe on its standard input.

        To be used once: the pipe's write end is closed here, so that it ends with the fork server.

        Args:
            descriptors: What the process receives after the pipe.
        """
        own_end, other_end = socket.socketpair()
        with own_end, other_end:
            for number in (self._write_end, *descriptors):
                socket.send_fds(own_end, [b"\0"], [number])
            os.close(self._write_end)
            saved = os.dup(0)
            os.dup2(other_end.fileno(), 0)
            try:
                yield
            finally:
                os.dup2(saved, 0)
                os.close(saved)

    def wait_until_read(self) -> None:
        """Wait until everything that was written has been read, at most ``SETTLE_S`` seconds."""
        deadline = time.monotonic() + SETTLE_S
        with contextlib.suppress(OSError, ValueError):  # the thread closes the pipe at its end
            while select.select([self._read_end], [], [], 0)[0] and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        # Empty only means that the thread has read the last bytes; it may still be forwarding them.
        time.sleep(_POLL_S)

    def _forward(self) -> None:
        with os.fdopen(self._read_end, "rb") as lines:
            while line := lines.readline(LINE_MAX_BYTES):
                if line.strip():
                    write_or_report(_forward_line, line)


def _forward_line(line: bytes) -> None:
    if line.startswith(b"{"):
        forward_line(line, service="bot", context=EMPTY, accept=filter_import_record)
    else:
        raw(line.decode("utf-8", "replace"), service="bot", context=EMPTY)
