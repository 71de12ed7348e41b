"""When a line was said: in our own form at a fixed place, in all others wherever they say it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cordboard.contract.record import TIMESTAMP
from cordboard.logs.formats import Formats
from cordboard.logs.formats.codec import decode_loosely
from cordboard.logs.patterns import pattern
from cordboard.logs.timespec import KEY_BYTES, key_of_epoch, key_of_parts, timestamp

OWN_START: Final = b'{"timestamp":"'
OWN_LINE: Final = b"\n" + OWN_START
OWN_ERROR: Final = b'"level":"error"'
OWN_TAIL: Final = b',"boot":"'
_KEY_FROM: Final = len(OWN_START)
_KEY_TO: Final = _KEY_FROM + KEY_BYTES
OWN_KEY: Final = slice(_KEY_FROM, _KEY_TO)
_TAIL_MIDDLE: Final = b'","seq":'
_BOOT_AT: Final = len(OWN_TAIL)
_BOOT_END: Final = _BOOT_AT + 8
_SEQ_AT: Final = _BOOT_END + len(_TAIL_MIDDLE)
_TAIL_BYTES: Final = 64
_HEAD_BYTES: Final = 256  # a text line's timestamp is within these
_EPOCH_CHARS_MAX: Final = 40  # nanoseconds have 19 digits; of thousands `int` makes no number
# Local times may be a day ahead of UTC: the furthest zone is UTC+14.
_ZONES_APART: Final = timedelta(hours=14)

_MONTH: Final = rb"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK: Final = rb"(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?"
_ISO: Final = pattern(
    rb"(?<!\d)(\d{4})[-/](\d\d)[-/](\d\d)[T ]" + _CLOCK + rb" ?(Z|[+-]\d\d:?\d\d)?(?!\d)"
)
_DAY_FIRST: Final = pattern(
    rb"(?<!\d)(\d\d)[ /-]" + _MONTH + rb"[ /-](\d{4})[ :]" + _CLOCK
    + rb"(?: ([+-]\d{4}|UTC|GMT))?(?!\d)"
)  # fmt: skip
# These stand at the beginning of a line alone.
_CTIME: Final = pattern(
    rb"\[?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) " + _MONTH + rb" ([ \d]\d) " + _CLOCK + rb" (\d{4})\b"
)
_BASIC: Final = pattern(
    rb"\[?(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?(?!\d)"
)
_YEARLESS: Final = pattern(
    rb"(?:<\d{1,3}>)?" + _MONTH + rb" ([ \d]\d) " + _CLOCK + rb" "  # RFC 3164
    rb"|[IWEF](\d\d)(\d\d) " + _CLOCK + rb" +\d+ "  # klog
)
# Words of a sentence, or a quotation, before a time: it is what the line speaks of, not when it was said.
_SENTENCE: Final = pattern(rb'"|\b[a-z]{2,},? [a-z]{2,} ')
_TIME_FIELD: Final = pattern(
    rb"(?:^|[ \[(])(?:ts|t|time|timestamp|@timestamp|datetime|asctime|date)=[\"']?$"
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
    """Return the key of `line` if it is in our own form; None where it is not."""
    if line.startswith(OWN_START) and line[_KEY_TO - 1 : _KEY_TO + 1] == b'Z"':
        key = line[_KEY_FROM:_KEY_TO]
        if key[:4].isdigit() and key[10:11] == b"T" and key[19:20] == b".":
            return key
    return None


def holds_another(line: bytes) -> bool:
    """Return whether a second line of our own form may begin inside `line`, which is one."""
    return line.startswith(OWN_START) and line.find(OWN_START, 1) > 0


def tail_at(line: bytes) -> int:
    """Return where ``,"boot":"…","seq":…}`` stands at the end of `line`; -1 where it does not."""
    at = line.rfind(OWN_TAIL, max(0, len(line) - _TAIL_BYTES))
    if at < 0 or not line.endswith(b"}") or line[at + _BOOT_END : at + _SEQ_AT] != _TAIL_MIDDLE:
        return -1
    return at if line[at + _SEQ_AT : -1].isdigit() else -1


def own_number(line: bytes) -> tuple[bytes, int] | None:
    """Return boot and sequence number at the end of `line`, a line without carriers; None where it has none."""
    at = tail_at(line)
    return None if at < 0 else (line[at + _BOOT_AT : at + _BOOT_END], int(line[at + _SEQ_AT : -1]))


def said_key(text: bytes, formats: Formats, carried: bytes | None = None) -> bytes | None:
    """Return the key of the time that an unwrapped line itself names, or else its carrier's.

    Args:
        text: The line.
        formats: How times without a zone or a year are read.
        carried: The carrier's time. It is better than a time without a zone, which is the process's
            zone and not this machine's.
    """
    if (key := own_key(text)) is not None:
        return key
    zoned = carried is not None
    if text.startswith(b"{"):
        return _json_key(text, formats, zoned=zoned) or carried
    return _key_in(text[:_HEAD_BYTES], formats, zoned=zoned) or carried


def _json_key(text: bytes, formats: Formats, *, zoned: bool) -> bytes | None:
    try:
        record = decode_loosely(text)
    except (ValueError, RecursionError):
        found = _JSON_TIME.search(text[:4096])  # a line that was cut still says when
        return matched_key(found) if found else None
    return _record_key(flat(record), formats, zoned=zoned) if isinstance(record, dict) else None


def _record_key(record: Mapping[str, Any], formats: Formats, *, zoned: bool) -> bytes | None:
    for name in formats.names[TIMESTAMP]:
        key = _key_of_value(value_at(record, name), formats, zoned=zoned)
        if key is not None:
            return key
    return None


def _key_of_value(value: Any, formats: Formats, *, zoned: bool) -> bytes | None:
    if isinstance(value, str):
        if value.replace(".", "", 1).isdigit() and value.isascii():
            if len(value) > _EPOCH_CHARS_MAX:
                return None
            return key_of_epoch(float(value) if "." in value else int(value))
        return _key_in(value.encode("utf-8", "replace"), formats, zoned=zoned)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return key_of_epoch(value)
    return None


def key_of_text(text: bytes, *, utc: bool) -> bytes | None:
    """Return the key of the first time that a text names; None where it names none.

    Args:
        text: The text.
        utc: A time without a zone is UTC, else the time of this machine.
    """
    return _key_in(text, Formats(utc=utc), zoned=False)


def _key_in(text: bytes, formats: Formats, *, zoned: bool) -> bytes | None:
    """Return the key of the time at which a text says that it was written.

    Args:
        text: The text, or its beginning.
        formats: How times without a zone or a year are read.
        zoned: Whether a time without a zone counts for nothing.
    """
    parts = _parts_in(text, formats)
    if parts is None or (zoned and parts[-1] is None):
        return None
    return key_of_parts(*parts, utc=formats.utc)


Parts = tuple[str, str, str | None, str | None]
"""Date, clock, fraction and zone of a timestamp."""


def _parts_in(text: bytes, formats: Formats) -> Parts | None:
    if found := _ISO.search(text):
        year, month, day, clock, fraction, zone = _texts(found)
        return (f"{year}-{month}-{day}", clock, fraction, zone) if _is_said(text, found) else None
    if found := _DAY_FIRST.search(text):
        day, name, year, clock, fraction, zone = _texts(found)
        zone = "Z" if zone in {"UTC", "GMT"} else zone
        date = f"{year}-{_MONTHS[name]}-{day}"
        return (date, clock, fraction, zone) if _is_said(text, found) else None
    if found := _CTIME.match(text):
        name, day, clock, fraction, year = _texts(found)
        return f"{year}-{_MONTHS[name]}-{int(day):02d}", clock, fraction, None
    if found := _BASIC.match(text):
        year, month, day, *clock, fraction, zone = _texts(found)
        return f"{year}-{month}-{day}", ":".join(clock), fraction, zone
    if found := _YEARLESS.match(text):
        return _with_year(found, formats.written)
    return None


def _texts(found: re.Match[bytes]) -> list[Any]:
    return [None if part is None else part.decode() for part in found.groups()]


def _is_said(text: bytes, found: re.Match[bytes]) -> bool:
    """Return whether a time is that of the line, and not one that the line speaks of."""
    before = text[: found.start()]
    if not before or _TIME_FIELD.search(before):
        return True
    return b"=" not in before and _SENTENCE.search(before) is None


def _with_year(found: re.Match[bytes], written: bytes | None) -> Parts:
    """Return the parts of a time without a year: the last such day before its file was written."""
    name, day, clock, fraction, *klog = _texts(found)
    month = _MONTHS[name] if name else klog[0]
    day = f"{int(day or klog[1]):02d}"
    last = (written or timestamp(datetime.now(UTC) + _ZONES_APART).encode()).decode()
    year = int(last[:4]) - (f"{month}-{day}" > last[5:10])
    return f"{year}-{month}-{day}", clock or klog[2], fraction or klog[3], None


def matched_key(found: re.Match[bytes]) -> bytes | None:
    """Return the key of a match `found`, whose first groups are date, clock, fraction and zone."""
    date, clock, fraction, zone = (part.decode() if part else None for part in found.groups()[:4])
    return key_of_parts(date or "", clock or "", fraction, zone, utc=True)


# --- fields


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` as a flat one if loguru has serialised it; any other as it is."""
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
    """Return the value of `record` under a `name`, which may be dotted and mean nested objects; else None."""
    if name in record or "." not in name:
        return record.get(name)
    head, _, rest = name.partition(".")
    inner = record.get(head)
    return value_at(inner, rest) if isinstance(inner, dict) else None
