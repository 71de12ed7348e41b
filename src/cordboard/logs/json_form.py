"""A line as bytes: as it was found, or as JSON, which is the same where it is a record of ours."""

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.codec import decode, encode
from cordboard.logs.line import Line
from cordboard.logs.records import is_own, is_text
from cordboard.logs.stamps import own_key


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
        return line.raw + b"\n"
    return encode(line.record) + b"\n"


def _is_whole(raw: bytes) -> bool:
    """Say whether the bytes are one line of valid text: nothing joined to it, nothing damaged."""
    return b"\n" not in raw and is_text(raw)
