"""The messages of a client that wait for its bot."""

from collections import deque
from dataclasses import dataclass, field

from cordboard.contract.carrier_streams import Message, is_audio


@dataclass(slots=True)
class HeldMessages:
    """A queue of messages in the order of their arrival.

    Attributes:
        audio_max_s: Audio that has waited for more seconds is dropped: a bot that starts hears the present, not
            a recording of the ring. None keeps all, as a protocol that is not a carrier's may count on it.
        max_bytes: Above so many bytes the queue is full.
        dropped: How many messages were dropped.
    """

    audio_max_s: float | None
    max_bytes: int
    dropped: int = 0
    _audio: deque[tuple[int, float, Message]] = field(default_factory=deque)
    _other: deque[tuple[int, Message]] = field(default_factory=deque)
    _number: int = 0
    _bytes: int = 0

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._audio) + len(self._other)

    @property
    def is_full(self) -> bool:
        """Whether no further message should be read."""
        return self._bytes >= self.max_bytes

    def add(self, message: Message, now: float) -> None:
        """Append `message`, and drop audio that is too old.

        Args:
            message: The message.
            now: The time of a monotonic clock, in seconds.
        """
        self._number += 1
        self._bytes += len(message)
        if self.audio_max_s is None or not is_audio(message):
            self._other.append((self._number, message))
            return
        self._audio.append((self._number, now, message))
        while now - self._audio[0][1] > self.audio_max_s:
            self._bytes -= len(self._audio.popleft()[2])
            self.dropped += 1

    def pop(self) -> Message:
        """Remove the oldest message and return it.

        Raises:
            IndexError: There is none.
        """
        if self._audio and (not self._other or self._audio[0][0] < self._other[0][0]):
            message = self._audio.popleft()[2]
        else:
            message = self._other.popleft()[1]
        self._bytes -= len(message)
        return message
