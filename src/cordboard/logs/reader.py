"""A query over sources becomes lines in time order, each once, and a coverage.

A query for a session takes two steps. The first searches everything for the id, and learns from the
session's own lines when it was and who spoke (its trail). The second reads, of that time alone, what
belongs to it without naming it, and the numbers of all lines of those processes, so that a lost line
shows even though nobody can say what was in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.attribution import Trail, attribution
from cordboard.logs.coverage import Coverage
from cordboard.logs.entries import Entry
from cordboard.logs.follow import Follower
from cordboard.logs.formats import Formats
from cordboard.logs.line import Line
from cordboard.logs.merge import Item, Lane, mark_of, merged
from cordboard.logs.parallel import spread
from cordboard.logs.prefilter import Prefilter, prefilter
from cordboard.logs.query import Query, wants
from cordboard.logs.records import record_of
from cordboard.logs.scan import Batch, Scan
from cordboard.logs.skew import corrections
from cordboard.logs.sources import Source
from cordboard.logs.sources.directory import Directory
from cordboard.logs.tally import Tally
from cordboard.logs.tape import BLOCK_BYTES
from cordboard.logs.times import shifted
from cordboard.logs.track import Track
from cordboard.logs.tracks import Progress, Tracks

_ID_BEFORE: Final = rb"(?<![A-Za-z0-9_~@-])"
_ID_AFTER: Final = rb"(?![A-Za-z0-9_~@-])"  # a longer id is another one
_MARGIN_S: Final = 2.0  # how far around its own lines a session's other lines are looked for
_IN_FLIGHT_BYTES: Final = 48 << 20  # what all tracks together may hold in memory
_QUICK_FROM_BYTES: Final = 256 << 20
_BLOCK_LEAST_BYTES: Final = 64 << 10


@dataclass(slots=True)
class Reader:
    """Reads one query, once.

    Attributes:
        query: What is asked for.
        sources: Where.
        formats: How foreign lines are read.
        progress: Is told of bytes that were read.
        limit: No more lines than this; the coverage says so when it was reached.
        block_bytes: How much of a stream is read at once; by default as memory allows.
    """

    query: Query
    sources: Sequence[Source | Directory]
    formats: Formats = field(default_factory=Formats)
    progress: Progress = lambda _: None
    limit: int | None = None
    block_bytes: int | None = None
    tally: Tally = field(default_factory=Tally)
    trail: Trail | None = None
    _tracks: Tracks | None = None

    @property
    def tracks(self) -> list[Track]:
        """The streams that are open."""
        return self._tracks.found if self._tracks else []

    def lines(self) -> Iterator[Line]:
        """Yield what is wanted, in time order.

        Raises:
            CordboardError: Nothing at all can be read.
        """
        left = self.limit
        for items in self.items():
            for key, raw, number in items:
                line = self._line(key, raw, self.tracks[number])
                if line is None:
                    continue
                if left == 0:
                    self.tally.limit = self.limit
                    return
                left = left and left - 1
                self.tally.note(line, number)
                yield line

    def items(self) -> Iterator[list[Item]]:
        """Yield what may be wanted as it was found: key, bytes, number of its track.

        Following, a list may be empty: then nothing has come, and what was given can be shown.
        """
        self._tracks = Tracks(self.query, self.sources, self.formats, self.progress)
        self._tracks.open()
        if self.query.session is not None:
            self.trail = Trail(self.query.session)
        if not self.query.follow:
            yield from self._what_is_there()
            return
        live = Follower(self._tracks, self._learn)
        if self.query.since is not None:
            yield from self._what_is_there(live.lanes())
        yield from live.items()

    def _what_is_there(self, others: Sequence[Lane] = ()) -> Iterator[list[Item]]:
        lanes = self._window_lanes() if self.trail is None else self._session_lanes(self.trail)
        yield from merged([*lanes, *others], self.tally.counts)

    def _learn(self, entry: Entry, track: Track) -> None:
        """Take note of an entry that has just come."""
        if self.trail is not None and self.trail.session.encode() in entry.raw:
            self.trail.note(record_of(entry.raw, entry.key, track.service, self.formats))
        track.ledger.note(entry.raw + b"\n", own=False)

    def coverage(self) -> Coverage:
        """Say what answered, what is missing, and why; asked when all lines have been read."""
        assert self._tracks is not None  # noqa: S101 - lines() has opened them
        return self.tally.coverage(self.query, self._tracks, self.trail)

    def close(self) -> None:
        """Close everything."""
        if self._tracks is not None:
            self._tracks.close()
        else:
            for source in self.sources:
                source.close()

    # --- a window

    def _window_lanes(self) -> list[Lane]:
        wanted = prefilter(self.query)
        quick = sum(track.size for track in self.tracks) > _QUICK_FROM_BYTES
        for track in self.tracks:
            track.ledger.quick = quick
        return [
            Lane(number, self._scan(track, wanted, watch=True).batches())
            for number, track in enumerate(self.tracks)
        ]

    def _scan(self, track: Track, wanted: Prefilter, *, watch: bool = False) -> Scan:
        def look(data: bytes, own: bool) -> None:
            track.ledger.note(data, own=own)

        return Scan(
            track,
            wanted,
            self.query.first,
            self.query.end,
            exact=self.query.exact,
            size=self._size(),
            watch=look if watch else None,
            progress=self.progress,
        )

    def _size(self) -> int:
        if self.block_bytes is not None:
            return self.block_bytes
        share = _IN_FLIGHT_BYTES // (4 * max(1, len(self.tracks)))
        return max(_BLOCK_LEAST_BYTES, min(BLOCK_BYTES, share))

    # --- a session

    def _session_lanes(self, trail: Trail) -> list[Lane]:
        own = spread(self._mentions, self.tracks)
        for track, entries in zip(self.tracks, own, strict=True):
            for entry in entries:
                trail.note(record_of(entry.raw, entry.key, track.service, self.formats))
        around = (
            spread(self._around, self.tracks) if trail.boots or trail.traces else [[]] * len(own)
        )
        fixed = corrections(trail.steps) if self.query.fix_skew else {}
        return [
            Lane(number, [_one_batch([*ours, *others], fixed)])
            for number, (ours, others) in enumerate(zip(own, around, strict=True))
        ]

    def _mentions(self, track: Track) -> list[Entry]:
        """Return all entries of a track in which the session's id occurs."""
        session = str(self.query.session).encode()
        scan = self._scan(track, Prefilter(anywhere=((session,),)))
        whole = re.compile(_ID_BEFORE + re.escape(session) + _ID_AFTER)
        return [entry for entry in scan.entries() if whole.search(entry.raw)]

    def _around(self, track: Track) -> list[Entry]:
        """Return what belongs to the session by its process or trace; note its processes' numbers."""
        trail = self.trail
        assert trail is not None  # noqa: S101 - a session is asked for
        boots = [boot.encode() for boot in trail.boots]
        term = tuple(text.encode() for text in (*trail.alone, *trail.traces))

        def look(data: bytes, own: bool) -> None:  # noqa: ARG001 - what a watch is shown
            track.ledger.note_boots(data, boots)

        scan = Scan(
            track,
            Prefilter(anywhere=(term,) if term else ()),
            max(self.query.first, shifted(trail.first, -_MARGIN_S)),
            min(self.query.end, shifted(trail.last, _MARGIN_S)),
            watch=look,
            progress=self.progress,
        )
        if not term:
            for block in scan.blocks():
                look(block.data, own=False)
            return []
        session = trail.session.encode()
        return [entry for entry in scan.entries() if session not in entry.raw]

    # --- lines

    def _line(self, key: bytes, raw: bytes, track: Track) -> Line | None:
        record = record_of(raw, key, track.service, self.formats, track.counts)
        if not wants(self.query, record):
            return None
        if self.query.fix_skew:
            record[TIMESTAMP] = key.decode()
        if self.trail is None:
            return Line(record, raw, track.name, attribution(record))
        found = self.trail.attribute(record, track.name)
        if found is not None:
            return Line(record, raw, track.name, *found)
        self.tally.mentions += 1
        return Line(record, raw, track.name, "absent") if self.query.mentions else None


def _one_batch(entries: list[Entry], fixed: Mapping[str, float]) -> Batch:
    entries.sort(key=lambda entry: entry.offset)
    if fixed:
        entries = [
            entry._replace(key=shifted(entry.key, by))
            if (by := fixed.get(_boot(entry.raw)))
            else entry
            for entry in entries
        ]
    return Batch([e.key for e in entries], [e.raw for e in entries], own=False, read_to=None)


def _boot(raw: bytes) -> str:
    mark = mark_of(raw)
    return mark[9:17].decode() if mark is not raw else ""
