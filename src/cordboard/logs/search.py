"""All that belongs to a session, in two steps.

The first searches everything for its id, and learns from the session's own lines when it was and who
spoke (its trail). The second reads, of that time alone, what belongs to it without naming it, and the
numbers of all lines of those processes, so that a lost line shows even though nobody can say what was
in it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, Final

from cordboard.logs.attribution import Trail
from cordboard.logs.formats.continuation import Entry
from cordboard.logs.formats.decode import record_of
from cordboard.logs.lines import Listed
from cordboard.logs.merge import Lane, mark_of
from cordboard.logs.parallel import SEARCHED_BY_TWO_FROM_BYTES
from cordboard.logs.places import numbers_in, places_in
from cordboard.logs.prefilter import Prefilter
from cordboard.logs.query import Query
from cordboard.logs.scan import Batch, Scan
from cordboard.logs.skew import corrections
from cordboard.logs.tape import Block, FileTape
from cordboard.logs.timespec import shifted
from cordboard.logs.track import Range, ReadPart, Track
from cordboard.logs.tracks import Progress

_KEPT_MAX_BYTES: Final = 32 << 20
_TERMS_MAX: Final = 4  # for more, what is near is read block by block
_PLACES_MAX: Final = 4096  # more are faster found by reading block by block
# The first step takes so little that to read more numbers one by one would be most of all.
_QUICK_FROM_BYTES: Final = 8 << 20
_MARGIN_S: Final = 2.0  # how far around its own lines a session's other lines are looked for
# A file may hold what several wrote, and a store's stream holds what was asked for.
_OF_ONE_ORIGIN: Final = frozenset({"container", "command"})
_OF_ONE_PROCESS: Final = frozenset({"runner", "bot"})

Scanner = Callable[[Track, Prefilter], Scan]
"""Makes a pass over the window of a track."""


def mention_of(session: str) -> re.Pattern[bytes]:
    """Return what finds a session's id, but not a longer one that holds it."""
    return re.compile(
        rb"(?<![A-Za-z0-9_~@-])" + re.escape(session).encode() + rb"(?![A-Za-z0-9_~@-])"
    )


