"""One stream in batches: search by bytes, then keys, then only what is in the window."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from cordboard.logs.entries import Assembler, Entry
from cordboard.logs.formats import OWN_START, Formats
from cordboard.logs.tape import Block, Tape, blocks
from cordboard.logs.times import HIGHEST, LOWEST

_OWN_LINE: Final = b"\n" + OWN_START + b"2"
_KEY_FROM: Final = len(OWN_START)
_KEY_TO: Final = _KEY_FROM + 27


class Batch(NamedTuple):
    """Entries of one stream in the order in which they stand.

    Attributes:
        keys: When each was said.
        raws: The bytes of each.
    """

    keys: list[bytes]
    raws: list[bytes]


def batches(tape: Tape, formats: Formats, first: bytes) -> Iterator[Batch]:
    """Yield all entries of a stream."""
    assembler = Assembler(formats)
    for block in blocks(tape):
        yield _batch(block, assembler, first)
    rest = list(assembler.rest())
    if rest:
        yield Batch([entry.key for entry in rest], [entry.raw for entry in rest])


def _batch(block: Block, assembler: Assembler, first: bytes) -> Batch:
    data = block.data
    if _all_own(data):
        raws = data.split(b"\n")
        if not raws[-1]:
            raws.pop()
        keys = [raw[_KEY_FROM:_KEY_TO] for raw in raws]
        held = list(assembler.rest())
        assembler.last = keys[-1]
        return Batch([entry.key for entry in held] + keys, [entry.raw for entry in held] + raws)
    entries: list[Entry] = list(assembler.entries(_lines(block), first))
    return Batch([entry.key for entry in entries], [entry.raw for entry in entries])


def _all_own(data: bytes) -> bool:
    """Say whether each line is in our own form."""
    if not data.startswith(_OWN_LINE[1:]) or not data.endswith(b"}\n"):
        return False
    lines = data.count(b"\n")
    return data.count(_OWN_LINE) + 1 == lines and data.count(b"}\n") == lines


def _lines(block: Block) -> Iterator[tuple[int, bytes]]:
    offset = block.offset
    for line in block.data.split(b"\n"):
        yield offset, line
        offset += len(line) + 1


def in_window(key: bytes, since: bytes = LOWEST, until: bytes = HIGHEST) -> bool:
    """Say whether a moment is wanted."""
    return since <= key < until
