"""Tells the events of a call, for any bot's pipeline: Pipecat runs this as a setup file.

``PIPECAT_SETUP_FILES`` names this file in each bot's process; Pipecat calls
``setup_pipeline_worker`` before the pipeline starts.
"""

from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    ClientConnectedFrame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed

from cordboard.emit import get_logger

log = get_logger("call")


class FirstsObserver(BaseObserver):  # type: ignore[misc]  # Pipecat is not typed for us
    """Tells what happens for the first time: the user's coming, her audio, the bot's audio."""

    def __init__(self) -> None:
        super().__init__(observe_every_push=False)
        self._seen: set[type] = set()

    async def on_push_frame(self, data: FramePushed) -> None:
        """Look at one frame."""
        kind = type(data.frame)
        if kind in self._seen:
            return
        if isinstance(data.frame, InputAudioRawFrame):
            self._first(InputAudioRawFrame, kind, "First audio of the user", "user.first_audio")
        elif kind is ClientConnectedFrame:
            self._first(kind, kind, "User connected", "user.connected")
        elif isinstance(data.frame, (BotStartedSpeakingFrame, OutputAudioRawFrame)):
            self._first(OutputAudioRawFrame, kind, "First audio of the bot", "bot.first_audio")

    def _first(self, family: type, kind: type, message: str, event: str) -> None:
        told = family in self._seen
        self._seen |= {family, kind}
        if not told:
            log.info(message, event=event)


class TurnLog:
    """Tells of each turn, with the latencies that Pipecat's own observers measure."""

    def __init__(self) -> None:
        self._latency_ms: float | None = None
        self._ttfb_ms: dict[str, float] = {}

    async def started(self, _observer: Any, turn: int) -> None:
        """A turn began."""
        self._latency_ms, self._ttfb_ms = None, {}
        log.info("Turn started", event="turn.started", turn=turn)

    async def ended(self, _observer: Any, turn: int, duration_s: float, interrupted: bool) -> None:
        """A turn is over."""
        log.info(
            "Turn ended",
            event="turn.ended",
            turn=turn,
            duration_ms=round(duration_s * 1000),
            interrupted=interrupted,
            user_bot_latency_ms=self._latency_ms,
            ttfb_ms=self._ttfb_ms,
        )

    async def latency(self, _observer: Any, latency_s: float) -> None:
        """The time from the user's last word to the bot's first was measured."""
        self._latency_ms = round(latency_s * 1000)

    async def breakdown(self, _observer: Any, parts: Any) -> None:
        """The parts of that time were measured."""
        self._ttfb_ms = {item.processor: round(item.duration_secs * 1000) for item in parts.ttfb}


async def setup_pipeline_worker(worker: Any) -> None:
    """Add our observers to a pipeline."""
    from pipecat.observers.user_bot_latency_observer import (
        UserBotLatencyObserver,
    )

    worker.add_observer(FirstsObserver())
    turns = worker.turn_tracking_observer
    if turns is None:
        return
    turn_log = TurnLog()
    turns.add_event_handler("on_turn_started", turn_log.started)
    turns.add_event_handler("on_turn_ended", turn_log.ended)
    latency = UserBotLatencyObserver()
    latency.add_event_handler("on_latency_measured", turn_log.latency)
    latency.add_event_handler("on_latency_breakdown", turn_log.breakdown)
    worker.add_observer(latency)


async def setup_worker_runner(_runner: Any) -> None:
    """Do nothing: Pipecat warns of setup files that lack it."""
