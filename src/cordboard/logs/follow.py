"""What is written from now on, from all streams, in order within a bounded delay.

Files are looked at by one thread, in turns; whoever has moved (rotation), shrunk (truncation) or come
new is noticed. A remote stream is read by a thread of its own. Each entry waits a moment for those
of other streams that were said before it.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from cordboard.contract.errors import CordboardError
from cordboard.logs.blocks import ENTRY_MAX_BYTES, Block, FileByteReader, cut_at
from cordboard.logs.copies import Item
from cordboard.logs.entries import Listed
from cordboard.logs.formats.continuation import Assembler, Entry
from cordboard.logs.merge import Lane
from cordboard.logs.scan import Batch
from cordboard.logs.session import SessionFacts
from cordboard.logs.sources import Source, Stream
from cordboard.logs.stream import Track
from cordboard.logs.survey import mark_of
from cordboard.logs.timespec import LOWEST, timestamp
from cordboard.logs.tracks import Tracks

HOLD_S: Final = 0.4  # how long an entry waits for others
_POLL_S: Final = 0.1
_LOOK_S: Final = 1.0  # between looks for new streams
_SETTLE_S: Final = 0.3  # a remote stream that is silent for so long has told its history
_SETTLE_MAX_S: Final = 10.0
_SETTLE_MAX_BYTES: Final = 32 << 20  # of history, sorted as a whole; entries take about thrice that
_TURN_BYTES: Final = 8 << 20
_ARRIVALS_BYTES: Final = 1 << 20  # taken in one turn: a stream may bring more than is ever read
_NEWS_MAX: Final = 128  # chunks of 64 KiB at most; then those who bring them wait
_TOLD_MAX: Final = 50_000  # entries of which is known who has told them; twice, at most
_BROKEN: Final = frozenset({"forbidden", "group_missing", "truncated", "unreachable", "unreadable"})
"""Reasons that are told at once. Pods that are replaced, and logs that are rotated, are no news while following."""
_MARK_BYTES: Final = (
    256  # of what was read last: other bytes there are those of a file that was filled anew
)
_HEAD_BYTES: Final = 4096  # by which a copy of a file is known
_GONE_S: Final = 30.0  # so long a deleted file is still looked at: its writer may not know yet


@dataclass(slots=True)
class _Tail:
    """The growing end of one stream.

    Attributes:
        track: The stream.
        number: The number of its track.
        offset: Up to where a file has been read.
        first: Earlier entries are of no interest.
        heads: Of a file that has come new, how the files begin that were there before: a copy of one of those has
            lines that were written before, all others are followed from their beginning.
    """

    track: Track
    number: int
    offset: int = 0
    first: bytes = LOWEST
    heads: Sequence[bytes] = ()
    assembler: Assembler = field(init=False)
    changed: float = 0.0
    _rest: bytes = b""
    _gone_since: float | None = None
    _mark: bytes = b""
    _written: int = 0

    def __post_init__(self) -> None:
        self.assembler = Assembler(self.track.formats)
        self._mark = self._before(self.offset)

    def head(self) -> bytes:
        """Return how a file begins, as far as it has been read."""
        return self._at(0, min(self.offset, _HEAD_BYTES))

    def grown(self) -> bytes:
        """Return what a file has got since the last look."""
        byte_reader = self.track.byte_reader
        if not isinstance(byte_reader, FileByteReader):
            return b""
        status = os.fstat(byte_reader.fd)
        size = status.st_size
        if status.st_nlink or size > self.offset:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = time.monotonic()
        if status.st_mtime_ns == self._written and size == self.offset:
            return b""
        self._written = status.st_mtime_ns
        if size < self.offset or self._is_filled_anew():
            self.track.counts["restarted"] += 1
            self.offset, self._rest = 0, b""
        data = self._at(self.offset, min(_TURN_BYTES, size - self.offset))
        if self.heads and data:
            self._decide(data)
        self.offset += len(data)
        if data:
            self._mark = self._before(self.offset)
        return data

    def _is_filled_anew(self) -> bool:
        """Return whether a file was truncated and filled beyond its old size since the last look.

        A writer that does not append leaves zeros where it has been, and goes on behind them.
        """
        found = self._before(self.offset)
        return found != self._mark and bool(found.strip(b"\0"))

    def _decide(self, data: bytes) -> None:
        """Find out, by its first bytes `data`, whether a new file is a copy; if not, all of it is of interest."""
        head = data[:_HEAD_BYTES]
        if not any(head.startswith(known[: len(head)]) for known in self.heads):
            self.first = LOWEST
        self.heads = ()

    def _before(self, offset: int) -> bytes:
        begin = max(0, offset - _MARK_BYTES)
        return self._at(begin, offset - begin)

    def _at(self, offset: int, size: int) -> bytes:
        byte_reader = self.track.byte_reader
        if size == 0 or not isinstance(byte_reader, FileByteReader) or byte_reader.fd < 0:
            return b""
        return os.pread(byte_reader.fd, size, offset)

    def is_over(self, now: float) -> bool:
        """Return whether the file was deleted a while before `now`, a monotonic time, and all of it has been read."""
        return self._gone_since is not None and now - self._gone_since > _GONE_S and not self._rest

    def entries(self, data: bytes, now: float) -> list[Entry]:
        """Return the entries that are whole.

        Args:
            data: What the stream has got since the last call. If nothing, a last entry counts as whole after a moment.
            now: The time, by the monotonic clock.
        """
        if data:
            self.changed = now
            self._rest += data
        elif not self._rest or now - self.changed < HOLD_S / 2:
            return []
        end = cut_at(self._rest, len(self._rest)) if data else self._rest.rfind(b"\n") + 1
        if len(self._rest) > ENTRY_MAX_BYTES:
            end = len(self._rest)
        ready, self._rest = self._rest[:end], self._rest[end:]
        lines = [(0, line) for line in ready.split(b"\n")]
        return list(self.assembler.entries(lines, lambda: self.track.modified))


_Arrival = tuple[float, Item]


class Follower:
    """Follows all streams of a query.

    Args:
        tracks: What is open already; files are read on from their present end.
        facts: Of the session that is asked for; learns from each entry.
        warn: Is told, once, each reason why a remote stream brings no lines any more.
    """

    def __init__(
        self,
        tracks: Tracks,
        facts: SessionFacts | None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tracks = tracks
        self._facts = facts
        self._warn = warn
        self._warned: set[str] = set()
        self._streams: list[Stream] = []
        self._tails = [
            _Tail(track, number, offset=track.byte_reader.size if track.byte_reader.can_seek else 0)
            for number, track in enumerate(tracks.found)
        ]
        self._heads = [head for tail in self._tails if (head := tail.head())]
        self._remote: dict[int, _Tail] = {}
        self._news: queue.Queue[Stream | tuple[int, bytes]] = queue.Queue(_NEWS_MAX)
        self._began = timestamp(datetime.now(UTC)).encode()
        self._held: list[_Arrival] = []
        self._told: dict[int, int] = {}
        self._told_before: dict[int, int] = {}
        for stream in tracks.remote:
            self._add_remote(stream)
        for source in tracks.sources:
            self._in_background(partial(self._look, source))

    def lanes(self) -> list[Lane]:
        """Return what remote streams tell of the past, once they have fallen silent."""
        begun = quiet = time.monotonic()
        left = _SETTLE_MAX_BYTES
        found: dict[int, list[Entry]] = {}
        while self._remote and left > 0 and (now := time.monotonic()) - begun < _SETTLE_MAX_S:
            for tail, data in self._arrived():
                quiet = now
                left -= len(data)
                found.setdefault(tail.number, []).extend(tail.entries(data, now))
            if now - quiet > _SETTLE_S:
                break
        for tail in self._remote.values():
            found.setdefault(tail.number, []).extend(tail.entries(b"", quiet + HOLD_S))
            for entry in found[tail.number]:
                self._learn(entry, tail.track)
        return [
            Lane(number, [Batch(Listed([e.key for e in got], [e.raw for e in got]))])
            for number, got in found.items()
        ]

    def items(self) -> Iterator[list[Item]]:
        """Yield what comes, in order within the delay; never ends."""
        while True:
            now = time.monotonic()
            for tail, data in self._arrived():
                self._hold(tail, tail.entries(data, now), now)
            for tail in [*self._tails, *self._remote.values()]:
                data = tail.grown() if tail.number not in self._remote else b""
                self._hold(tail, tail.entries(data, now), now)
            for tail in [tail for tail in self._tails if tail.is_over(now)]:
                self._tails.remove(tail)
                self._tracks.let_go(tail.track)
            self._tell_shortfalls()
            yield self._due(now)

    def _hold(self, tail: _Tail, entries: list[Entry], now: float) -> None:
        for entry in entries:
            if entry.key >= max(self._tracks.query.first, tail.first) and not self._is_copy(
                entry, tail.number
            ):
                self._learn(entry, tail.track)
                self._held.append((now, (entry.key, entry.raw, tail.number, False)))

    def _learn(self, entry: Entry, track: Track) -> None:
        """Take note of an entry that has just come."""
        if self._facts is not None:
            telling = (self._facts.session, *self._facts.alone)
            if any(text.encode() in entry.raw for text in telling):
                self._facts.note(track.record_of(entry.raw, entry.key))
        track.sequence_index.note(Block(entry.raw, len(entry.raw), entry.offset))

    def _is_copy(self, entry: Entry, number: int) -> bool:
        """Say whether another stream has brought this: a file that was copied, then truncated."""
        mark = hash((entry.key, mark_of(entry.raw)))
        first = self._told_before.get(mark)
        if first is None:
            first = self._told.setdefault(mark, number)
        if len(self._told) > _TOLD_MAX:
            self._told_before, self._told = self._told, {}
        return first != number

    def _due(self, now: float) -> list[Item]:
        """Take what has waited long enough, and whatever was said before that."""
        newest = max((item[0] for came, item in self._held if came <= now - HOLD_S), default=LOWEST)
        due = [item for _, item in self._held if item[0] <= newest]
        self._held = [held for held in self._held if held[1][0] > newest]
        return sorted(due, key=lambda item: (item[0], item[2]))

    # --- what arrives

    def _arrived(self) -> Iterator[tuple[_Tail, bytes]]:
        """Yield what other threads have brought, after at most one turn, and not more than can be read in one."""
        wait, left = True, _ARRIVALS_BYTES
        while left > 0:
            try:
                news = self._news.get(timeout=_POLL_S) if wait else self._news.get_nowait()
            except queue.Empty:
                return
            wait = False
            if isinstance(news, tuple):
                number, data = news
                left -= len(data)
                yield self._remote[number], data
            elif news.byte_reader is not None:
                track = self._tracks.add_file(news, news.byte_reader)
                if track is not None:
                    number = len(self._tracks.found) - 1
                    self._tails.append(_Tail(track, number, first=self._began, heads=self._heads))
            else:
                self._add_remote(news)

    def _tell_shortfalls(self) -> None:
        """Tell while it is so that a stream has ended, or that its store does not answer."""
        for stream in self._streams:
            for why in stream.shortfalls():
                words = f"{stream.name}: {why.words}"
                if why.reason in _BROKEN and words not in self._warned:
                    self._warned.add(words)
                    self._warn(words)

    def _add_remote(self, stream: Stream) -> None:
        self._streams.append(stream)
        track = Track(stream.name, stream.kind, FileByteReader(-1, 0), self._tracks.formats)
        self._tracks.found.append(track)
        number = len(self._tracks.found) - 1
        self._remote[number] = _Tail(track, number)
        self._in_background(partial(self._read, number, stream, track))

    def _read(self, number: int, stream: Stream, track: Track) -> None:
        for chunk in stream.read(follow=True):
            self._news.put((number, chunk))
        track.shortfalls = list(stream.shortfalls())

    def _look(self, source: Source) -> None:
        """Look for streams that come new; a source that shows nothing for a while may do so again."""
        notes = self._tracks.notes
        while True:
            time.sleep(_LOOK_S)
            try:
                for stream in source.streams(self._tracks.query):
                    self._news.put(stream)
            except CordboardError as error:
                if (note := f"{source.name}: {error.message}") not in notes:
                    notes.append(note)

    @staticmethod
    def _in_background(work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()
