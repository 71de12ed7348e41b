"""What a line says: a record under the contract's keys, whatever names and form its writer used.

What a line does not say is absent, not guessed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from cordboard.contract.record import (
    BOOT,
    CELL,
    EPOCH,
    ERROR,
    EVENT,
    EVENTS,
    KEYS,
    LEVEL,
    LEVELS,
    MESSAGE,
    META,
    RAW,
    ROOM,
    SEQ,
    SERVICE,
    SESSION_ID,
    SPAN_ID,
    TAG,
    TIMESTAMP,
    TRACE_ID,
    TRUNCATED,
    USER_ID,
    USER_NAME,
    Level,
    level_from_name,
    level_from_number,
)
from cordboard.logs.formats import NO_NAMES, Formats
from cordboard.logs.formats.codec import decode, decode_loosely, encode
from cordboard.logs.patterns import pattern
from cordboard.logs.timespec import KEY_BYTES
from cordboard.logs.timestamps import flat, value_at

_HEAD_CHARS: Final = 256  # a text line's level is within these
_TEXTS: Final = (SERVICE, TAG, SESSION_ID, USER_ID, USER_NAME, ROOM, TRACE_ID, SPAN_ID)
_OPTIONAL: Final = {
    TAG: str,
    USER_ID: str,
    USER_NAME: str,
    ROOM: str,
    EPOCH: int,
    CELL: str,
    TRACE_ID: str,
    SPAN_ID: str,
    EVENT: str,
    META: dict,
    ERROR: dict,
    RAW: bool,
    TRUNCATED: bool,
}
"""Keys that may be absent, with their types."""

_NULLABLE: Final = (USER_ID, USER_NAME)
"""Keys whose value is null where there is none; the others are then absent."""

_ABSENT: Final = object()

_KINDS: Final = {**_OPTIONAL, BOOT: str, SEQ: int}
"""Keys that a line of others keeps where it has them in our type; else their values go into ``meta``."""

_TEXT_PAIR: Final = pattern(r'"([\w.@-]{1,64})" ?: ?"([^"\\]*(?:\\.[^"\\]*)*)"')
_STAMP: Final = pattern(
    r"(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,]+(?: ?(?:Z|[+-]\d\d:?\d\d))?\]?"
    r"|\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d[.\d]* \d{4}\]"  # Apache
    r"|\[\d\d-\w{3}-\d{4} [\d:.]+(?: \w+)?\]"  # PHP
    r"|(?:<\d{1,3}>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?= )"  # RFC 3164
    r")[ |:-]*[\t ]*"
)
_ANSI: Final = pattern(r"\x1b\[[0-9;]*m")
_TRACEBACK: Final = "Traceback (most recent call last):"
_ERROR_LAST: Final = pattern(r"([A-Za-z_][\w.]*)(?:: (.*))?")


def record_of(
    raw: bytes, key: bytes, service: str, formats: Formats, faults: Counter[str] | None = None
) -> dict[str, Any]:
    """Return the record of an unwrapped line, or of several that were joined.

    Args:
        raw: The line; what follows a newline in it is its traceback.
        key: When it was said.
        service: Who said it, as far as its origin tells; a record that says so itself wins.
        formats: How foreign lines are read.
        faults: Where lines that are ``malformed``, ``cut`` or ``undecodable`` are counted.
    """
    head, _, tail = raw.partition(b"\n")
    if not head.startswith(b"{"):
        if faults is not None and not is_text(raw):
            faults["undecodable"] += 1
        return _of_text(_text(head), _text(tail), key, service, formats)
    try:
        record = decode(head)
    except (ValueError, RecursionError):
        record, fault = _repaired(head)
        if faults is not None:
            faults[fault] += 1
    if not isinstance(record, dict):
        return _of_text(_text(head), _text(tail), key, service, formats)
    if faults is not None and record.get(TRUNCATED) is True:
        faults["cut"] += 1
    mapped = record if is_own(record) else _mapped(record, key, service, formats)
    if tail:
        mapped[ERROR] = _error_of_stack(_text(tail))
    return mapped


def is_own(record: Mapping[str, Any]) -> bool:
    """Return whether `record`, a decoded object, is a record of the contract, each key of its type."""
    try:
        return (
            type(record[SEQ]) is int
            and type(record[MESSAGE]) is str
            and type(record[SERVICE]) is str
            and type(record[SESSION_ID]) is str
            and type(record[BOOT]) is str
            and type(record[TIMESTAMP]) is str
            and record[LEVEL] in LEVELS
            and len(record[TIMESTAMP]) == KEY_BYTES
            and _fits(record)
        )
    except (KeyError, TypeError):
        return False


def _fits(record: Mapping[str, Any]) -> bool:
    for name, kind in _OPTIONAL.items():
        value = record.get(name, _ABSENT)
        if value is _ABSENT or type(value) is kind:
            continue
        if value is not None or name not in _NULLABLE:
            return False
    return True


def _repaired(head: bytes) -> tuple[Any, str]:
    """Return what can be read of a line that is no JSON, and what is wrong with it."""
    text = _text(head)
    try:
        return decode_loosely(text), "undecodable" if not is_text(head) else "malformed"
    except (ValueError, RecursionError):
        fault = "malformed" if text.rstrip().endswith("}") else "cut"
    found: dict[str, Any] = {}
    for name, value in _TEXT_PAIR.findall(text):
        with suppress(ValueError):
            found.setdefault(name, decode(f'"{value}"'))
    return {MESSAGE: text, **found}, fault


def is_text(raw: bytes) -> bool:
    """Return whether `raw` is valid UTF-8."""
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mapped(record: dict[str, Any], key: bytes, service: str, formats: Formats) -> dict[str, Any]:
    rest = dict(flat(record))
    found: dict[str, Any] = {}
    for name, aliases in formats.names.items():
        value = _take_level(rest, aliases) if name == LEVEL else _take(rest, aliases)
        if value is not None:
            found[name] = value
    mapped: dict[str, Any] = {
        TIMESTAMP: key.decode(),
        LEVEL: found.pop(LEVEL, "info"),
        MESSAGE: _as_text(found.pop(MESSAGE, "")),
        SERVICE: service,
        TAG: "log",
        SESSION_ID: None,
        USER_ID: None,
        USER_NAME: None,
    }
    found.pop(TIMESTAMP, None)
    mapped |= {name: text for name in _TEXTS if (text := _name(found.get(name))) not in NO_NAMES}
    if isinstance(said := record.get(EVENT), str) and said in EVENTS:
        mapped[EVENT] = said
        rest.pop(EVENT, None)
    if ERROR in found:
        mapped[ERROR] = _error(found[ERROR])
    mapped |= {
        name: rest.pop(name)
        for name in KEYS
        if name not in mapped and type(rest.get(name)) is _KINDS.get(name)
    }
    meta = mapped.pop(META, None)
    extra = {**(meta if isinstance(meta, dict) else {} if meta is None else {META: meta}), **rest}
    if extra:
        mapped[META] = extra
    return mapped


def _take(record: dict[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        value = value_at(record, name)
        if value is not None and value != "":
            record.pop(name, None)
            return value
    return None


def _take_level(record: dict[str, Any], names: Sequence[str]) -> Any:
    """Take the first field that means a level: a name before a number, whose scale is not known."""
    values = {name: value_at(record, name) for name in names}
    for kind in (str, object):
        for name, value in values.items():
            is_code = name == "status" and not isinstance(value, str)  # of HTTP
            if isinstance(value, kind) and not is_code and (level := level_of(value)) is not None:
                record.pop(name, None)
                return level
    return None


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


def _of_text(head: str, tail: str, key: bytes, service: str, formats: Formats) -> dict[str, Any]:
    head = _ANSI.sub("", head)
    stamp = _STAMP.match(head)
    head = head[stamp.end() :] if stamp else head
    level = level_in(head[:_HEAD_CHARS])
    whole = head if not tail else f"{head}\n{tail}"
    traced = _TRACEBACK in whole
    record: dict[str, Any] = {
        TIMESTAMP: key.decode(),
        LEVEL: level or ("error" if traced else "info"),
        MESSAGE: head if traced else whole,
        SERVICE: service,
        TAG: "text",
        SESSION_ID: formats.session_in(head),
        USER_ID: None,
        USER_NAME: None,
    }
    if traced:
        record[ERROR] = _error_of_stack(tail or head)
    return record


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\r\n", "\n").strip("\r\0")


def _name(value: Any) -> str:
    """Return the name that a value is; empty where it is none."""
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("id")
    return "" if value is None or isinstance(value, bool) else _as_text(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()


# --- levels

_FURTHER_NAMES: Final[dict[str, Level]] = {
    # zerolog, Serilog and klog write three letters or one.
    "trc": "debug",
    "dbg": "debug",
    "vrb": "debug",
    "d": "debug",
    "t": "debug",
    "v": "debug",
    "inf": "info",
    "i": "info",
    "wrn": "warn",
    "w": "warn",
    "eror": "error",
    "e": "error",
    "ftl": "error",
    "f": "error",
    "pnc": "error",
    "c": "error",
    # syslog, zap, java.util.logging, Serilog, Google Cloud, Monolog.
    "crit": "error",
    "emerg": "error",
    "dpanic": "error",
    "severe": "error",
    "fail": "error",
    "finest": "debug",
    "finer": "debug",
    "fine": "debug",
    "config": "info",
    "default": "info",
    "information": "info",
    "informational": "info",
    "deprecated": "warn",
}
_SYSLOG: Final[tuple[Level, ...]] = (
    *("error", "error", "error", "error", "warn", "info", "info", "debug"),
)
"""The severities of syslog (RFC 5424, table 2), 0 to 7."""

_AFTER_TIME: Final = pattern(
    r"\[?(ERR|WRN|INF|DBG|TRC|FTL|FATL|EROR|CRIT|FAIL)\]?[ :|\t]"  # three or four letters
    r"|(trace|debug|info|warn|warning|error|dpanic|panic|fatal)\t"  # zap's console encoder
    r"|([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./-]+:\d+\]"  # klog
    r"|PHP (Fatal|Parse|Warning|Notice|Deprecated)\b"
)
_ANYWHERE: Final = pattern(
    r"\b(TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN|WARNING|ERROR|CRITICAL|FATAL|EXCEPTION|ALERT"
    r"|EMERGENCY|PANIC|SEVERE)\b"
    r"|\[(?:\w+:)?((?i:trace|debug|info|notice|warn|warning|error|crit|critical|alert|emerg|fatal))\d? *\]"
    r'|\b(?:level|lvl|severity)="?(\w+)'
)
_LEVEL_DIGITS_MAX: Final = (
    9  # the largest scale known goes to 1000; of thousands `int` makes no number
)
_PHP: Final[dict[str, Level]] = {"Fatal": "error", "Parse": "error", "Deprecated": "warn"}


def level_of(value: Any) -> Level | None:
    """Return the level that a field's value means; None where it means none.

    Args:
        value: A name in any case, or a number, also as a text: 0 to 7 are syslog's severities, larger
            ones those of pino and bunyan.
    """
    if isinstance(value, str):
        name = value.strip()
        if name.isascii() and name.isdigit() and len(name) <= _LEVEL_DIGITS_MAX:
            return level_of(int(name))
        return level_from_name(name) or _FURTHER_NAMES.get(name.lower())
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if 0 <= value < len(_SYSLOG):
        return _SYSLOG[int(value)]
    return level_from_number(value - LEVELS["debug"])  # pino's info is 30, ours 20


def level_in(text: str) -> Level | None:
    """Return the level that a text line names; None where it names none.

    Args:
        text: The beginning of the line, behind its timestamp.
    """
    found = _AFTER_TIME.match(text) or _ANYWHERE.search(text)
    if found is None:
        return None
    name = next(filter(None, found.groups()))
    return _PHP.get(name) or level_of(name)
