"""When a line was said: in our own form at a fixed place, in all others wherever they say it."""

import re
from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.codec import decode
from cordboard.logs.formats import Formats
from cordboard.logs.patterns import pattern
from cordboard.logs.times import KEY_BYTES, key_of_epoch, key_of_parts

OWN_START: Final = b'{"timestamp":"'
OWN_TAIL: Final = b',"boot":"'
_KEY_FROM: Final = len(OWN_START)
_KEY_TO: Final = _KEY_FROM + KEY_BYTES
OWN_KEY: Final = slice(_KEY_FROM, _KEY_TO)
_TAIL_MIDDLE: Final = b'","seq":'
_TAIL_BYTES: Final = 64
_HEAD_BYTES: Final = 256  # a text line's timestamp is within these

_ISO: Final = pattern(
    rb"(?<!\d)(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?"
    rb" ?(Z|[+-]\d\d:?\d\d)?(?!\d)"
)
_DAY_FIRST: Final = pattern(
    rb"(?<!\d)(\d\d)[ /](Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ /](\d{4})[ :]"
    rb"(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?: ([+-]\d{4}))?(?!\d)"
)
_MONTHS: Final = {
    name: f"{number:02d}"
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        start=1,
    )
}
_JSON_TIME: Final = pattern(
    rb'"(?:timestamp|time|ts|@timestamp|datetime|asctime)" ?: ?"'
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\""
)


def own_key(line: bytes) -> bytes | None:
    """Return the key of a line of our own form; None where it is none."""
    if line.startswith(OWN_START) and line[_KEY_TO - 1 : _KEY_TO + 1] == b'Z"':
        key = line[_KEY_FROM:_KEY_TO]
        if key[:4].isdigit() and key[10:11] == b"T" and key[19:20] == b".":
            return key
    return None


def holds_another(line: bytes) -> bool:
    """Return whether a second line of our own form may begin inside a line of our own form."""
    return line.startswith(OWN_START) and line.find(OWN_START, 1) > 0


def tail_at(line: bytes) -> int:
    """Return where ``,"boot":"…","seq":…}`` stands at a line's end; -1 where it does not."""
    at = line.rfind(OWN_TAIL, max(0, len(line) - _TAIL_BYTES))
    if at < 0 or not line.endswith(b"}") or line[at + 17 : at + 25] != _TAIL_MIDDLE:
        return -1
    return at if line[at + 25 : -1].isdigit() else -1


def said_key(text: bytes, formats: Formats) -> bytes | None:
    """Return the key of the time that an unwrapped line itself names."""
    if (key := own_key(text)) is not None:
        return key
    if text.startswith(b"{"):
        return _json_key(text, formats)
    return key_of_text(text[:_HEAD_BYTES], utc=formats.utc)


def _json_key(text: bytes, formats: Formats) -> bytes | None:
    try:
        record = decode(text)
    except (ValueError, RecursionError):
        found = _JSON_TIME.search(text[:4096])  # a line that was cut still says when
        return matched_key(found) if found else None
    return _record_key(flat(record), formats) if isinstance(record, dict) else None


def _record_key(record: Mapping[str, Any], formats: Formats) -> bytes | None:
    for name in formats.names[TIMESTAMP]:
        key = _key_of_value(value_at(record, name), formats)
        if key is not None:
            return key
    return None


def _key_of_value(value: Any, formats: Formats) -> bytes | None:
    if isinstance(value, str):
        return key_of_text(value.encode("utf-8", "replace"), utc=formats.utc)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return key_of_epoch(value)
    return None


def key_of_text(text: bytes, *, utc: bool) -> bytes | None:
    """Return the key of the first time that a text names; None where it names none."""
    if found := _ISO.search(text):
        year, month, day, clock, fraction, zone = (
            part.decode() if part else None for part in found.groups()
        )
        return key_of_parts(f"{year}-{month}-{day}", clock or "", fraction, zone, utc=utc)
    if found := _DAY_FIRST.search(text):
        day, name, year, clock, fraction, zone = (
            part.decode() if part else None for part in found.groups()
        )
        month = _MONTHS[name or "Jan"]
        return key_of_parts(f"{year}-{month}-{day}", clock or "", fraction, zone, utc=utc)
    return None


def matched_key(found: re.Match[bytes]) -> bytes | None:
    """Return the key of a match whose groups are date, clock, fraction and zone."""
    date, clock, fraction, zone = (part.decode() if part else None for part in found.groups()[:4])
    return key_of_parts(date or "", clock or "", fraction, zone, utc=True)


# --- fields


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return loguru's serialised record as a flat one; any other as it is."""
    inner = record.get("record")
    if not isinstance(inner, dict) or "text" not in record:
        return record
    at, level, extra = inner.get("time"), inner.get("level"), inner.get("extra")
    return {
        **(extra if isinstance(extra, dict) else {}),
        "timestamp": at.get("timestamp") if isinstance(at, dict) else at,
        "level": level.get("name") if isinstance(level, dict) else level,
        "message": inner.get("message"),
        "logger": inner.get("name"),
        **({"exception": record["text"]} if inner.get("exception") else {}),
    }


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """Return the value under a name, which may be dotted and mean nested objects."""
    if name in record or "." not in name:
        return record.get(name)
    head, _, rest = name.partition(".")
    inner = record.get(head)
    return value_at(inner, rest) if isinstance(inner, dict) else None
