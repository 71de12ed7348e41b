"""How lines that are not ours are read: which of their keys mean what, and which clock they have."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cordboard.contract.errors import SettingsError
from cordboard.contract.record import (
    ERROR,
    LEVEL,
    MESSAGE,
    ROOM,
    SERVICE,
    SESSION_ID,
    SPAN_ID,
    TAG,
    TIMESTAMP,
    TRACE_ID,
    USER_ID,
    USER_NAME,
)

NO_NAMES: Final = frozenset({"", "-", "None", "null", "nil", "undefined"})
"""What programs write where they have no value."""

DEFAULT_NAMES: Final[dict[str, tuple[str, ...]]] = {
    TIMESTAMP: (
        *("timestamp", "time", "ts", "@timestamp", "datetime", "asctime", "date", "t", "@t"),
        *("t.$date", "timeMillis", "__REALTIME_TIMESTAMP"),  # MongoDB, Log4j 2, journald
    ),
    LEVEL: (
        *("level", "severity", "levelname", "log.level", "lvl", "level_name", "status", "@l"),
        *("PRIORITY", "s"),
    ),
    MESSAGE: ("message", "msg", "event", "text", "log", "body", "@m", "@mt", "MESSAGE"),
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


class Formats(NamedTuple):
    """How lines that are not ours are read.

    Attributes:
        names: For each key of the contract, its names elsewhere.
        utc: Text timestamps without a zone are UTC, else the time of this machine.
        written: When the stream was last written, as a key, which gives the year of timestamps without
            one; None for now.
    """

    names: Mapping[str, Sequence[str]] = DEFAULT_NAMES
    utc: bool = False
    written: bytes | None = None

    def session_in(self, text: str) -> str | None:
        """Return the session id that a text names as ``session_id=ID`` or in the form of a dictionary.

        Args:
            text: A line that is no JSON.
        """
        names = tuple(self.names[SESSION_ID])
        if (known := _SESSION_WORDS.get(names)) is None:
            known = _SESSION_WORDS[names] = _session_words(names)
        found = known.search(text)
        if found is None:
            return None
        # An id may end with these, but in a sentence they are the sentence's.
        value = found[2] if found[1] else found[2].rstrip(".:@-~")
        return value if value not in NO_NAMES else None


_SESSION_WORDS: Final[dict[tuple[str, ...], re.Pattern[str]]] = {}
"""Compiled once for each set of names; there is one, unless a test has others."""


def _session_words(names: tuple[str, ...]) -> re.Pattern[str]:
    spelt = "|".join(re.escape(name) for name in names)
    return re.compile(
        rf"(?<![\w.-])[\"']?(?:{spelt})[\"']? ?[=:] ?([\"']?)([A-Za-z0-9._~:@-]{{1,128}})(?![A-Za-z0-9])"
    )


def formats_from(table: Mapping[str, Any]) -> Formats:
    """Return what `table`, ``[logs]`` of ``cordboard.toml``, says; its names come before the usual ones.

    Raises:
        SettingsError: It holds something else than ``keys`` and ``timezone``.
    """
    for name in table:
        if name not in {"keys", "timezone"}:
            raise SettingsError(
                f"cordboard.toml: [logs]: unknown setting {name!r}.",
                hint="The settings are keys and timezone.",
            )
    zone = table.get("timezone", "local")
    if zone not in {"local", "UTC"}:
        raise SettingsError(
            f'cordboard.toml: [logs] timezone: expected "local" or "UTC", got {zone!r}.'
        )
    return Formats({**DEFAULT_NAMES, **_named(table.get("keys", {}))}, utc=zone == "UTC")


def _named(table: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, Mapping):
        raise SettingsError("cordboard.toml: [logs] keys: expected a table; write [logs.keys].")
    found = {}
    for key, value in table.items():
        if key not in DEFAULT_NAMES:
            raise SettingsError(
                f"cordboard.toml: [logs.keys]: unknown key {key!r}.",
                hint=f"The keys are {', '.join(DEFAULT_NAMES)}.",
            )
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SettingsError(
                f"cordboard.toml: [logs.keys] {key}: expected a name or a list of names, got {value!r}."
            )
        found[key] = (*names, *DEFAULT_NAMES[key])
    return found
