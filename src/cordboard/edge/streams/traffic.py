"""Counts what each side of a stream sends."""

from typing import Final

from cordboard.contract.carrier_streams import Message, is_audio
from cordboard.edge.streams import metrics
from cordboard.edge.streams.closing import Side
from cordboard.emit import get_logger

# A second of a phone call. To count each message took a tenth of the time in which it is copied.
_COUNTED_AT_ONCE: Final = 50

log = get_logger("stream")


class Traffic:
    """What one side has sent.

    Args:
        sender: The side.

    Attributes:
        messages: The number of its messages.
        size: Their size in bytes; a character of a text counts as one.
    """

    def __init__(self, sender: Side) -> None:
        self.messages = 0
        self.size = 0
        self._sender = sender
        self._has_audio = False
        self._counted = (0, 0)
        self._count = metrics.stream_messages.labels(sender).inc
        self._count_bytes = metrics.stream_bytes.labels(sender).inc

    def flush(self) -> None:
        """Add what is not counted yet to the metrics."""
        self._count(self.messages - self._counted[0])
        self._count_bytes(self.size - self._counted[1])
        self._counted = (self.messages, self.size)

    def add(self, message: Message) -> None:
        """Count `message`, and log the first audio."""
        size = len(message)
        self.messages += 1
        self.size += size
        if self.messages % _COUNTED_AT_ONCE == 0:
            self.flush()
        if not self._has_audio and is_audio(message):
            self._has_audio = True
            log.info(
                "First audio of a stream",
                event="stream.first_media",
                sender=self._sender,
                messages=self.messages,
            )
