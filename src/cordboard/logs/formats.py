"""A line of any of the usual loggers becomes a record under the contract's keys.

Three things may stand around or instead of our own record: a prefix with a timestamp (CRI,
``kubectl --timestamps``, Docker's JSON), JSON under other key names (pino, structlog, loguru, ...),
and plain text. What a line does not say is absent, not guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cordboard.contract.errors import SettingsError
from cordboard.contract.record import (
    BOOT,
    ERROR,
    EVENT,
    EVENTS,
    KEYS,
    LEVEL,
    LEVELS,
    MESSAGE,
    META,
    ROOM,
    SEQ,
    SERVICE,
    SESSION_ID,
    SPAN_ID,
    TAG,
    TIMESTAMP,
    TRACE_ID,
    USER_ID,
    USER_NAME,
    Level,
    level_from_name,
    level_from_number,
)
from cordboard.logs.times import KEY_BYTES, key_of_epoch, key_of_parts

OWN_START: Final = b'{"timestamp":"'
_KEY_FROM: Final = len(OWN_START)
_KEY_TO: Final = _KEY_FROM + KEY_BYTES
_HEAD_BYTES: Final = 256  # a text line's timestamp and level are within these

DEFAULT_NAMES: Final[dict[str, tuple[str, ...]]] = {
    TIMESTAMP: ("timestamp", "time", "ts", "@timestamp", "datetime", "asctime", "date", "t"),
    LEVEL: ("level", "severity", "levelname", "log.level", "lvl", "level_name", "status"),
    MESSAGE: ("message", "msg", "event", "text", "log", "body"),
    SERVICE: ("service", "service.name", "service_name", "app", "application"),
    TAG: ("tag", "logger", "logger_name", "log.logger", "component", "name", "module"),
    SESSION_ID: ("sessionId", "session_id", "session.id", "sessionID", "SessionId", "x-session-id"),
    USER_ID: ("userId", "user_id", "user.id"),
    USER_NAME: ("userName", "user_name", "user.name"),
    ROOM: ("room", "room_url", "roomUrl"),
    TRACE_ID: ("traceId", "trace_id", "trace.id"),
    SPAN_ID: ("spanId", "span_id", "span.id"),
    ERROR: ("error", "err", "exception", "exc_info", "stack_trace", "stack", "traceback"),
}
"""Under which names other loggers keep what the contract names; the first that is there counts."""

_TEXTS: Final = (SERVICE, TAG, SESSION_ID, USER_ID, USER_NAME, ROOM, TRACE_ID, SPAN_ID)

_CRI: Final = re.compile(
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?::[A-Z:]+)? ?"
)
_KUBECTL: Final = re.compile(
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?(?=\{|(?<=\d{7}Z )|$)"
)
_DOCKER: Final = b'{"log":"'

_ISO: Final = re.compile(
    rb"(?<!\d)(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?"
    rb" ?(Z|[+-]\d\d:?\d\d)?(?!\d)"
)
_DAY_FIRST: Final = re.compile(
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
_JSON_TIME: Final = re.compile(
    rb'"(?:timestamp|time|ts|@timestamp|datetime|asctime)" ?: ?"'
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\""
)
_LEVEL_WORD: Final = re.compile(
    r"\b(TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN|WARNING|ERROR|CRITICAL|FATAL|EXCEPTION)\b"
    r"|\[(trace|debug|info|notice|warn|warning|error|critical|fatal) *\]"
    r"|\blevel=(\w+)"
)
_SESSION_WORD: Final = re.compile(
    r"(?<![\w.-])(?:sessionId|session_id|session\.id)[=:] ?\"?([A-Za-z0-9._~:@-]{1,128})"
)
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK: Final = "Traceback (most recent call last):"
_ERROR_LAST: Final = re.compile(r"([A-Za-z_][\w.]*)(?:: (.*))?")

decode: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Formats:
    """How lines that are not ours are read.

    Attributes:
        names: For each key of the contract, its names elsewhere.
        utc: Text timestamps without a zone are UTC, else the time of this machine.
    """

    names: Mapping[str, Sequence[str]] = field(default_factory=lambda: DEFAULT_NAMES)
    utc: bool = False


def formats_from(table: Mapping[str, Any]) -> Formats:
    """Return what ``[logs]`` of ``cordboard.toml`` says; its names come before the usual ones.

    Raises:
        SettingsError: It holds something else than ``keys`` and ``timezone``.
    """
    for name in table:
        if name not in {"keys", "timezone"}:
            raise SettingsError(
                f"cordboard.toml: [logs] {name}: no such setting.",
                hint="Known are keys and timezone.",
            )
    zone = table.get("timezone", "local")
    if zone not in {"local", "UTC"}:
        raise SettingsError(f'cordboard.toml: [logs] timezone: "local" or "UTC", not {zone!r}.')
    return Formats({**DEFAULT_NAMES, **_named(table.get("keys", {}))}, utc=zone == "UTC")


def _named(table: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, Mapping):
        raise SettingsError("cordboard.toml: [logs] keys is a table: write [logs.keys].")
    found = {}
    for key, value in table.items():
        if key not in DEFAULT_NAMES:
            raise SettingsError(
                f"cordboard.toml: [logs.keys] {key}: no such key.",
                hint=f"Known are {', '.join(DEFAULT_NAMES)}.",
            )
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SettingsError(f"cordboard.toml: [logs.keys] {key}: a name or a list of names.")
        found[key] = (*names, *DEFAULT_NAMES[key])
    return found


# --- what stands around a record


@dataclass(frozen=True, slots=True)
class Inner:
    """A line without what its carrier put around it.

    Attributes:
        key: The carrier's timestamp; None without a carrier.
        text: What the process wrote.
        channel: ``stdout``, ``stderr`` or nothing.
        partial: The rest of what the process wrote is in a later line.
    """

    key: bytes | None
    text: bytes
    channel: bytes = b""
    partial: bool = False


def unwrap(line: bytes) -> Inner:
    """Return what a process wrote, and when its carrier saw it."""
    if line.startswith(b"{"):
        return _from_docker(line) if line.startswith(_DOCKER) else Inner(None, line)
    if not line[:1].isdigit():
        return Inner(None, line)
    if found := _CRI.match(line):
        key = _carrier_key(found)
        return Inner(key, line[found.end() :], found[5], found[6] == b"P")
    if found := _KUBECTL.match(line):
        return Inner(_carrier_key(found), line[found.end() :])
    return Inner(None, line)


def _carrier_key(found: re.Match[bytes]) -> bytes | None:
    date, clock, fraction, zone = (part.decode() if part else None for part in found.groups()[:4])
    return key_of_parts(date or "", clock or "", fraction, zone, utc=True)


def _from_docker(line: bytes) -> Inner:
    try:
        record = decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Inner(None, line)
    text, at = record.get("log"), record.get("time")
    if not isinstance(text, str) or not isinstance(at, str):
        return Inner(None, line)
    whole = text.endswith("\n")
    channel = str(record.get("stream", "")).encode()
    key = _key_of_text(at.encode(), utc=True)
    return Inner(key, text.rstrip("\r\n").encode("utf-8", "replace"), channel, not whole)


# --- when a line was said


def own_key(line: bytes) -> bytes | None:
    """Return the key of a line of our own form; None where it is none."""
    if line.startswith(OWN_START) and line[_KEY_TO - 1 : _KEY_TO + 1] == b'Z"':
        key = line[_KEY_FROM:_KEY_TO]
        if key[:4].isdigit() and key[10:11] == b"T" and key[19:20] == b".":
            return key
    return None


def said_key(text: bytes, formats: Formats) -> bytes | None:
    """Return the key of the time that an unwrapped line itself names."""
    if (key := own_key(text)) is not None:
        return key
    if text.startswith(b"{"):
        return _json_key(text, formats)
    return _key_of_text(text[:_HEAD_BYTES], utc=formats.utc)


def _json_key(text: bytes, formats: Formats) -> bytes | None:
    try:
        record = decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _JSON_TIME.search(text[:4096])  # a line that was cut still says when
        return _carrier_key(found) if found else None
    return _record_key(_flat(record), formats) if isinstance(record, dict) else None


def _record_key(record: Mapping[str, Any], formats: Formats) -> bytes | None:
    for name in formats.names[TIMESTAMP]:
        key = _key_of_value(_at(record, name), formats)
        if key is not None:
            return key
    return None


def _key_of_value(value: Any, formats: Formats) -> bytes | None:
    if isinstance(value, str):
        return _key_of_text(value.encode("utf-8", "replace"), utc=formats.utc)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return key_of_epoch(value)
    return None


def _key_of_text(text: bytes, *, utc: bool) -> bytes | None:
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


# --- what it says


def record_of(raw: bytes, key: bytes, service: str, formats: Formats) -> dict[str, Any]:
    """Return the record of an unwrapped line, or of several that were joined.

    Args:
        raw: The line; what follows a newline in it is its traceback.
        key: When it was said.
        service: Who said it, as far as its origin tells; a record that says so itself wins.
        formats: How foreign lines are read.
    """
    head, _, tail = raw.partition(b"\n")
    if head.startswith(b"{"):
        try:
            record = decode(head)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            record = _repaired(head)
        if isinstance(record, dict):
            mapped = record if is_own(record) else _mapped(record, key, service, formats)
            if tail:
                mapped[ERROR] = _error_of_stack(_text(tail))
            return mapped
    return _of_text(_text(head), _text(tail), key, service)


def is_own(record: Mapping[str, Any]) -> bool:
    """Say whether a decoded object is a record of the contract."""
    said = record.get(TIMESTAMP)
    return (
        SEQ in record
        and BOOT in record
        and isinstance(said, str)
        and len(said) == KEY_BYTES
        and isinstance(record.get(SESSION_ID), str)
        and isinstance(record.get(MESSAGE), str)
        and isinstance(record.get(SERVICE), str)
        and record.get(LEVEL) in LEVELS
    )


def _repaired(head: bytes) -> Any:
    """Decode a line whose only fault is bytes that are no UTF-8."""
    try:
        return decode(head.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return None


def _mapped(record: dict[str, Any], key: bytes, service: str, formats: Formats) -> dict[str, Any]:
    rest = dict(_flat(record))
    found: dict[str, Any] = {}
    for name, aliases in formats.names.items():
        value = _take(rest, aliases)
        if value is not None:
            found[name] = value
    said = found.get(EVENT) or rest.get(EVENT)
    mapped: dict[str, Any] = {
        TIMESTAMP: key.decode(),
        LEVEL: _level(found.pop(LEVEL, None)),
        MESSAGE: _as_text(found.pop(MESSAGE, "")),
        SERVICE: service,
        TAG: "log",
        SESSION_ID: None,
        USER_ID: None,
        USER_NAME: None,
    }
    found.pop(TIMESTAMP, None)
    mapped |= {name: _name(found[name]) for name in _TEXTS if found.get(name) not in (None, "")}
    if said in EVENTS and rest.pop(EVENT, None):
        mapped[EVENT] = said
    if ERROR in found:
        mapped[ERROR] = _error(found[ERROR])
    mapped |= {name: rest.pop(name) for name in KEYS if name not in mapped and name in rest}
    meta = mapped.pop(META, None)
    extra = {**(meta if isinstance(meta, dict) else {} if meta is None else {META: meta}), **rest}
    if extra:
        mapped[META] = extra
    return mapped


def _flat(record: dict[str, Any]) -> dict[str, Any]:
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


def _at(record: Mapping[str, Any], name: str) -> Any:
    """Return the value under a name, which may be dotted and mean nested objects."""
    if name in record or "." not in name:
        return record.get(name)
    head, _, rest = name.partition(".")
    inner = record.get(head)
    return _at(inner, rest) if isinstance(inner, dict) else None


def _take(record: dict[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        value = _at(record, name)
        if value is not None and value != "":
            record.pop(name, None)
            return value
    return None


def _level(value: Any) -> Level:
    if isinstance(value, str):
        return level_from_name(value.strip()) or "info"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 8:  # noqa: PLR2004 - syslog's, the other way round
            return ("error", "error", "error", "error", "warn", "info", "info", "debug")[int(value)]
        return level_from_number(value - 10)  # pino and bunyan: 30 is info
    return "info"


def _error(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {
            "type": _as_text(value.get("type") or value.get("name") or "Error"),
            "message": _as_text(value.get("message") or value.get("msg") or ""),
            "stack": _as_text(value.get("stack") or value.get("stack_trace") or ""),
        }
    text = _as_text(value)
    return (
        _error_of_stack(text) if "\n" in text else {"type": "Error", "message": text, "stack": ""}
    )


def _error_of_stack(stack: str) -> dict[str, str]:
    last = stack.rstrip().rpartition("\n")[2]
    found = _ERROR_LAST.fullmatch(last)
    kind, words = (found[1], found[2] or "") if found else ("Error", last.strip())
    return {"type": kind, "message": words, "stack": stack}


def _of_text(head: str, tail: str, key: bytes, service: str) -> dict[str, Any]:
    head = _ANSI.sub("", head)
    found = _LEVEL_WORD.search(head[:_HEAD_BYTES])
    level = level_from_name(next(filter(None, found.groups()))) if found else None
    session = _SESSION_WORD.search(head)
    whole = head if not tail else f"{head}\n{tail}"
    traced = _TRACEBACK in whole
    record: dict[str, Any] = {
        TIMESTAMP: key.decode(),
        LEVEL: level or ("error" if traced else "info"),
        MESSAGE: head if traced else whole,
        SERVICE: service,
        TAG: "text",
        SESSION_ID: session[1] if session else None,
        USER_ID: None,
        USER_NAME: None,
    }
    if traced:
        record[ERROR] = _error_of_stack(tail or head)
    return record


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\r\n", "\n").strip("\r\0")


def _name(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("id")
    return _as_text(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
