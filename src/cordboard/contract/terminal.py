"""Text from outside on a terminal: what could steer it is made visible."""

import re
from functools import cache
from typing import Final

_CONTROL: Final = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


def escape_controls(text: str) -> str:
    """Return ``text`` with escape sequences and other controls made visible; newlines and tabs stay."""
    return text if text.isprintable() else _control().sub(_shown, text)


def escape_controls_in_json(text: str) -> str:
    """Return JSON with the same characters as JSON escapes; newlines and tabs stay."""
    return text if text.isprintable() else _control().sub(_escaped, text)


@cache
def _control() -> re.Pattern[str]:
    """Return the pattern, compiled when it is first needed: nearly all texts are printable."""
    return re.compile(_CONTROL)


def escape_to_one_line(text: str) -> str:
    """Return ``text`` harmless and on one line."""
    return escape_controls(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def _shown(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}"  # noqa: PLR2004 - a byte


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"
