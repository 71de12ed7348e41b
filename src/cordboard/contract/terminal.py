"""Untrusted text on a terminal: control characters are made visible, so that they have no effect."""

import re
from functools import cache
from typing import Final

_BYTE_MAX: Final = 0xFF
# C0 and C1 controls except tab and newline, marks that change the direction of text, zero-width
# characters, lone surrogates.
_CONTROL: Final = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


def escape_controls(text: str) -> str:
    """Return ``text`` with control characters made visible, except newlines and tabs."""
    return text if text.isprintable() else _control().sub(_visible, text)


def escape_controls_in_json(text: str) -> str:
    """Return ``text``, which is JSON, with the same characters as JSON escapes."""
    return text if text.isprintable() else _control().sub(_json_escape, text)


@cache
def _control() -> re.Pattern[str]:
    """Return the pattern, compiled at first use, because nearly all texts are printable."""
    return re.compile(_CONTROL)


def escape_to_one_line(text: str) -> str:
    """Return ``text`` on one line, with all control characters made visible."""
    return escape_controls(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def _visible(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number <= _BYTE_MAX else f"\\u{number:04x}"


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
