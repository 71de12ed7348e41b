"""The turns of a call as its caller hears them: from the caller's last sound to the first one of the bot.

The page measures by the same rules (``clients/js/src/browser/heard_worklet.js``); tests compare the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# 60 ms in a row begin a speech; the click of a key or of a mouse is shorter.
VOICED_FRAMES_MIN: Final = 3
# A shorter silence is one between words.
GAP_S: Final = 0.4
# A longer silence of the bot ends what it says, as in ``audio.py``.
PAUSE_S: Final = 0.8
# A bot that still speaks so long after the caller's last sound was not interrupted by it, and does not answer it:
# voice detection, the network and the buffers take up to about half of it.
TALK_ON_S: Final = 1.0
# What comes later was not said in answer: a tool that takes longer has timed out.
LATENCY_MAX_S: Final = 30.0

Span = tuple[float, float]
"""The times of the first and of the last voiced sample of a frame."""


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """One turn as the caller heard it; all times are seconds by one clock.

    Attributes:
        user_ended: The caller's last voiced sample.
        bot_began: The bot's first voiced sample.
    """

    user_ended: float
    bot_began: float


class HeardTurns:
    """Finds the turns in the sound of both sides. Frames of a side come in the order of their times.

    Args:
        on_turn: Called with each turn, as soon as it is certain.
    """

    def __init__(self, on_turn: Callable[[HeardTurn], None]) -> None:
        self._on_turn = on_turn
        self._voiced_frames = 0
        self._user_last = float("-inf")
        self._bot_last = float("-inf")
        self._answered = float("-inf")  # the caller's last sound of the turn before
        self._turn: HeardTurn | None = None

    def hear_user(self, until: float, voiced: Span | None) -> None:
        """Process a frame of the caller.

        Args:
            until: The time of its end.
            voiced: Its voiced part; None without any.
        """
        self._voiced_frames = self._voiced_frames + 1 if voiced else 0
        if voiced and self._is_speech(voiced):
            if self._turn is not None and voiced[0] - self._turn.user_ended < GAP_S:
                self._go_on(self._turn, voiced)
            self._user_last = voiced[1]
        self._settle(until)

    def hear_bot(self, until: float, voiced: Span | None) -> None:
        """Process a frame of the bot.

        Args:
            until: The time of its end.
            voiced: Its voiced part; None without any.
        """
        if voiced:
            if voiced[0] - self._bot_last >= PAUSE_S and self._is_answer(voiced[0]):
                self._turn = HeardTurn(self._user_last, voiced[0])
            self._bot_last = voiced[1]
        self._settle(until)

    def _is_speech(self, voiced: Span) -> bool:
        return voiced[0] - self._user_last < GAP_S or self._voiced_frames >= VOICED_FRAMES_MIN

    def _is_answer(self, began: float) -> bool:
        """Return whether a bot that begins to speak at ``began`` answers the caller's last sound."""
        return (
            self._user_last > self._answered
            and self._bot_last <= self._user_last + TALK_ON_S
            and began - self._user_last <= LATENCY_MAX_S
        )

    def _go_on(self, turn: HeardTurn, voiced: Span) -> None:
        """Take a sound of the caller into account that belongs to the speech before ``turn``."""
        # A bot that begins between two words talks over the caller: that is no latency.
        is_before = voiced[1] <= turn.bot_began
        self._turn = HeardTurn(voiced[1], turn.bot_began) if is_before else None

    def _settle(self, until: float) -> None:
        """Report the turn once the caller has been silent for so long that no word can follow."""
        turn = self._turn
        if turn is not None and until - turn.user_ended >= GAP_S and until >= turn.bot_began:
            self._turn = None
            self._answered = turn.user_ended
            self._on_turn(turn)
