"""The page on which sessions are searched."""

import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import canonical_room, is_session_id
from cordboard.contract.state import REASONS, TRANSITIONS
from cordboard.interface import plain_words, rendering
from cordboard.interface.access import Visitor
from cordboard.interface.gateway_reads import read_sessions
from cordboard.interface.services import Services

PAGE_SIZE: Final = 50
_TEXT_MAX: Final = 200  # longer than any id, name or room that a person types
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII)
_LIVE: Final = "live"

router = APIRouter()
Text = Annotated[str, Query(max_length=_TEXT_MAX)]


@dataclass(frozen=True, slots=True)
class Search:
    """What a person searches for; an empty text selects all.

    Attributes:
        id: The id of a session.
        user: The id or the name of a user.
        room: A room.
        state: A state, or ``live`` for all that have not ended.
        reason: A reason of the end.
        since: Accepted at this time or later, in UTC, as a form sends it.
        until: Accepted before this time.
        build: How a hash, a version or the image of the build begins.
    """

    id: str = ""
    user: str = ""
    room: str = ""
    state: str = ""
    reason: str = ""
    since: str = ""
    until: str = ""
    build: str = ""

    def gateway_query(self) -> dict[str, Any]:
        """Return the parameters with which the gateway is asked.

        Raises:
            InvalidValueError: A value of the form is invalid.
        """
        if self.id:  # a valid one leads to its session
            raise InvalidValueError("The session id contains a character that no id has.")
        return {
            "live": "true" if self.state == _LIVE else None,
            "state": self.state if self.state != _LIVE else None,
            "reason": self.reason,
            "user": self.user,
            "build": self.build,
            "room_url": _room(self.room),
            "since": _time(self.since),
            "until": _time(self.until),
        }


async def search_of(
    session_id: Annotated[str, Query(alias="id")] = "",
    user: Text = "",
    room: Text = "",
    state: Text = "",
    reason: Text = "",
    since: Text = "",
    until: Text = "",
    build: Text = "",
) -> Search:
    """Return the search that the address of the page names; each of its parts may be absent.

    Args:
        session_id: The parameter ``id``.
        user: The id or the name of a user.
        room: The name or the URL of a room.
        state: A state of sessions.
        reason: Why sessions ended.
        since: Accepted at this time or later, in UTC, as a form sends it.
        until: Accepted before this time, likewise.
        build: How a hash, a version or the image of the build begins.
    """
    texts = (session_id, user, room, state, reason, since, until, build)
    return Search(*(text.strip() for text in texts))


@router.get("/sessions")
async def sessions_page(
    request: Request,
    services: Services,
    person: Visitor,
    search: Annotated[Search, Depends(search_of)],
    cursor: Annotated[str | None, Query(max_length=_TEXT_MAX)] = None,
) -> Response:
    """Show the sessions that a search finds, the newest first.

    Args:
        request: The request.
        services: The interface's services.
        person: The person; a caller finds the own sessions only.
        search: What is searched for.
        cursor: Where the page continues.
    """
    if not person.is_operator:
        # The beginning of a build that finds a session would tell what the record does not.
        search = replace(search, build="")
    if search.id and is_session_id(search.id):
        return rendering.redirect(request, rendering.session_path(search.id))
    problem, found, next_cursor = "", list[dict[str, Any]](), None
    try:
        query = search.gateway_query() | {"limit": PAGE_SIZE, "cursor": cursor}
        found, next_cursor = await read_sessions(services.gateway, person, query)
    except InvalidValueError as error:
        problem = error.message
    given = {name: value for name, value in asdict(search).items() if value}
    return rendering.render_page(
        request,
        "sessions.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        search=search,
        is_search=bool(given),
        problem=problem,
        sessions=found,
        states={_LIVE: "Live", **{state: plain_words.STATES[state] for state in TRANSITIONS}},
        reasons={reason: plain_words.REASONS[reason] for reason in REASONS},
        next_query=urlencode({**given, "cursor": next_cursor}) if next_cursor else "",
        first_query=urlencode(given) if cursor else "",
        is_later_page=cursor is not None,
    )


def _room(text: str) -> str | None:
    """Return a room as the gateway reads it: a name alone is one of the pages' rooms."""
    if not text:
        return None
    return canonical_room(text if _SCHEME.match(text) else f"webrtc:{text}")


def _time(text: str) -> str | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidValueError(
            f"Expected a time such as 2026-11-23 10:11, got {text!r}."
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
