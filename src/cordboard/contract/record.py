"""The log record: key names, levels, events and limits of one line.

The writer (emit) and the reader (logs) meet here and nowhere else.
"""

from typing import Final, Literal

TIMESTAMP: Final = "timestamp"
LEVEL: Final = "level"
MESSAGE: Final = "message"
SERVICE: Final = "service"
TAG: Final = "tag"
SESSION_ID: Final = "sessionId"
USER_ID: Final = "userId"
USER_NAME: Final = "userName"
ROOM: Final = "room"
EPOCH: Final = "epoch"
TRACE_ID: Final = "traceId"
SPAN_ID: Final = "spanId"
EVENT: Final = "event"
META: Final = "meta"
ERROR: Final = "error"
RAW: Final = "raw"
TRUNCATED: Final = "truncated"
BOOT: Final = "boot"
SEQ: Final = "seq"

KEYS: Final[tuple[str, ...]] = (
    TIMESTAMP,
    LEVEL,
    MESSAGE,
    SERVICE,
    TAG,
    SESSION_ID,
    USER_ID,
    USER_NAME,
    ROOM,
    EPOCH,
    TRACE_ID,
    SPAN_ID,
    EVENT,
    META,
    ERROR,
    RAW,
    TRUNCATED,
    BOOT,
    SEQ,
)
"""Every top-level key, in the order in which a line carries them."""

REQUIRED_KEYS: Final[tuple[str, ...]] = (
    TIMESTAMP,
    LEVEL,
    MESSAGE,
    SERVICE,
    TAG,
    SESSION_ID,
    USER_ID,
    USER_NAME,
    BOOT,
    SEQ,
)
"""The keys that no line lacks."""

Level = Literal["debug", "info", "warn", "error"]
LEVELS: Final[dict[str, int]] = {"debug": 10, "info": 20, "warn": 30, "error": 40}
"""Levels by their names, with the numbers of standard logging so that they compare."""

LINE_MAX_BYTES: Final = 16 * 1024
"""Longer lines have ``message`` and ``meta`` cut and say ``"truncated":true``."""

TIMESTAMP_CHARS: Final = 27
"""``2026-11-23T10:11:12.123456Z``: fixed width, so that bytes sort by time."""

SERVER_PREFIX: Final = "server:"
"""Stands before a machine's name in ``sessionId`` where no session is known."""

SERVICES: Final[tuple[str, ...]] = (
    "browser",
    "interface",
    "gateway",
    "operator",
    "runner",
    "bot",
)
"""Our own services, in the order in which a join passes them."""

PLANE_SERVICES: Final[frozenset[str]] = frozenset({*SERVICES, "edge", "up", "redis"} - {"bot"})
"""Services whose lines only Cordboard's own processes write; no bot may write lines of theirs."""

EVENTS: Final[dict[str, str]] = {
    "page.opened": "The room page has loaded and made its session id.",
    "join.clicked": "The person pressed Join.",
    "join.requested": "The interface asks the gateway for the join.",
    "join.received": "The gateway has read a valid join.",
    "join.accepted": "The store granted the room: a new session exists.",
    "join.reused": "The room or the session was live already: that session is the answer.",
    "join.refused": "The join was refused, with the reason.",
    "launch.claimed": "An operator took the accepted join from the queue.",
    "launch.assigned": "A runner has taken the session over.",
    "launch.job_created": "A cold runner is being started.",
    "launch.failed": "No runner could be had for this attempt.",
    "start.received": "A runner was asked to start the session.",
    "bot.forked": "The bot's process exists.",
    "bot.started": "The bot holds the room: the session is running.",
    "bot.connected": "The bot's transport is connected to the room.",
    "user.connected": "A person is connected to the room.",
    "user.first_audio": "The first audio of the person arrived.",
    "bot.first_audio": "The first audio of the bot left.",
    "turn.started": "The person began to speak.",
    "turn.ended": "A turn is over; meta holds its latencies.",
    "bot.finished": "bot() returned, or was stopped as asked.",
    "bot.crashed": "bot() raised, or its process died.",
    "lease.lost": "The holder was told that the room is no longer its own.",
    "lease.expired": "The lease ran out without a renewal.",
    "session.recovered": "The session of a dead runner was queued again, with a higher epoch.",
    "session.ended": "The session reached its terminal state.",
    "auth.refused": "A caller without a login or secret, or with a wrong one, was refused (sampled).",
    "up.ready": "All parts answer; meta holds their addresses.",
}
"""Every event, with its meaning; each is logged once, by the process that did it."""

BOT_EVENTS: Final[frozenset[str]] = frozenset(
    {
        "bot.connected",
        "user.connected",
        "user.first_audio",
        "bot.first_audio",
        "turn.started",
        "turn.ended",
        "bot.finished",
        "bot.crashed",
        "lease.lost",
    }
)
"""The events that a bot's process writes itself; Cordboard's own processes write the others."""

_LEVEL_BY_FOREIGN_NAME: Final[dict[str, Level]] = {
    "trace": "debug",
    "debug": "debug",
    "notset": "debug",
    "verbose": "debug",
    "info": "info",
    "notice": "info",
    "log": "info",
    "success": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "err": "error",
    "critical": "error",
    "fatal": "error",
    "alert": "error",
    "emergency": "error",
    "panic": "error",
    "exception": "error",
}


def level_from_name(name: str) -> Level | None:
    """Map any library's name of a level to the nearest of ours; None when it names no level."""
    return _LEVEL_BY_FOREIGN_NAME.get(name.lower())


def level_from_number(number: float) -> Level:
    """Map a number of standard logging (or loguru) to the nearest level at or below it."""
    if number >= LEVELS["error"]:
        return "error"
    if number >= LEVELS["warn"]:
        return "warn"
    if number >= LEVELS["info"]:
        return "info"
    return "debug"
