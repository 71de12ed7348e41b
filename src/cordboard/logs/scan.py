"""One stream in batches: search by bytes, then keys, then only what is in the window."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

from cordboard.logs.blocks import BLOCK_BYTES, Block, blocks, cut_at
from cordboard.logs.bulk import without_carrier
from cordboard.logs.entries import Lines, Listed, Other
from cordboard.logs.filters import Prefilter, Term, holds
from cordboard.logs.formats.continuation import Assembler, Entry, begins
from cordboard.logs.stream import Range, Track
from cordboard.logs.survey import Survey, ordered
from cordboard.logs.timespec import LOWEST, seconds
from cordboard.logs.timestamps import OWN_ERROR, OWN_START, OWN_TAIL, holds_another, own_key

_BACK_MAX: Final = 64
_FORWARD_MAX: Final = 4096
_FEW_OF: Final = 8
_ESCAPE: Final = b"\x1b"
# What is searched for in two halves: they would be found everywhere if they were shorter than four bytes, and C takes
# up to 256 bytes.
_HALVED_MIN: Final = 8
_HALVED_MAX: Final = 512
# Bytes that are passed at once. Ctrl-C waits for them: 0.3 s on a disk that reads 200 MB a second.
_PAST_MAX: Final = 64 << 20
# Blocks that are read before the next look ahead. A query that looks in vain took 8 % longer than one that does not look
# with at most 15, and 1 to 6 % with 63.
_IN_VAIN_MAX: Final = 63
_PAST_BACK: Final = 64 << 10  # of which the last entry that surely begins is looked for


class Batch(NamedTuple):
    """Entries of one stream: in the order in which they stand, or surveyed, in the order of time.

    Attributes:
        lines: The entries.
        read_to: The time up to which the stream has been read, local disorder aside; None where
            nothing told it.
        ordered: They are in the order of time; most are lines of ours.
        distinct: None of these is a copy of another.
        disorder_s: By how many seconds one of them stood too late, at most, before they were put in
            order; told of a stream's first ones alone, or where that is measured.
    """

    lines: Lines
    read_to: bytes | None = None
    ordered: bool = False
    distinct: bool = False
    disorder_s: float = 0.0

    def span(self) -> tuple[bytes, bytes]:
        """Return the times of the first and the last of them."""
        lines = self.lines
        return (lines.first, lines.last) if self.ordered else (min(lines.keys), max(lines.keys))


Watch = Callable[[Block], None]


class Scan:
    """One pass over the window of one stream.

    Args:
        track: The stream.
        wanted: What bytes a wanted line must hold.
        since: The first key that is wanted.
        until: The first key after that.
        exact: Read everything; the window is not searched by bisection.
        size: Bytes that are read at once.
        part: What is read; None for all of the window.
        watch: Is shown each block that is read.
        progress: Is told of bytes that were read.
    """

    def __init__(
        self,
        track: Track,
        wanted: Prefilter,
        since: bytes,
        until: bytes,
        *,
        exact: bool = False,
        size: int = BLOCK_BYTES,
        part: Range | None = None,
        watch: Watch | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._track = track
        self._wanted = wanted
        self._since = since
        self._until = until
        self._exact = exact
        self._size = size
        self._part = part
        self._watch = watch
        self._progress = progress
        self._measuring = False
        self._assembler = Assembler(track.formats)
        self._in_vain = 0
        self._paused = 0

    def blocks(self) -> Iterator[Block]:
        """Yield the window's blocks, with some slack around it, as they stand."""
        begin, end = self._part or self.range()
        fresh = not any(self._wanted)
        stop = self._track.size if end is None else end
        halves = self._halves()
        past = partial(self._past, halves=halves, stop=stop) if halves else None
        for block in blocks(
            self._track.byte_reader, begin, end, self._size, fresh=fresh, past=past
        ):
            if self._progress is not None:
                self._progress(block.size)
            yield block

    def _halves(self) -> tuple[bytes, ...]:
        """Return two texts of which each wanted line holds one, also where a carrier has cut it in two.

        Where a text is cut in its second half, its first one stands before the cut, else the second one behind it.
        None are returned if the lines cannot be searched so, or would be found everywhere.
        """
        if self._watch is not None or not self._wanted.anywhere:
            return ()
        term = self._wanted.anywhere[0]
        if len(term) != 1 or not _HALVED_MIN <= len(term[0]) <= _HALVED_MAX:
            return ()
        middle = len(term[0]) // 2
        return term[0][:middle], term[0][middle:]

    def _past(self, offset: int, *, halves: tuple[bytes, ...], stop: int) -> int:
        """Return the beginning of the next entry that may be wanted; what stands before it need not be read.

        Args:
            offset: Where the block before ends.
            halves: Of what is looked for.
            stop: Where the window ends.
        """
        if self._assembler.waits or stop - offset < self._size:
            return offset
        if self._paused:
            self._paused -= 1
            return offset
        reader = self._track.byte_reader
        limit = min(stop, offset + _PAST_MAX)
        found = reader.passed(offset, limit, halves)
        if found < stop:
            begin = max(offset, found - _PAST_BACK)
            cut = cut_at(reader.read(begin, found - begin), found - begin) if found > begin else 0
            found = begin + cut if cut else offset
        if self._progress is not None:
            self._progress(found - offset)
        # Where each block holds one of the halves, looking ahead is in vain: ever more blocks are read without.
        is_vain = found - offset < self._size
        self._in_vain = min(4 * self._in_vain + 3, _IN_VAIN_MAX) if is_vain else 0
        self._paused = self._in_vain
        return found

    def range(self) -> Range:
        """Return where the window begins and ends."""
        return (0, None) if self._exact else self._track.span(self._since, self._until)

    def _bare_blocks(self) -> Iterator[Block]:
        """Yield the blocks that may hold what is wanted, without their carriers."""
        for block in self.blocks():
            if not any(self._wanted) or self._watch is not None or self._may_hold(block):
                yield block if self._is_in_pieces(block) else without_carrier(block)

    def _may_hold(self, block: Block) -> bool:
        """Say whether a block has the bytes of each term, if no carrier has cut them in two."""
        terms = self._wanted.anywhere
        return all(
            any(block.find(part) >= 0 for part in term) for term in terms
        ) or self._is_in_pieces(block)

    def batches(self) -> Iterator[Batch]:
        """Yield what may be wanted; what is not in the window is left out."""
        unread = self._bare_blocks()
        while (batch := self._next(unread)) is not None:
            yield batch
        yield self._batch(list(self._assembler.rest()), None)

    def _next(self, blocks: Iterator[Block]) -> Batch | None:
        """Return the next block's batch; a function, so that no block outlives it."""
        block = next(blocks, None)
        if block is None:
            return None
        terms = self._terms(block)
        is_plain = not (terms or self._wanted.own or self._is_in_pieces(block))
        if is_plain and (found := block.survey()) is not None:
            if self._watch is not None:
                self._watch(block)
            return self._surveyed_batch(block, found)
        return self._batch(self._found(block, terms), self._last_key(block))

    def whole_disorder_s(self) -> float:
        """Read everything, and return by how many seconds a line stands too late, at most."""
        most, newest = 0.0, LOWEST
        self._measuring = True
        for batch in self.batches():
            most = max(most, batch.disorder_s)
            for key in batch.span() if batch.ordered and len(batch.lines) else batch.lines.keys:
                if key >= newest:
                    newest = key
                else:
                    most = max(most, seconds(newest) - seconds(key))
        return most + 0.000001

    def entries(self) -> Iterator[Entry]:
        """Yield the same as single entries."""
        for block in self._bare_blocks():
            yield from self._kept(self._found(block, self._terms(block)))
        yield from self._kept(list(self._assembler.rest()))

    def whole_blocks(self) -> Iterator[Block]:
        """Yield the same without carriers, pieces of lines as the lines that they are."""
        for block in self._bare_blocks():
            yield _made_whole(self._assembled(block), block) if self._is_in_pieces(block) else block

    def _terms(self, block: Block) -> list[Term]:
        """Return what bytes a wanted line of a block must hold."""
        wanted = self._wanted
        terms = [term for term in wanted.anywhere if all(term)]  # an empty text is in each line
        if wanted.uncolored and block.find(_ESCAPE) < 0:
            terms = [*wanted.uncolored, *terms]
        return terms + list(wanted.own) if wanted.own and block.is_own else terms

    def _is_in_pieces(self, block: Block) -> bool:
        return self._assembler.waits or block.in_pieces

    def _found(self, block: Block, terms: list[Term]) -> list[Entry]:
        """Return what may be wanted of one block."""
        if self._is_in_pieces(block):
            entries = self._assembled(block)
            if self._watch is not None:
                self._watch(_made_whole(entries, block))
            return entries
        if self._watch is not None:
            self._watch(block)
        return list(self._hits(block, terms)) if terms else self._assembled(block)

    def _assembled(self, block: Block, begin: int = 0, end: int | None = None) -> list[Entry]:
        """Return the entries of a block, or of a part of it."""

        def first() -> bytes:
            return self._track.key_before(block.offset)

        lines = _lines(block.data[begin:end], block.offset + begin)
        return list(self._assembler.entries(lines, first))

    def _others(self, block: Block, found: Survey) -> Iterator[Other]:
        """Yield the entries of a block that are not plainly ours."""
        done = 0
        for begin, end, before in found.stretches:
            if before > done:
                self._assembler.last = found.lines.key(before - 1)
            done = before
            for entry in self._assembled(block, begin, end):
                yield Other(before, entry.key, entry.raw)
        if len(found.lines) > done:
            self._assembler.last = found.lines.key(len(found.lines) - 1)

    def _kept(self, entries: list[Entry]) -> list[Entry]:
        return [entry for entry in entries if self._since <= entry.key < self._until]

    def _surveyed_batch(self, block: Block, found: Survey) -> Batch:
        is_first = self._measuring or self._assembler.last is None
        lines, behind_s, distinct = ordered(found.lines, list(self._others(block, found)))
        read_to = found.lines.key(len(found.lines) - 1)
        if lines.last >= self._until or lines.first < self._since:
            lines = _freed(lines.part(lines.before(self._since), lines.before(self._until)), lines)
        disorder_s = behind_s if is_first else 0.0
        return Batch(lines, read_to, ordered=True, distinct=distinct, disorder_s=disorder_s)

    def _batch(self, entries: list[Entry], read_to: bytes | None) -> Batch:
        kept = self._kept(entries)
        return Batch(Listed([e.key for e in kept], [e.raw for e in kept]), read_to)

    def _last_key(self, block: Block) -> bytes | None:
        """Return the time of the last line that says one, if it is near the end."""
        buffer, end = block.buffer, block.size
        for _ in range(_BACK_MAX):
            start = buffer.rfind(b"\n", 0, max(0, end - 1)) + 1
            if (key := self._track.key_of(block.part(start, end))) is not None or start == 0:
                return key
            end = start
        return None

    def _hits(self, block: Block, terms: list[Term]) -> Iterator[Entry]:
        """Yield the entries that hold all terms' bytes, by a search for the first one's."""
        buffer, size = block.buffer, block.size
        others = terms[1:]
        done = 0
        for at in _places(block, terms[0]):
            if at < done:
                continue
            start = buffer.rfind(b"\n", 0, at) + 1
            end = buffer.find(b"\n", at, size) + 1 or size
            line = block.part(start, end).rstrip()
            key = None if holds_another(line) else own_key(line)
            whole = end == size or OWN_ERROR not in line or buffer.startswith(OWN_START, end)
            if key is not None and whole:
                done = end
                if holds(line, others) and (OWN_TAIL not in line or holds(line, self._wanted.own)):
                    yield Entry(key, line, block.offset + start, timed=True)
                continue
            entries, done = self._whole_entries(block, start, end, done)
            yield from (entry for entry in entries if holds(entry.raw, terms))

    def _whole_entries(
        self, block: Block, start: int, end: int, done: int
    ) -> tuple[list[Entry], int]:
        """Return the entries around a line, and where the last of them ends.

        Where no line surely begins an entry they are many: all are returned, so that whoever searches
        goes on behind them and no line is looked at once for each hit.

        Args:
            block: The block.
            start: Where the line begins.
            end: Where it ends.
            done: What stands before that has been looked at.
        """
        hit = block.offset + start
        start = _back(block, start, done)
        end, whole = _forward(block, end)
        offset = block.offset + start
        assembler = Assembler(self._track.formats)
        entries = list(
            assembler.entries(
                _lines(block.part(start, end), offset), lambda: self._track.key_before(offset)
            )
        )
        if not whole and entries and entries[-1].offset > hit:  # it may go on
            end = entries.pop().offset - block.offset
        return entries, end


