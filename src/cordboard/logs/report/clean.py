"""Hides secrets again: whoever wrote a line, what is handed to somebody else holds none."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.redaction import REDACTED, is_secret_name, redact

DEPTH_MAX: Final = 32
TEXT_MAX: Final = 16 * 1024
"""So long a line of ours may be; of longer texts reports show the beginning."""
_MARGIN: Final = 1024
SAFE_INT_MAX: Final = 2**53 - 1
"""Beyond it a browser would show another number."""


def clean_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without secrets, as JSON and a browser can say it."""
    return _mapping(record, 0, SAFE_INT_MAX)


def _cut(text: str) -> str:
    if len(text) <= TEXT_MAX:
        return redact(text)
    return f"{redact(text[: TEXT_MAX + _MARGIN])[:TEXT_MAX]}… ({len(text) - TEXT_MAX:,} more characters)"


def clean_raw(raw: bytes) -> bytes:
    """Return the bytes of a line without secrets; the same bytes where there are none."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
            clean = _value(found, 0, None)
        except (ValueError, RecursionError):
            pass
        else:
            if clean == found:
                return raw
            return json.dumps(clean, ensure_ascii=False, separators=(",", ":")).encode(
                "utf-8", "surrogatepass"
            )
    return redact(text).encode("utf-8", "surrogateescape")


def _value(value: Any, depth: int, most: int | None) -> Any:
    kind = type(value)
    if kind is str:
        return redact(value) if most is None else _cut(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if most is None or abs(value) <= most else str(value)
    if kind is float and math.isfinite(value):
        return value
    if isinstance(value, (dict, list, tuple, Mapping)):
        return _container(value, depth, most)
    return redact(repr(value))


def _container(value: Any, depth: int, most: int | None) -> Any:
    if depth >= DEPTH_MAX:
        return "[too deep]"
    if isinstance(value, Mapping):
        return _mapping(value, depth, most)
    return [_value(item, depth + 1, most) for item in value]


def _mapping(value: Mapping[Any, Any], depth: int, most: int | None) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, item in value.items():
        name = key if isinstance(key, str) else repr(key)
        hidden = is_secret_name(name) and item is not None
        clean[name] = REDACTED if hidden else _value(item, depth + 1, most)
    return clean
