"""Lines of the same process around each line of an answer.

The answer is read first, then everything that was said around it. A line with a number is known to be near a hit by
that alone. Of other loggers' lines, which have none, those beside a hit in its stream are taken.
"""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from cordboard.contract.errors import UsageError
from cordboard.contract.record import TIMESTAMP
from cordboard.logs.copies import Item
from cordboard.logs.formats.wrappers import number_of
from cordboard.logs.line import Attribution, Line
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.timespec import shifted

LINES_MAX: Final = 1_000
HITS_MAX: Final = 200_000  # about 50 MB of marks
WINDOW_S: Final = 600.0
"""So far around the first and the last hit their neighbours are looked for."""
_WAITING_MAX: Final = 50_000

_How = tuple[Attribution, str | None]


class _Hits:
    """Where the lines of an answer stand.

    Attributes:
        first: When the first of them was said, as a key.
        last: When the last of them was said.
    """

    def __init__(self) -> None:
        self.first = self.last = b""
        self._how: dict[Any, _How] = {}
        self._numbers: dict[bytes, list[int]] = {}
        self._streams: set[str] = set()

    def add(self, line: Line) -> None:
        """Take one `line` of the answer.

        Raises:
            UsageError: They are too many.
        """
        if len(self._how) >= HITS_MAX:
            raise UsageError(
                f"--context: expected at most {HITS_MAX:,} matching lines.",
                hint="Use narrower filters, a shorter window or --limit.",
            )
        key = str(line.record[TIMESTAMP]).encode()
        self.first = min(self.first or key, key)
        self.last = max(self.last, key)
        numbered = number_of(line.raw)
        if numbered is None:
            self._streams.add(line.source)
        else:
            insort(self._numbers.setdefault(numbered[0], []), numbered[1])
        self._how[numbered or (line.source, line.raw)] = line.attribution, line.inferred_from

    def how(self, mark: Any) -> _How | None:
        """Return how the session of a hit is known; None for a line that is none."""
        return self._how.get(mark)

    def is_near(self, numbered: tuple[bytes, int], lines: int) -> bool:
        """Say whether a line is at most so many lines of its process away from a hit."""
        boot, seq = numbered
        found = self._numbers.get(boot, ())
        at = bisect_left(found, seq - lines)
        return at < len(found) and found[at] <= seq + lines

    def is_in(self, stream: str) -> bool:
        """Say whether a stream has a hit without a number."""
        return stream in self._streams


def with_context(
    reader: Reader, open_reader: Callable[[Query], Reader], lines: int
) -> Iterator[Line]:
    """Yield the lines of a reader with their neighbours, in time order, each once.

    Args:
        reader: Gives the answer; it is read to its end.
        open_reader: Opens the same sources for another query.
        lines: How many neighbours before and after each.
    """
    hits = _Hits()
    for line in reader.lines():
        hits.add(line)
    if not hits.first:
        return
    wider = open_reader(
        Query(
            since=shifted(hits.first, -WINDOW_S).decode(),
            until=shifted(hits.last, WINDOW_S).decode(),
            exact=reader.query.exact,
        )
    )
    try:
        yield from _Neighbours(hits, wider, lines).lines()
    finally:
        wider.close()


class _Waiting:
    """A line that may turn out to be a neighbour of one that comes later."""

    __slots__ = ("item", "wanted")

    def __init__(self, item: Item, *, wanted: bool | None) -> None:
        self.item = item
        self.wanted = wanted


class _Neighbours:
    """Picks what is wanted out of all lines around.

    Args:
        hits: Where the hits are.
        reader: Gives all lines.
        lines: How many neighbours are wanted.
    """

    def __init__(self, hits: _Hits, reader: Reader, lines: int) -> None:
        self._hits = hits
        self._reader = reader
        self._lines = lines
        self._queue: deque[_Waiting] = deque()
        self._before: dict[str, deque[_Waiting]] = defaultdict(deque)
        self._after: dict[str, int] = defaultdict(int)

    def lines(self) -> Iterator[Line]:
        """Yield the hits and their neighbours."""
        for items in self._reader.items():
            for item in items:
                self._take(item)
            yield from self._ready()
        for held in self._queue:
            held.wanted = held.wanted is True
        yield from self._ready()

    def _take(self, item: Item) -> None:
        numbered = number_of(item[1])
        if numbered is not None:
            if self._hits.how(numbered) or self._hits.is_near(numbered, self._lines):
                self._queue.append(_Waiting(item, wanted=True))
            return
        stream = self._reader.tracks[item[2]].name
        if not self._hits.is_in(stream):
            return
        held = _Waiting(item, wanted=None)
        if self._hits.how((stream, item[1])):
            held.wanted = True
            for before in self._before.pop(stream, ()):
                before.wanted = True
            self._after[stream] = self._lines
        elif self._after[stream] > 0:
            self._after[stream] -= 1
            held.wanted = True
        else:
            self._wait(held, stream)
        self._queue.append(held)

    def _wait(self, held: _Waiting, stream: str) -> None:
        waiting = self._before[stream]
        waiting.append(held)
        if len(waiting) > self._lines:
            waiting.popleft().wanted = False

    def _ready(self) -> Iterator[Line]:
        """Yield what is known to be wanted, up to the first line of which that is open."""
        queue = self._queue
        while queue and (queue[0].wanted is not None or len(queue) > _WAITING_MAX):
            held = queue.popleft()
            if held.wanted:
                yield self._line(held.item)

    def _line(self, item: Item) -> Line:
        line = self._reader.line_of(item)
        how = self._hits.how(number_of(item[1]) or (line.source, item[1]))
        if how is None:
            return line._replace(context=True)
        return line._replace(attribution=how[0], inferred_from=how[1])
