"""The turns of a call: when, how long, what their latency is made of, and what was said."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cordboard.logs.report.entry import Entry, as_text, earlier, microseconds, one_line
from cordboard.logs.report.records import SPEAKERS, WORDS_MAX
from cordboard.logs.values import number

_OF_TURNS: Final = {
    "turn.started": "",
    "turn.ended": "",
    **{f"turn.{who}_text": who for who in SPEAKERS},
}
"""The events of a turn; of words with who said them."""

_NEAR: Final = 3  # so many turns before a moment may be the one that was heard
_TEXTS_MAX: Final = 40  # of one turn
_CLOCKS_APART_US: Final = 500_000  # the caller's clock is not the bot's
_DELAYS: Final = {
    "network_ms": "network",
    "buffer_ms": "jitter buffer",
    "device_ms": "devices",
}
"""What lies between the bot and its caller, by the members of ``turn.heard``."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    Attributes:
        number: As its lines say.
        started_us: When the person began to speak; None where no line tells of it.
        ended_us: When the turn was over; None while it is open.
        latency_ms: From the user's last word to the bot's first; None where it was not measured.
        ttfb_ms: Time to first byte, by service.
        contributions: The parts of the latency, which sum up to it.
        total_ms: Their sum, as the bot told it.
        outcome: How it ended, as the bot told it.
        words: Who said what; with content alone.
        heard_ms: The latency as the caller heard it.
        delays: What lies between the bot and the caller, as far as the caller's end knows it.
        place: Process and number of the line of its end, or else of its beginning.
    """

    number: str
    epoch: int | None = None
    started_us: int | None = None
    ended_us: int | None = None
    duration_ms: float | None = None
    interrupted: bool = False
    latency_ms: float | None = None
    ttfb_ms: tuple[tuple[str, float], ...] = ()
    index: int = 0
    contributions: tuple[tuple[str, float], ...] = ()
    total_ms: float | None = None
    outcome: str = ""
    words: tuple[tuple[str, str], ...] = ()
    heard_ms: float | None = None
    delays: tuple[tuple[str, float], ...] = ()
    place: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What is unusual about it; empty for one that has ended as it should."""
        if self.interrupted or self.ended_us is None:
            return "interrupted" if self.interrupted else "open"
        return "" if self.outcome == "completed" else one_line(self.outcome, 40).replace("_", " ")

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """The parts of the latency, or else what was measured within it."""
        return self.contributions or self.ttfb_ms

    @property
    def bar_ms(self) -> float | None:
        """How long the latency is that the parts are shown beside."""
        return self.total_ms if self.contributions else self.latency_ms

    @property
    def later_ms(self) -> float | None:
        """How much later than by the bot's own account the caller heard the answer; None if either is not known."""
        if self.heard_ms is None or self.latency_ms is None:
            return None
        return self.heard_ms - self.latency_ms

    @property
    def later_parts(self) -> tuple[tuple[str, float], ...]:
        """What that difference consists of: the delays, and what the bot's detector of speech and its buffers add."""
        later = self.later_ms
        if later is None:
            return ()
        return (*self.delays, ("detector", later - sum(ms for _, ms in self.delays)))


def turns(events: Sequence[Entry]) -> tuple[Turn, ...]:
    """Return the turns in the order in which they began; ``events`` are in time order."""
    found: dict[tuple[int | None, str], Turn] = {}
    for item in events:
        if item.event not in _OF_TURNS:
            continue
        name = as_text(item.meta.get("turn", "?"))
        turn = found.get((item.epoch, name)) or Turn(
            name, item.epoch, index=item.index, place=item.place
        )
        if item.event == "turn.started":
            turn = replace(turn, started_us=item.us)
        elif item.event == "turn.ended":
            turn = _ended(turn, item)
        elif len(turn.words) < _TEXTS_MAX:
            said = (_OF_TURNS[item.event], one_line(as_text(item.meta.get("text", "")), WORDS_MAX))
            turn = replace(turn, words=(*turn.words, said))
        found[item.epoch, name] = turn
    return _with_heard(list(found.values()), events)


def _ended(turn: Turn, item: Entry) -> Turn:
    meta = item.meta
    duration = number(meta.get("duration_ms"))
    started = turn.started_us
    if started is None and item.us is not None and duration is not None:
        started = earlier(item.us, duration)
    ttfb = meta.get("ttfb_ms")
    parts = ttfb.items() if isinstance(ttfb, Mapping) else ()
    contributions = _contributions(meta.get("contributions"))
    return replace(
        turn,
        place=item.place,
        started_us=started,
        ended_us=item.us,
        duration_ms=duration,
        interrupted=meta.get("interrupted") is True,
        latency_ms=number(meta.get("user_bot_latency_ms")),
        ttfb_ms=_positive((as_text(name), part) for name, part in parts),
        contributions=contributions,
        total_ms=number(meta.get("total_ms")) or sum(part for _, part in contributions),
        outcome=as_text(meta.get("outcome") or ""),
    )


def _contributions(value: Any) -> tuple[tuple[str, float], ...]:
    """Return the parts of a latency with their names: the key, and whose it is."""
    items = [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
    return _positive(
        (": ".join(as_text(item[key]) for key in ("owner", "key") if item.get(key)), item.get("ms"))
        for item in items
    )


def _positive(parts: Iterable[tuple[str, Any]]) -> tuple[tuple[str, float], ...]:
    numbers = [(name, number(part)) for name, part in parts]
    return tuple((name, part) for name, part in numbers if part is not None and part >= 0)


def heard_ms(item: Entry) -> float | None:
    """Return the latency that the caller heard, if `item` tells of one."""
    return number(item.meta.get("heard_ms")) if item.event == "turn.heard" else None


def _with_heard(found: list[Turn], events: Sequence[Entry]) -> tuple[Turn, ...]:
    """Add what the caller heard to the turns, by time: the caller counts them by itself."""
    begins = sorted((turn.started_us, at) for at, turn in enumerate(found) if turn.started_us)
    for item in events:
        heard = heard_ms(item)
        began = microseconds(item.meta.get("bot_began_at")) if heard is not None else None
        if began is None:
            continue
        behind = bisect_right(begins, (began, len(found)))
        before = begins[max(0, behind - _NEAR) : behind]
        for begin, at in (*reversed(before), *begins[behind : behind + 1]):
            turn = found[at]
            begun = begin <= began + _CLOCKS_APART_US and turn.heard_ms is None
            if begun and (turn.ended_us is None or began <= turn.ended_us + _CLOCKS_APART_US):
                delays = _positive((name, item.meta.get(key)) for key, name in _DELAYS.items())
                found[at] = replace(turn, heard_ms=heard, delays=delays)
                break
    return tuple(found)
