"""Removes a carrier from all lines of a block at once, where each is a line of Cordboard's format in that carrier.

One line at a time, `cordboard.logs.formats.wrappers` does the same at a tenth of the speed; it also does what this
module leaves: pieces of lines, other loggers' lines, other carriers.
"""

import re
from typing import Final

from cordboard.logs.blocks import Block
from cordboard.logs.patterns import pattern

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
