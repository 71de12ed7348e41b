"""A query over sources becomes lines in time order, each once, and a coverage."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Final, Literal

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.blocks import BLOCK_BYTES
from cordboard.logs.copies import Item, origins_of
from cordboard.logs.coverage import Coverage
from cordboard.logs.filters import Prefilter, prefilter
from cordboard.logs.formats import Formats
from cordboard.logs.formats.codec import escaped
from cordboard.logs.line import Line, json_line, raw_line
from cordboard.logs.merge import SLACK_S, Found, Lane, Whole, merged
from cordboard.logs.parallel import HANDS
from cordboard.logs.query import Query, filters, wants
from cordboard.logs.scan import Scan
from cordboard.logs.search import Search, mention_of
from cordboard.logs.session import SessionFacts, attribution
from cordboard.logs.sources import Source
from cordboard.logs.statistics import Statistics
from cordboard.logs.stream import Track
from cordboard.logs.survey import peek
from cordboard.logs.timespec import HIGHEST, LOWEST, shifted
from cordboard.logs.tracks import Progress, Tracks

_IN_FLIGHT_BYTES: Final = 48 << 20  # what all tracks together may hold in memory
_SORTED_WHOLE_BYTES: Final = 8 << 20  # so little is sorted as a whole, whatever its order
_KEPT_FREE_BYTES: Final = 24 << 20
_ALONE_UP_TO_BYTES: Final = 24 << 20  # a second thread takes as long to start as to read less
_MANY_TRACKS: Final = 48  # tracks, from which on it pays to know which are read side by side
_HEAD_SLACK_S: Final = 10.0  # by so much lines of a file may be earlier than its first one
_BYTES_ALONE: Final = 1  # how often a block is in memory, where it is searched but not split
_LINES_TOO: Final = 4
_BLOCK_LEAST_BYTES: Final = 64 << 10


Form = Literal["raw", "json"]


class Reader:
    """Reads one query, once.

    Args:
        query: What is asked for.
        sources: Where.
        formats: How foreign lines are read.
        progress: Is told of bytes that were read.
        warn: Is told, following, what will perhaps never come, and which streams bring no lines any more.
        limit: No more lines than this; the coverage says so when it was reached.
        notes: What the coverage should say beside.
        command: Gives the command that shows all of a session, told where a window hides some of it.
        block_bytes: How much of a stream is read at once; by default as memory allows.

    Attributes:
        statistics: Counts what is returned.
        facts: What a wanted session's own lines told.
    """

    def __init__(
        self,
        query: Query,
        sources: Sequence[Source],
        formats: Formats | None = None,
        *,
        progress: Progress = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
        limit: int | None = None,
        notes: Sequence[str] = (),
        command: Callable[[], str] = lambda: "cordboard logs --session ID",
        block_bytes: int | None = None,
    ) -> None:
        self.query = query
        self.sources = sources
        self.formats = formats or Formats()
        self.statistics = Statistics(notes, command)
        self.facts = None if query.session is None else SessionFacts(query.session)
        self._progress = progress
        self._warn = warn
        self._limit = limit
        self._block_bytes = block_bytes
        self._tracks = Tracks(query, sources, self.formats, progress)

    @property
    def tracks(self) -> list[Track]:
        """The streams that are open."""
        return self._tracks.found

    def lines(self) -> Iterator[Line]:
        """Yield what is wanted, in time order.

        Raises:
            CordboardError: Nothing at all can be read.
        """
        left = self._limit
        for items in self.items():
            for number, line in self._wanted(items):
                if left == 0:
                    self.statistics.limit = self._limit
                    return
                left = left and left - 1
                self.statistics.note(line, number)
                yield line
                if left == 0 and self.query.follow:
                    self.statistics.limit = self._limit
                    return

    def arrivals(self) -> Iterator[list[Line]]:
        """Yield what is wanted as it comes, in lists; an empty one if nothing has come for a moment.

        Raises:
            CordboardError: Nothing at all can be read.
        """
        for items in self.items():
            came: list[Line] = []
            for number, line in self._wanted(items):
                self.statistics.note(line, number)
                came.append(line)
            yield came

    def _wanted(self, items: Sequence[Item]) -> Iterator[tuple[int, Line]]:
        """Yield the lines that the query wants, each with the number of its track."""
        for key, raw, number, _ in items:
            if (line := self._line(key, raw, self.tracks[number])) is not None:
                yield number, line

    def encoded(self, form: Form) -> Iterator[bytes]:
        """Yield the same as bytes with newlines, in pieces of one or more lines.

        Args:
            form: ``raw``: as they were found; ``json``: one record a line.
        """
        if form == "raw":
            render: Callable[[Line], bytes] = raw_line
        else:
            render = json_line
        if self._limit is None and not filters(self.query):
            as_it_is = escaped if form == "json" else bytes
            for found in self._found(whole=True):
                yield from self._passed(found, render, as_it_is)
        else:
            yield from map(render, self.lines())

    def _passed(
        self, found: Found, render: Callable[[Line], bytes], as_it_is: Callable[[bytes], bytes]
    ) -> Iterator[bytes]:
        """Yield what every line of a window is handed on as; few of them need decoding."""

        def singly(item: Item) -> bytes:
            key, raw, number, _ = item
            if (seen := peek(raw)) is not None:
                self.statistics.note_peek(seen, key, number)
                return as_it_is(raw) + b"\n"
            if (line := self._line(key, raw, self.tracks[number])) is None:
                return b""
            self.statistics.note(line, number)
            return render(line)

        if isinstance(found, Whole):
            done = 0
            for at, item in found.between:
                yield as_it_is(found.data[done:at])
                yield singly(item)
                done = at
            yield as_it_is(found.data[done:])
            return
        for told, group in groupby(found, itemgetter(3)):
            if told:
                yield as_it_is(b"\n".join([*(raw for _, raw, _, _ in group), b""]))
            else:
                yield from map(singly, group)

    def items(self) -> Iterator[list[Item]]:
        """Yield what may be wanted as it was found, in the order of time.

        Following, a list may be empty: then nothing has come, and what was given can be shown.

        Raises:
            CordboardError: Nothing at all can be read.
        """
        for found in self._found(whole=False):
            if not isinstance(found, Whole):  # it never is
                yield found

    def _found(self, *, whole: bool) -> Iterator[Found]:
        """Yield the same; with `whole`, lines that need not be looked at singly as a `Whole`, counted already."""
        self._tracks.open()
        if not self.query.follow:
            yield from self._what_is_there(whole=whole)
            return
        from cordboard.logs.follow import Follower

        live = Follower(self._tracks, self.facts, self._warn)
        if self.query.services:
            from cordboard.logs.unheard import unheard_so_far

            for words in unheard_so_far(self.query, self.tracks):
                self._warn(words)
        if self.query.since is not None:
            yield from self._what_is_there(live.lanes(), whole=whole)
        yield from live.items()

    def _what_is_there(self, others: Sequence[Lane] = (), *, whole: bool) -> Iterator[Found]:
        if self.query.until is not None and not (self.query.exact or self.query.follow):
            from cordboard.logs.late import find_late

            find_late(self.tracks, self.query.first, self.query.end)
        if self.facts is None:
            lanes = self._window_lanes()
        else:
            lanes = Search(self.query, self.facts, self.tracks, self._progress).lanes()
        # Whole blocks are worth a thread, not the short pieces in which lines are handed on.
        is_large = sum(map(self._window_bytes, self.tracks)) > _ALONE_UP_TO_BYTES
        hands = HANDS if is_large and any(prefilter(self.query)) else 1
        yield from merged(
            [*lanes, *others],
            self.statistics,
            whole=whole,
            hands=hands,
            origins=origins_of(self.tracks),
        )

    def coverage(self) -> Coverage:
        """Say what answered, what is missing, and why; asked when all lines have been read."""
        if self.facts is not None:
            self.facts.settle()
        return self.statistics.coverage(self.query, self._tracks, self.facts)

    def close(self) -> None:
        """Close everything."""
        self._tracks.close()

    # --- a window

    def _window_lanes(self) -> list[Lane]:
        _have_freed_memory_kept()
        wanted = prefilter(self.query)
        total = sum(track.size for track in self.tracks)
        begins = self._begins(total)
        ends = [track.modified for track in self.tracks]
        by_bytes = wanted.anywhere or wanted.uncolored
        size = _share(
            side_by_side(list(zip(begins, ends, strict=True))),
            _BYTES_ALONE if by_bytes else _LINES_TOO,
        )
        return [
            Lane(
                number,
                self._scan(track, wanted, size).batches(),
                self._slack_s(track, total),
                begins=begins[number],
            )
            for number, track in enumerate(self.tracks)
        ]

    def _slack_s(self, track: Track, total: int) -> float | None:
        """Return how far a track may be out of order; None where all is sorted as a whole."""
        if total <= _SORTED_WHOLE_BYTES:
            return None
        if self.query.exact:
            return Scan(track, Prefilter(), LOWEST, HIGHEST).whole_disorder_s()
        if track.is_late:
            part = track.span(self.query.first, self.query.end)
            return Scan(track, Prefilter(), LOWEST, HIGHEST, part=part).whole_disorder_s()
        return SLACK_S

    def _window_bytes(self, track: Track) -> int:
        if self.query.exact:
            return track.size
        return track.window_bytes(self.query.first, self.query.end)

    def _begins(self, total: int) -> list[bytes]:
        """Return the earliest time of each track: of many, most are read one after the other.

        Where all is sorted as a whole, a track may be in any order, and nobody goes by its head; nor by
        that of one that is out of order, unless so many are that memory could not hold them side by side.
        """
        few = len(self.tracks) <= _MANY_TRACKS or total <= _SORTED_WHOLE_BYTES
        if few or self.query.exact:
            return [LOWEST] * len(self.tracks)
        heads = [track.head() for track in self.tracks]
        begins = [shifted(head.key, -_HEAD_SLACK_S) if head else LOWEST for head in heads]
        astray = [
            number
            for number, track in enumerate(self.tracks)
            if self._window_bytes(track) > 0 and track.is_astray(_HEAD_SLACK_S)
        ]
        for number in astray if len(astray) <= _MANY_TRACKS else ():
            begins[number] = LOWEST
        return begins

    def _scan(self, track: Track, wanted: Prefilter, size: int) -> Scan:
        return Scan(
            track,
            wanted,
            self.query.first,
            self.query.end,
            exact=self.query.exact,
            size=self._block_bytes or size,
            watch=track.sequence_index.note,
            progress=self._progress,
        )

    # --- lines

    def line_of(self, item: Item) -> Line:
        """Return `item` of `items` as a line, whatever the query's filters."""
        key, raw, number, _ = item
        track = self.tracks[number]
        record = track.record_of(raw, key, track.counts)
        return Line(record, raw, track.name, attribution(record))

    def _line(self, key: bytes, raw: bytes, track: Track) -> Line | None:
        record = track.record_of(raw, key, track.counts)
        if not wants(self.query, record):
            return None
        if self.query.fix_skew:
            record[TIMESTAMP] = key.decode()
        if self.facts is None:
            return Line(record, raw, track.name, attribution(record))
        found = self.facts.attribute(record, track.name)
        if found is not None:
            return Line(record, raw, track.name, *found)
        if not mention_of(self.facts.session).search(raw):
            return None
        self.statistics.mentions += 1
        return Line(record, raw, track.name, "absent") if self.query.mentions else None


def _have_freed_memory_kept() -> None:
    """Have glibc keep freed memory, instead of giving it back and asking for it with each block.

    To free as much at once raises its threshold (mallopt(3), M_MMAP_THRESHOLD): a tenth of a large
    window's time. The bytes are never touched, so that they cost nothing.
    """
    bytes(_KEPT_FREE_BYTES)


def _share(tracks: int, times: int) -> int:
    """Return how much of each of so many tracks is read at once, where it is held several times."""
    return max(_BLOCK_LEAST_BYTES, min(BLOCK_BYTES, _IN_FLIGHT_BYTES // (times * max(1, tracks))))


def side_by_side(spans: Sequence[tuple[bytes, bytes]]) -> int:
    """Return how many of `spans`, each a first and a last key, lie over one moment, at most."""
    edges = sorted([(begin, 1) for begin, _ in spans] + [(max(span), -1) for span in spans])
    return max(accumulate(step for _, step in edges), default=0)
