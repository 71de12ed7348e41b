"""The form for people: aligned, coloured by level and session, without control characters."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from zlib import crc32

import msgspec

from cordboard.contract.terminal import escape_controls, escape_to_one_line

_LEVEL_COLORS: Final = {"debug": "2", "info": "32", "warn": "33", "error": "1;31"}
_SESSION_COLORS: Final = (36, 35, 34, 33, 32, 96, 95, 94, 93, 92)
_DIM: Final = "2"
# The end of a session id is shown: ids of one program often begin alike.
_SESSION_CHARS: Final = 14

Paint = Callable[[object, str], str]


def pretty_formatter(*, color: bool) -> Callable[[bytes], bytes]:
    """Return a function that turns a line of JSON into its form for people.

    Args:
        color: Whether to use the colours of a terminal.
    """

    def paint(code: object, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color and text else text

    def pretty(line: bytes) -> bytes:
        return (_render(msgspec.json.decode(line), paint) + "\n").encode("utf-8", "replace")

    return pretty


def _render(record: Mapping[str, Any], paint: Paint) -> str:
    session = str(record["sessionId"])
    level = escape_to_one_line(str(record["level"]))
    origin = f"{record['service']}/{record['tag']}"
    parts = [
        paint(_DIM, _local_time(str(record["timestamp"]))),
        paint(_LEVEL_COLORS.get(level, "0"), f"{level:<5}"),
        paint(
            _session_color(session), f"{escape_to_one_line(_shortened(session)):<{_SESSION_CHARS}}"
        ),
        f"{escape_to_one_line(origin):<20}",
        escape_controls(str(record["message"])).replace("\n", "\n    "),
    ]
    if record.get("event"):
        parts.append(paint("1", escape_to_one_line(str(record["event"]))))
    parts += [f"{paint(_DIM, escape_to_one_line(k) + '=')}{_value(v)}" for k, v in _meta(record)]
    return " ".join(parts) + _error(record.get("error"), paint)


def _meta(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    meta = record.get("meta")
    return list(meta.items()) if isinstance(meta, Mapping) else []


def _error(error: Any, paint: Paint) -> str:
    if not isinstance(error, Mapping):
        return ""
    text = str(error.get("stack") or f"{error.get('type')}: {error.get('message')}").rstrip()
    lines = escape_controls(text).split("\n")
    return "".join(f"\n    {paint('31', line)}" for line in lines)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    quoted = not text or " " in text or "=" in text
    return escape_to_one_line(
        msgspec.json.encode(text).decode() if quoted and text is value else text
    )


def _shortened(session: str) -> str:
    return session if len(session) <= _SESSION_CHARS else f"…{session[-(_SESSION_CHARS - 1) :]}"


def _session_color(session: str) -> str:
    if session.startswith("server:"):
        return _DIM
    # A hash, so that a session has the same colour in the output of every process.
    return str(_SESSION_COLORS[crc32(session.encode("utf-8", "replace")) % len(_SESSION_COLORS)])


def _local_time(timestamp: str) -> str:
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return escape_to_one_line(timestamp)
