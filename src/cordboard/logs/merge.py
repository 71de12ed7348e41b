"""Many streams become one in time order, each line once, in bounded memory.

Streams are read in batches. What lies before the watermark, the time up to which all of them have
been read, is sorted as a whole and given out: faster than a heap of iterators, and right where a
stream is a little out of order. A line that comes later than its stream's slack is counted as late.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

from cordboard.logs import survey
from cordboard.logs.copies import Counting, Item, is_rounded, once
from cordboard.logs.entries import OTHER, Lines, Listed, Origin, Places, disorder_s, in_order
from cordboard.logs.parallel import spread
from cordboard.logs.scan import Batch
from cordboard.logs.timespec import HIGHEST, LOWEST, seconds, shifted

SLACK_S: Final = 1.0  # threads write their lines in another order than they time them
HELD_MAX_BYTES: Final = 32 << 20  # of one lane: what it may hold for the sake of order
_MANY_ENTRIES: Final = 50_000  # so many entries may be too much; fewer are only if one is long
_LONG_BYTES: Final = 256 << 10  # an entry of this size: the sum of what is held is looked at
_SIDE_BY_SIDE: Final = 8  # so many lanes are read at once, though one alone holds the others back

_key = itemgetter(0)
_low = attrgetter("low")
_number = attrgetter("number")


class Whole(NamedTuple):
    """Lines of ours of which summaries have told, and items that stand between them; none is a copy.

    Attributes:
        data: The lines, which nobody need look at singly.
        between: The items, each with the place in the data before which it stands.
    """

    data: bytes
    between: Sequence[tuple[int, Item]]


Found = list[Item] | Whole
"""What is given out at once: items to be looked at singly, or lines that need not be."""


class Part:
    """Entries of one lane in the order of time.

    Args:
        lines: The entries.
        number: Their lane.
        told: A summary has told already of those that are plainly ours.
        distinct: None is a copy of another.

    Attributes:
        taken: How many of them have been given out.
    """

    __slots__ = ("distinct", "lines", "number", "taken", "told")

    def __init__(self, lines: Lines, number: int, *, told: bool, distinct: bool) -> None:
        self.lines = lines
        self.number = number
        self.told = told
        self.distinct = distinct
        self.taken = 0

    def items(self) -> Iterator[Item]:
        """Yield them singly."""
        lines = self.lines
        told: Iterable[bool] = repeat(False)
        if self.told:
            told = [not kind & OTHER for kind in lines.kinds]
        return zip(lines.keys, lines.raws, repeat(self.number), told, strict=False)

    def until(self, end: int) -> "Part":
        """Return the entries that have not been taken, up to the place `end`, and mark them as taken."""
        begin, self.taken = self.taken, end
        if begin == 0 and end == len(self.lines):
            return self
        return Part(
            self.lines.part(begin, end), self.number, told=self.told, distinct=self.distinct
        )


class Lane:
    """One stream on its way into the merge.

    Args:
        number: Its place among equals.
        batches: Its batches.
        slack_s: How far it may be out of order; it grows with what is seen. None: however far, as
            nothing is given out before all of it is read.
        begins: No entry of it is earlier; until then it need not be read.

    Attributes:
        number: As above.
        low: No entry that comes is earlier.
        ended: Nothing more comes.
        newest: The time of the newest entry that is held.
        full: Whether it holds too much for memory.
    """

    def __init__(
        self,
        number: int,
        batches: Iterable[Batch],
        slack_s: float | None = SLACK_S,
        *,
        begins: bytes = LOWEST,
    ) -> None:
        self.number = number
        self.ended = False
        self.low = begins
        self.newest = LOWEST
        self._parts: list[Part] = []
        self._fetched: Batch | None = None
        self.full = False
        self._begun = False
        self._read_to = LOWEST
        self._batches = iter(batches)
        self._slack_s = slack_s

    def fetch(self) -> None:
        """Read the next batch, perhaps in a thread of its own, for `load`."""
        self._fetched = next(self._batches, None)

    def load(self, counting: Counting, *, whole: bool) -> None:
        """Take what `fetch` has read.

        Args:
            counting: Is told of the batch.
            whole: Whether the batch is counted as a whole where that is possible.
        """
        self._begun = True
        batch, self._fetched = self._fetched, None
        if batch is None:
            self.ended = True
            self.low = HIGHEST
            return
        if self._slack_s is not None and batch.read_to is not None:
            self._slack_s = max(self._slack_s, 2 * self._disorder_s(batch))
            self._read_to = max(self._read_to, batch.read_to)
            self.low = max(self.low, shifted(batch.read_to, -self._slack_s))
        if not len(batch.lines):
            return
        part = self._part(batch, told=whole and counting.told(batch, self.number))
        self._parts.append(part)
        self.newest = max(self.newest, part.lines.last)
        held = sum(len(part.lines) for part in self._parts)
        if held > _MANY_ENTRIES or batch.lines.longest > _LONG_BYTES:
            self._limit()

    def _part(self, batch: Batch, *, told: bool) -> Part:
        lines = batch.lines
        if isinstance(lines, Listed) and not (batch.ordered or in_order(lines.keys)):
            lines = lines.sorted()
        return Part(lines, self.number, told=told, distinct=batch.distinct)

    def _limit(self) -> None:
        """Give out what is held where it is too much for memory; what is earlier then comes late."""
        held = sum(part.lines.part(part.taken, len(part.lines)).nbytes for part in self._parts)
        self.full = held > HELD_MAX_BYTES
        if self.full:
            self.low = max(self.low, self.newest)

    def _disorder_s(self, batch: Batch) -> float:
        """Return how far a batch is out of order: the first one in itself, others to those before."""
        if not len(batch.lines) or self._read_to == LOWEST:
            return batch.disorder_s if batch.ordered else disorder_s(batch.lines.keys)
        least = batch.span()[0]
        return seconds(self._read_to) - seconds(least) if least < self._read_to else 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing is there that has been read and not been taken."""
        return not self._parts

    def is_due(self, newest: bytes | None) -> bool:
        """Say whether it is empty, though it may have something as early as others have.

        Args:
            newest: The time of the newest entry that others hold; None where they hold none.
        """
        return self.empty and (self._begun if newest is None else self.low <= newest)

    def take(self, before: bytes) -> list[Part]:
        """Return, and forget, the entries that are earlier than the key `before`."""
        # Where too much is held, `low` is the newest of it, which has to go, too.
        full, self.full = self.full, False
        taken = []
        for part in self._parts:
            find = part.lines.until if full else part.lines.before
            end = find(before, part.taken)
            if end > part.taken:
                taken.append(part.until(end))
        if taken:
            self._parts = [part for part in self._parts if part.taken < len(part.lines)]
            if not self._parts:
                self.newest = LOWEST
        return taken


