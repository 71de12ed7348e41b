"""A stream as it is read: its bytes, where its window begins and ends, and what was met on the way."""

import os
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from cordboard.logs.blocks import Block, ByteReader
from cordboard.logs.bulk import without_carrier
from cordboard.logs.coverage import Shortfall
from cordboard.logs.entries import Origin, disorder_s
from cordboard.logs.formats import Formats
from cordboard.logs.formats.continuation import parted
from cordboard.logs.formats.decode import record_of
from cordboard.logs.formats.wrappers import number_of, unwrap
from cordboard.logs.sequence import SequenceIndex
from cordboard.logs.survey import ordered
from cordboard.logs.timespec import HIGHEST, LOWEST, shifted
from cordboard.logs.timestamps import OWN_KEY, OWN_LINE, own_key, own_number, said_key

_PART_BYTES: Final = 32 * 1024 * 1024  # threads search a stream in parts of this size
_PROBE_BYTES: Final = 4 * 1024  # one page of memory, which holds several usual lines
_SAMPLE_BYTES: Final = 16 * 1024  # the longest line that our writers make
# Where so much names no time, nothing is looked for behind it.
_PROBE_MAX_BYTES: Final = 1024 * 1024

_GRAIN_BYTES: Final = 64 * 1024  # to read so much costs less than another look at a place
_SLACK_S: Final = 10.0  # the least margin around a window
_SLACK_MAX_S: Final = 3600.0  # a stream that is further out of order is read whole
_PROBES: Final = 8  # places whose times tell whether a stream is in order
PAGE_LINE: Final = b'"service":"browser"'
"""A page's line says this; its clock is not that of the file it stands in."""
_KEY_BYTES: Final = OWN_KEY.stop + 1
_DIGITS: Final = frozenset("0123456789")


Range = tuple[int, int | None]
"""Where it begins, and where it ends; None for the end of the stream, wherever that is."""


class Head(NamedTuple):
    """How a stream begins.

    Attributes:
        key: When its first line was said.
        boot: By which process, where it says so.
        seq: As its which line; 0 where it does not say.
    """

    key: bytes
    boot: str
    seq: int


