"""A line as the model sees it: checked types, whatever the record holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from cordboard.contract.record import LEVELS, SERVER_PREFIX, level_from_name
from cordboard.logs.attribution import is_read
from cordboard.logs.report.units import microseconds
from cordboard.logs.report.visible import as_text, pairs

_EMPTY: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    Attributes:
        index: Its place among the lines that were read.
        us: Microseconds since 1970; None where the line has no time.
        session_id: None where it names no session, or a machine only.
        error: Its error in words, and its stack; both empty without one.
        read: It tells of a request that only read the session.
    """

    index: int
    us: int | None
    level: str
    service: str
    tag: str
    message: str
    session_id: str | None
    user_id: str | None
    user_name: str | None
    room: str | None
    epoch: int | None
    event: str | None
    meta: Mapping[str, Any]
    error: str
    stack: str
    read: bool = False

    @property
    def bad(self) -> bool:
        """Whether it is a warning or an error."""
        return LEVELS[self.level] >= LEVELS["warn"]

    @property
    def said(self) -> str:
        """The message with its metadata and the words of its error."""
        return " ".join(filter(None, [self.message, pairs(self.meta), self.error]))


def entry(index: int, record: Mapping[str, Any], session_id: str | None = None) -> Entry:
    """Return what the model needs of a record.

    Args:
        index: Its place among the lines that were read.
        record: The record; nothing is taken for granted of it.
        session_id: The session that was asked for: a line without one is that one's.
    """
    meta, error = record.get("meta"), record.get("error")
    own = _text(record.get("sessionId"))
    if own is None or own.startswith(SERVER_PREFIX):
        own = session_id
    epoch = record.get("epoch")
    return Entry(
        index=index,
        us=microseconds(record.get("timestamp")),
        level=_level(record.get("level")),
        service=_text(record.get("service")) or "unknown",
        tag=_text(record.get("tag")) or "",
        message=as_text(record.get("message", "")),
        session_id=own,
        user_id=_text(record.get("userId")),
        user_name=_text(record.get("userName")),
        room=_text(record.get("room")),
        epoch=epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None,
        event=_text(record.get("event")),
        meta=meta if isinstance(meta, Mapping) else _EMPTY,
        error=_error_words(error),
        stack=as_text(error.get("stack") or "") if isinstance(error, Mapping) else "",
        read=is_read(record),
    )


def number(value: Any) -> float | None:
    """Return a value of ``meta`` as a number; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _level(value: Any) -> str:
    if isinstance(value, str) and value in LEVELS:
        return value
    return (level_from_name(value) if isinstance(value, str) else None) or "info"


def _error_words(error: Any) -> str:
    if error is None:
        return ""
    if not isinstance(error, Mapping):
        return as_text(error)
    words = [as_text(error[name]) for name in ("type", "message") if error.get(name)]
    return ": ".join(words)