def _made_whole(entries: list[Entry], block: Block) -> Block:
    whole = b"".join(entry.raw + b"\n" for entry in entries)
    return Block(whole, len(whole), block.offset)


def _back(block: Block, start: int, done: int) -> int:
    """Return where the entry begins that the line at ``start`` is part of, at ``done`` at the latest."""
    for _ in range(_BACK_MAX):
        if start <= done or begins(block.part(start, block.buffer.find(b"\n", start) + 1)):
            break
        start = block.buffer.rfind(b"\n", 0, start - 1) + 1
    return max(start, done)


def _forward(block: Block, end: int) -> tuple[int, bool]:
    """Return where the next line stands that surely begins an entry, and whether one was found."""
    for _ in range(_FORWARD_MAX):
        after = block.buffer.find(b"\n", end, block.size) + 1 or block.size
        if end >= block.size or begins(block.part(end, after)):
            return end, True
        end = after
    return end, False


def _freed(part: Lines, lines: Lines) -> Lines:
    """Return a part of lines; of few, a copy, so that their whole block need not be kept for them."""
    return part if len(part) * _FEW_OF > len(lines) else Listed(part.keys, part.raws)


def _places(block: Block, term: Term) -> Iterable[int]:
    """Return where one of the term's bytes stand, in order."""
    if len(term) == 1:
        return _finds(block, term[0])
    return sorted(place for part in term for place in _finds(block, part))


def _finds(block: Block, part: bytes) -> Iterator[int]:
    step = max(1, len(part))  # a search for nothing ends, too
    at = block.find(part)
    while at >= 0:
        yield at
        at = block.find(part, at + step)


def _lines(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    for line in data.split(b"\n"):
        yield offset, line
        offset += len(line) + 1
