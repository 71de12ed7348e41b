"""Lanes: what each service said over time, in a bounded number of marks."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.record import SERVICES
from cordboard.logs.report.entry import Entry

BUCKETS: Final = 240
LANES_MAX: Final = 16
OTHERS: Final = "(others)"
NOTABLE_MAX: Final = 50_000
_RANK: Final = {"event": 1, "warn": 2, "error": 3}


@dataclass(frozen=True, slots=True)
class Mark:
    """Lines of one lane that fall into one part of the time.

    Attributes:
        at: The part, of BUCKETS.
        worst: Their worst level, or ``event`` where one of them is an event and none is bad.
        words: What the first of the worst says.
        index: Which line that is.
    """

    at: int
    lines: int
    worst: str
    words: str
    index: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One service."""

    service: str
    lines: int
    warnings: int
    errors: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Lanes:
    """All services over one time.

    Attributes:
        first_us: Where it begins; None without a line that has a time.
    """

    lanes: tuple[Lane, ...] = ()
    first_us: int | None = None
    last_us: int | None = None


@dataclass(slots=True)
class _Told:
    """What one service has said so far."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    lines: int = 0
    levels: dict[str, int] = field(default_factory=dict)


class LaneMaker:
    """Takes lines one by one, keeps eight bytes of most, gives the lanes in the end."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._notable: list[tuple[int, str, str, int, str]] = []

    def add(self, item: Entry) -> None:
        """Take one line."""
        name = item.service
        if name not in self._told and len(self._told) >= LANES_MAX:
            name = OTHERS
        told = self._told.setdefault(name, _Told())
        told.lines += 1
        told.levels[item.level] = told.levels.get(item.level, 0) + 1
        if item.us is None:
            return
        told.times.append(item.us)
        kind = item.level if item.bad else "event" if item.event else ""
        if kind and len(self._notable) < NOTABLE_MAX:
            words = item.event if kind == "event" and item.event else item.message
            self._notable.append((item.us, kind, words[:120], item.index, name))

    def lanes(self) -> Lanes:
        """Return the lanes of all lines so far."""
        firsts = [min(told.times) for told in self._told.values() if told.times]
        lasts = [max(told.times) for told in self._told.values() if told.times]
        if not firsts:
            return Lanes(tuple(self._lane(name, 0, 1) for name in self._ordered()))
        first, last = min(firsts), max(lasts)
        span = max(last - first, 1)
        return Lanes(tuple(self._lane(name, first, span) for name in self._ordered()), first, last)

    def _ordered(self) -> Iterable[str]:
        known = [name for name in SERVICES if name in self._told]
        return [*known, *sorted(set(self._told) - set(known))]

    def _lane(self, name: str, first: int, span: int) -> Lane:
        told = self._told[name]
        counts: dict[int, int] = {}
        for us in told.times:
            at = _bucket(us, first, span)
            counts[at] = counts.get(at, 0) + 1
        worst = self._worst(name, first, span)
        marks = tuple(
            Mark(at, lines, *worst.get(at, ("", "", -1))) for at, lines in sorted(counts.items())
        )
        levels = told.levels
        return Lane(name, told.lines, levels.get("warn", 0), levels.get("error", 0), marks)

    def _worst(self, name: str, first: int, span: int) -> dict[int, tuple[str, str, int]]:
        found: dict[int, tuple[str, str, int]] = {}
        for us, kind, words, index, lane in self._notable:
            at = _bucket(us, first, span)
            if lane == name and (at not in found or _RANK[kind] > _RANK[found[at][0]]):
                found[at] = (kind, words, index)
        return found


def _bucket(us: int, first: int, span: int) -> int:
    return min((us - first) * BUCKETS // span, BUCKETS - 1)
