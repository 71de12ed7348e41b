"""The page of all live rooms, which also opens a room."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from cordboard.contract.ids import is_webrtc_room
from cordboard.interface import pages, plain_words, rendering
from cordboard.interface.access import Visitor
from cordboard.interface.gateway_reads import read_sessions
from cordboard.interface.services import Services

ROOMS_MAX: Final = 200
"""Live sessions that the page lists."""

router = APIRouter()


@dataclass(frozen=True, slots=True)
class LiveRoom:
    """A room with a live session.

    Attributes:
        name: The room as people write it.
        is_own: Whether it can be joined from this interface.
        session_id: Its session.
        bot: The name of the bot.
        state: The state in words.
        user: Who is in it.
        age: How long ago the session was accepted.
    """

    name: str
    is_own: bool
    session_id: str
    bot: str
    state: str
    user: str
    age: str


@router.get("/rooms")
async def rooms_page(
    request: Request, services: Services, person: Visitor, name: str = ""
) -> Response:
    """Show the live rooms, or open the room that a form names.

    Args:
        request: The request.
        services: The interface's services.
        person: The person; a caller sees the own rooms only.
        name: The room to open.
    """
    if name.strip():
        return pages.open_room(request, name.strip())
    query = {"live": "true", "limit": ROOMS_MAX}
    records, more = await read_sessions(services.gateway, person, query)
    return rendering.render_page(
        request,
        "rooms.html",
        rooms=list(_rooms(records)),
        has_more=more is not None,
        default_room=pages.DEFAULT_ROOM,
    )


def _rooms(records: Iterable[dict[str, Any]]) -> Iterable[LiveRoom]:
    for record in records:
        room = record["room_url"]
        yield LiveRoom(
            name=plain_words.room_name(room),
            is_own=is_webrtc_room(room),
            session_id=record["sessionId"],
            bot=record["bot"] or "",
            state=plain_words.state_words(record),
            user=record["userName"] or record["userId"] or "",
            age=plain_words.age(record["createdAt"]),
        )
