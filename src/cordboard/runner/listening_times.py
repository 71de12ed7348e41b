"""The parts of a latency that Pipecat loses: an interruption between the user's last word and the answer erases them."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from pipecat.frames.frames import (
    InterruptionFrame,
    LLMFullResponseStartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

# The names of Pipecat's `UserBotLatencyObserver`, 1.14.
_STOP_SECS: Final = "config: VAD stop_secs"
_STRATEGIES: Final = "config: user turn strategies"
_REPLACED: Final = frozenset(
    {"first_request", "endpointing_wait", "transcription", "turn_detection", "pipeline"}
)


class ListeningTimes:
    """When the user fell silent, and what happened until the language model was asked.

    A transcription that comes after Pipecat has ended the user's turn (5 s without one) begins another turn. That
    interrupts the bot, and Pipecat's observer forgets when the user fell silent: it says that the language model was
    asked late, counted from the connection of the client.

    Args:
        clock: Returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._silent_at: float | None = None
        self._stopped_at = 0.0
        self._heard_at: float | None = None
        self._listener = ""
        self._asked_at: float | None = None

    def note(self, frame: Any, source: Any) -> None:
        """Take note of a frame that ``source``, a processor, has pushed."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._silent_at = self._heard_at = self._asked_at = None
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._silent_at = frame.timestamp - frame.stop_secs
            self._stopped_at, self._heard_at, self._asked_at = frame.timestamp, None, None
        elif isinstance(frame, TranscriptionFrame):
            if self._asked_at is None:
                self._heard_at, self._listener = self._clock(), source.name
        elif isinstance(frame, LLMFullResponseStartFrame):
            self._asked_at = self._asked_at or self._clock()
        elif isinstance(frame, InterruptionFrame):
            self._asked_at = None

    def mended(self, parts: Iterable[dict[str, Any]], total_ms: float) -> list[dict[str, Any]]:
        """Return the parts of a latency with those before the language model was asked.

        Args:
            parts: Those of Pipecat, counted from the connection of the client.
            total_ms: Milliseconds from the user's last word to the bot's first.

        Returns:
            Parts that sum up to `total_ms`; none if the user was not heard to fall silent.
        """
        if self._silent_at is None or self._asked_at is None:
            return []
        heard_at = max(self._heard_at or self._stopped_at, self._stopped_at)
        spans: tuple[tuple[str, str, float, float], ...] = (
            ("endpointing_wait", _STOP_SECS, self._silent_at, self._stopped_at),
            ("transcription", self._listener, self._stopped_at, heard_at),
            ("turn_detection", _STRATEGIES, heard_at, self._asked_at),
        )
        found: list[dict[str, Any]] = [
            {"key": key, "owner": owner, "ms": round((end - begin) * 1000, 1)}
            for key, owner, begin, end in spans
            if end > begin
        ]
        found += [part for part in parts if part["key"] not in _REPLACED]
        rest_ms = round(total_ms - sum(part["ms"] for part in found), 1)
        rest = [{"key": "pipeline", "owner": "pipecat", "ms": rest_ms}] if rest_ms > 0 else []
        return [*found, *rest]
