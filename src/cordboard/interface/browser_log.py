"""Log lines of browsers: checked one by one, and written with the identity of the login.

A browser is a stranger with its own clock. It is trusted only in what it says about itself: its identity
comes from the login, its service is ``browser``, its events are those that only a browser can see, and
its clock cannot put a line at a time where nobody would look for it. It may write only into the log of its
own session (``session_owners.py``). Any other line becomes the server's, with its claims in ``meta``.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from cordboard.context.log_environment import log_environment
from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import canonical_room, is_session_id, is_webrtc_room
from cordboard.contract.record import REQUIRED_KEYS, SERVER_PREFIX
from cordboard.emit import forward, get_logger
from cordboard.emit.forwarding import schema_error
from cordboard.emit.pipeline import pipeline
from cordboard.interface.people import Person
from cordboard.interface.request_limits import Quota
from cordboard.interface.session_owners import Ownership, SessionOwners
from cordboard.settings import Settings
from cordboard.web.rate_limits import Bucket, Clock, Sampler, take_all

LINES_MAX: Final = 500
"""Lines of one batch. A page sends at most 200 (``clients/js/src/browser/queue.js``)."""
BURST_S: Final = 20  # of lines: two full buffers of a page, as after an outage
BURST_BYTES_S: Final = 32  # of bytes: the same two buffers
TOTAL_PEOPLE: Final = 10  # all browsers together may write as many lines as this many people
BOOTS_MAX: Final = 10_000
"""Pages whose sequence numbers are remembered. Beyond that a line that the oldest page repeats is
written twice; the reader removes the copy."""
NUMBERS_KEPT: Final = 2048
"""So many numbers of a page are remembered, back from its highest: its queue holds 2000 lines."""
EVENTS: Final = frozenset(
    {
        "page.opened",
        "join.clicked",
        "call.interrupted",
        "call.resumed",
        "turn.heard",
        "media.stats",
        "media.warning",
        "device.changed",
    }
)
NO_SESSION: Final = f"{SERVER_PREFIX}browser"
"""The session id in lines that a page sends before it has chosen one."""
SKEW_IGNORED_S: Final = 2.0  # a slow network makes two equal clocks seem so far apart
CLOCK_ERROR_MAX_S: Final = 600.0
AGE_MAX_S: Final = 86_400.0
"""A page that was frozen, or away from the network, sends its lines later. This is as long as session ids are new
(``session_owners.py``)."""
_NOT_FOR_BROWSERS: Final = frozenset({"epoch", "cell", "traceId", "spanId"})

log = get_logger("intake")
Owned = Mapping[str, Ownership | None]
"""The session ids of a batch: the ownership of those that belong to the sender, None for others."""


@dataclass(slots=True)
class BatchResult:
    """The result of a batch.

    Attributes:
        written: Lines that were written.
        repeated: Lines that had been written before.
        refused: Lines that are not valid.
        first_reason: Why the first invalid line was refused.
    """

    written: int = 0
    repeated: int = 0
    refused: int = 0
    first_reason: str = ""

    def refuse(self, reason: str) -> None:
        """Count an invalid line; keep the first `reason`."""
        self.refused += 1
        self.first_reason = self.first_reason or reason


class BrowserLogLimits:
    """Limits on lines and bytes: of a person, of a client address, and of all browsers together.

    Args:
        settings: The limits.
        clock: A monotonic clock, in seconds.
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
        """Count a batch; return 0 if it may be written now, else the seconds until it may.

        Args:
            person: The sender.
            address: The client's address.
            lines: The number of lines.
            size: Their size in bytes.
        """
        now = self._clock()
        by_line = [*self._lines.buckets(person.user_id, address, now), self._all_lines]
        by_byte = [*self._bytes.buckets(person.user_id, address, now), self._all_bytes]
        demands: list[tuple[Bucket, float]] = [(bucket, lines) for bucket in by_line]
        return take_all([*demands, *((bucket, size) for bucket in by_byte)], now)


class TakenNumbers:
    """Tells lines that came before by their sequence numbers, in whatever order the batches of a page arrive.

    A page that is closed sends all its batches at once, and repeats unconfirmed lines.
    """

    def __init__(self) -> None:
        # The highest number of each page, and which numbers below it were taken: bit i stands for highest - i.
        self._pages: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def take(self, sender: str, boot: str, seq: int) -> bool:
        """Return whether a line is new, and remember it.

        Args:
            sender: The id of the person.
            boot: The page.
            seq: The number of the line.
        """
        highest, taken = self._pages.get((sender, boot), (0, 0))
        back = highest - seq
        if back < 0:
            taken = (taken << min(-back, NUMBERS_KEPT)) & ((1 << NUMBERS_KEPT) - 1)
            highest, back = seq, 0
        is_new = back < NUMBERS_KEPT and not taken >> back & 1
        if is_new:
            taken |= 1 << back
        self._pages[sender, boot] = highest, taken
        self._pages.move_to_end((sender, boot))
        if len(self._pages) > BOOTS_MAX:
            self._pages.popitem(last=False)
        return is_new


class BrowserLog:
    """Checks and writes batches of lines.

    Args:
        owners: Finds the owners of sessions.
        wall: The time in seconds since 1970.
    """

    def __init__(self, owners: SessionOwners, wall: Callable[[], float] = time.time) -> None:
        self._owners = owners
        self._wall = wall
        self._taken = TakenNumbers()
        self._server = f"{SERVER_PREFIX}{log_environment().machine}"
        self._sampler = Sampler()

    async def write(self, lines: list[bytes], person: Person, sent_at: float | None) -> BatchResult:
        """Write a batch of lines; log how many were refused.

        Args:
            lines: The lines, one encoded record each.
            person: The person who is signed in.
            sent_at: When the browser sent them, in seconds since 1970 by its own clock.
        """
        result = BatchResult()
        records = [record for line in lines if (record := _decoded(line, result)) is not None]
        # Each id once: a batch has one session, and an unknown id is a request to the gateway.
        ids = {record["sessionId"] for record in records} - {NO_SESSION}
        owned = {one: await self._owners.find_or_none(one, person) for one in ids}
        now = self._wall()
        for record in records:
            # Nothing is awaited from here on: a number that is taken belongs to a line that is written.
            if self._taken.take(person.user_id, record["boot"], record["seq"]):
                allowed = self._with_allowed_claims(record, person, owned)
                forward(with_server_time(allowed, sent_at, now))
                result.written += 1
            else:
                result.repeated += 1
        self._log_refusals(result)
        return result

    def _with_allowed_claims(
        self, record: Mapping[str, Any], person: Person, owned: Owned
    ) -> dict[str, Any]:
        """Return a record with only those values that its sender may set."""
        allowed = {
            key: value
            for key, value in record.items()
            if key not in _NOT_FOR_BROWSERS and (value is not None or key in REQUIRED_KEYS)
        }
        if pipeline.cell is not None:
            allowed["cell"] = pipeline.cell
        claims: dict[str, Any] = {}
        session_id = record["sessionId"]
        ownership = owned.get(session_id)
        if ownership is None:
            allowed["sessionId"] = self._server
            if session_id != NO_SESSION:
                claims["claimed_session"] = session_id
        if "event" in allowed and (ownership is None or allowed["event"] not in EVENTS):
            claims["claimed_event"] = allowed.pop("event")
        if "room" in allowed and not _may_name_room(allowed["room"], ownership):
            claims["claimed_room"] = allowed.pop("room")
        if claims:
            # Twice: first for the order of the keys, then because the page's own meta must not win.
            allowed["meta"] = {**claims, **record.get("meta", {}), **claims}
        return allowed | {"service": "browser", "userId": person.user_id, "userName": person.name}

    def _log_refusals(self, result: BatchResult) -> None:
        if not result.refused:
            return
        suppressed = self._sampler.admit()
        if suppressed is not None:
            log.warning(
                "Lines of a browser were refused",
                count=result.refused,
                reason=result.first_reason,
                suppressed_batches=suppressed,
            )


def _decoded(line: bytes, result: BatchResult) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        result.refuse("it is not JSON")
        return None
    reason = schema_error(record) or _why_not_allowed(record)
    if reason:
        result.refuse(reason)
        return None
    return record


def _why_not_allowed(record: Mapping[str, Any]) -> str | None:
    if not is_session_id(record["sessionId"]):
        return "sessionId is not a session id"
    if record.get("raw"):
        return "raw is not for browsers"
    return None


def _may_name_room(room: str, ownership: Ownership | None) -> bool:
    """Return whether a line may name `room`: its session's room, or any while it has none."""
    if ownership is None:
        return False
    if ownership.room is not None:
        return room == ownership.room
    try:
        return canonical_room(room) == room and is_webrtc_room(room)
    except InvalidValueError:
        return False


def with_server_time(record: dict[str, Any], sent_at: float | None, now: float) -> dict[str, Any]:
    """Return a record with a timestamp that this server's clock could have given.

    Log files are searched by time. A browser whose clock is an hour off would hide its lines or, worse,
    those of others. The time is corrected by what `sent_at` tells of the clock, however long the line waited in
    its page: for a day. Without `sent_at`, or where that does not make the time plausible, it is the time of arrival
    (``meta.timestamp_is``). The browser's own time is kept in ``meta.browser_time``.

    Args:
        record: The record.
        sent_at: When its batch was sent, in seconds since 1970 by the browser's clock.
        now: When it arrived, by this server's clock.
    """
    is_clock_known = sent_at is not None and math.isfinite(sent_at)
    skew_s = now - sent_at if sent_at is not None and is_clock_known else 0.0
    age_max_s = AGE_MAX_S if is_clock_known else CLOCK_ERROR_MAX_S
    marks = {}
    try:
        browser_time = at = datetime.fromisoformat(record["timestamp"])
        if abs(skew_s) >= SKEW_IGNORED_S:
            at += timedelta(seconds=skew_s)
        is_plausible = -CLOCK_ERROR_MAX_S <= now - at.timestamp() <= age_max_s
    except (ValueError, OverflowError):
        is_plausible = False
    if not is_plausible:
        at = datetime.fromtimestamp(now, UTC)
        marks = {"timestamp_is": "arrival"}
    elif at == browser_time:
        return record
    meta = {**record.get("meta", {}), "browser_time": record["timestamp"], **marks}
    return {**record, "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "meta": meta}
