r"""Encodes records as JSON that neither a terminal nor a reader of lines can misinterpret.

msgspec is the one codec of this package. It escapes the control characters of ASCII only. U+0080 to
U+009F control a terminal as well, and some readers end a line at U+2028 and U+2029, so all of these
are written as escapes such as ``\u009b``.
"""

import re
from typing import Any, Final

import msgspec

encode: Final = msgspec.json.Encoder().encode
"""Encodes a value that JSON can represent; one encoder saves a lookup for each line."""
_C1_CONTROLS: Final = re.compile(rb"\xc2[\x80-\x9f]")  # U+0080 to U+009F in UTF-8
_SEPARATORS: Final = re.compile(rb"\xe2\x80[\xa8\xa9]")  # U+2028 and U+2029 in UTF-8
_C1_FIRST_BYTE: Final = 0xC2
_SEPARATOR_FIRST_BYTE: Final = 0xE2


def encode_line(record: dict[str, Any]) -> bytes:
    """Return `record` as one line with its newline, however long."""
    return escape_controls(encode(record)) + b"\n"


def escape_controls(line: bytes) -> bytes:
    """Return the JSON text `line` with the control characters beyond ASCII escaped."""
    # A search for one byte costs a hundredth of a pattern's, and most texts contain neither byte.
    if _C1_FIRST_BYTE in line:
        line = _C1_CONTROLS.sub(_escape, line)
    if _SEPARATOR_FIRST_BYTE in line:
        line = _SEPARATORS.sub(_escape, line)
    return line


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match.group().decode())


def json_string(text: str) -> str:
    """Return `text` as a JSON string, with its quotes."""
    return encode(text).decode()
