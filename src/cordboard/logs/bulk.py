"""Removes a carrier from all lines of a block at once, where each is a line of Cordboard's format in that carrier.

One line at a time, `cordboard.logs.formats.wrappers` does the same at a tenth of the speed; it also does what this
module leaves: pieces of lines, other loggers' lines, other carriers.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from cordboard.logs.blocks import Block
from cordboard.logs.patterns import pattern
from cordboard.logs.timestamps import OWN_ERROR, OWN_LINE, OWN_START

_LOOK_BYTES: Final = 64  # a carrier's beginning is told by these
_CRI_START: Final = pattern(rb"\d{4}-\d\d-\d\dT[^ ]{9,26} std(?:out|err) F \{")
_CRI_LINES: Final = pattern(
    rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) std(?:out|err) F "
    rb'(?=\{"timestamp":"\d)',
    re.MULTILINE,
)
_DOCKER_START: Final = b'{"log":"{\\"timestamp\\":\\"'
_DOCKER_BEGIN: Final = pattern(rb'^\{"log":"(?=\{\\"timestamp\\":\\"\d)', re.MULTILINE)
_DOCKER_END: Final = pattern(rb'\}\\n","stream":"std(?:out|err)","time":"[^"\n]*"\}$', re.MULTILINE)
# A part costs about as much as eight lines that are looked at one by one.
_OWN_PER_FOREIGN: Final = 8
# Docker's encoder, Go's, also escapes these three.
_OF_GO: Final = ((b"\\u003c", b"<"), (b"\\u003e", b">"), (b"\\u0026", b"&"))
_BACKSLASH: Final = b"\0"  # stands for an escaped backslash meanwhile; a line of JSON holds no zero


def without_carrier(block: Block) -> Block:
    """Return a block without the carrier of its lines; the block itself where not all lines are so.

    Args:
        block: Whole lines.
    """
    head = block.part(0, _LOOK_BYTES)
    if head[:1].isdigit() and _CRI_START.match(head):
        return _without_cri(block)
    if head.startswith(_DOCKER_START):
        return _without_docker(block)
    return block


def parted_by_format(block: Block) -> Iterator[Block]:
    """Yield a block in parts, each of lines of Cordboard's format alone or of others alone.

    A few lines of others among ours (an access log, a traceback) then do not slow all lines down. A line of
    ours at level error goes with the lines of others behind it: they may be its traceback.

    Args:
        block: Whole lines.
    """
    if not block.buffer.startswith(OWN_START) or block.count(OWN_LINE) + 1 == _lines_of(block):
        yield block
        return
    data = block.data
    starts = _starts_of_others(data)
    if not starts or len(starts) * _OWN_PER_FOREIGN > block.count_of_lines:
        yield block
        return
    done = 0
    for begin, end in _runs_of_others(data, starts):
        if begin > done:
            yield _part(data, done, begin, block)
        yield _part(data, begin, end, block)
        done = end
    if done < len(data):
        yield _part(data, done, len(data), block)


def _starts_of_others(data: bytes) -> list[int]:
    """Return where lines begin that do not begin as ours do."""
    starts, at = [], 0
    for line in data.split(b"\n"):
        if at < len(data) and not line.startswith(OWN_START):
            starts.append(at)
        at += len(line) + 1
    return starts


def _runs_of_others(data: bytes, starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where lines of others begin and end, those that stand together as one."""
    begin = end = -1
    for start in starts:
        if start != end:
            if end >= 0:
                yield begin, end
            before = data.rfind(b"\n", 0, max(0, start - 1)) + 1
            begin = before if data.find(OWN_ERROR, before, start) >= 0 and before > end else start
        newline = data.find(b"\n", start)
        end = len(data) if newline < 0 else newline + 1
    if end >= 0:
        yield begin, end


def _part(data: bytes, begin: int, end: int, block: Block) -> Block:
    return Block(data[begin:end], end - begin, block.offset + begin)


def _without_cri(block: Block) -> Block:
    data, count = _CRI_LINES.subn(b"", block.data)
    return _made(data, block) if count == _lines_of(block) else block


def _without_docker(block: Block) -> Block:
    data, begun = _DOCKER_BEGIN.subn(b"", block.data)
    data, ended = _DOCKER_END.subn(b"}", data)
    if not begun == ended == _lines_of(block) or _BACKSLASH in data:
        return block
    data = data.replace(b"\\\\", _BACKSLASH).replace(b'\\"', b'"')
    for escape, text in _OF_GO:
        if escape in data:
            data = data.replace(escape, text)
    if b"\\" in data:  # another escape, which one line at a time decodes
        return block
    return _made(data.replace(_BACKSLASH, b"\\"), block)


def _lines_of(block: Block) -> int:
    return block.count_of_lines + (block.part(block.size - 1, block.size) != b"\n")


def _made(data: bytes, block: Block) -> Block:
    return Block(data, len(data), block.offset)
