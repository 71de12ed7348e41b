r"""JSON that neither a terminal nor a reader of lines can misinterpret.

msgspec escapes the controls of ASCII. U+0080 to U+009F steer a terminal as well, and U+2028 and
U+2029 end a line for some readers: they are written as escapes such as ``\u009b``.
"""

import re
from typing import Any, Final

import msgspec

encode: Final = msgspec.json.Encoder().encode
_C1: Final = re.compile(rb"\xc2[\x80-\x9f]")  # as UTF-8
_SEPARATORS: Final = re.compile(rb"\xe2\x80[\xa8\xa9]")
_C1_BEGINS: Final = 0xC2
_SEPARATOR_BEGINS: Final = 0xE2


def encoded(record: dict[str, Any]) -> bytes:
    """Return a record as one line."""
    return escape_controls(encode(record)) + b"\n"


def escape_controls(line: bytes) -> bytes:
    """Return JSON with the controls beyond ASCII escaped; all others stay as they are."""
    # A search for one byte costs a hundredth of a pattern's, and most texts hold neither.
    if _C1_BEGINS in line:
        line = _C1.sub(_escape, line)
    if _SEPARATOR_BEGINS in line:
        line = _SEPARATORS.sub(_escape, line)
    return line


def _escape(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found.group().decode())


def json_text(text: str) -> str:
    """Return ``text`` as a JSON string, with its quotes."""
    return encode(text).decode()
