"""A stream's bytes in blocks of whole entries: plain files at random, packed ones from the start.

Files are read, not mapped: one that is truncated meanwhile would kill a process that maps it.
"""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Protocol

from stringzilla import count, find, rfind

from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.codec import decode
from cordboard.logs.formats.continuation import begins
from cordboard.logs.formats.decode import is_text
from cordboard.logs.patterns import pattern
from cordboard.logs.survey import Numbers, Survey, numbers, passed, survey
from cordboard.logs.timestamps import OWN_START

BLOCK_BYTES: Final = 1 << 20
PASSED_BYTES: Final = 64 << 10
"""What is read at once behind bytes that were passed."""
ENTRY_MAX_BYTES: Final = 8 << 20  # a longer line is read in pieces
DOCKER_START: Final = b'{"log":"'
_CRI_PIECES: Final = (b" stdout P", b" stderr P")
_CRI_CHANNEL: Final = b" std"
_JSON_CHANNEL: Final = b'"stream'  # also where the quotes are escaped
_OF_CONTAINER: Final = pattern(rb'"stream\\{0,15}"\s{0,9}:\s{0,9}\\{0,15}"std(?:out|err)')
_AGENTS_KEYS: Final = (b'_p"', b"_p\\", b"logtag")
_AGENTS_VALUES: Final = (b'"P"', b'"P\\')
_AGENTS_PIECE: Final = pattern(rb'(?:_p|logtag)\\{0,15}"\s{0,9}:\s{0,9}\\{0,15}"P')
_DOCKER_LINE: Final = pattern(rb'\n\{\s{0,9}"(?:log|stream|time|attrs)"\s{0,9}:')
_DOCKER_KEYS: Final = frozenset(("log", "stream", "time", "attrs"))
_DOCKER_LINES: Final = 8  # so many lines are looked at for one of Docker's
_HEAD_BYTES: Final = 64
_LINES_BACK: Final = 64
_SPARE_MAX: Final = 4
_spare: Final[list[bytearray]] = []  # buffers to be used again: memory's first touch costs a read


