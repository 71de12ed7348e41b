"""What a bot's process says, as records of its session: its own records, prints, C output."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any, Final

from cordboard.context import Context
from cordboard.emit import forward_line, raw
from cordboard.runner import record_filter
from cordboard.runner.forkserver import Child

CHUNK_BYTES: Final = 64 * 1024
LINE_MAX_BYTES: Final = 256 * 1024  # a longer line is told in pieces
DRAIN_S: Final = 1.0

Speak = Callable[[bytes], None]


class OutputCapture:
    """Reads the three pipes of a bot's process until they end.

    Args:
        child: The process.
        context: Its session.
        boot: The boot that the process was given.
    """

    def __init__(self, child: Child, context: Context, boot: str) -> None:
        def accept(record: dict[str, Any]) -> dict[str, Any] | None:
            return record_filter.of_session(record, context, boot)

        def record(line: bytes) -> None:
            forward_line(line, context=context, service="bot", accept=accept)

        def printed(tag: str) -> Speak:
            def speak(line: bytes) -> None:
                text = line.decode("utf-8", "replace")
                raw(text, service="bot", context=context, tag=tag)

            return speak

        self._readers = [
            asyncio.create_task(_read(descriptor, speak), name=f"capture {child.pid}")
            for descriptor, speak in (
                (child.records, record),
                (child.out, printed("stdout")),
                (child.err, printed("stderr")),
            )
        ]

    async def ended(self) -> None:
        """Wait for the last line. A grandchild that keeps a pipe open is not waited for."""
        _, late = await asyncio.wait(self._readers, timeout=DRAIN_S)
        for reader in late:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


async def _read(descriptor: int, speak: Speak) -> None:
    # Not by a pipe transport: uvloop's closes a descriptor twice, and a thread that opens one in
    # between (a fork does) loses it.
    os.set_blocking(descriptor, False)
    rest = b""
    try:
        while chunk := await _chunk(descriptor):
            *lines, rest = (rest + chunk).split(b"\n")
            _speak_all(lines, speak)
            if len(rest) > LINE_MAX_BYTES:
                speak(rest)
                rest = b""
            # A bot that floods must leave the loop to the others.
            await asyncio.sleep(0)
    finally:
        with contextlib.suppress(Exception):
            _speak_all([rest], speak)
        os.close(descriptor)


async def _chunk(descriptor: int) -> bytes:
    """Return what can be read now, or as soon as something can; nothing at the end."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    while True:
        with contextlib.suppress(BlockingIOError):
            return os.read(descriptor, CHUNK_BYTES)
        ready.clear()
        loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)


def _speak_all(lines: list[bytes], speak: Speak) -> None:
    for line in lines:
        if line.strip():
            speak(line)
