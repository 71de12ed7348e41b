"""The records of turns: what Pipecat's observers measure of each, and its words."""

import sys
from collections.abc import Iterator
from typing import Any, Final

from cordboard.contract.call_events import LATENCY_STARTS
from cordboard.runner.call_log import CallLog
from cordboard.runner.listening_times import ListeningTimes

_AGGREGATORS: Final = "pipecat.processors.aggregators.llm_response_universal"

_SILENCE, _CONNECTED = LATENCY_STARTS


class TurnLog:
    """Logs each turn, with the latencies that Pipecat's own observers measure.

    Args:
        call_log: Where records go.

    Attributes:
        turn: The number of the present turn.
        has_bot_spoken: Whether the bot has spoken in it.
        has_failed: Whether an error has left the pipeline in it.
        listening: When the user fell silent, and when the bot had understood.
    """

    def __init__(self, call_log: CallLog) -> None:
        self._log = call_log
        self.listening = ListeningTimes()
        self.turn = 0
        self.has_bot_spoken = False
        self.has_failed = False
        self._latency_ms: float | None = None
        self._is_answer = False
        self._breakdown: dict[str, Any] = {}
        self._ttfb_ms: dict[str, float] = {}

    def attach(self, tracker: Any) -> None:
        """Log the turns that `tracker`, an observer of Pipecat, counts."""
        tracker.add_event_handler("on_turn_started", self.on_turn_started)
        tracker.add_event_handler("on_turn_ended", self.on_turn_ended)

    async def on_turn_started(self, _observer: Any, turn: int) -> None:
        """Log that the turn with the number `turn` has started."""
        self.turn = turn
        self.has_bot_spoken = self.has_failed = False
        self._latency_ms, self._ttfb_ms, self._breakdown = None, {}, {}
        self._log.write("Turn started", "turn.started", turn=turn)

    async def on_turn_ended(
        self, _observer: Any, turn: int, duration_s: float, interrupted: bool
    ) -> None:
        """Log that the turn with the number `turn` has ended.

        Args:
            turn: The number of the turn.
            duration_s: Its duration in seconds.
            interrupted: Whether the user interrupted the bot.
        """
        self._log.write(
            "Turn ended",
            "turn.ended",
            turn=turn,
            duration_ms=round(duration_s * 1000),
            interrupted=interrupted,
            user_bot_latency_ms=self._latency_ms,
            ttfb_ms=self._ttfb_ms,
            outcome=self._outcome(interrupted=interrupted),
            **self._breakdown,
        )

    async def on_latency_measured(self, _observer: Any, latency_s: float) -> None:
        """Keep `latency_s`, the seconds from the user's last word to the bot's first."""
        self._latency_ms = round(latency_s * 1000)
        self._is_answer = True  # its parts come next

    async def on_latency_breakdown(self, _observer: Any, breakdown: Any) -> None:
        """Keep the parts of that latency, or of the wait for a greeting, from `breakdown`."""
        self._ttfb_ms = {
            item.processor: round(item.duration_secs * 1000) for item in breakdown.ttfb
        }
        # Pipecat has them since 1.9.
        parts = [
            {"key": part.key, "owner": part.owner, "ms": round(part.duration_secs * 1000, 1)}
            for part in getattr(breakdown, "contributions", ())
        ]
        begin = getattr(breakdown, "measured_from", None)
        measured_from = begin and str(begin)
        if self._is_answer and measured_from == _CONNECTED:
            parts = self.listening.mended(parts, self._latency_ms or 0.0)
            measured_from = _SILENCE
        self._is_answer = False
        if parts:
            self._breakdown = {
                "contributions": parts,
                "total_ms": round(sum(part["ms"] for part in parts), 1),
                "measured_from": measured_from,
            }

    def _outcome(self, *, interrupted: bool) -> str:
        if not self.has_bot_spoken:
            return "error" if self.has_failed else "no_output"
        return "interrupted" if interrupted else "completed"


class WordLog:
    """Logs the words of user and bot, if people have agreed to it.

    Args:
        call_log: Where records go.
        turns: Counts the turns.
    """

    def __init__(self, call_log: CallLog, turns: TurnLog) -> None:
        self._log = call_log
        self._turns = turns
        self._bot_turn = 0

    def attach(self, worker: Any) -> None:
        """Watch the aggregators of a pipeline: they have what was heard, and what was said until an interruption."""
        module = sys.modules.get(_AGGREGATORS)
        if module is None:
            return  # a bot without a language model
        for processor in _processors(worker.pipeline):
            if isinstance(processor, module.LLMUserAggregator):
                processor.add_event_handler("on_user_turn_message_added", self._on_user_words)
            elif isinstance(processor, module.LLMAssistantAggregator):
                processor.add_event_handler("on_assistant_turn_started", self._on_bot_begins)
                processor.add_event_handler("on_assistant_turn_stopped", self._on_bot_words)

    async def _on_user_words(self, _aggregator: Any, message: Any) -> None:
        if message.content:
            self._log.write(
                "Words of the user",
                "turn.user_text",
                turn=self._turns.turn,
                text=message.content,
                interrupted=False,
            )

    async def _on_bot_begins(self, _aggregator: Any) -> None:
        self._bot_turn = self._turns.turn

    async def _on_bot_words(self, _aggregator: Any, message: Any) -> None:
        if message.content:
            self._log.write(
                "Words of the bot",
                "turn.bot_text",
                turn=self._bot_turn,
                text=message.content,
                interrupted=bool(message.interrupted),
            )


def _processors(processor: Any) -> Iterator[Any]:
    """Yield a processor and those inside it."""
    yield processor
    for inner in processor.processors:
        yield from _processors(inner)
