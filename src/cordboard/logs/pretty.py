"""The form for people: one line a record, coloured by service and level, harmless to the terminal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zlib import crc32

from cordboard.contract.record import (
    ERROR,
    EVENT,
    LEVEL,
    MESSAGE,
    META,
    SERVICE,
    SESSION_ID,
    TAG,
    TIMESTAMP,
)
from cordboard.contract.terminal import escape_controls, escape_to_one_line
from cordboard.logs.formats.codec import encode
from cordboard.logs.line import Line

_DIM: Final = "2"
_LEVELS: Final = {"debug": "2", "info": "", "warn": "33", "error": "1;31"}
_SERVICES: Final = {
    "browser": "36",
    "interface": "35",
    "edge": "35",
    "gateway": "34",
    "operator": "33",
    "runner": "32",
    "bot": "96",
}
_OTHERS: Final = ("94", "95", "92", "93", "91")
_WHO_CHARS: Final = 18
_SESSION_CHARS: Final = 16


class Pretty:
    """Writes lines for people.

    Args:
        color: Whether the terminal shows colours.
        sessions: Whether each line names its session: not where all are of one.
    """

    def __init__(self, *, color: bool, sessions: bool) -> None:
        self._color = color
        self._sessions = sessions
        self._day = datetime.now().astimezone().strftime("%Y-%m-%d")

    def __call__(self, line: Line) -> str:
        """Return a line, behind a line with the date where that is another than before."""
        record = line.record
        at = _local(str(record[TIMESTAMP]))
        level, service = escape_to_one_line(str(record[LEVEL])), str(record[SERVICE])
        who = f"{service}/{record.get(TAG)}" if record.get(TAG) else service
        parts = [
            self._paint(_DIM, at[11:]),
            self._paint(_LEVELS.get(level, ""), f"{level:<5}"),
            self._paint(_color_of(service), f"{escape_to_one_line(who):<{_WHO_CHARS}}"),
        ]
        if self._sessions:
            parts.append(self._paint(_DIM, _session(record.get(SESSION_ID))))
        parts.append(escape_controls(str(record[MESSAGE])).replace("\n", "\n    "))
        if record.get(EVENT):
            parts.append(self._paint("1", escape_to_one_line(str(record[EVENT]))))
        parts += self._meta(record.get(META))
        if line.inferred_from:
            parts.append(
                self._paint(_DIM, f"({line.attribution}: {escape_to_one_line(line.inferred_from)})")
            )
        if line.context:
            parts.append(self._paint(_DIM, "(context)"))
        return f"{self._date(at)}{' '.join(parts)}{self._error(record.get(ERROR))}\n"

    def _date(self, at: str) -> str:
        if at[:10] == self._day:
            return ""
        self._day = at[:10]
        return self._paint(_DIM, f"--- {self._day} ---") + "\n"

    def _meta(self, meta: Any) -> list[str]:
        if not isinstance(meta, Mapping):
            return []
        return [
            f"{self._paint(_DIM, escape_to_one_line(str(k)) + '=')}{_value(v)}"
            for k, v in meta.items()
        ]

    def _error(self, error: Any) -> str:
        if not isinstance(error, Mapping):
            return ""
        text = str(error.get("stack") or f"{error.get('type')}: {error.get('message')}").rstrip()
        lines = escape_controls(text).split("\n")
        return "".join(f"\n    {self._paint('31', line)}" for line in lines)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color and code and text else text


def _local(timestamp: str) -> str:
    try:
        at = datetime.fromisoformat(timestamp).astimezone()
    except (ValueError, OverflowError):
        return f"{'':11}{escape_to_one_line(timestamp)}"
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _session(session: Any) -> str:
    text = escape_to_one_line(session) if isinstance(session, str) else "-"
    if len(text) > _SESSION_CHARS:
        text = f"…{text[-(_SESSION_CHARS - 1) :]}"
    return f"{text:<{_SESSION_CHARS}}"


def _color_of(service: str) -> str:
    return _SERVICES.get(service) or _OTHERS[crc32(service.encode("utf-8", "replace")) % 5]


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else encode(value).decode()
    quoted = text is value and (not text or " " in text or "=" in text)
    return escape_controls(encode(text).decode() if quoted else text).replace("\n", "\\n")
