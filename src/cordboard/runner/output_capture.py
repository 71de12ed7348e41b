"""Forward the output of a bot process as records of its session: records, prints, output of C code."""

import asyncio
import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cordboard.context import Context
from cordboard.emit import forward_line, get_logger, raw
from cordboard.runner.forked_process import ForkedProcess
from cordboard.runner.record_filter import filter_bot_record
from cordboard.runner.session_figures import SessionFigures

# The capacity of a pipe on Linux, so that one read empties it.
CHUNK_BYTES: Final = 64 * 1024

# A longer line is forwarded in pieces, so that a bot that never writes a newline cannot fill the
# supervisor's memory. Cordboard's own records have 16 KB at most and are never cut here.
LINE_MAX_BYTES: Final = 256 * 1024

# How long the rest of the output may take after the process has ended. Everything that it wrote is in
# the pipes already; only a process that it started can hold them open for longer.
DRAIN_S: Final = 1.0

# So much of a line that cannot be forwarded is reported.
_REPORTED_BYTES: Final = 1000

log = get_logger("output")


class LineSink(ABC):
    """Receives the lines of one pipe."""

    @abstractmethod
    def write(self, line: bytes) -> None:
        """Forward `line`, which has no newline."""


@dataclass(frozen=True, slots=True)
class RecordSink(LineSink):
    """Forwards records that the bot's logger wrote.

    Attributes:
        context: The bot's session.
        boot: The boot of the bot's process.
        figures: Takes note of the records.
    """

    context: Context
    boot: str
    figures: SessionFigures

    def write(self, line: bytes) -> None:
        """Forward the record in `line`, with the fields that are trusted."""
        forward_line(line, context=self.context, service="bot", accept=self._filter)

    def _filter(self, record: dict[str, Any]) -> dict[str, Any] | None:
        filtered = filter_bot_record(record, self.context, self.boot)
        if filtered is not None:
            self.figures.note(filtered)
        return filtered


@dataclass(frozen=True, slots=True)
class RawSink(LineSink):
    """Forwards lines that are not records, such as the output of ``print``.

    Attributes:
        context: The bot's session.
        tag: ``stdout`` or ``stderr``.
    """

    context: Context
    tag: str

    def write(self, line: bytes) -> None:
        """Forward `line` as a raw line."""
        raw(line.decode("utf-8", "replace"), service="bot", context=self.context, tag=self.tag)


class OutputCapture:
    """Reads the three output pipes of a bot process until they end, and closes them.

    Args:
        process: The bot process.
        context: Its session.
        boot: Its boot.
        figures: Takes note of its records.
    """

    def __init__(
        self, process: ForkedProcess, context: Context, boot: str, figures: SessionFigures
    ) -> None:
        sinks: tuple[tuple[int, LineSink], ...] = (
            (process.records, RecordSink(context, boot, figures)),
            (process.stdout, RawSink(context, "stdout")),
            (process.stderr, RawSink(context, "stderr")),
        )
        self._readers = [
            asyncio.create_task(_forward(descriptor, sink), name=f"output of {process.pid}")
            for descriptor, sink in sinks
        ]

    async def wait(self) -> None:
        """Wait for the last line, at most ``DRAIN_S`` seconds."""
        _, late = await asyncio.wait(self._readers, timeout=DRAIN_S)
        for reader in late:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


async def _forward(descriptor: int, sink: LineSink) -> None:
    # Not with a pipe transport: uvloop's closes a descriptor twice, and a thread that opens a descriptor in
    # between (a fork does) loses it.
    os.set_blocking(descriptor, False)
    rest = b""
    try:
        while chunk := await _read_chunk(descriptor):
            *lines, rest = (rest + chunk).split(b"\n")
            _write_lines(sink, lines)
            if len(rest) > LINE_MAX_BYTES:
                _write_lines(sink, [rest])
                rest = b""
            # A bot that floods its output must not occupy the event loop.
            await asyncio.sleep(0)
    finally:
        _write_lines(sink, [rest])
        os.close(descriptor)


async def _read_chunk(descriptor: int) -> bytes:
    """Return the next bytes, as soon as there are some, or nothing at the end."""
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


def _write_lines(sink: LineSink, lines: list[bytes]) -> None:
    for line in lines:
        if line.strip():
            write_or_report(sink.write, line)


def write_or_report(write: Callable[[bytes], object], line: bytes) -> None:
    """Write a line of a bot, or report that this failed: what a bot writes must never end the reading of its output.

    Args:
        write: Forwards the line.
        line: One line, as the bot wrote it.
    """
    try:
        write(line)
    except Exception as error:  # noqa: BLE001 - whatever a line leads to
        text = line[:_REPORTED_BYTES].decode("utf-8", "replace")
        log.warning("A line of the bot could not be forwarded", error=error, line=text)
