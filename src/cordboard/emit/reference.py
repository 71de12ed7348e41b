"""Generates the tables of docs/logging.md: every key and every event of a line."""

from typing import Final

from cordboard.contract.record import EVENTS, KEYS, LINE_MAX_BYTES, REQUIRED_KEYS

MEANINGS: Final[dict[str, str]] = {
    "timestamp": "The time in UTC, always 27 characters, so that lines sort by time as bytes.",
    "level": "`debug`, `info`, `warn` or `error`; other libraries' levels map to the nearest of these.",
    "message": "A constant sentence; everything that varies is in `meta`.",
    "service": "The service that wrote the line: the name given to `configure`.",
    "tag": "The part of the service: the name given to `get_logger`. For other libraries, their package.",
    "sessionId": "The session; without one, `server:` and the name of the machine.",
    "userId": "The id of the user, or null.",
    "userName": "The name of the user, or null.",
    "room": "The room, in canonical form.",
    "epoch": "The epoch: the number of this grant of the room.",
    "cell": "The cell of the process, if it belongs to one.",
    "traceId": "The trace id of the active OpenTelemetry span, otherwise of the caller's `traceparent`.",
    "spanId": "The span id, from the same source.",
    "event": "The name of the event, such as `join.accepted`.",
    "meta": "All keyword arguments of the call. A value that JSON cannot represent is replaced by its `repr`.",
    "error": "`type`, `message` and `stack` of an exception.",
    "raw": "true if a process that does not use this format printed the line.",
    "truncated": f"true if something was removed because a record holds at most {LINE_MAX_BYTES // 1024} KiB.",
    "boot": "8 random hexadecimal digits, generated when a process starts and after a fork.",
    "seq": "Counts the lines of a boot from 1 without gaps: a missing number means a lost line.",
}
"""The meaning of each key. A test compares the keys with those of a line."""


def keys_table() -> str:
    """Return the table of all keys as Markdown, in their order in a line."""
    rows = [
        f"| `{key}` | {'always' if key in REQUIRED_KEYS else 'optional'} | {MEANINGS[key]} |"
        for key in KEYS
    ]
    return "\n".join(["| key | present | meaning |", "|---|---|---|", *rows])


def events_table() -> str:
    """Return the table of all events as Markdown, in the order of a session."""
    rows = [f"| `{event}` | {meaning} |" for event, meaning in EVENTS.items()]
    return "\n".join(["| event | meaning |", "|---|---|", *rows])
