"""The routes that the pages call: join, leave, signalling, events, log lines.

Every route of a session has the decision who may use it as the type of a parameter (``access.py``): the id
alone, which somebody may read over a shoulder or in a log, grants no access.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from cordboard.context import bound
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import InvalidValueError
from cordboard.contract.http_api import session_path
from cordboard.contract.ids import canonical_room, check_session_id, is_webrtc_room
from cordboard.emit import get_logger
from cordboard.interface import error_texts
from cordboard.interface.access import OwnRecord, SeenRecord, SignedIn, session_headers
from cordboard.interface.browser_log import LINES_MAX
from cordboard.interface.cells import join_path
from cordboard.interface.gateway_answers import browser_response
from cordboard.interface.identity import renew_login
from cordboard.interface.leaving import end_session
from cordboard.interface.page_events import session_stream
from cordboard.interface.people import Person
from cordboard.interface.services import InterfaceServices, Services
from cordboard.web.event_stream import EventStream
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import TooManyRequestsError

RECONNECT_MS: Final = 1000
_RETRY_LINES_S: Final = 5

log = get_logger("interface")
router = APIRouter(prefix="/api")


class TooManyLinesError(TooManyRequestsError):
    """A browser sends log lines faster than its limit."""

    code = "too_many_lines"
    title = "Too many lines"


def _webrtc_room(value: str) -> str:
    try:
        room = canonical_room(value)
        if not is_webrtc_room(room):
            raise PydanticCustomError("invalid", "This page can only join webrtc: rooms.")
    except InvalidValueError as error:
        raise PydanticCustomError("invalid", str(error)) from error
    return room


def _session_id(value: str) -> str:
    try:
        return check_session_id(value)
    except InvalidValueError as error:
        raise PydanticCustomError("invalid", str(error)) from error


class PageJoin(BaseModel):
    """A page's join. Other members are ignored: the login, not the page, says who joins."""

    session_id: Annotated[str, AfterValidator(_session_id)] = Field(alias="sessionId")
    room: Annotated[str, AfterValidator(_webrtc_room)]


@router.post("/sessions")
async def join(body: PageJoin, request: Request, services: Services, person: SignedIn) -> Response:
    """Request a bot in a room on behalf of the signed-in person.

    Args:
        body: The join.
        request: The request.
        services: The interface's services.
        person: The person.
    """
    address = client_address(request.scope)
    # Counted first: everything after this costs the gateway a request.
    services.request_limits.join(person.user_id, address)
    if await services.owners.find(body.session_id, person) is None:
        # Before a line is written or the gateway is asked: both would appear in the other person's log.
        log.warning("A join with another's session id was refused", claimed_session=body.session_id)
        return error_texts.error_response(HTTPStatus.CONFLICT, "session_id_used")
    with bound(session_id=body.session_id, room=body.room):
        log.info("Join requested", event="join.requested")
        content = msgspec.json.encode(_gateway_join(body, person, services.max_duration_s))
        path = await join_path(request.app.state.settings, services.gateway, body.room)
        reply = await services.gateway.ask("POST", path, content, client_address=address)
        if not reply.is_success:
            return browser_response(reply)
        shown = await _join_response(services, body, person, reply.json())
        response = JSONResponse(shown, reply.status, {HEADER_SESSION_ID: body.session_id})
        # A join shows that the person is there; a page that polls does not.
        renew_login(request, response)
        return response


def _gateway_join(body: PageJoin, person: Person, max_duration_s: int) -> dict[str, Any]:
    return {
        "room_url": body.room,
        "sessionId": body.session_id,
        "sessionUserId": person.user_id,
        "sessionUserName": person.name,
        "maxDurationSeconds": max_duration_s,
    }


async def _join_response(
    services: InterfaceServices, body: PageJoin, person: Person, joined: dict[str, Any]
) -> dict[str, Any]:
    """Return what a page may know of its join; of another person's call, only that it exists."""
    if joined["sessionId"] == body.session_id:
        services.owners.set_joined(body.session_id, person, body.room)
        return joined | ({"yours": True} if joined["reused"] else {})
    if await services.owners.find_or_none(joined["sessionId"], person) is not None:
        return joined | {"yours": True}
    return {
        "reused": True,
        "yours": False,
        "room_url": body.room,
        "requestedSessionId": body.session_id,
    }


async def count_offer(request: Request, services: Services, person: SignedIn) -> None:
    """Count an offer of `person`, or a request that an offer follows, before a record is read for it.

    Args:
        request: Tells the address, which has a limit of its own.
        services: Hold the limits.
        person: Who is signed in.

    Raises:
        TooManyRequestsError: The person or the address has sent too many.
    """
    services.request_limits.offer(person.user_id, client_address(request.scope))


