"""The owner of a session, who may write into its log and join with its id.

A session belongs to the user of its record. An id without a record belongs to the first person of this
interface who uses it: a page chooses its id, and sends its first lines, before the first click. An id that
nobody owns must be one that a page could have made recently: the lines of a session outlive its record,
and nobody may add to them after the record is removed.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from cordboard.contract.errors import (
    CordboardError,
    GatewayError,
    NotFoundError,
    StoreUnavailableError,
)
from cordboard.contract.ids import is_session_id
from cordboard.contract.record import SERVER_PREFIX
from cordboard.interface.people import Person
from cordboard.web.rate_limits import Buckets, TooManyRequestsError, take_all

ENTRIES_MAX: Final = 20_000
"""Owners that are remembered, about 300 bytes each: those of the last ten thousand calls. Beyond that the
gateway is asked again, unless an id has no record: then it can be claimed again."""
OWNED_FOR_S: Final = 60.0  # a record keeps its user until it is removed, so this answer stays right
FREE_FOR_S: Final = 1.0  # a page's lines come once a second, and its join at any moment
READS_PER_S: Final = 5.0  # of records at the gateway, by one person; a page needs one for each call
READS_BURST: Final = 50.0
FRESH_S: Final = 86_400.0  # longer than most pages stay open; never longer than a record is kept
# The parts of a UUID in text form: version 7 begins with its time in milliseconds, in hexadecimal.
_UUID_LENGTH: Final = 36
_UUID7_TIME_END: Final = 13  # with a dash in it
_VERSION_INDEX: Final = 14

ReadRecord = Callable[[str], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class Ownership:
    """What is known about the owner of a session id.

    Attributes:
        user_id: The user of the id's record, empty if the record has none; None without a record.
        room: The room of the record.
        claimed_by: Who used the id first here, while it had no record.
        until: When to read the record again, by the monotonic clock.
    """

    user_id: str | None = None
    room: str | None = None
    claimed_by: str | None = None
    until: float = 0.0


class SessionOwners:
    """Finds the owner of a session and remembers it for a while.

    Args:
        read_record: Returns a session's record; raises `NotFoundError`, or an error of the gateway.
        record_kept_s: How long a record is kept after the end of its session, in seconds.
        clock: A monotonic clock, in seconds.
        wall: The time in seconds since 1970.
    """

    def __init__(
        self,
        read_record: ReadRecord,
        record_kept_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._read_record = read_record
        self._fresh_s = min(record_kept_s, FRESH_S)
        self._clock = clock
        self._wall = wall
        # In the order of their last update: the first one is dropped.
        self._entries: OrderedDict[str, Ownership] = OrderedDict()
        self._reads = Buckets(READS_PER_S, READS_BURST)

    async def find(self, session_id: str, person: Person) -> Ownership | None:
        """Return the ownership of `session_id` if `person` owns it, else None.

        Raises:
            CordboardError: The owner is unknown, and the gateway does not answer.
        """
        # Ids with the server's prefix name machines in log lines, not sessions.
        if not is_session_id(session_id) or session_id.startswith(SERVER_PREFIX):
            return None
        ownership = await self._look_up(session_id, person)
        is_free = ownership.user_id is None and ownership.claimed_by is None
        if is_free and self._is_fresh(session_id):
            ownership.claimed_by = person.user_id
        owner = ownership.claimed_by if ownership.user_id is None else ownership.user_id
        return ownership if owner == person.user_id else None

    async def find_or_none(self, session_id: str, person: Person) -> Ownership | None:
        """Return what `find` returns for `session_id` and `person`; None also if the gateway fails."""
        try:
            return await self.find(session_id, person)
        except CordboardError:
            return None

    def count_read(self, person: Person) -> None:
        """Count a record that is read at the gateway for `person`.

        Raises:
            TooManyRequestsError: The person has asked for too many.
        """
        now = self._clock()
        if take_all([(self._reads.of(person.user_id, now), 1)], now) > 0:
            raise TooManyRequestsError("You have asked for too many sessions.", retry_after_s=1)

    def set_joined(self, session_id: str, person: Person, room: str) -> None:
        """Remember an accepted join.

        Args:
            session_id: The session.
            person: The person who joined.
            room: The session's room.
        """
        until = self._clock() + OWNED_FOR_S
        self._remember(session_id, Ownership(person.user_id, room, person.user_id, until))

    async def _look_up(self, session_id: str, person: Person) -> Ownership:
        now = self._clock()
        entry = self._entries.get(session_id)
        if entry is not None and now < entry.until:
            return entry
        self.count_read(person)
        try:
            record = await self._read_record(session_id)
        except NotFoundError:
            entry = self._entries.get(session_id)  # somebody may have claimed it meanwhile
            claimed_by = entry.claimed_by if entry else None
            return self._remember(
                session_id, Ownership(claimed_by=claimed_by, until=now + FREE_FOR_S)
            )
        except (GatewayError, StoreUnavailableError):
            if entry is None:
                raise
            # Outdated, but a person's own lines matter most while something is wrong.
            return entry
        user_id = record.get("userId") or ""
        return self._remember(
            session_id, Ownership(user_id, record.get("room_url"), user_id, now + OWNED_FOR_S)
        )

    def _remember(self, session_id: str, ownership: Ownership) -> Ownership:
        self._entries[session_id] = ownership
        self._entries.move_to_end(session_id)
        if len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
        return ownership

    def _is_fresh(self, session_id: str) -> bool:
        created_at = creation_time(session_id)
        return created_at is not None and abs(self._wall() - created_at) < self._fresh_s


def creation_time(session_id: str) -> float | None:
    """Return when `session_id`, a UUID of version 7, was made, in seconds since 1970; None for other ids."""
    if len(session_id) != _UUID_LENGTH or session_id[_VERSION_INDEX] != "7":
        return None
    try:
        return int(session_id[:_UUID7_TIME_END].replace("-", ""), 16) / 1000
    except ValueError:
        return None
