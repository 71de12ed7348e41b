"""The owner of a session: what a person may write into its log, and which id a person may join with.

A session belongs to the user of its record. An id without a record belongs to the first person of
this interface who uses it: a page makes its id, and sends its first lines, before the first click.
An id that nobody owns must be one that a page could have made lately: the lines of a session
outlive its record, and nobody may add to them after that is removed.
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
from cordboard.interface.login import Person
from cordboard.web.rate_limits import Buckets, TooManyRequestsError, take_all

KEPT_MAX: Final = 20_000
"""Answers that are kept, about 300 bytes each: those of the last ten thousand calls."""
HELD_FOR_S: Final = 60.0  # a record keeps its user until it is removed, so this answer stays right
FREE_FOR_S: Final = 1.0  # a page's lines come once a second, and its join at any moment
ASKED_A_SECOND: Final = (
    5.0  # questions to the gateway for one person; a page needs one for each call
)
ASKED_BURST: Final = 50.0
FRESH_S: Final = 86_400.0  # longer than most pages stay open; never longer than a record is kept
_UUID7_CHARS: Final = 36
_UUID7_TIME: Final = 13  # hex digits of milliseconds, with a dash in them
_UUID7_VERSION: Final = "7"

Ask = Callable[[str], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class Ownership:
    """What is known of an id.

    Attributes:
        user_id: The user of its record, empty where a record has none; None without a record.
        room: The room of its record.
        claimed_by: Who used it first here, as long as it had no record.
        until: When to ask again.
    """

    user_id: str | None = None
    room: str | None = None
    claimed_by: str | None = None
    until: float = 0.0


class SessionOwners:
    """Finds the owner of a session, and remembers it for a while.

    Args:
        ask: Gives a session's record; raises ``NotFoundError``, or an error of the gateway.
        kept_s: How long a record is kept after its session.
        clock: Seconds that never go back.
        wall: Seconds since the epoch.
    """

    def __init__(
        self,
        ask: Ask,
        kept_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ask = ask
        self._fresh_s = min(kept_s, FRESH_S)
        self._clock = clock
        self._wall = wall
        self._known: OrderedDict[str, Ownership] = OrderedDict()
        self._asked = Buckets(ASKED_A_SECOND, ASKED_BURST)

    async def known(self, session_id: str, person: Person) -> Ownership | None:
        """Return what is known of an id that a person may use; None if it belongs to another.

        Raises:
            CordboardError: It is not known, and the gateway cannot be asked.
        """
        if not is_session_id(session_id) or session_id.startswith(SERVER_PREFIX):
            return None
        known = await self._look(session_id, person)
        if known.user_id is None and known.claimed_by is None and self._is_fresh(session_id):
            known.claimed_by = person.user_id
        owner = known.claimed_by if known.user_id is None else known.user_id
        return known if owner == person.user_id else None

    async def may_speak(self, session_id: str, person: Person) -> Ownership | None:
        """Return the same; also None if the owner cannot be found now."""
        try:
            return await self.known(session_id, person)
        except CordboardError:
            return None

    def joined(self, session_id: str, person: Person, room: str) -> None:
        """Remember that a person's join was accepted."""
        until = self._clock() + HELD_FOR_S
        self._keep(session_id, Ownership(person.user_id, room, person.user_id, until))

    async def _look(self, session_id: str, person: Person) -> Ownership:
        now = self._clock()
        old = self._known.get(session_id)
        if old is not None and now < old.until:
            return old
        if take_all([(self._asked.of(person.user_id, now), 1)], now) > 0:
            raise TooManyRequestsError("Too many sessions were requested.", retry_after_s=1)
        try:
            record = await self._ask(session_id)
        except NotFoundError:
            old = self._known.get(session_id)  # somebody may have claimed it meanwhile
            claimed = old.claimed_by if old else None
            return self._keep(session_id, Ownership(claimed_by=claimed, until=now + FREE_FOR_S))
        except (GatewayError, StoreUnavailableError):
            if old is None:
                raise
            return old  # a person's own lines matter most when something is wrong
        user_id = record.get("userId") or ""
        found = Ownership(user_id, record.get("room_url"), user_id, now + HELD_FOR_S)
        return self._keep(session_id, found)

    def _keep(self, session_id: str, known: Ownership) -> Ownership:
        self._known[session_id] = known
        self._known.move_to_end(session_id)
        if len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)
        return known

    def _is_fresh(self, session_id: str) -> bool:
        made = _made_at(session_id)
        return made is not None and abs(self._wall() - made) < self._fresh_s


def _made_at(session_id: str) -> float | None:
    """Return when a UUID of version 7 was made, in seconds since the epoch; None for other ids."""
    if len(session_id) != _UUID7_CHARS or session_id[14] != _UUID7_VERSION:
        return None
    try:
        return int(session_id[:_UUID7_TIME].replace("-", ""), 16) / 1000
    except ValueError:
        return None