class Track:
    """One stream, open for reading.

    Args:
        name: The path, or ``namespace/pod/container``.
        kind: What `Answer.kind` says.
        byte_reader: Its bytes.
        formats: How foreign lines are read.
        modified: When it was last written, as a key: the time of lines that nothing else dates.
        selective: It holds the lines of one session alone.

    Attributes:
        counts: Lines that were late, malformed, cut, undecodable.
        shortfalls: Why something is missing.
        sequence_index: Which numbers of which process it holds.
        service: The service whose stream it is, as far as its name tells.
        source: The number of its source among several.
        passed_over: Whether it was not read, as it is older than the window.
        is_late: Whether lines of the window stand far behind it.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        byte_reader: ByteReader,
        formats: Formats,
        modified: bytes = LOWEST,
        *,
        selective: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.byte_reader = byte_reader
        self.formats = formats if modified == LOWEST else formats._replace(written=modified)
        self.modified = modified
        self.counts: Counter[str] = Counter()
        self.shortfalls: Sequence[Shortfall] = ()
        self.sequence_index = SequenceIndex(ignored=selective)
        self.service = service_of(name)
        self.source = 0
        self.passed_over = False
        self.is_late = False
        self._last: bytes | None = None
        self._begin: int | None = None
        self._spans: dict[tuple[bytes, bytes], Range] = {}
        self._known: list[tuple[int, bytes]] | None = None
        self._asked: tuple[int, bytes] | None = None

    def all_shortfalls(self) -> list[Shortfall]:
        """Say why something is missing, as far as its reading told."""
        return [*self.shortfalls, *([self.byte_reader.damage] if self.byte_reader.damage else [])]

    @property
    def origin(self) -> Origin:
        """Whose lines it has: a container's, or a file's and those that it was rotated to.

        A stream of a store may have lines of any writer, and two of them may have the same lines.
        """
        writer: tuple[str, ...] | None = None
        if self.kind == "file":
            writer = (os.path.dirname(self.name), self.service)
        elif self.kind == "container":
            writer = (self.name.partition(" (")[0],)
        return Origin((self.source, self.kind), writer)

    @property
    def begin(self) -> int:
        """Where its first byte stands that is not zero.

        A file that was truncated while a program wrote to it begins with a hole.
        """
        if self._begin is None:
            self._begin = 0
            while data := self.byte_reader.read(self._begin, _PROBE_MAX_BYTES):
                rest = data.lstrip(b"\0")
                self._begin += len(data) - len(rest)
                if rest:
                    break
        return self._begin

    def head(self) -> Head | None:
        """Return how the stream begins; None where no line of its beginning says when."""
        begin = self.begin
        line = self.byte_reader.read(begin, _PROBE_BYTES).partition(b"\n")[0]
        key, numbered = own_key(line), own_number(line)
        if key is not None and numbered is not None and PAGE_LINE not in line:
            return Head(key, numbered[0].decode("latin-1"), numbered[1])
        data = self.byte_reader.read(begin, _SAMPLE_BYTES)
        start = 0
        while start < len(data):
            end = data.find(b"\n", start)
            line = data[start : end if end >= 0 else len(data)]
            if end < 0 < start and len(data) == _SAMPLE_BYTES:
                break  # it goes on
            own = PAGE_LINE not in line.replace(b"\\", b"")
            if own and (key := self.key_of(line)) is not None:
                boot, seq = number_of(line.strip(b"\r\0")) or (b"", 0)
                return Head(key, boot.decode("latin-1"), seq)
            start += len(line) + 1
        return None

    def is_astray(self, most_s: float) -> bool:
        """Return whether places that are looked at are out of order by more than `most_s`; no packed stream is."""
        if not self.byte_reader.can_seek:
            return False
        return max(self._wide_disorder(), self._disorder(self.size // 2)) > most_s

    def key_before(self, offset: int) -> bytes:
        """Return the time of what stands before the byte at `offset`, or, where nothing does, of what stands after it.

        What an earlier call told counts where nothing in between says a time, so that a file without times is looked
        through once, however often it is asked.
        """
        known = self._asked if self._asked is not None and self._asked[0] <= offset else None
        near = max(0, offset - _GRAIN_BYTES)
        begin = near if known is None else max(near, known[0])
        lines = self.byte_reader.read(begin, offset - begin).split(b"\n")
        cut = begin > 0 and (known is None or begin > known[0])
        key = self._first_said(reversed(lines[1:] if cut else lines))
        if key is None and known is not None:
            key = known[1]
        elif key is None:
            key = self._first_said(self.byte_reader.read(offset, _GRAIN_BYTES).split(b"\n"))
        self._asked = (offset, key or self.modified)
        return self._asked[1]

    def _first_said(self, lines: Iterable[bytes]) -> bytes | None:
        keys = (self.key_of(parted(line)[-1]) for line in lines)
        return next((key for key in keys if key is not None), None)

    def window_bytes(self, since: bytes, until: bytes) -> int:
        """Return how many bytes have to be read for the window from the key `since` to the key `until`."""
        begin, end = self.span(since, until)
        return (self.size if end is None else end) - begin

    def parts(self, begin: int, end: int | None) -> list[Range]:
        """Return the bytes from `begin` to `end` as parts that can be read apart from each other: no entry is in two.

        A line in our own form ends whatever stood before it; where there is none, nothing is parted. An `end` of None
        is that of the stream.
        """
        if not self.byte_reader.can_seek:
            return [(begin, end)]
        stop = self.size if end is None else end
        places = range(begin + _PART_BYTES, stop - _PART_BYTES // 2, _PART_BYTES)
        cuts = [cut for place in places if (cut := self._own_line_from(place)) is not None]
        return list(zip([begin, *cuts], [*cuts, end], strict=True))

    def _own_line_from(self, offset: int) -> int | None:
        data = self.byte_reader.read(offset, _SAMPLE_BYTES)
        at = data.find(OWN_LINE) + 1
        return offset + at if at and own_key(data[at : at + _KEY_BYTES]) is not None else None

    def span(self, since: bytes, until: bytes) -> Range:
        """Return where the window from key `since` to key `until` begins and ends, in bytes; looked for once."""
        if (since, until) not in self._spans:
            self._spans[since, until] = self._span(since, until)
        return self._spans[since, until]

    def read_on(self, since: bytes, until: bytes, end: int) -> None:
        """Let the window from `since` to `until` end at the byte `end`, where more of its lines stand."""
        self._spans[since, until] = (self.span(since, until)[0], end)
        self.is_late = True

    def _span(self, since: bytes, until: bytes) -> Range:
        """Return where the window begins and ends, found by bisection with slack that is checked.

        The slack is for disorder: it grows until it is twice what is seen around both ends, and
        between all places that were looked at (two logs in one file, one behind the other). A
        line that misleads the bisection (a browser's, whose clock is off) stands where it ends.
        A stream that is not in time order at all is read whole. A packed one can only be read from
        its start: it is passed over where its file was last written before the window.
        """
        if not self.byte_reader.can_seek:
            self.passed_over = is_before(self.modified, since)
            return (0, 0) if self.passed_over else (0, None)
        windowed = since > LOWEST or until < HIGHEST
        if self.size <= _GRAIN_BYTES or not windowed:
            return 0, None
        if self._is_older(shifted(since, -_SLACK_MAX_S)):
            return self.size, self.size
        return self._found_span(since, until) if self._is_searchable() else (0, None)

    def _found_span(self, since: bytes, until: bytes) -> Range:
        slack = min(_SLACK_MAX_S, max(_SLACK_S, 2 * self._wide_disorder()))
        while True:
            begin = self._bisect(shifted(since, -slack))[0] if since > LOWEST else 0
            end = self.size
            if until < HIGHEST:
                end = self._bisect(shifted(until, slack), begin)[1]
            ends = [begin] if until == HIGHEST else [begin, end]
            seen = max(self._wide_disorder(), *map(self._disorder, ends))
            if seen * 2 <= slack:
                return begin, end
            if slack >= _SLACK_MAX_S:
                return 0, None
            slack = min(_SLACK_MAX_S, seen * 4)

    # --- looking at single places

    @property
    def size(self) -> int:
        """How many bytes it has; of a packed one, about how many."""
        return self.byte_reader.size

    def key_of(self, line: bytes) -> bytes | None:
        """Return the time that `line`, or its carrier, says, as a key; None where neither says one."""
        if (own := own_key(line)) is not None:
            return own
        inner = unwrap(line.strip(b"\r\n\0"))
        return said_key(inner.text, self.formats, inner.key)

    def record_of(
        self, raw: bytes, key: bytes, faults: Counter[str] | None = None
    ) -> dict[str, Any]:
        """Return the record of an entry.

        Args:
            raw: Its bytes, without carriers.
            key: When it was said.
            faults: Where lines that are ``malformed``, ``cut`` or ``undecodable`` are counted.
        """
        return record_of(raw, key, self.service, self.formats, faults)

    def _probe(self, offset: int, limit: int) -> bytes | None:
        """Return the first time that is said behind an offset."""
        size = _PROBE_BYTES
        while True:
            data = self.byte_reader.read(offset, min(size, limit - offset))
            start = data.find(b"\n") + 1 if offset else 0
            while (end := data.find(b"\n", start)) >= 0:
                if (key := self.key_of(data[start:end])) is not None:
                    return key
                start = end + 1
            if size >= _PROBE_MAX_BYTES or offset + size >= limit:
                return None
            size *= 4

    def _bisect(self, bound: bytes, low: int = 0) -> tuple[int, int]:
        """Return offsets before and behind the place where the stream reaches ``bound``."""
        high = self.size
        for offset, said in self._marks():
            if said >= bound:
                high = max(low, min(high, offset))
                break
            low = max(low, offset)
        while high - low > _GRAIN_BYTES:
            middle = (low + high) // 2
            key = self._probe(middle, high)
            if key is None:
                break
            insort(self._marks(), (middle, key))
            if key >= bound:
                high = middle
            else:
                low = middle
        return self._line_start(low), self._line_start(high + _PROBE_BYTES)

    def _line_start(self, offset: int) -> int:
        if offset >= self.size:
            return self.size
        while offset > 0:
            begin = max(0, offset - _PROBE_BYTES)
            found = self.byte_reader.read(begin, offset - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            offset = begin
        return 0

    def _is_older(self, bound: bytes) -> bool:
        """Say whether the file was last written before a moment, and its last line says the same."""
        if self.modified >= bound:
            return False
        if self._last is None:
            data = self.byte_reader.read(max(0, self.size - _PROBE_BYTES), _PROBE_BYTES)
            self._last = own_key(data[data.rfind(b"\n", 0, len(data) - 1) + 1 :])
            if self._last is None:
                keys = map(self.key_of, reversed(data.split(b"\n")))
                self._last = next((key for key in keys if key is not None), None)
        return self._last is not None and self._last < bound

    def _is_searchable(self) -> bool:
        """Say whether it is so far in the order of time that bisection finds a window."""
        return bool(self._marks()) and self._wide_disorder() <= _SLACK_MAX_S

    def _wide_disorder(self) -> float:
        """Return by how much the places that were looked at, wherever they are, contradict each other."""
        return disorder_s([key for _, key in self._marks()])

    def _marks(self) -> list[tuple[int, bytes]]:
        """Return the times at some places, evenly over the stream, with their offsets."""
        if self._known is None:
            size = self.size
            offsets = [size * i // _PROBES for i in range(_PROBES)]
            found = [(offset, self._probe(offset, size)) for offset in offsets]
            self._known = [(offset, key) for offset, key in found if key is not None]
        return self._known

    def _disorder(self, offset: int) -> float:
        begin = max(0, offset - _SAMPLE_BYTES)
        data = self.byte_reader.read(begin, 2 * _SAMPLE_BYTES)
        whole = data[data.find(b"\n") + 1 : data.rfind(b"\n") + 1]
        found = without_carrier(Block(whole, len(whole), begin)).survey()
        if found is not None and not found.stretches:
            return ordered(found.lines, []).behind_s
        lines = data.split(b"\n")[1:-1]
        if data.count(OWN_LINE) >= len(lines):
            return disorder_s([line[OWN_KEY] for line in lines])
        return disorder_s([key for line in lines if (key := self.key_of(line)) is not None])


def is_before(modified: bytes, since: bytes) -> bool:
    """Return whether a file that was last written at the key `modified` has no line of a window from `since` on."""
    return modified < shifted(since, -_SLACK_MAX_S)


def service_of(name: str) -> str:
    """Return the service that the `name` of a stream tells: ``gateway`` of ``logs/gateway.1.jsonl.gz``.

    A file that is but a number (``/var/log/pods/POD/gateway/0.log``) has its folder's name, a store its host's: ``loki``
    of ``http://loki:3100``.
    """
    _, is_url, address = name.partition("://")
    if is_url:
        host = address.partition("/")[0].rpartition("@")[2]
        is_literal = host.startswith("[")  # an IPv6 address
        return (host[1:].partition("]")[0] if is_literal else host.partition(":")[0]) or name
    folder, base = os.path.split(name.partition(" (")[0])
    first, *rest = [part for part in base.split(".") if part] or [""]
    if set(first) <= _DIGITS and rest and (parent := os.path.basename(folder)):
        return parent
    return first or base
