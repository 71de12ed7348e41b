"""What a line of ours tells without being decoded: enough to count it and to hand it on as it is."""

from typing import Final, NamedTuple

from cordboard.contract.record import SERVER_PREFIX
from cordboard.logs.formats.decode import is_text
from cordboard.logs.line import Attribution
from cordboard.logs.tape import Block
from cordboard.logs.timestamps import OWN_START, tail_at

_RAW: Final = (b',"raw":true', b',"raw":true,"truncated":true')
_SERVICE: Final = b'"service":"'
_SESSION: Final = b'"sessionId":"'
_SERVER: Final = SERVER_PREFIX.encode()

Glance = tuple[str, Attribution]
"""The service, and how the line's session is known."""


class Summary(NamedTuple):
    """What the lines of a block have in common, and in numbers.

    Attributes:
        service: Who said all of them.
        lines: How many they are.
        absent: How many of them know no session; all others say theirs themselves.
    """

    service: str
    lines: int
    absent: int


def summary(block: Block, lines: int) -> Summary | None:
    """Return what a block of lines in our own form tells; None where they have to be looked at singly.

    Args:
        block: Lines, all in our own form.
        lines: How many.
    """
    first = glance(block.part(0, block.buffer.find(b"\n")))
    if first is None:
        return None
    service = _SERVICE + first[0].encode() + b'"'
    if (
        block.count(service) != lines
        or block.count(_SESSION) != lines
        or block.count(b'"raw":true') != 0
    ):
        return None
    return Summary(first[0], lines, block.count(_SESSION + _SERVER))


def glance(raw: bytes) -> Glance | None:
    """Return what a line tells; None where it is not surely a whole line in our own form.

    Quotes inside of texts stand behind a backslash, so that a key's name with its quotes is never
    part of a message; `meta`, which could hold the same names, stands behind what is looked for.
    """
    tail = tail_at(raw)
    if tail < 0 or not raw.startswith(OWN_START) or b"\n" in raw:
        return None
    service = raw.find(_SERVICE) + len(_SERVICE)
    session = raw.find(_SESSION, service) + len(_SESSION)
    end = raw.find(b'"', service)
    if service < len(_SERVICE) or session < len(_SESSION) or not is_text(raw):
        return None
    name = raw[service:end].decode()
    if raw.startswith(_SERVER, session):
        return name, "absent"
    return name, "inherited" if raw.endswith(_RAW, 0, tail) else "explicit"
