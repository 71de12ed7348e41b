"""Which programs write the lines that the rules read. A line of another program proves nothing.

Tests compare this with docs/contract/events.md, and the words with their sources.
"""

from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.record import MESSAGE
from cordboard.logs.session import BROWSER, CLOSED, HEARD

CALL: Final = "call"
"""The service of `cordboard call`."""

# Plain words of pages and of the plane which the rules read.
NO_PATH: Final = "No path for media was found"
NOTHING_HEARD: Final = "Nothing was heard from the bot"
MICROPHONE_REFUSED: Final = "Microphone refused"
PAGE_CLOSED: Final = "Page closed in the call"
CALL_FAILED: Final = "Call failed"
BOT_LATE: Final = "The bot's event loop is late"
JOB_ENDED: Final = "A cold runner's Job has ended"

_GATEWAY: Final = frozenset({"gateway"})
_OPERATOR: Final = frozenset({"operator"})
_RUNNER: Final = frozenset({"runner"})
_BOT: Final = frozenset({"bot"})
_EDGE: Final = frozenset({"edge"})
_PAGE: Final = frozenset({BROWSER})
_CALLERS: Final = frozenset({BROWSER, CALL})
_ENDS: Final[Mapping[str, str]] = {BROWSER: "page", CALL: CALL, "bot": "bot"}
"""The end of the media that a program measures."""

EVENTS: Final[Mapping[str, frozenset[str]]] = {
    "page.opened": _PAGE,
    "join.clicked": _PAGE,
    "join.requested": frozenset({"interface", "edge"}),
    "call.interrupted": _CALLERS,
    "call.resumed": _CALLERS,
    "join.received": _GATEWAY,
    "join.accepted": _GATEWAY,
    "join.reused": _GATEWAY,
    "join.refused": _GATEWAY,
    "launch.claimed": _OPERATOR,
    "launch.assigned": _OPERATOR,
    "launch.job_created": _OPERATOR,
    "launch.failed": _OPERATOR,
    "start.received": _RUNNER,
    "bot.forked": _RUNNER,
    "bot.started": _RUNNER,
    "stream.opened": _EDGE,
    "stream.first_media": _EDGE,
    "stream.lost": _EDGE,
    "stream.resumed": _EDGE,
    "stream.closed": _EDGE,
    "bot.connected": _BOT,
    "user.connected": _BOT,
    "user.first_audio": _BOT,
    "bot.first_audio": _BOT,
    "turn.started": _BOT,
    "turn.ended": _BOT,
    "turn.heard": _CALLERS,
    "speech.started": _BOT,
    "speech.ended": _BOT,
    "service.error": _BOT,
    "tool.started": _BOT,
    "tool.ended": _BOT,
    "media.stats": frozenset(_ENDS),
    "media.warning": frozenset(_ENDS),
    "device.changed": _PAGE,
    "bot.finished": _BOT,
    "bot.crashed": _BOT | _RUNNER,
    "lease.lost": _RUNNER | _BOT,
    "lease.expired": _OPERATOR,
    "session.recovered": _OPERATOR | _RUNNER,
    "session.ended": _GATEWAY | _OPERATOR | _RUNNER,
}
"""The events that the rules read, with the services that write them."""

_MEDIA: Final = frozenset({"media.stats", "media.warning"})

WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (HEARD, NO_PATH, NOTHING_HEARD, MICROPHONE_REFUSED, PAGE_CLOSED, CALL_FAILED), BROWSER
    ),
    **dict.fromkeys(CLOSED, BROWSER),
    BOT_LATE: "runner",
    JOB_ENDED: "operator",
}
"""The messages that the rules read, with the service that writes each."""


def end_of(service: str) -> str:
    """Return the end of the media that a program measures."""
    return _ENDS.get(service, "page")


def is_of_owner(event: str, service: str, meta: Mapping[str, Any]) -> bool:
    """Return whether a program writes an event: of the media, that of its own end."""
    if service not in EVENTS.get(event, ()):
        return False
    return event not in _MEDIA or meta.get("end", _ENDS[service]) == _ENDS[service]


def word_of_owner(record: Mapping[str, Any], service: object) -> str | None:
    """Return the message of a record if the rules read it from that service."""
    message = record.get(MESSAGE)
    return message if isinstance(message, str) and WORDS.get(message, "") == service else None