class Search:
    """Finds the lines of one session.

    Args:
        query: What is asked for.
        trail: Of the session; filled in the first step.
        tracks: Where to look.
        scanner: Makes a pass over the window of a track.
        progress: Is told of bytes that were read.
        by_two: Has two processes read tracks, in parts; None where one does.
    """

    def __init__(
        self,
        query: Query,
        trail: Trail,
        tracks: list[Track],
        scanner: Scanner,
        progress: Progress,
        *,
        by_two: Callable[[ReadPart, Sequence[Track]], list[list[Any]]] | None,
    ) -> None:
        self.query = query
        self.trail = trail
        self.tracks = tracks
        self.scanner = scanner
        self.progress = progress
        self.by_two = by_two
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
        if self.trail.boots or self.trail.traces:
            self._count_quickly()
            found = self._around_by_places()
            found.update((track, self._around(track)) for track in self._busy if track not in found)
            around = [self._still_its_own(found.get(track, []), track) for track in self.tracks]
        if self._kept > _KEPT_MAX_BYTES:
            return [Lane(n, self._again(track)) for n, track in enumerate(self.tracks)]
        fixed = corrections(self.trail.steps) if self.query.fix_skew else {}
        return [
            Lane(number, [_one_batch([*ours, *others], fixed)])
            for number, (ours, others) in enumerate(zip(own, around, strict=True))
            if ours or others
        ]

    # --- the first step

    def learn(self) -> list[list[Entry]]:
        """Return the entries of each track in which the id occurs; the trail then knows the session's own."""
        own = self._own()
        self.trail.settle()
        return own

    def _own(self) -> list[list[Entry]]:
        """Return all entries in which the id occurs; learn from the session's own."""
        told = self._told()
        own: list[list[Entry]] = []
        self._kept = 0
        for track, parts in zip(self.tracks, told, strict=True):
            if None in parts:  # too many to be kept: `lanes` then has all of it read again
                self._kept += _KEPT_MAX_BYTES + 1
                found = list[Entry]()
                for entry in self._naming(self.scanner(track, self._by_id())):
                    self._learn(entry, track)
            else:
                found = [Entry(*item) for part in parts for item in part or ()]
                for entry in found:
                    self._kept += len(entry.raw)
                    self._learn(entry, track)
            own.append(found)
        return own

    def _told(self) -> list[list[list[tuple[Any, ...]] | None]]:
        """Return, for each part of each track, its entries in which the id occurs; None: too many."""
        told = self._found_by_places()
        rest = [track for track in self._busy if track not in told]
        size = sum(track.window_bytes(self.query.first, self.query.end) for track in rest)
        if self.by_two is not None and size > SEARCHED_BY_TWO_FROM_BYTES:
            told.update(zip(rest, self.by_two(self._mentions, rest), strict=True))
        else:
            told.update((track, [self._mentions(track)]) for track in rest)
        return [told.get(track, []) for track in self.tracks]

    def _found_by_places(self) -> dict[Track, list[list[tuple[Any, ...]] | None]]:
        """Return the same of tracks that the C part can search; of the others, nothing."""
        plain = self._plain()
        scans = [self.scanner(track, self._by_id()) for track in plain]
        needle = self.trail.session.encode()
        if (found := places_in(scans, needle, self.progress)) is None:
            return {}
        mention = mention_of(self.trail.session)
        told: dict[Track, list[list[tuple[Any, ...]] | None]] = {}
        left = _KEPT_MAX_BYTES
        for track, scan, places in zip(plain, scans, found, strict=True):
            wanted = _united([places])
            if wanted is None:
                continue
            if (entries := scan.entries_at(wanted, left)) is not None:
                left -= sum(len(entry.raw) for entry in entries)
                told[track] = [[tuple(entry) for entry in entries if mention.search(entry.raw)]]
        return told

    def _mentions(self, track: Track, part: Range | None = None) -> list[tuple[Any, ...]] | None:
        """Return the entries of a part of a track in which the id occurs; None if they are too many."""
        found = []
        scan = self.scanner(track, self._by_id())
        scan.part = part
        for entry in self._naming(scan):
            self._kept += len(entry.raw)
            if self._kept > _KEPT_MAX_BYTES:
                return None
            found.append(tuple(entry))
        return found

    def _by_id(self) -> Prefilter:
        return Prefilter(anywhere=((self.trail.session.encode(),),))

    def _naming(self, scan: Scan) -> Iterator[Entry]:
        mention = mention_of(self.trail.session)
        return (entry for entry in scan.entries() if mention.search(entry.raw))

    def _learn(self, entry: Entry, track: Track) -> None:
        record = record_of(entry.raw, entry.key, track.service, track.formats)
        if (
            self.trail.note(record)
            and track.kind in _OF_ONE_ORIGIN
            and record["service"] in _OF_ONE_PROCESS
        ):
            self.trail.streams.add(track.name)

    # --- the second

    def _count_quickly(self) -> None:
        """Have lines counted where reading each number would take longer than all the rest."""
        when = self._when()
        near = sum(track.window_bytes(*when) for track in self._busy)
        for track in self._busy:
            track.ledger.quick = near > _QUICK_FROM_BYTES and not self.query.exact

    def _around(self, track: Track) -> list[Entry]:
        """Return what belongs to the session by its process, trace or stream; note all numbers."""
        boots = [boot.encode() for boot in self.trail.boots]

        def note(block: Block) -> None:
            track.ledger.note_boots(block, boots)

        if track.name in self.trail.streams and not self._is_alone(track):
            self.trail.streams.discard(track.name)
        terms = self._indirect()
        scan = self._near(track, Prefilter(anywhere=terms))
        scan.watch = note
        if track.name in self.trail.streams:
            scan.wanted = Prefilter()
        elif not terms:
            for block in scan.blocks():
                note(block)
            return []
        mention = mention_of(self.trail.session)
        found = [entry for entry in scan.entries() if not mention.search(entry.raw)]
        self._kept += sum(len(entry.raw) for entry in found)
        self._note_others(found, track)
        return found

    def _still_its_own(self, entries: list[Entry], track: Track) -> list[Entry]:
        """Return the entries that the session's processes and traces explain, once all of them are known.

        A process that was taken for the session's alone may have been seen to speak of another one since.
        """
        if track.name in self.trail.streams:
            return entries
        terms = [part for term in self._indirect() for part in term]
        return [entry for entry in entries if any(part in entry.raw for part in terms)]

    def _note_others(self, entries: list[Entry], track: Track) -> None:
        """Note which processes that may serve this session alone speak of another one."""
        for boot in self.trail.alone:
            mark = boot.encode()
            for entry in entries:
                if mark in entry.raw and boot in self.trail.alone:
                    self.trail.note(record_of(entry.raw, entry.key, track.service, track.formats))

    def _around_by_places(self) -> dict[Track, list[Entry]]:
        """Do the same for tracks that the C part can search; of the others, nothing is returned."""
        terms = [part for term in self._indirect() for part in term]
        plain = [track for track in self._plain() if track.name not in self.trail.streams]
        scans = [self._near(track, Prefilter(anywhere=self._indirect())) for track in plain]
        boots = [boot.encode() for boot in self.trail.boots]
        told = numbers_in(scans, boots, self.progress)
        at = [places_in(scans, term, lambda _: None) for term in terms[:_TERMS_MAX]]
        if told is None or None in at or len(terms) > _TERMS_MAX:
            return {}
        mention = mention_of(self.trail.session)
        found: dict[Track, list[Entry]] = {}
        for number, (track, scan, runs) in enumerate(zip(plain, scans, told, strict=True)):
            places = _united([each[number] for each in at if each is not None])
            if runs is None or places is None:
                continue
            left = max(0, _KEPT_MAX_BYTES - self._kept)
            if (entries := scan.entries_at(places, left)) is not None:
                track.ledger.take(runs)
                found[track] = [entry for entry in entries if not mention.search(entry.raw)]
                self._kept += sum(len(entry.raw) for entry in found[track])
                self._note_others(found[track], track)
        return found

    def _plain(self) -> list[Track]:
        return [track for track in self._busy if isinstance(track.tape, FileTape)]

    def _indirect(self) -> tuple[tuple[bytes, ...], ...]:
        found = tuple(text.encode() for text in (*self.trail.alone, *self.trail.traces))
        return (found,) if found else ()

    def _near(self, track: Track, wanted: Prefilter) -> Scan:
        return Scan(track, wanted, *self._when(), progress=self.progress)

    def _when(self) -> tuple[bytes, bytes]:
        """Return the time around the session's own lines."""
        return (
            max(self.query.first, shifted(self.trail.first, -_MARGIN_S)),
            min(self.query.end, shifted(self.trail.last, _MARGIN_S)),
        )

    def _is_alone(self, track: Track) -> bool:
        """Say whether no other session speaks in a stream while this one does."""
        ours = f'"sessionId":"{self.trail.session}"'.encode()
        spellings = [(b'"sessionId":"', ours, b'"sessionId":"server:')]
        spellings.append(tuple(text.replace(b'"', b'\\"') for text in spellings[0]))  # type: ignore[arg-type]  # three
        return all(
            block.count(every) == block.count(own) + block.count(none)
            for block in self._near(track, Prefilter()).blocks()
            for every, own, none in spellings
        )

    # --- too much to be kept

    def _again(self, track: Track) -> Iterator[Batch]:
        named = self.trail.session.encode()
        terms = (named, *(part for term in self._indirect() for part in term))
        since, until = self._when()
        mention = mention_of(self.trail.session)
        wanted = Prefilter() if track.name in self.trail.streams else Prefilter(anywhere=(terms,))
        for batch in self.scanner(track, wanted).batches():
            keys, raws = batch.lines.keys, batch.lines.raws
            pairs = zip(keys, raws, strict=True)
            kept = [since <= key < until or mention.search(raw) is not None for key, raw in pairs]
            found = Listed(list(compress(keys, kept)), list(compress(raws, kept)))
            yield Batch(found, batch.read_to)


def _united(several: Sequence[list[int] | None]) -> list[int] | None:
    """Return places in order, each once; None where some are in doubt, or they are too many."""
    united = set[int]()
    for places in several:
        if places is None or len(united) + len(places) > _PLACES_MAX:
            return None
        united.update(places)
    return sorted(united)


def _one_batch(entries: list[Entry], fixed: Mapping[str, float]) -> Batch:
    entries.sort(key=lambda entry: entry.offset)
    keys = [
        shifted(entry.key, by) if (by := fixed.get(_boot(entry.raw))) else entry.key
        for entry in entries
    ]
    return Batch(Listed(keys, [entry.raw for entry in entries]))


def _boot(raw: bytes) -> str:
    mark = mark_of(raw)
    return mark[9:17].decode() if mark is not raw else ""
