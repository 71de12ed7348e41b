"""Counts what each side of a stream sends."""

from cordboard.edge.streams import metrics
from cordboard.edge.streams.closing import Side
from cordboard.edge.streams.first_messages import Message, is_audio
from cordboard.emit import get_logger

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
        # Looked up once, as each message is counted.
        self._count = metrics.stream_messages.labels(sender).inc
        self._count_bytes = metrics.stream_bytes.labels(sender).inc

    def add(self, message: Message) -> None:
        """Count `message`, and log the first audio."""
        size = len(message)
        self.messages += 1
        self.size += size
        self._count()
        self._count_bytes(size)
        if not self._has_audio and is_audio(message):
            self._has_audio = True
            log.info(
                "First audio of a stream",
                event="stream.first_media",
                sender=self._sender,
                messages=self.messages,
            )
