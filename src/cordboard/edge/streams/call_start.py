"""The first messages of a carrier's stream, which each bot of the call gets."""

from cordboard.contract.carrier_streams import (
    MESSAGES_MAX,
    Message,
    decoded,
    form_of_room,
    is_readable,
    is_stop,
    start_of,
)


class CallStart:
    """What a carrier has said of its stream: how it starts, and whether it has stopped.

    Args:
        room_url: The room of the session. Only the stream of a call at a known carrier has a start.
        max_bytes: The largest first message.

    Attributes:
        messages: The first messages, in their order; the last one is the start message, once it is there.
        has_stopped: Whether the carrier has said that the stream ends.
    """

    def __init__(self, room_url: str, max_bytes: int) -> None:
        self.messages: list[Message] = []
        self._form = form_of_room(room_url)
        self._max_bytes = max_bytes
        self._is_complete = False
        self._is_other = self._form is None
        self.has_stopped = False
        self._stream_id = ""

    @property
    def may_go_on(self) -> bool:
        """Whether the call can be given to another bot: its first messages are those of a carrier, and it has not stopped."""
        return not self._is_other and not self.has_stopped

    @property
    def clear_message(self) -> str | None:
        """The message that makes the carrier drop the audio that it has not played; None before the start."""
        if self._form is None or not self._stream_id:
            return None
        return self._form.clear_message(self._stream_id)

    def is_readable(self, message: Message) -> bool:
        """Return whether a bot can read `message`; any bot of a client that is no known carrier can."""
        return self._form is None or is_readable(message, self._form)

    def take(self, message: Message) -> bool:
        """Note a message of the carrier; return whether it is one of the first, which are kept.

        Args:
            message: The message.
        """
        if self._is_complete or self._is_other:
            self.has_stopped = self.has_stopped or (self._is_complete and is_stop(message))
            return False
        if len(message) > self._max_bytes:
            self._is_other = True
            return False
        self.messages.append(message)
        start = start_of(decoded(message))
        if start is not None:
            self._form, self._stream_id = start.form, start.stream_id
            self._is_complete = True
        else:
            self._is_other = len(self.messages) == MESSAGES_MAX
        return True
