"""The tables of docs/logging.md, from the code: every key and every event of a line."""

from typing import Final

from cordboard.contract.record import EVENTS, KEYS, LINE_MAX_BYTES, REQUIRED_KEYS

MEANINGS: Final[dict[str, str]] = {
    "timestamp": "When, in UTC, always 27 characters: bytes sort by time.",
    "level": "`debug`, `info`, `warn` or `error`; other libraries' levels map to the nearest.",
    "message": "A constant sentence; what varies is in `meta`.",
    "service": "Who speaks: the name given to `configure`.",
    "tag": "Which part of it: the name given to `get_logger`; of other libraries, the package.",
    "sessionId": "The session; `server:` and the machine's name where none is known.",
    "userId": "The user's id, or null.",
    "userName": "The user's name, or null.",
    "room": "The room, in canonical form.",
    "epoch": "The number of this grant of the room.",
    "traceId": "The trace: of the active OpenTelemetry span, else of the caller's `traceparent`.",
    "spanId": "The span, likewise.",
    "event": "One of the events below.",
    "meta": "All keywords of the call. What JSON cannot say is its `repr`.",
    "error": "`type`, `message` and `stack` of an exception.",
    "raw": "true where a process that does not speak this format printed the line.",
    "truncated": f"true where something of the record was cut; it holds {LINE_MAX_BYTES // 1024} KiB at most.",
    "boot": "8 hex digits, drawn at process start and after a fork.",
    "seq": "Counts the lines of a boot from 1 without gaps: a gap is a lost line.",
}


def keys_table() -> str:
    """Return the table of keys, in the order in which a line carries them."""
    rows = [
        f"| `{key}` | {'always' if key in REQUIRED_KEYS else 'when known'} | {MEANINGS[key]} |"
        for key in KEYS
    ]
    return "\n".join(["| key | there | meaning |", "|---|---|---|", *rows])


def events_table() -> str:
    """Return the table of events, in the order of a session."""
    rows = [f"| `{event}` | {meaning} |" for event, meaning in EVENTS.items()]
    return "\n".join(["| event | meaning |", "|---|---|", *rows])
