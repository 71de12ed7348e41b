"""What each service said over time, in a bounded number of marks; warnings and errors in context."""

from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.record import SERVICES
from cordboard.logs.report.entry import Entry
from cordboard.logs.report.records import FREQUENT

BUCKETS: Final = 240  # parts of the time: one mark each
LANES_MAX: Final = 16  # services with a lane of their own
OTHERS: Final = "(others)"
NOTABLE_MAX: Final = 50_000  # events, warnings and errors whose words are kept
_RANK: Final = {"event": 1, "warn": 2, "error": 3}

BEFORE: Final = 4  # lines shown before a warning or an error
AFTER: Final = 3  # lines shown after it
BLOCKS_MAX: Final = 40
"""Blocks with an error; of those with warnings only, a third of it."""
BLOCK_LINES_MAX: Final = 60  # of one block; a longer one is parted


@dataclass(frozen=True, slots=True)
class Mark:
    """Lines of one lane that fall into one part of the time.

    Attributes:
        at: The part, of BUCKETS.
        worst: Their worst level, or ``event`` where one of them is an event and none is bad.
        words: What the first of the worst says.
        index: Which line that is; -1 where nothing is notable.
    """

    at: int
    lines: int
    worst: str = ""
    words: str = ""
    index: int = -1


@dataclass(frozen=True, slots=True)
class ServiceLane:
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

    lanes: tuple[ServiceLane, ...] = ()
    first_us: int | None = None
    last_us: int | None = None

    @property
    def span_ms(self) -> float:
        """How long it is."""
        return ((self.last_us or 0) - (self.first_us or 0)) / 1000


@dataclass(slots=True)
class _Told:
    """What one service has said so far; of each line eight bytes, and more of a notable one."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    levels: Counter[str] = field(default_factory=Counter)
    notable: list[tuple[int, str, str, int]] = field(default_factory=list)

    def lane(self, name: str, first: int, last: int) -> ServiceLane:
        def part(us: int) -> int:
            return min((us - first) * BUCKETS // max(last - first, 1), BUCKETS - 1)

        worst: dict[int, tuple[str, str, int]] = {}
        for us, kind, words, index in self.notable:
            at = part(us)
            if at not in worst or _RANK[kind] > _RANK[worst[at][0]]:
                worst[at] = kind, words, index
        lines = Counter(map(part, self.times))
        marks = tuple(Mark(at, lines[at], *worst.get(at, ())) for at in sorted(lines))
        levels = self.levels
        return ServiceLane(name, levels.total(), levels["warn"], levels["error"], marks)


class LaneMaker:
    """Takes lines one by one; gives the lanes in the end."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._notable = 0

    def add(self, item: Entry) -> None:
        """Take the line `item`."""
        known = item.service in self._told or len(self._told) < LANES_MAX
        told = self._told.setdefault(item.service if known else OTHERS, _Told())
        told.levels[item.level] += 1
        if item.us is None:
            return
        told.times.append(item.us)
        is_event = item.event and item.event not in FREQUENT
        kind = item.level if item.bad else "event" if is_event else ""
        if kind and self._notable < NOTABLE_MAX:
            self._notable += 1
            words = item.event if kind == "event" and item.event else item.message
            told.notable.append((item.us, kind, words[:120], item.index))

    def lanes(self) -> Lanes:
        """Return the lanes of all lines so far, in the order in which a join passes the services."""
        names = sorted(self._told, key=lambda name: ([*SERVICES, name].index(name), name))
        all_times = [told.times for told in self._told.values() if told.times]
        first = min(map(min, all_times), default=None)
        last = max(map(max, all_times), default=None)
        made = (self._told[name].lane(name, first or 0, last or 0) for name in names)
        return Lanes(tuple(made), first, last)


@dataclass(frozen=True, slots=True)
class Troubles:
    """Warnings and errors, and how many there were.

    Attributes:
        blocks: Neighbouring lines, some of them a warning or an error; those with errors come first.
        left_out: Warnings and errors that are in no block, because there are too many.
    """

    blocks: Sequence[Sequence[Entry]] = ()
    errors: int = 0
    warnings: int = 0
    left_out: int = 0


class TroubleFinder:
    """Takes lines one by one; keeps those near a warning or an error."""

    def __init__(self) -> None:
        self._before: deque[Entry] = deque(maxlen=BEFORE)
        self._blocks: list[list[Entry]] = []
        self._open: list[Entry] | None = None
        self._after = 0
        self._left_out = 0
        self._levels: Counter[str] = Counter()
        self._room = {"error": BLOCKS_MAX, "warn": BLOCKS_MAX // 3}

    def add(self, item: Entry) -> None:
        """Take the line `item`."""
        if item.bad:
            self._levels[item.level] += 1
            self._take(item)
        elif self._open is not None and self._after:
            self._open.append(item)
            self._after -= 1
        else:
            self._open = None
            self._before.append(item)

    def troubles(self) -> Troubles:
        """Return what was found."""
        levels = self._levels
        blocks = sorted(self._blocks, key=is_warning)
        return Troubles(blocks, levels["error"], levels["warn"], self._left_out)

    def _take(self, item: Entry) -> None:
        self._after = AFTER
        if self._open is not None and len(self._open) < BLOCK_LINES_MAX:
            self._open.append(item)
        elif self._room[item.level]:
            self._room[item.level] -= 1
            self._open = [*self._before, item]
            self._before.clear()
            self._blocks.append(self._open)
        else:
            self._open = None
            self._left_out += 1


def is_warning(block: Sequence[Entry]) -> bool:
    """Return whether `block` holds warnings, but no errors."""
    return all(item.level != "error" for item in block)
