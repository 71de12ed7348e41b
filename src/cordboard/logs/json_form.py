"""A line as bytes: as it was found, or as JSON, which is the same where it is a record of ours."""

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.codec import encode
from cordboard.logs.line import Line
from cordboard.logs.records import is_own, is_text
from cordboard.logs.stamps import own_key


def raw_line(line: Line) -> bytes:
    """Return a line as it was found."""
    return line.raw + b"\n"


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
