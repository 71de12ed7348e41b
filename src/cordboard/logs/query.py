"""What is asked for: one value that every stage works with, made and checked before any reading."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import canonical_room
from cordboard.contract.record import (
    LEVEL,
    LEVELS,
    MESSAGE,
    ROOM,
    SERVICE,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.timespec import HIGHEST, LOWEST

Predicate = Callable[[Mapping[str, Any]], bool]
"""Says of a decoded record (contract keys) whether it is wanted."""


class Whereabouts(NamedTuple):
    """When and where a session ran, as a gateway tells.

    Attributes:
        since: The beginning, with a margin, as a timestamp of the contract.
        until: The end, with a margin; None while it runs.
        runner: The id of the only runner that served it, which begins with its pod's name; empty if it was served
            by several, or by none.
    """

    since: str
    until: str | None
    runner: str = ""


class Query(NamedTuple):
    """A checked query; None means that everything is wanted.

    Attributes:
        since: The first moment of the window, as a timestamp of the contract (27 characters, UTC).
        until: The first moment after it.
        session: A session id.
        user: A user id or user name.
        room: A room in its canonical form.
        services: Names of services; empty for all.
        level: This level and above.
        grep: Searched for in the decoded message.
        where: A condition on the fields of the record.
        where_terms: Of each, some bytes that what fulfils it must hold, in our own encoding.
        follow: Go on with what is written from now on.
        exact: Read everything instead of finding the window by bisection.
        mentions: Also lines in which the session's id occurs as mere text.
        fix_skew: Correct the times of processes whose clocks are provably off.
        ran: When and where the session ran, where that is known: remote sources are asked for no more.
    """

    since: str | None = None
    until: str | None = None
    session: str | None = None
    user: str | None = None
    room: str | None = None
    services: tuple[str, ...] = ()
    level: str | None = None
    grep: re.Pattern[str] | None = None
    where: Predicate | None = None
    where_terms: tuple[tuple[bytes, ...], ...] = ()
    follow: bool = False
    exact: bool = False
    mentions: bool = False
    fix_skew: bool = False
    ran: Whereabouts | None = None

    @property
    def may_be_located(self) -> bool:
        """Whether a gateway may narrow the times that remote sources are asked for."""
        return self.session is not None and not (
            self.since or self.until or self.follow or self.exact
        )

    def narrowed(self) -> "Query":
        """Return the query with the window that remote sources have to be asked for."""
        if self.ran is None:
            return self
        return self._replace(since=self.ran.since, until=self.ran.until)

    @property
    def first(self) -> bytes:
        """The window's beginning as a key."""
        return self.since.encode() if self.since else LOWEST

    @property
    def end(self) -> bytes:
        """The window's end as a key."""
        return self.until.encode() if self.until else HIGHEST


def filters(query: Query) -> bool:
    """Return whether anything but the window of `query` leaves lines out."""
    wanted = (
        query.session, query.user, query.room, query.level, query.grep, query.where,
        query.services or None,
    )  # fmt: skip
    return any(value is not None for value in wanted)


def wants(query: Query, record: Mapping[str, Any]) -> bool:
    """Return whether `record` passes the filters of `query`; its session and its time are another matter."""
    return (
        (query.level is None or LEVELS[record[LEVEL]] >= LEVELS[query.level])
        and (not query.services or record[SERVICE] in query.services)
        and (query.user is None or query.user in (record[USER_ID], record[USER_NAME]))
        and (query.room is None or _canonical(record.get(ROOM)) == query.room)
        and (query.grep is None or query.grep.search(record[MESSAGE]) is not None)
        and (query.where is None or query.where(record))
    )


def _canonical(room: Any) -> str | None:
    try:
        return canonical_room(room)
    except InvalidValueError:
        return None
