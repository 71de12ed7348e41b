"""A stream's bytes in blocks of whole entries: plain files at random, packed ones from the start.

Files are read, not mapped: one that is truncated meanwhile would kill a process that maps it.
"""

import os
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from cordboard.logs.coverage import Shortfall
from cordboard.logs.entries import begins

BLOCK_BYTES: Final = 1 << 20
ENTRY_MAX_BYTES: Final = 64 << 20
_LINES_BACK: Final = 64


class Block(NamedTuple):
    """Some whole lines; where it can be told, of whole entries.

    Attributes:
        data: The bytes.
        offset: Where they begin.
    """

    data: bytes
    offset: int


class Tape(Protocol):
    """Bytes that can be read again from an offset; never raises.

    Attributes:
        damage: Why less was read than there was.
    """

    damage: Shortfall | None

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``; fewer only at the end."""


class FileTape:
    """A plain file, up to the size that it had when it was opened.

    Args:
        fd: Its descriptor.
        size: Its size.
    """

    __slots__ = ("damage", "fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.damage: Shortfall | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``."""
        asked = min(size, max(0, self.size - offset))
        if asked == 0:
            return b""
        try:
            data = os.pread(self.fd, asked, offset)
        except OSError as error:
            self.damage = Shortfall("unreadable", error.strerror or str(error))
            return b""
        if len(data) < asked:
            self.damage = Shortfall("truncated", "the file was cut while it was read")
        return data


def blocks(
    tape: Tape, begin: int = 0, end: int | None = None, size: int = BLOCK_BYTES
) -> Iterator[Block]:
    """Yield the bytes from ``begin`` to ``end`` in blocks that end where an entry does."""
    offset, wanted = begin, size
    while end is None or offset < end:
        asked = wanted if end is None else min(wanted, end - offset)
        data = tape.read(offset, asked)
        if not data:
            return
        last = len(data) < asked or (end is not None and offset + len(data) >= end)
        cut = len(data) if last else cut_at(data)
        if cut == 0:  # a line, or an entry, longer than a block
            if wanted < ENTRY_MAX_BYTES:
                wanted *= 2
                continue
            cut = data.rfind(b"\n") + 1 or len(data)
        yield Block(data[:cut], offset)
        offset += cut
        wanted = size


def cut_at(data: bytes) -> int:
    """Return where the last entry begins that surely is one; 0 where there is none."""
    end = data.rfind(b"\n") + 1
    for _ in range(_LINES_BACK):
        if end <= 0:
            break
        start = data.rfind(b"\n", 0, end - 1) + 1
        if begins(data[start:end]):
            return start
        end = start
    return 0
