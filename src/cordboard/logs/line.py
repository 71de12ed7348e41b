"""One line as it was read, and its bytes: as it was found, or as JSON, which is the same where it is a record of ours."""

from typing import Any, Literal, NamedTuple

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.formats.codec import decode, encode, escaped
from cordboard.logs.formats.decode import is_own, is_text
from cordboard.logs.timestamps import own_key

Attribution = Literal["explicit", "inherited", "inferred", "absent"]
"""How a line's session is known: it says so; a raw line of a one-session process; concluded; not."""


class Line(NamedTuple):
    """A decoded line.

    Attributes:
        record: The record under the keys of the contract, whatever names its writer used.
        raw: The bytes as they were found, without prefix and newline.
        source: Where it was found: a file's path, or ``namespace/pod/container``.
        attribution: How its session is known.
        inferred_from: For an inferred one: from what, in words.
        context: It is no line of the answer, but stands beside one.
    """

    record: dict[str, Any]
    raw: bytes
    source: str
    attribution: Attribution = "explicit"
    inferred_from: str | None = None
    context: bool = False


def raw_line(line: Line) -> bytes:
    """Return the bytes of `line` as they were found, with a newline."""
    return line.raw + b"\n"


def kept_line(line: Line) -> bytes:
    """Return `line` as it was found, without a newline; as its record where it is damaged JSON.

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
    """Return the record of `line` as one line of JSON; one that only stands beside a hit says so."""
    if line.context:
        return escaped(encode({**line.record, "context": True})) + b"\n"
    key = own_key(line.raw)
    unchanged = key is not None and key.decode() == line.record[TIMESTAMP]
    if unchanged and is_own(line.record) and _is_whole(line.raw):
        return escaped(line.raw) + b"\n"
    return escaped(encode(line.record)) + b"\n"


def _is_whole(raw: bytes) -> bool:
    """Say whether the bytes are one line of valid text: nothing joined to it, nothing damaged."""
    return b"\n" not in raw and is_text(raw)
