"""Log the events of a call, for the pipeline of any bot. Pipecat loads this file as a setup file.

``PIPECAT_SETUP_FILES`` names this file in each bot process. Pipecat calls ``setup_pipeline_worker`` before a
pipeline starts.
"""

from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    ClientConnectedFrame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver

from cordboard.emit import get_logger

log = get_logger("call")


class FirstEventObserver(BaseObserver):  # type: ignore[misc]  # Pipecat has no type hints
    """Logs the first of each: the user's connection, the user's audio, the bot's audio."""

    def __init__(self) -> None:
        super().__init__(observe_every_push=False)
        self._seen: set[type] = set()

    async def on_push_frame(self, data: FramePushed) -> None:
        """Log the frame in `data` if it is the first of its kind that the call has."""
        frame_type = type(data.frame)
        # Almost every frame is of a type seen before: 50 audio frames a second pass here in each direction.
        if frame_type in self._seen:
            return
        if isinstance(data.frame, InputAudioRawFrame):
            self._log_first(
                InputAudioRawFrame, frame_type, "First audio of the user", "user.first_audio"
            )
        elif frame_type is ClientConnectedFrame:
            self._log_first(frame_type, frame_type, "User connected", "user.connected")
        elif isinstance(data.frame, (BotStartedSpeakingFrame, OutputAudioRawFrame)):
            self._log_first(
                OutputAudioRawFrame, frame_type, "First audio of the bot", "bot.first_audio"
            )

    def _log_first(self, family: type, frame_type: type, message: str, event: str) -> None:
        is_first = family not in self._seen
        self._seen |= {family, frame_type}
        if is_first:
            log.info(message, event=event)


class TurnLog:
    """Logs each turn, with the latencies that Pipecat's own observers measure."""

    def __init__(self) -> None:
        self._latency_ms: float | None = None
        self._ttfb_ms: dict[str, float] = {}

    async def on_turn_started(self, _observer: Any, turn: int) -> None:
        """Log that the turn with the number `turn` has started."""
        self._latency_ms, self._ttfb_ms = None, {}
        log.info("Turn started", event="turn.started", turn=turn)

    async def on_turn_ended(
        self, _observer: Any, turn: int, duration_s: float, interrupted: bool
    ) -> None:
        """Log that the turn with the number `turn` has ended.

        Args:
            turn: The number of the turn.
            duration_s: Its duration in seconds.
            interrupted: Whether the user interrupted the bot.
        """
        log.info(
            "Turn ended",
            event="turn.ended",
            turn=turn,
            duration_ms=round(duration_s * 1000),
            interrupted=interrupted,
            user_bot_latency_ms=self._latency_ms,
            ttfb_ms=self._ttfb_ms,
        )

    async def on_latency_measured(self, _observer: Any, latency_s: float) -> None:
        """Keep `latency_s`, the seconds from the user's last word to the bot's first."""
        self._latency_ms = round(latency_s * 1000)

    async def on_latency_breakdown(self, _observer: Any, breakdown: Any) -> None:
        """Keep the parts of that latency, from `breakdown`."""
        self._ttfb_ms = {
            item.processor: round(item.duration_secs * 1000) for item in breakdown.ttfb
        }


async def setup_pipeline_worker(worker: Any) -> None:
    """Add the observers to the pipeline of `worker`."""
    worker.add_observer(FirstEventObserver())
    turns = worker.turn_tracking_observer
    if turns is None:
        return
    turn_log = TurnLog()
    turns.add_event_handler("on_turn_started", turn_log.on_turn_started)
    turns.add_event_handler("on_turn_ended", turn_log.on_turn_ended)
    latency = UserBotLatencyObserver()
    latency.add_event_handler("on_latency_measured", turn_log.on_latency_measured)
    latency.add_event_handler("on_latency_breakdown", turn_log.on_latency_breakdown)
    worker.add_observer(latency)


async def setup_worker_runner(_runner: Any) -> None:
    """Do nothing: Pipecat warns about setup files without this function."""
