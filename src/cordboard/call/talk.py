"""What is said and heard in a call that is connected."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from cordboard.call.audio import FRAME_S, PAUSE_S, Microphone, SoundDetector
from cordboard.call.connection import BotConnection
from cordboard.call.interruption import Interruptions
from cordboard.call.options import CallTimeouts
from cordboard.call.recording import RATE
from cordboard.call.timeline import StageFailedError, Timeline

POLL_S: Final = 0.01  # half an audio frame: no sound waits longer to be noticed

_TOO_BUSY: Final = (
    "The speech could not be sent in real time.",
    "This machine is too busy for a call.",
)

T = TypeVar("T")


class _OtherBotError(Exception):
    """The bot that was spoken to is gone."""


class Talk:
    """Hears the greeting, and takes a turn. While the call is interrupted, no timeout runs.

    Args:
        timeline: The stages of the call.
        connection: The connection to the bot.
        interruptions: The interruptions of the call.
        microphone: What the bot hears.
        bot_sound: What the bot says.
        timeouts: The bounds of each stage.

    Attributes:
        is_complete: Whether all that the call is about has been heard.
    """

    def __init__(
        self,
        timeline: Timeline,
        connection: BotConnection,
        interruptions: Interruptions,
        microphone: Microphone,
        bot_sound: SoundDetector,
        timeouts: CallTimeouts,
    ) -> None:
        self.is_complete = False
        self._timeline = timeline
        self._connection = connection
        self._interruptions = interruptions
        self._microphone = microphone
        self._bot_sound = bot_sound
        self._timeouts = timeouts

    async def run(self, speech: bytes) -> None:
        """Hear the greeting, and the reply to ``speech`` if it is not empty.

        Raises:
            StageFailedError: The bot was not heard.
        """
        await self._hear_greeting(is_all=not speech)
        while speech and not self.is_complete:
            try:
                await self._take_turn(speech, time.monotonic())
            except _OtherBotError:
                # A person would say it again, after the greeting of whoever answers now.
                await self._hear_other_bot()
                await self.wait_for_silence()

    async def _hear_greeting(self, *, is_all: bool) -> None:
        """Wait for the bot's first sound and, if more follows, until the bot has finished speaking."""
        self._timeline.next_stage = "first_audio"
        timeout_s = self._timeouts.audio if is_all else self._timeouts.greeting
        onset = await self._poll(lambda: self._bot_sound.onset_after(0.0), timeout_s)
        if onset is not None:
            self._timeline.reach("first_audio", onset)
            # With something to say, only the reply completes the call.
            self.is_complete = is_all
            if not is_all:
                await self.wait_for_silence()
        elif is_all:
            raise _silence_error("first_audio", timeout_s)

    async def _take_turn(self, speech: bytes, asked_at: float) -> None:
        """Speak, and wait for the bot's reply.

        Raises:
            _OtherBotError: Another bot is heard since ``asked_at``.
        """
        self._timeline.next_stage = "spoken"
        self._microphone.speak(speech)
        speech_s = len(speech) / 2 / RATE
        spoken = await self._poll(
            lambda: self._microphone.spoken_at, speech_s + self._timeouts.turn, asked_at
        )
        if spoken is None:
            raise StageFailedError("spoken", *_TOO_BUSY)
        self._timeline.reach("spoken", spoken)
        self._timeline.next_stage = "heard_back"
        # A sound that begins within the speech's last frame cannot be a reply. A bot that began during the speech,
        # and is still speaking after a pause, has replied.
        reply = await self._poll(
            lambda: (
                self._bot_sound.onset_after(spoken + FRAME_S)
                or self._bot_sound.loud_after(spoken + PAUSE_S)
            ),
            self._timeouts.audio,
            asked_at,
        )
        if reply is None:
            raise _silence_error("heard_back", self._timeouts.audio)
        self._timeline.reach("heard_back", reply)
        self.is_complete = True

    async def wait_for_silence(self) -> None:
        """Wait until the bot has finished speaking, but not forever."""
        while True:
            replaced_at = self._interruptions.replaced_at
            await self._poll(lambda: self._is_quiet() or None, self._timeouts.turn)
            if self._interruptions.replaced_at == replaced_at:
                return
            await self._hear_other_bot()

    async def _hear_other_bot(self) -> None:
        """Wait until the bot that came instead is heard: it may greet as well."""
        since = self._interruptions.replaced_at
        await self._poll(lambda: self._bot_sound.loud_after(since), self._timeouts.greeting)

    def _is_quiet(self) -> bool:
        """Return whether the bot has finished speaking. The silence of an interruption is not the bot's."""
        now = time.monotonic()
        return self._connection.is_heard(now) and self._bot_sound.is_quiet(now)

    async def _poll(
        self, value: Callable[[], T | None], timeout_s: float, asked_at: float = float("inf")
    ) -> T | None:
        """Return the first value that is not None; None if there is none within ``timeout_s``.

        Raises:
            _OtherBotError: Another bot is heard since ``asked_at``, a monotonic time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self._interruptions.is_open:
                deadline = time.monotonic() + timeout_s
            elif self._interruptions.replaced_at > asked_at:
                raise _OtherBotError
            else:
                current = value()
                if current is not None or time.monotonic() >= deadline:
                    return current
            await asyncio.sleep(POLL_S)


def _silence_error(stage: str, timeout_s: float) -> StageFailedError:
    hint = "Check in its log lines, printed by the command below, whether it speaks."
    if stage == "heard_back":
        hint += " A bot that expects a voice does not answer tones."
    return StageFailedError(
        stage, f"Connected, but nothing was heard from the bot for {timeout_s:g} s.", hint
    )
