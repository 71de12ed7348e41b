"""Turns text on ``sys.stdout`` and ``sys.stderr`` into raw lines with the session of the moment.

Both streams are replaced. Output of a C library or a child process, which write to the file
descriptors themselves, is not captured.
"""

import atexit
import io
import os
import sys
from threading import get_ident
from typing import Any, Final

from cordboard.emit.forwarding import raw
from cordboard.emit.pipeline import pipeline

# Text without a newline is split into pieces of this size, so that the memory it takes is bounded;
# a record holds 16 KiB at most.
_LINE_MAX_BYTES: Final = 64 * 1024


class CapturedStream(io.RawIOBase):
    """A stream that writes each line of text as a raw line of the log.

    Args:
        tag: ``stdout`` or ``stderr``.
        original: The stream that it replaces.
    """

    def __init__(self, tag: str, original: Any) -> None:
        super().__init__()
        self._tag = tag
        self._original = original
        # Incomplete lines by thread: two threads that print at the same time get separate lines.
        self._incomplete: dict[int, bytes] = {}
        os.register_at_fork(after_in_child=self._incomplete.clear)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor of the original stream."""
        return int(self._original.fileno())

    def write(self, data: Any, /) -> int:
        """Write the lines of `data` that are complete; keep the rest for the thread's next call."""
        text = bytes(data)
        thread = get_ident()
        *lines, rest = (self._incomplete.pop(thread, b"") + text).split(b"\n")
        if len(rest) > _LINE_MAX_BYTES:
            lines.append(rest)
            rest = b""
        if rest:
            self._incomplete[thread] = rest
        for line in lines:
            self._log(line)
        return len(text)

    def finish(self) -> None:
        """Write the lines that are still incomplete."""
        while self._incomplete:
            self._log(self._incomplete.popitem()[1])

    def _log(self, line: bytes) -> None:
        raw(line.decode("utf-8", "replace"), service=pipeline.service, tag=self._tag)


def install() -> None:
    """Capture all text that is printed from now on; a second call changes nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(getattr(stream, "buffer", None), CapturedStream) or stream is None:
            continue
        stream.flush()
        captured = CapturedStream(name, stream)
        setattr(sys, name, _text_stream(captured))
        atexit.register(captured.finish)


def _text_stream(captured: CapturedStream) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        captured,  # type: ignore[arg-type]  # a raw stream suffices: nothing is buffered
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )
