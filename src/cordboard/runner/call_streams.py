"""The streams of one call, one after the other, as the one stream that the bot knows.

A carrier that opens its stream again starts it again, under another id. The bot's serializer was made with the first
id, and its parser has read a start.
"""

from dataclasses import dataclass

from cordboard.contract.carrier_streams import (
    decoded,
    is_connected,
    is_stop,
    start_of,
    with_stream_id,
)


@dataclass(slots=True)
class CallStream:
    """One stream of the call.

    Attributes:
        stream_id: The carrier's id of this stream; empty before its start.
        has_started: Whether its start message has been read.
    """

    stream_id: str = ""
    has_started: bool = False


class CallStreams:
    """What the bot of a call knows of its stream.

    Attributes:
        has_start: Whether the bot has the start message of its first stream.
        has_stopped: Whether the carrier has said that the stream ends. Then there is no other one.
    """

    def __init__(self) -> None:
        self.has_start = False
        self.has_stopped = False
        self._has_connected = False
        self._stream_id = ""

    def for_bot(self, stream: CallStream, text: str) -> str | None:
        """Return a message of the carrier as the bot expects it; None if the bot must not get it.

        Args:
            stream: The stream on which it arrived.
            text: The message.
        """
        if not stream.has_started:
            return self._first(stream, text)
        self.has_stopped = self.has_stopped or is_stop(text)
        return with_stream_id(text, stream.stream_id, self._stream_id)

    def for_carrier(self, stream: CallStream, text: str) -> str:
        """Return a message of the bot as the carrier expects it.

        Args:
            stream: The stream on which it is sent.
            text: The message.
        """
        if not stream.has_started or not self.has_start:
            return text
        return with_stream_id(text, self._stream_id, stream.stream_id)

    def _first(self, stream: CallStream, text: str) -> str | None:
        message = decoded(text)
        start = start_of(message)
        if start is not None:
            stream.has_started, stream.stream_id = True, start.stream_id
            if self.has_start:
                return None
            self.has_start, self._stream_id = True, start.stream_id
        elif is_connected(message):
            if self._has_connected:
                return None
            self._has_connected = True
        return text