class Block:
    """Some whole lines; where it can be told, of whole entries.

    Unless read as ``fresh``, valid until the next one is.

    Args:
        buffer: Holds the bytes, and perhaps others behind them.
        size: How many of them are the block's.
        offset: Where they begin in the stream.

        in_pieces: Whether a carrier may have cut its lines into pieces; None if nobody has looked.

    Attributes:
        surveyed: What `survey` returned, where it has been asked.
    """

    __slots__ = (
        "_counts",
        "_data",
        "_in_pieces",
        "_numbers",
        "buffer",
        "offset",
        "size",
        "surveyed",
    )

    def __init__(
        self, buffer: bytes | bytearray, size: int, offset: int, *, in_pieces: bool | None = None
    ) -> None:
        self.buffer = buffer
        self.size = size
        self.offset = offset
        self._in_pieces = in_pieces
        self._data: bytes | None = None
        self._counts: dict[bytes, int] = {}
        self._numbers: Numbers | None = None
        self.surveyed: Survey | None = None

    @property
    def data(self) -> bytes:
        """The bytes as a copy of their own; a search does without."""
        if self._data is None:
            if isinstance(self.buffer, bytes) and len(self.buffer) == self.size:
                return self.buffer
            self._data = bytes(memoryview(self.buffer)[: self.size])
        return self._data

    @property
    def is_text(self) -> bool:
        """Whether they are valid UTF-8."""
        return self.buffer.isascii() or is_text(self.data)

    @property
    def numbers(self) -> Numbers:
        """The numbers of its lines; read once."""
        if self._numbers is None:
            self._numbers = numbers(self.buffer, self.size)
        return self._numbers

    @property
    def in_pieces(self) -> bool:
        """Whether a carrier may have cut its lines into pieces; looked for once."""
        if self._in_pieces is None:
            self._in_pieces = self._has_pieces()
        return self._in_pieces

    def _has_pieces(self) -> bool:
        if self.find(_CRI_CHANNEL) >= 0 and any(self.find(mark) >= 0 for mark in _CRI_PIECES):
            return True
        return self.find(_JSON_CHANNEL) >= 0 and self._has_pieces_in_json()

    def _has_pieces_in_json(self) -> bool:
        """Return whether a line may be a piece: by its mark, or as in Docker's files it ends without a newline."""
        if self.buffer.startswith(DOCKER_START) and self.count(b'\\n","') >= self.count(b"\n"):
            return False
        if _OF_CONTAINER.search(self.buffer, 0, self.size) is None:
            return False
        return self._has_agents_piece() or self._has_dockers_piece()

    def _has_agents_piece(self) -> bool:
        marks = (_AGENTS_KEYS, _AGENTS_VALUES)  # to find them costs less than the pattern does
        return (
            all(any(self.find(mark) >= 0 for mark in either) for either in marks)
            and _AGENTS_PIECE.search(self.buffer, 0, self.size) is not None
        )

    def _has_dockers_piece(self) -> bool:
        return self.count(b'\\n"') < self.count(b"\n") and any(
            map(_is_dockers, islice(self._dockers_lines(), _DOCKER_LINES))
        )

    def _dockers_lines(self) -> Iterator[bytes]:
        """Yield lines that begin as Docker's do; an agent's may do so, too."""
        if _DOCKER_LINE.match(b"\n" + self.part(0, _HEAD_BYTES)):
            yield self._line_at(0)
        for found in _DOCKER_LINE.finditer(self.buffer, 0, self.size):
            yield self._line_at(found.start() + 1)

    def _line_at(self, start: int) -> bytes:
        end = self.find(b"\n", start)
        return self.part(start, end if end >= 0 else self.size)

    @property
    def is_own(self) -> bool:
        """Whether each line is in our own form, and none was glued to another."""
        if not self.buffer.startswith(OWN_START):
            return False
        return 0 < self.numbers.own == self.count(OWN_START)

    def survey(self) -> Survey | None:
        """Return what its lines tell; None where none is plainly ours."""
        if self.surveyed is None and self.find(OWN_START) >= 0 and self.is_text:
            whole = self.buffer if isinstance(self.buffer, bytes) else self.data
            self.surveyed = survey(whole, self.size)
        return self.surveyed

    @property
    def count_of_lines(self) -> int:
        """How many newlines there are."""
        return self.count(b"\n")

    def count(self, part: bytes) -> int:
        """Return how often the bytes `part` occur; counted once."""
        if part not in self._counts:
            self._counts[part] = int(count(self.buffer, part, 0, self.size))
        return self._counts[part]

    def find(self, part: bytes, start: int = 0) -> int:
        """Return where the bytes `part` occur next, from the place `start` on; -1 where they do not."""
        return int(find(self.buffer, part, start, self.size))

    def rfind(self, part: bytes, end: int) -> int:
        """Return where the bytes `part` occur last before the place `end`; -1 where they do not."""
        return int(rfind(self.buffer, part, 0, end))

    def part(self, start: int, end: int) -> bytes:
        """Return a copy of the bytes from the place `start` to the place `end`."""
        return bytes(self.buffer[start:end])


