"""Any value of a record becomes a text that steers neither a terminal nor a page.

What would be invisible or would turn other text around (controls, direction marks, zero widths,
lone surrogates) is written as its code point, so that a reader sees that it is there.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_STEERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e03ff]"
)


def visible(text: str) -> str:
    """Return ``text`` with all that steers or hides written as its code point."""
    return _STEERS.sub(lambda found: code_point(found.group()), text.replace("\r\n", "\n"))


def code_point(character: str) -> str:
    """Return a character as an escape that reads."""
    number = ord(character)
    if number <= 0xFF:  # noqa: PLR2004 - a byte
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - 16 bits


def one_line(text: str, limit: int = 0) -> str:
    """Return ``text`` visible, on one line, cut to ``limit`` characters where one is given."""
    flat = " ".join(visible(text).split())
    return f"{flat[: limit - 1]}…" if limit and len(flat) > limit else flat


def as_text(value: Any) -> str:
    """Return a value of a record as a text: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=repr)


def pairs(meta: Any) -> str:
    """Return ``meta`` as ``name=value name=value``."""
    if not isinstance(meta, Mapping):
        return ""
    return " ".join(f"{name}={_value(value)}" for name, value in meta.items())


def _value(value: Any) -> str:
    text = as_text(value)
    bare = isinstance(value, str) and text and not re.search(r'[\s="]', text)
    return text if bare or not isinstance(value, str) else json.dumps(text, ensure_ascii=False)