CountedAsOffer: Final = Depends(count_offer)


@router.post("/sessions/{session_id}/leave")
async def leave(
    session_id: str, services: Services, person: SignedIn, record: SeenRecord
) -> Response:
    """End a session of the person, or as an operator each. A page also sends this as it closes.

    Args:
        session_id: The session.
        services: The interface's services.
        person: The person.
        record: The session's record.
    """
    with bound(session_id=session_id):
        return browser_response(await end_session(services, session_id, person, record))


@router.get("/sessions/{session_id}")
async def show(
    _id: Annotated[str, Path(alias="session_id")], person: SignedIn, record: SeenRecord
) -> JSONResponse:
    """Return the record of a session: all of it for operators, what callers may see for others.

    Args:
        person: The person.
        record: The session's record.
    """
    return JSONResponse(record, headers=session_headers(person, record))


@router.post("/sessions/{session_id}/offer", operation_id="offer", dependencies=[CountedAsOffer])
@router.patch(
    "/sessions/{session_id}/offer", operation_id="candidates", dependencies=[CountedAsOffer]
)
async def offer(
    session_id: str, request: Request, services: Services, _record: OwnRecord
) -> Response:
    """Relay an offer (POST) or candidates (PATCH) to a session of the person.

    Args:
        session_id: The session.
        request: The request, whose body goes to the gateway as it is.
        services: The interface's services.
    """
    with bound(session_id=session_id):
        path = session_path(session_id, "offer")
        content = await request.body()
        return browser_response(await services.gateway.ask(request.method, path, content))


@router.post(
    "/sessions/{session_id}/suspect",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[CountedAsOffer],
)
async def suspect(session_id: str, services: Services, _record: OwnRecord) -> Response:
    """Report that the bot of a session of the person may be dead. It is a hint, and decides nothing.

    Args:
        session_id: The session.
        services: The interface's services.
    """
    with bound(session_id=session_id):
        return browser_response(await services.gateway.suspect(session_id))


@router.get("/sessions/{session_id}/ice", dependencies=[CountedAsOffer])
async def ice(session_id: str, services: Services, _record: OwnRecord) -> Response:
    """Return the ICE servers of a session of the person, with new credentials, for a reconnect.

    Args:
        session_id: The session.
        services: The interface's services.
    """
    with bound(session_id=session_id):
        path = session_path(session_id, "ice")
        return browser_response(await services.gateway.ask("GET", path))


@router.get("/sessions/{session_id}/events")
async def events(
    session_id: str, request: Request, services: Services, person: SignedIn, record: SeenRecord
) -> EventStream:
    """Relay the state changes of a session that the person may see, as server-sent events.

    Args:
        session_id: The session.
        request: The request.
        services: The interface's services.
        person: The person.
        record: The session's record.
    """
    relayed = partial(_relay_events, services, session_id)
    # A call was admitted at its start: it ends with a sign-out, but not because its login grows old.
    return session_stream(relayed, request, services, person, record, needs_fresh=False)


async def _relay_events(
    services: InterfaceServices, session_id: str, over: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield the gateway's event stream until `over` is set; if it breaks, the browser reconnects by itself."""
    # Sent at once, so that the browser sees the response even if the gateway is slow.
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    async for chunk in services.gateway.relayed_events(session_id, over):
        yield chunk


@router.post("/logs", status_code=202)
async def logs(
    request: Request,
    services: Services,
    person: SignedIn,
    sent: Annotated[
        float | None, Query(description="When the batch was sent, in ms by the browser's clock.")
    ] = None,
) -> dict[str, int]:
    """Write a batch of a browser's log lines, one JSON object per line.

    Args:
        request: The request.
        services: The interface's services.
        person: The person.
        sent: When the batch was sent, in milliseconds since 1970 by the browser's clock.
    """
    body = await request.body()
    lines = [line for line in body.split(b"\n") if line.strip()]
    address = client_address(request.scope)
    wait_s = services.browser_log_limits.wait_s(person, address, len(lines), len(body))
    if len(lines) > LINES_MAX or wait_s > 0:
        retry_s = math.ceil(wait_s) or _RETRY_LINES_S
        raise TooManyLinesError("Too many lines at once.", retry_after_s=retry_s)
    sent_at = sent / 1000 if sent is not None else None
    result = await services.browser_log.write(lines, person, sent_at)
    return {"written": result.written, "repeated": result.repeated, "refused": result.refused}