class ByteReader(Protocol):
    """Bytes that can be read again from an offset; never raises.

    Attributes:
        size: How many bytes it has, or about how many.
        damage: Why less was read than there was.
        can_seek: Whether any part of it can be read without those before it.
    """

    size: int
    damage: Shortfall | None
    can_seek: bool

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`; fewer only at the end."""

    def read_into(self, buffer: bytearray, offset: int, size: int) -> int:
        """Read up to `size` bytes at `offset` into the beginning of `buffer`; return how many."""

    def passed(self, offset: int, end: int, parts: tuple[bytes, ...]) -> int:
        """Return a place between `offset` and `end` before which none of `parts` begins.

        Args:
            offset: Where to begin.
            end: Where to end.
            parts: One or two texts of 1 to 256 bytes.
        """


class FileByteReader:
    """A plain file, up to the size that it had when it was opened.

    Args:
        fd: Its descriptor.
        size: Its size.
    """

    __slots__ = ("damage", "fd", "size")
    can_seek = True

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.damage: Shortfall | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`."""
        asked = min(size, max(0, self.size - offset))
        if asked == 0:
            return b""
        try:
            found = os.pread(self.fd, asked, offset)
        except OSError as error:
            self._failed(error)
            return b""
        self._note(len(found), asked)
        return found

    def read_into(self, buffer: bytearray, offset: int, size: int) -> int:
        """Read up to `size` bytes at `offset` into the beginning of `buffer`; return how many."""
        asked = min(size, max(0, self.size - offset))
        if asked == 0:
            return 0
        try:
            count = os.preadv(self.fd, [memoryview(buffer)[:asked]], offset)
        except OSError as error:
            self._failed(error)
            return 0
        self._note(count, asked)
        return count

    def passed(self, offset: int, end: int, parts: tuple[bytes, ...]) -> int:
        """Return a place between `offset` and `end` before which none of `parts` begins."""
        return passed(self.fd, offset, min(end, self.size), parts)

    def _failed(self, error: OSError) -> None:
        self.damage = Shortfall("unreadable", error.strerror or str(error))

    def _note(self, count: int, asked: int) -> None:
        if count < asked:
            self.damage = Shortfall("truncated", "the file was truncated while it was read")


def _is_dockers(line: bytes) -> bool:
    """Return whether `line` has no other keys than Docker writes."""
    try:
        return bool(decode(line).keys() <= _DOCKER_KEYS)
    except (ValueError, RecursionError):
        return False


Past = Callable[[int], int]


def blocks(
    byte_reader: ByteReader,
    begin: int = 0,
    end: int | None = None,
    size: int = BLOCK_BYTES,
    *,
    fresh: bool = False,
    past: Past | None = None,
) -> Iterator[Block]:
    """Yield the bytes from ``begin`` to ``end`` in blocks that end where an entry does.

    Args:
        byte_reader: What is read.
        begin: The first of them; an entry begins there.
        end: The first one behind them; None for the end of the byte_reader.
        size: How many are read at once.
        fresh: Each block has memory of its own; for one that is split into lines.
        past: Is told where the next block would begin, and returns where it begins.
    """
    if end is not None and begin >= end:
        return
    if fresh:
        yield from _blocks(byte_reader, begin, end, size, None, past)
        return
    try:
        buffer = _spare.pop() if size == BLOCK_BYTES else bytearray(size)
    except IndexError:  # none is left; other threads take from them, too
        buffer = bytearray(size)
    try:
        yield from _blocks(byte_reader, begin, end, size, buffer, past)
    finally:
        if size == BLOCK_BYTES and len(_spare) < _SPARE_MAX:
            _spare.append(buffer)


def _blocks(
    byte_reader: ByteReader,
    begin: int,
    end: int | None,
    size: int,
    buffer: bytearray | None,
    past: Past | None,
) -> Iterator[Block]:
    """Yield blocks read into one buffer or, with None, each into memory of its own."""
    offset = begin
    has_passed = False
    while end is None or offset < end:
        # Behind bytes that were passed, few lines matter: the next ones may be passed again.
        wanted = min(size, PASSED_BYTES) if has_passed else size
        asked = wanted if end is None else min(wanted, end - offset)
        found: bytes | bytearray
        if buffer is None:
            found = byte_reader.read(offset, asked)
            count = len(found)
        else:
            found = buffer
            count = byte_reader.read_into(buffer, offset, asked)
        if count == 0:
            return
        last = count < asked or (end is not None and offset + count >= end)
        cut = count if last else cut_at(found, count)
        if cut == 0 and has_passed:
            has_passed = False
            continue
        if cut == 0:  # a line, or an entry, longer than the buffer
            if size < ENTRY_MAX_BYTES:
                size *= 2
                buffer = None if buffer is None else bytearray(size)
                continue
            cut = found.rfind(b"\n", 0, count) + 1 or count
        yield Block(found, cut, offset)
        offset += cut
        if past is not None:
            passed_to = past(offset)
            has_passed = passed_to - offset >= size
            offset = passed_to


def cut_at(data: bytes | bytearray, end: int) -> int:
    """Return where the last entry of `data` before the place `end` begins that surely is one; 0 where there is none."""
    end = data.rfind(b"\n", 0, end) + 1
    for _ in range(_LINES_BACK):
        if end <= 0:
            break
        start = data.rfind(b"\n", 0, end - 1) + 1
        if begins(bytes(data[start:end])):
            return start
        end = start
    return 0
