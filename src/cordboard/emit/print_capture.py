"""The output of the program as raw lines with the session that is bound at the time.

``sys.stdout`` and ``sys.stderr`` are replaced; what writes to the descriptors themselves (a C
library, a child process) is not caught.
"""

import atexit
import io
import os
import sys
from threading import get_ident
from typing import Any, Final

from cordboard.emit.forwarding import raw
from cordboard.emit.pipeline import pipeline

_LINE_MAX_BYTES: Final = 64 * 1024
"""Text without a newline is told in pieces of this size; a record holds 16 KiB at most."""


class _Printed(io.RawIOBase):
    """Takes bytes, and writes each line as a record.

    Args:
        tag: ``stdout`` or ``stderr``.
        stream: The stream that this one stands for.
    """

    def __init__(self, tag: str, stream: Any) -> None:
        super().__init__()
        self._tag = tag
        self._stream = stream
        self._rests: dict[int, bytes] = {}  # by thread: each gets lines of its own
        os.register_at_fork(after_in_child=self._rests.clear)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def write(self, data: Any, /) -> int:
        """Write the lines that are whole now; keep the rest for the thread's next text."""
        text = bytes(data)
        thread = get_ident()
        *lines, rest = (self._rests.pop(thread, b"") + text).split(b"\n")
        if len(rest) > _LINE_MAX_BYTES:
            lines.append(rest)
            rest = b""
        if rest:
            self._rests[thread] = rest
        for line in lines:
            self._say(line)
        return len(text)

    def finish(self) -> None:
        """Write what has no newline yet."""
        while self._rests:
            self._say(self._rests.popitem()[1])

    def _say(self, line: bytes) -> None:
        raw(line.decode("utf-8", "replace"), service=pipeline.service, tag=self._tag)


def install() -> None:
    """Catch what is printed from now on; a second call changes nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(getattr(stream, "buffer", None), _Printed) or stream is None:
            continue
        stream.flush()
        printed = _Printed(name, stream)
        setattr(sys, name, _text(printed))
        atexit.register(printed.finish)


def uninstall() -> None:
    """Give the streams back."""
    for name in ("stdout", "stderr"):
        printed = getattr(getattr(sys, name), "buffer", None)
        if isinstance(printed, _Printed):
            printed.finish()
            setattr(sys, name, printed._stream)  # noqa: SLF001 - its own module
            atexit.unregister(printed.finish)


def _text(printed: _Printed) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        printed,  # type: ignore[arg-type]  # a raw stream will do: nothing is buffered
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )
