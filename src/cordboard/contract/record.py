"""The log record: keys, levels, events and limits of one line (docs/contract/log-line.md).

The writer (``emit``) and the reader (``logs``) share this module, and nothing else.
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
CELL: Final = "cell"
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
    CELL,
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
"""Every top-level key, in the order of a line."""

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
"""The keys that every line has."""

Level = Literal["debug", "info", "warn", "error"]
LEVELS: Final[dict[str, int]] = {"debug": 10, "info": 20, "warn": 30, "error": 40}
"""The levels with their numbers in standard logging, for comparisons."""

LINE_MAX_BYTES: Final = 16 * 1024
"""The maximum length of a line. In longer lines ``message`` and ``meta`` are truncated."""

TIMESTAMP_CHARS: Final = 27
"""The length of ``2026-11-23T10:11:12.123456Z``: fixed, so that timestamps sort as bytes."""

SERVER_PREFIX: Final = "server:"
"""The prefix of a machine's name, which ``sessionId`` holds in lines without a session."""

SERVICES: Final[tuple[str, ...]] = (
    "browser",
    "interface",
    "gateway",
    "operator",
    "runner",
    "bot",
)
"""The services that take part in a call, in the order in which a join passes them."""

PLANE_SERVICES: Final[frozenset[str]] = frozenset({*SERVICES, "edge", "up", "redis"} - {"bot"})
"""Services of Cordboard's own processes. Lines of bots cannot claim to come from these."""

EVENTS: Final[dict[str, str]] = {
    "page.opened": "The room page loaded and created its session id.",
    "join.clicked": "The person pressed Join.",
    "join.requested": "The interface, or the edge for one of Pipecat's clients, sends the join to the gateway.",
    "call.received": "A telephone call arrived at the edge.",
    "call.answered": "The carrier of a call got the document that opens its stream.",
    "call.status": "A carrier reported a state of a call, or took an order for one.",
    "call.interrupted": "The caller's side lost the bot; meta says how it noticed.",
    "call.resumed": "The bot, or its successor, is there again; meta holds the length of the silence.",
    "join.received": "The gateway received a valid join.",
    "join.accepted": "Redis granted the room: a new session exists.",
    "join.reused": "The room already had a live session; the response names that session.",
    "join.refused": "The join was refused; meta holds the reason.",
    "launch.claimed": "An operator took the accepted join from the queue.",
    "launch.assigned": "A runner accepted the session.",
    "launch.job_created": "A launcher starts a cold runner.",
    "launch.failed": "No runner was available for this attempt.",
    "start.received": "A runner received the request to start the session.",
    "bot.forked": "The bot process exists.",
    "bot.started": "The bot has the room: the session is running.",
    "stream.opened": "A carrier or another client opened the WebSocket of the session.",
    "stream.first_media": "The first audio passed; meta names its sender: client or bot.",
    "stream.lost": "The connection of one side broke; meta names the side. A call goes on with its next bot.",
    "stream.resumed": "A call went on after its bot's runner, or its edge, had died; meta has the silence.",
    "stream.closed": "The stream ended; meta holds its figures, who ended it, and the code.",
    "bot.connected": "The bot's transport is connected to the room.",
    "user.connected": "A person is connected to the room.",
    "user.first_audio": "The person's first audio arrived.",
    "bot.first_audio": "The bot sent its first audio.",
    "turn.started": "The person began to speak.",
    "turn.ended": "A turn ended; meta holds its latencies.",
    "turn.user_text": "The words of the user in a turn (content=words or all).",
    "turn.bot_text": "The words of the bot in a turn (content=words or all).",
    "turn.heard": "The latency of a turn as the caller heard it, measured at the caller's end.",
    "pipeline.started": "The bot's pipeline runs; meta holds how long its processors took to start.",
    "speech.started": "The user or the bot began to speak.",
    "speech.ended": "The user or the bot stopped speaking.",
    "service.usage": "A service reported what it consumed since its last report.",
    "service.error": "A service of the bot failed; meta holds the category.",
    "tool.started": "The language model called a tool.",
    "tool.ended": "The call of a tool ended; meta holds how.",
    "media.stats": "Figures of the media connection since the last such line.",
    "media.warning": "The quality of the media passed a threshold, or is good again.",
    "device.changed": "The caller's microphone, page or permission changed.",
    "bot.finished": "bot() returned, or was stopped by a request.",
    "bot.crashed": "bot() raised an exception, or its process died.",
    "lease.lost": "The holder found that another session holds the room.",
    "lease.expired": "The lease expired without a renewal.",
    "session.recovered": "The session was queued again with a higher epoch: its runner or bot process died, or its runner stops.",
    "session.ended": "The session reached its final state.",
    "auth.refused": "A caller with a missing or wrong login or secret was refused (sampled).",
    "up.ready": "All components answer; meta holds their addresses.",
}
"""Every event with its meaning. The process that causes an event logs it once."""

BOT_EVENTS: Final[frozenset[str]] = frozenset(
    {
        "bot.connected",
        "user.connected",
        "user.first_audio",
        "bot.first_audio",
        "turn.started",
        "turn.ended",
        "turn.user_text",
        "turn.bot_text",
        "pipeline.started",
        "speech.started",
        "speech.ended",
        "service.usage",
        "service.error",
        "tool.started",
        "tool.ended",
        "media.stats",
        "media.warning",
        "bot.finished",
        "bot.crashed",
        "lease.lost",
    }
)
"""The events that bot processes log; Cordboard's own processes log the others."""

# The names of standard logging, loguru, syslog and other libraries, in lower case.
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
    """Return the nearest level for ``name``, a level of any library; None if it is not a level."""
    return _LEVEL_BY_FOREIGN_NAME.get(name.lower())


def level_from_number(number: float) -> Level:
    """Return the nearest level at or below ``number``, a level of standard logging or loguru."""
    if number >= LEVELS["error"]:
        return "error"
    if number >= LEVELS["warn"]:
        return "warn"
    if number >= LEVELS["info"]:
        return "info"
    return "debug"
