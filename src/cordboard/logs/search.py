"""All that belongs to a session, in two steps.

The first searches everything for its id, and learns from the session's own lines when it was and who
spoke (its facts). The second reads, of that time alone, what belongs to it without naming it, and the
numbers of all lines of those processes, so that a lost line shows even though nobody can say what was
in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from cordboard.logs.blocks import Block
from cordboard.logs.entries import Listed
from cordboard.logs.filters import Prefilter, Term
from cordboard.logs.formats.continuation import Entry
from cordboard.logs.formats.names import COLOUR, names_another
from cordboard.logs.merge import SLACK_S, Lane
from cordboard.logs.parallel import HANDS, spread
from cordboard.logs.query import Query
from cordboard.logs.scan import Batch, Scan
from cordboard.logs.session import SessionFacts
from cordboard.logs.skew import corrections
from cordboard.logs.stream import Range, Track
from cordboard.logs.timespec import shifted
from cordboard.logs.timestamps import own_number
from cordboard.logs.tracks import Progress

_KEPT_MAX_BYTES: Final = 64 << 20  # of entries; what is more than that is read twice
_ENTRY_BYTES: Final = 250  # of memory that an entry takes besides its bytes, as measured
_NOTED_AT_ONCE: Final = 1000  # entries that are looked at together before they are let go
_ALONE_UP_TO_BYTES: Final = 16 << 20  # a second thread takes as long to start as to search that
_MARGIN_S: Final = 2.0  # how far around its own lines a session's other lines are looked for
# A file may hold what several wrote, and a store's stream holds what was asked for.
_OF_ONE_ORIGIN: Final = frozenset({"container", "command", "job"})
_OF_ONE_PROCESS: Final = frozenset({"runner", "bot"})


def mention_of(session: str) -> re.Pattern[bytes]:
    """Return what finds the id `session` in bytes, but not a longer id that contains it."""
    # A terminal's colour and an escape of JSON end with letters that are none of the id.
    before = rb"(?:(?<![A-Za-z0-9_~@-])|" + COLOUR + rb"|\\[bfnrt])"
    return re.compile(before + re.escape(session).encode() + rb"(?![A-Za-z0-9_~@-])")


class Search:
    """Finds the lines of one session.

    Args:
        query: What is asked for.
        facts: Of the session; filled in the first step.
        tracks: Where to look.
        progress: Is told of bytes that were read.
    """

    def __init__(
        self, query: Query, facts: SessionFacts, tracks: Sequence[Track], progress: Progress
    ) -> None:
        self._query = query
        self._facts = facts
        self._tracks = tracks
        self._progress = progress
        self._mention = mention_of(facts.session)
        self._kept = 0
        # Of the others, which may be hundreds of older files, nothing is in the window.
        self._busy = [
            track
            for track in tracks
            if query.exact or track.window_bytes(query.first, query.end) > 0
        ]

    def lanes(self) -> list[Lane]:
        """Return the entries of each track that belong to the session, or mention it."""
        own = self.learn()
        around: list[list[Entry]] = [[] for _ in own]
        if self._facts.boots or self._facts.traces:
            around = self._around()
        fixed = corrections(self._facts.steps) if self._query.fix_skew else {}
        if self._kept > _KEPT_MAX_BYTES:
            slack_s = SLACK_S + max(map(abs, fixed.values()), default=0.0)
            return [
                Lane(number, self._again(track, fixed), slack_s)
                for number, track in enumerate(self._tracks)
            ]
        return [
            Lane(number, [Batch(_corrected(_in_place(ours, others), fixed))])
            for number, (ours, others) in enumerate(zip(own, around, strict=True))
            if ours or others
        ]

    # --- the first step

    def learn(self) -> list[list[Entry]]:
        """Return the entries of each track in which the id occurs; the facts then knows the session's own."""
        parts = [(track, part) for track in self._busy for part in self._parts(track)]
        size = sum(track.window_bytes(self._query.first, self._query.end) for track in self._busy)
        told = spread(self._mentions, parts, HANDS if size > _ALONE_UP_TO_BYTES else 1)
        found: dict[Track, list[Entry]] = {track: [] for track in self._tracks}
        for (track, part), entries in zip(parts, told, strict=True):
            # Too many to be kept: `lanes` then has all of it read again.
            for entry in self._naming(track, part) if entries is None else entries:
                self._learn(entry, track)
            found[track] += entries or ()
        self._facts.settle()
        return list(found.values())

    def _parts(self, track: Track) -> list[Range]:
        return track.parts(*self._scan(track, self._by_id()).range())

    def _scan(self, track: Track, wanted: Prefilter, part: Range | None = None) -> Scan:
        return Scan(
            track,
            wanted,
            self._query.first,
            self._query.end,
            exact=self._query.exact,
            part=part,
            progress=self._progress,
        )

    def _mentions(self, where: tuple[Track, Range]) -> list[Entry] | None:
        """Return the entries of a part of a track in which the id occurs; None if they are too many."""
        found = []
        for entry in self._naming(*where):
            self._kept += len(entry.raw) + _ENTRY_BYTES
            if self._kept > _KEPT_MAX_BYTES:
                return None
            found.append(entry)
        return found

    def _by_id(self) -> Prefilter:
        return Prefilter(anywhere=((self._facts.session.encode(),),))

    def _naming(self, track: Track, part: Range) -> Iterator[Entry]:
        mention = self._mention
        return (
            entry
            for entry in self._scan(track, self._by_id(), part).entries()
            if mention.search(entry.raw)
        )

    def _learn(self, entry: Entry, track: Track) -> None:
        record = track.record_of(entry.raw, entry.key)
        if (
            self._facts.note(record)
            and track.kind in _OF_ONE_ORIGIN
            and record["service"] in _OF_ONE_PROCESS
        ):
            self._facts.streams.add(track.name)

    # --- the second

    def _around(self) -> list[list[Entry]]:
        """Return what belongs to the session by its process, trace or stream; note all numbers."""
        for track in self._busy:
            if track.name in self._facts.streams and not self._is_alone(track):
                self._facts.streams.discard(track.name)
        terms = self._indirect()
        boots = [boot.encode() for boot in self._facts.boots]
        when = self._when()
        size = sum(track.window_bytes(*when) for track in self._busy)

        def near(track: Track) -> list[Entry]:
            return self._near_entries(track, terms, boots)

        told = spread(near, self._busy, HANDS if size > _ALONE_UP_TO_BYTES else 1)
        found = dict(zip(self._busy, told, strict=True))
        for track, entries in found.items():
            self._note_others(entries, track)
        return [self._still_its_own(found.get(track, []), track) for track in self._tracks]

    def _near_entries(
        self, track: Track, terms: tuple[Term, ...], boots: Sequence[bytes]
    ) -> list[Entry]:
        """Return what one track has of it; only the last of it where all is too much to be kept."""

        def note(block: Block) -> None:
            track.sequence_index.note_boots(block, boots)

        is_whole = track.name in self._facts.streams
        if not (terms or is_whole):
            numbered = Prefilter(anywhere=(tuple(boots),)) if boots else Prefilter()
            scan = Scan(track, numbered, *self._when(), progress=self._progress)
            for block in scan.whole_blocks():
                note(block)
            return []
        wanted = Prefilter() if is_whole else Prefilter(anywhere=terms)
        scan = Scan(track, wanted, *self._when(), watch=note, progress=self._progress)
        found: list[Entry] = []
        for entry in scan.entries():
            if self._mention.search(entry.raw):
                continue
            self._kept += len(entry.raw) + _ENTRY_BYTES
            found.append(entry)
            if self._kept > _KEPT_MAX_BYTES and len(found) >= _NOTED_AT_ONCE:
                self._note_others(found, track)
                found.clear()
        return found

    def _still_its_own(self, entries: list[Entry], track: Track) -> list[Entry]:
        """Return the entries that the session's processes and traces explain, once all of them are known.

        A process that was taken for the session's alone may have been seen to speak of another one since.
        """
        if track.name in self._facts.streams:
            return entries
        terms = [part for term in self._indirect() for part in term]
        return [entry for entry in entries if any(part in entry.raw for part in terms)]

    def _note_others(self, entries: list[Entry], track: Track) -> None:
        """Note which processes that may serve this session alone speak of another one."""
        for boot in self._facts.alone:
            mark = boot.encode()
            for entry in entries:
                if mark in entry.raw and boot in self._facts.alone:
                    self._facts.note(track.record_of(entry.raw, entry.key))

    def _indirect(self) -> tuple[Term, ...]:
        found = tuple(text.encode() for text in (*self._facts.alone, *self._facts.traces))
        return (found,) if found else ()

    def _when(self) -> tuple[bytes, bytes]:
        """Return the time around the session's own lines."""
        return (
            max(self._query.first, shifted(self._facts.first, -_MARGIN_S)),
            min(self._query.end, shifted(self._facts.last, _MARGIN_S)),
        )

    def _is_alone(self, track: Track) -> bool:
        """Say whether no other session speaks in a stream while this one does."""
        blocks = Scan(track, Prefilter(), *self._when()).whole_blocks()
        return not any(names_another(self._facts.session, block, track.formats) for block in blocks)

    # --- too much to be kept

    def _again(self, track: Track, fixed: Mapping[str, float]) -> Iterator[Batch]:
        named = self._facts.session.encode()
        terms = (named, *(part for term in self._indirect() for part in term))
        since, until = self._when()
        wanted = Prefilter() if track.name in self._facts.streams else Prefilter(anywhere=(terms,))
        for batch in self._scan(track, wanted).batches():
            pairs = zip(batch.lines.keys, batch.lines.raws, strict=True)
            kept = [
                (key, raw)
                for key, raw in pairs
                if since <= key < until or self._mention.search(raw) is not None
            ]
            yield Batch(_corrected(kept, fixed), batch.read_to)


def _in_place(*several: Iterable[Entry]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and the bytes of entries of one stream as they stand there."""
    entries = sorted(chain(*several), key=attrgetter("offset"))
    return ((entry.key, entry.raw) for entry in entries)


def _corrected(entries: Iterable[tuple[bytes, bytes]], fixed: Mapping[str, float]) -> Listed:
    """Return entries, each a key and its bytes, with what has to be added to their process's times."""
    keys, raws = [], []
    for key, raw in entries:
        numbered = own_number(raw.partition(b"\n")[0]) if fixed else None
        by_s = fixed.get(numbered[0].decode()) if numbered else None
        keys.append(shifted(key, by_s) if by_s else key)
        raws.append(raw)
    return Listed(keys, raws)
