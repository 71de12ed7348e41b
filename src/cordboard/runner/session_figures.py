"""What a session amounts to, summed up from the records of its bot as they pass: a bot that is killed has them too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.contract.call_events import LEFT_OUT

LATENCIES_MAX: Final = 1000
"""Latencies of which the median is taken: a call of four hours with four turns a minute has 960."""

_NUMBER_MAX: Final = 1e12  # also refuses infinity

DROPPED: Final = "Log lines were dropped"
"""The message of the emitter about lines that it could not write."""


@dataclass(slots=True)
class SessionFigures:
    """The figures of the session on this runner.

    Attributes:
        turns: Turns that have ended.
        errors: Errors of services, and a crash.
        lines_dropped: Lines of the bot that were not written.
        records_left_out: Records of the call that the bot did not write, because there were too many. With any, the
            other figures are at least these.
    """

    turns: int = 0
    errors: int = 0
    lines_dropped: int = 0
    records_left_out: int = 0
    _speech_ms: dict[str, float] = field(default_factory=lambda: {"user": 0.0, "bot": 0.0})
    _latencies_ms: list[float] = field(default_factory=list)
    _worst_ms: float | None = None

    def note(self, record: Mapping[str, Any]) -> None:
        """Take note of a record of the bot. A bot may write anything, so each value is checked."""
        event, meta = record.get("event"), record.get("meta")
        if not isinstance(meta, Mapping):
            meta = {}
        match event:
            case "turn.ended":
                self.turns += 1
                self._note_latency(_number(meta.get("user_bot_latency_ms")))
            case "speech.ended":
                who, ms = meta.get("who"), _number(meta.get("ms"))
                if isinstance(who, str) and who in self._speech_ms and ms is not None:
                    self._speech_ms[who] += ms
            case "service.error" | "bot.crashed":
                self.errors += 1
            case None if record.get("message") == DROPPED:
                self.lines_dropped += int(_number(meta.get("lines")) or 0)
            case None if record.get("message") == LEFT_OUT:
                self.records_left_out += int(_number(meta.get("count")) or 0)

    def summary(self) -> dict[str, Any]:
        """Return the members of `session.ended`."""
        ordered = sorted(self._latencies_ms)
        found = {
            "turns": self.turns,
            "user_speech_s": round(self._speech_ms["user"] / 1000, 1),
            "bot_speech_s": round(self._speech_ms["bot"] / 1000, 1),
            "latency_worst_ms": self._worst_ms,
            "latency_median_ms": ordered[len(ordered) // 2] if ordered else None,
            "errors": self.errors,
            "lines_dropped": self.lines_dropped,
            "records_left_out": self.records_left_out or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _note_latency(self, latency_ms: float | None) -> None:
        if latency_ms is None:
            return
        self._worst_ms = max(latency_ms, self._worst_ms or 0.0)
        if len(self._latencies_ms) < LATENCIES_MAX:
            self._latencies_ms.append(latency_ms)


def _number(value: Any) -> float | None:
    """Return a number that makes sense here; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value < _NUMBER_MAX else None
