"""Lines of browsers: checked one by one, and written with the identity of the login.

A browser is a stranger with a clock of its own. It is trusted only in what it says about
itself: its identity comes from the login, its service is ``browser``, its events are the two that
only a browser can see, and its clock cannot put a line where nobody would look for it. It may write
into the log of its own session only (``owners.py``); any other line becomes the server's, with
what it claimed in ``meta``.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from cordboard.context.carrier import log_environment
from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import canonical_room, is_session_id, is_webrtc_room
from cordboard.contract.record import REQUIRED_KEYS, SERVER_PREFIX
from cordboard.emit import forward, get_logger
from cordboard.emit.forwarding import schema_error
from cordboard.interface.login import Person
from cordboard.interface.request_limits import Quota
from cordboard.interface.session_owners import Ownership, SessionOwners
from cordboard.settings import Settings
from cordboard.web.rate_limits import Bucket, Clock, Sampler, take_all

LINES_MAX: Final = 500
BURST_S: Final = 20  # of lines: two full buffers of a page, as after an outage
BURST_BYTES_S: Final = 32  # of bytes: the same two buffers
TOTAL_PEOPLE: Final = 10  # all browsers together may write as many lines as this many people
BOOTS_MAX: Final = 10_000
EVENTS: Final = frozenset({"page.opened", "join.clicked"})
NO_SESSION: Final = f"{SERVER_PREFIX}browser"  # what a page sends before it has made an id
SKEW_IGNORED_S: Final = 2.0  # what a slow network makes of two equal clocks
ADRIFT_S: Final = 600.0
_NOT_FOR_BROWSERS: Final = frozenset({"epoch", "traceId", "spanId"})

log = get_logger("intake")
Found = Mapping[str, Ownership | None]


@dataclass(slots=True)
class Taken:
    """What became of a batch."""

    written: int = 0
    repeated: int = 0
    refused: int = 0
    first_reason: str = ""

    def refuse(self, reason: str) -> None:
        """Count a line that is none of ours, and keep the first reason."""
        self.refused += 1
        self.first_reason = self.first_reason or reason


class BrowserLogLimits:
    """RequestLimits lines and bytes: of a person, of a client address, and of all browsers together.

    Args:
        settings: The bounds.
        clock: Seconds that never go back.
    """

    def __init__(self, settings: Settings, clock: Clock = time.monotonic) -> None:
        lines, size = settings.interface_log_lines_per_s, settings.interface_log_bytes_per_s
        total = settings.interface_log_total_bytes_per_s
        people = settings.interface_people_per_address
        now = clock()
        self._clock = clock
        self._lines = Quota(lines, max(lines * BURST_S, LINES_MAX), people)
        self._bytes = Quota(size, size * BURST_BYTES_S, people)
        all_lines = lines * TOTAL_PEOPLE
        self._all_lines = Bucket(all_lines, all_lines * BURST_S, all_lines * BURST_S, now)
        self._all_bytes = Bucket(total, total * BURST_BYTES_S, total * BURST_BYTES_S, now)

    def wait_s(self, person: Person, address: str, lines: int, size: int) -> float:
        """Count a batch; return the seconds after which it may come, 0 when it may now."""
        now = self._clock()
        by_line = [*self._lines.buckets(person.user_id, address, now), self._all_lines]
        by_byte = [*self._bytes.buckets(person.user_id, address, now), self._all_bytes]
        wanted: list[tuple[Bucket, float]] = [(bucket, lines) for bucket in by_line]
        return take_all([*wanted, *((bucket, size) for bucket in by_byte)], now)


class BrowserLog:
    """Takes batches of lines.

    Args:
        owners: Knows whose sessions are.
        wall: Seconds since the epoch.
    """

    def __init__(self, owners: SessionOwners, wall: Callable[[], float] = time.time) -> None:
        self._owners = owners
        self._wall = wall
        self._boots: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._server = f"{SERVER_PREFIX}{log_environment().machine}"
        self._refusals = Sampler()

    async def take(self, lines: list[bytes], person: Person, sent_at: float | None) -> Taken:
        """Write a batch; a warning counts what could not be.

        Args:
            lines: One encoded record each.
            person: Who is signed in where they come from.
            sent_at: When the browser sent them, in seconds by its own clock.
        """
        taken = Taken()
        records = [record for line in lines if (record := _decoded(line, taken)) is not None]
        ids = {record["sessionId"] for record in records} - {NO_SESSION}
        found = {one: await self._owners.may_speak(one, person) for one in ids}
        skew_s = self._wall() - sent_at if sent_at is not None else 0.0
        for record in records:
            if self._repeated(person, record["boot"], record["seq"]):
                taken.repeated += 1
            else:
                forward(_in_time(self._theirs(record, person, found), skew_s, self._wall()))
                taken.written += 1
        self._tell(taken)
        return taken

    def _theirs(self, record: Mapping[str, Any], person: Person, found: Found) -> dict[str, Any]:
        """Return a record with only what its sender may say."""
        kept = {
            key: value
            for key, value in record.items()
            if key not in _NOT_FOR_BROWSERS and (value is not None or key in REQUIRED_KEYS)
        }
        claims: dict[str, Any] = {}
        session_id = record["sessionId"]
        known = found.get(session_id)
        if known is None:
            kept["sessionId"] = self._server
            if session_id != NO_SESSION:
                claims["claimed_session"] = session_id
        if "event" in kept and (known is None or kept["event"] not in EVENTS):
            claims["claimed_event"] = kept.pop("event")
        if "room" in kept and not _may_say(kept["room"], known):
            claims["claimed_room"] = kept.pop("room")
        if claims:
            kept["meta"] = {**claims, **record.get("meta", {}), **claims}
        return kept | {"service": "browser", "userId": person.user_id, "userName": person.name}

    def _repeated(self, person: Person, boot: str, seq: int) -> bool:
        """Return whether a line came before: a page that goes sends again what it is unsure of."""
        key = (person.user_id, boot)
        last = self._boots.get(key, 0)
        self._boots[key] = max(last, seq)
        self._boots.move_to_end(key)
        if len(self._boots) > BOOTS_MAX:
            self._boots.popitem(last=False)
        return seq <= last

    def _tell(self, taken: Taken) -> None:
        if not taken.refused:
            return
        held = self._refusals.admit()
        if held is not None:
            log.warning(
                "Lines of a browser were refused",
                count=taken.refused,
                reason=taken.first_reason,
                batches_not_told=held,
            )


def _decoded(line: bytes, taken: Taken) -> dict[str, Any] | None:
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        taken.refuse("it is not JSON")
        return None
    reason = schema_error(record) or _why_not_a_browsers(record)
    if reason:
        taken.refuse(reason)
        return None
    found: dict[str, Any] = record
    return found


def _why_not_a_browsers(record: Mapping[str, Any]) -> str | None:
    if not is_session_id(record["sessionId"]):
        return "sessionId is no session id"
    if record.get("raw"):
        return "raw is not for browsers"
    return None


def _may_say(room: str, known: Ownership | None) -> bool:
    """Return whether a line may name this room: its session's, or any if it has none yet."""
    if known is None:
        return False
    if known.room is not None:
        return room == known.room
    try:
        return canonical_room(room) == room and is_webrtc_room(room)
    except InvalidValueError:
        return False


def _in_time(record: dict[str, Any], skew_s: float, now: float) -> dict[str, Any]:
    """Return a record with a timestamp that our own clock could have given.

    Files of lines are searched by time. A browser whose clock is an hour off would hide its lines,
    or, worse, those of others. What the browser said is kept in ``meta.browser_time``.
    """
    try:
        said = datetime.fromisoformat(record["timestamp"])
        at = said if abs(skew_s) < SKEW_IGNORED_S else said + timedelta(seconds=skew_s)
    except (ValueError, OverflowError):
        said = at = datetime.fromtimestamp(0, UTC)
    if abs(at.timestamp() - now) > ADRIFT_S:
        at = datetime.fromtimestamp(now, UTC)
    if at == said:
        return record
    meta = {**record.get("meta", {}), "browser_time": record["timestamp"]}
    return {**record, "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "meta": meta}