def merged(
    lanes: Sequence[Lane],
    counting: Counting,
    *,
    whole: bool = False,
    hands: int = 1,
    origins: Sequence[Origin] = (),
) -> Iterator[Found]:
    """Yield all entries in the order (time, lane, place in it), each once: in lists, or as a `Whole`.

    Args:
        lanes: The streams.
        counting: Is told of what is left out, and of whole batches.
        whole: Batches need not be looked at singly where they can be counted as they are.
        hands: How many threads read the lanes.
        origins: Whose lines each lane has; empty where any may be a copy of any other.
    """
    given = LOWEST
    asleep = sorted(lanes, key=_low, reverse=True)
    live: list[Lane] = []
    while live := _woken([lane for lane in live if not (lane.ended and lane.empty)], asleep):
        hungry = _hungry(live)
        spread(Lane.fetch, hungry, hands)
        for lane in hungry:
            lane.load(counting, whole=whole)
        low = min(map(_low, [*live, *asleep[-1:]]))
        if not any(lane.full for lane in live):  # one that is gives out all that it holds
            low = _same_moment(low)
        parts = [part for lane in live if not lane.empty for part in lane.take(low)]
        if not parts:
            continue
        if min(part.lines.first for part in parts) < given:
            counting.counts["late"] += sum(part.lines.before(given) for part in parts)
        given = max(given, low)
        yield _pooled(parts, counting, origins)


def _same_moment(low: bytes) -> bytes:
    """Return the beginning of a time's millisecond: copies whose times were rounded are looked at together."""
    return low if low == HIGHEST else low[:-4] + b"000Z"


def _has_rounded(lines: Lines) -> bool:
    return isinstance(lines, Places) and any(map(is_rounded, lines.others))


def _pooled(parts: Sequence[Part], counting: Counting, origins: Sequence[Origin]) -> Found:
    if all(part.distinct and part.told and not _has_rounded(part.lines) for part in parts):
        found = survey.merged([(part.number, part.lines) for part in parts])
        if found is not None:
            between = [(at, (key, raw, n, False)) for at, n, (_, key, raw) in found.others]
            return Whole(found.data, between)
    items = list(chain.from_iterable(map(Part.items, parts)))
    if len(parts) > 1:
        items.sort(key=_key)
    return once(items, counting, origins)


def _woken(live: list[Lane], asleep: list[Lane]) -> list[Lane]:
    """Return those that have begun, and those whose time has come: of thousands few at once."""
    if not asleep:
        return live
    waiting = [lane.low for lane in live if not lane.ended]
    low = min([*waiting, asleep[-1].low])
    soon = max([lane.newest for lane in live if not lane.empty] + [low])
    woken: list[Lane] = []
    while asleep and (
        asleep[-1].low <= low
        or (asleep[-1].low <= soon and len(waiting) + len(woken) < _SIDE_BY_SIDE)
    ):
        woken.append(asleep.pop())
    return sorted([*live, *woken], key=_number) if woken else live


def _hungry(lanes: Sequence[Lane]) -> list[Lane]:
    """Return those that hold the watermark back, and those that will before what is there is out.

    Of many lanes the first quarter is read at once: fewer and longer lists are sorted then.
    """
    waiting = [lane for lane in lanes if not lane.ended]
    lows = sorted(map(_low, waiting))
    low = lows[len(lows) // 4] if lows else HIGHEST
    newest = max((lane.newest for lane in lanes if not lane.empty), default=None)
    return [lane for lane in waiting if lane.low <= low or lane.is_due(newest)]
