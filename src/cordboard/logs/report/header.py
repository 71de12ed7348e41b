"""How a report was asked for: what every reader of it needs in order to ask again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """What the command line said.

    Attributes:
        command: As it was typed, so that somebody else can ask the same.
        environment: Where was looked: ``local``, ``stg``.
        session_id: The session that was asked for, if one was.
        since: The window's beginning, if it has one.
        until: The window's end, if it has one.
        filters: What left lines of the session out: ``--level warn``. A verdict says so.
        made_at: When the report was made; empty: now.
    """

    command: str = ""
    environment: str = "local"
    session_id: str | None = None
    since: str | None = None
    until: str | None = None
    filters: tuple[str, ...] = ()
    made_at: str = ""
