"""What is asked for: one value that every stage works with, made and checked before any reading."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]
"""Says of a decoded record (contract keys) whether it is wanted."""


@dataclass(frozen=True, slots=True)
class Query:
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
        follow: Go on with what is written from now on.
        exact: Read everything instead of finding the window by bisection.
        mentions: Also lines in which the session's id occurs as mere text.
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
    follow: bool = False
    exact: bool = False
    mentions: bool = False
