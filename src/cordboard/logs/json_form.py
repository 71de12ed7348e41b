"""A line as bytes: as it was found, or as JSON, which is the same where it is a record of ours."""

import re
from typing import Final

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.formats.codec import decode, encode
from cordboard.logs.formats.decode import is_own, is_text
from cordboard.logs.line import Line
from cordboard.logs.patterns import pattern
from cordboard.logs.timestamps import own_key

_C1: Final = pattern(rb"\xc2[\x80-\x9f]")
_SEPARATORS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def raw_line(line: Line) -> bytes:
    """Return a line as it was found."""
    return line.raw + b"\n"


def kept_line(line: Line) -> bytes:
    """Return a line as it was found, without a newline; as its record where it is damaged JSON.

    Whoever reads a folder of such lines by `jq` meets no line that begins as JSON and is none.
    """
    if not line.raw.startswith(b"{") or b"\n" in line.raw:
        return line.raw
    if is_own(line.record) and is_text(line.raw):
        return line.raw
    try:
        decode(line.raw)
    except (ValueError, RecursionError):
        return encode(line.record)
    return line.raw


def json_line(line: Line) -> bytes:
    """Return a line's record as one line of JSON."""
    key = own_key(line.raw)
    unchanged = key is not None and key.decode() == line.record[TIMESTAMP]
    if unchanged and is_own(line.record) and _is_whole(line.raw):
        return escaped(line.raw) + b"\n"
    return escaped(encode(line.record)) + b"\n"


def _is_whole(raw: bytes) -> bool:
    """Say whether the bytes are one line of valid text: nothing joined to it, nothing damaged."""
    return b"\n" not in raw and is_text(raw)


def escaped(data: bytes) -> bytes:
    """Return JSON without the controls that a terminal obeys, or that part lines, though JSON allows them.

    U+0080 to U+009F, U+2028 and U+2029 become escapes of JSON.
    """
    if data.isascii():
        return data
    if b"\xc2" in data:
        data = _C1.sub(_as_escape, data)
    for raw, escape in _SEPARATORS:
        if raw in data:
            data = data.replace(raw, escape)
    return data


def _as_escape(found: "re.Match[bytes]") -> bytes:
    return b"\\u%04x" % found.group()[1]
