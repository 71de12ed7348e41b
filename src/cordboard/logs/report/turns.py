"""The turns of a conversation, with the user-to-bot latency of each and its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from cordboard.logs.report.entry import Entry, number
from cordboard.logs.report.visible import as_text


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    Attributes:
        number: As its lines say.
        started_us: When the person began to speak; None where no line tells of it.
        ended_us: When the turn was over; None while it is open.
        latency_ms: From the user's last word to the bot's first; None where it was not measured.
        ttfb_ms: Time to first byte, by service: the parts of the latency.
    """

    number: str
    epoch: int | None = None
    started_us: int | None = None
    ended_us: int | None = None
    duration_ms: float | None = None
    interrupted: bool | None = None
    latency_ms: float | None = None
    ttfb_ms: tuple[tuple[str, float], ...] = ()
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """How the latencies of all turns lie."""

    measured: int
    median_ms: float
    worst_ms: float


def turns(events: Sequence[Entry]) -> tuple[Turn, ...]:
    """Return the turns in the order in which they began; ``events`` are in time order."""
    found: dict[tuple[int | None, str], Turn] = {}
    for item in events:
        if item.event not in {"turn.started", "turn.ended"}:
            continue
        name = as_text(item.meta.get("turn", "?"))
        key = (item.epoch, name)
        turn = found.get(key) or Turn(name, item.epoch, index=item.index)
        if item.event == "turn.started":
            found[key] = replace(turn, started_us=item.us)
        else:
            found[key] = _ended(turn, item)
    return tuple(found.values())


def latency(all_turns: Sequence[Turn]) -> Latency | None:
    """Return how the latencies lie; None where none was measured."""
    values = [turn.latency_ms for turn in all_turns if turn.latency_ms is not None]
    return Latency(len(values), median(values), max(values)) if values else None


def _ended(turn: Turn, item: Entry) -> Turn:
    duration = number(item.meta.get("duration_ms"))
    started = turn.started_us
    if started is None and item.us is not None and duration is not None:
        started = item.us - int(duration * 1000)
    interrupted = item.meta.get("interrupted")
    return replace(
        turn,
        started_us=started,
        ended_us=item.us,
        duration_ms=duration,
        interrupted=interrupted if isinstance(interrupted, bool) else None,
        latency_ms=number(item.meta.get("user_bot_latency_ms")),
        ttfb_ms=_parts(item.meta.get("ttfb_ms")),
    )


def _parts(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, Mapping):
        return ()
    numbers = [(as_text(name), number(part)) for name, part in value.items()]
    return tuple((name, part) for name, part in numbers if part is not None and part >= 0)
