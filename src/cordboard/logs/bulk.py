"""Removes a carrier at once from those lines of a block that are lines of Cordboard's format in that carrier.

One line at a time, `cordboard.logs.formats.wrappers` does the same at a tenth of the speed; it also does what this
module leaves: pieces of lines, other loggers' lines, other carriers.
"""

from typing import Final

from stringzilla import count, find

from cordboard.logs.blocks import DOCKER_START, Block
from cordboard.logs.patterns import pattern

# As own_key() takes it: a line with another time needs its carrier's.
_KEY: Final = rb"\d{4}.{6}T.{8}\..{6}Z"
_CRI: Final = pattern(
    rb"\n\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) std(?:out|err) F "
    rb'(?=\{"timestamp":"' + _KEY + rb'")'
)
_DOCKER_OWN: Final = pattern(rb'\{"log":"\{\\"timestamp\\":\\"' + _KEY + rb'\\"')
_DOCKER_END: Final = pattern(rb'\}\\n","stream":"std(?:out|err)","time":"[^"\n]*"\}\n')
# Docker's encoder, Go's, also escapes these three.
_OF_GO: Final = ((b"\\u003c", b"<"), (b"\\u003e", b">"), (b"\\u0026", b"&"))
_BACKSLASH: Final = b"\0"  # stands for an escaped backslash meanwhile; a line of JSON holds no zero


def without_carrier(block: Block) -> Block:
    """Return a block with its lines of Cordboard's format bare; the block itself where none is in a known carrier.

    Args:
        block: Whole lines, none of them in pieces.
    """
    data = None
    if block.buffer[:1].isdigit():
        data = _without_cri(block.data)
    elif block.buffer.startswith(DOCKER_START):
        data = _without_docker(block.data)
    return block if data is None else Block(data, len(data), block.offset, in_pieces=False)


def _without_cri(data: bytes) -> bytes | None:
    bare, found = _CRI.subn(b"\n", b"\n" + data)
    return bare[1:] if found else None


def _without_docker(data: bytes) -> bytes | None:
    lines, is_own = data.split(b"\n"), _DOCKER_OWN.match
    own = [n for n, line in enumerate(lines) if is_own(line) and line.endswith(b'"}')]
    if not own:
        return None
    begin = len(DOCKER_START)
    text = _decoded(b"\n".join([*(lines[number][begin:] for number in own), b""]), len(own))
    if text is None:
        return None
    for number, line in zip(own, text.split(b"\n"), strict=False):  # behind the last one is nothing
        lines[number] = line
    return b"\n".join(lines)


def _decoded(data: bytes, lines: int) -> bytes | None:
    """Return the texts of lines of Docker's JSON; None where one has an escape that is not known here."""
    data, ended = _DOCKER_END.subn(b"}\n", data)
    if ended != lines or find(data, DOCKER_START) >= 0 or _BACKSLASH in data:
        return None
    if data.count(b"\\") == count(data, b'\\"'):  # as in most blocks
        return data.translate(None, b"\\")
    data = data.replace(b"\\\\", _BACKSLASH).replace(b'\\"', b'"')
    for escape, text in _OF_GO:
        data = data.replace(escape, text)
    return None if b"\\" in data else data.replace(_BACKSLASH, b"\\")
