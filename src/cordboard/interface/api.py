"""What the page asks for: join, leave, signalling, events, log lines.

Every call about a session asks first whose it is: the id alone, which may be read over a shoulder
or in a log, entitles nobody to anything.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import aiohttp
import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError

from cordboard.context import bound
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError, InvalidValueError
from cordboard.contract.http_api import session_path
from cordboard.contract.ids import canonical_room, check_session_id, is_session_id, is_webrtc_room
from cordboard.emit import get_logger
from cordboard.interface import error_texts
from cordboard.interface.browser_log import LINES_MAX
from cordboard.interface.gateway import browser_response, no_such_session
from cordboard.interface.identity import renew, required_person
from cordboard.interface.login import Person
from cordboard.interface.services import InterfaceServices, Services
from cordboard.web.event_stream import EventStream
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import TooManyRequestsError

RETRY_MS: Final = 1000
_SHOWN: Final = (
    "sessionId", "room_url", "status", "reason", "epoch", "attempt", "createdAt", "stages",
)  # fmt: skip

log = get_logger("interface")
router = APIRouter(prefix="/api")


Who = Annotated[Person, Depends(required_person)]


class TooManyLinesError(TooManyRequestsError):
    """A browser sends more lines than anyone would read."""

    code = "too_many_lines"
    title = "Too many lines"


def _room(value: str) -> str:
    try:
        room = canonical_room(value)
        if not is_webrtc_room(room):
            raise PydanticCustomError("invalid", "This page enters webrtc: rooms only.")
    except InvalidValueError as error:
        raise PydanticCustomError("invalid", str(error)) from error
    return room


def _session_id(value: str) -> str:
    try:
        return check_session_id(value)
    except InvalidValueError as error:
        raise PydanticCustomError("invalid", str(error)) from error


class JoinCall(BaseModel):
    """A page's join. Who joins is not for the page to say; whatever else it sends is ignored."""

    sessionId: Annotated[str, AfterValidator(_session_id)]  # noqa: N815 - a name of the contract
    room: Annotated[str, AfterValidator(_room)]


@router.post("/sessions")
async def join(body: JoinCall, request: Request, services: Services, person: Who) -> Response:
    """Ask the gateway for a bot in the room, in the name of who is signed in."""
    address = client_address(request.scope)
    services.request_limits.join(person.user_id, address)
    if await services.owners.known(body.sessionId, person) is None:
        # Before a line is written or the gateway asked: both would appear in the other person's log.
        log.warning("A join with another's session id was refused", claimed_session=body.sessionId)
        return error_texts.problem(409, "session_id_used")
    with bound(session_id=body.sessionId, room=body.room):
        log.info("Join requested", event="join.requested")
        asked = msgspec.json.encode(_asked(body, person, services.max_duration_s))
        answer = await services.gateway.ask("POST", "/join", asked, client_address=address)
        if not answer.is_success:
            return browser_response(answer)
        told = await _told(services, body, person, answer.json())
        response = JSONResponse(told, answer.status, {HEADER_SESSION_ID: body.sessionId})
        renew(request, response)
        return response


def _asked(body: JoinCall, person: Person, max_duration_s: int) -> dict[str, Any]:
    return {
        "room_url": body.room,
        "sessionId": body.sessionId,
        "sessionUserId": person.user_id,
        "sessionUserName": person.name,
        "maxDurationSeconds": max_duration_s,
    }


async def _told(
    services: InterfaceServices, body: JoinCall, person: Person, told: dict[str, Any]
) -> dict[str, Any]:
    """Return what a page may know of its join; of another person's call, only that there is one."""
    if told["sessionId"] == body.sessionId:
        services.owners.joined(body.sessionId, person, body.room)
        return told | ({"yours": True} if told["reused"] else {})
    if await services.owners.may_speak(told["sessionId"], person) is not None:
        return told | {"yours": True}
    return {
        "reused": True,
        "yours": False,
        "room_url": body.room,
        "requestedSessionId": body.sessionId,
    }


@router.post("/sessions/{session_id}/leave")
async def leave(session_id: str, services: Services, person: Who) -> Response:
    """End a session of one's own; also what a page sends with its last breath."""
    await _own(services, session_id, person)
    with bound(session_id=session_id):
        body = msgspec.json.encode({"sessionId": session_id})
        answer = await services.gateway.ask("POST", "/leave", body)
        return browser_response(answer)


@router.get("/sessions/{session_id}")
async def show(session_id: str, services: Services, person: Who) -> JSONResponse:
    """Show a session of one's own, without what only its operators need."""
    record = await _own(services, session_id, person)
    shown = {name: record[name] for name in _SHOWN if name in record}
    return JSONResponse(shown, headers={HEADER_SESSION_ID: session_id})


@router.post("/sessions/{session_id}/offer", operation_id="offer")
@router.patch("/sessions/{session_id}/offer", operation_id="candidates")
async def offer(session_id: str, request: Request, services: Services, person: Who) -> Response:
    """Hand an offer (POST) or candidates (PATCH) on to a session of one's own."""
    services.request_limits.offer(person.user_id, client_address(request.scope))
    await _own(services, session_id, person)
    with bound(session_id=session_id):
        path = session_path(session_id, "offer")
        body = await request.body()
        answer = await services.gateway.ask(request.method, path, body)
        return browser_response(answer)


@router.get("/sessions/{session_id}/events")
async def events(session_id: str, request: Request, services: Services, person: Who) -> EventStream:
    """Relay a session's changes of state, as server-sent events."""
    await _own(services, session_id, person)
    return EventStream(
        _relayed(services, session_id),
        services.request_limits.streams.enter(person.user_id, client_address(request.scope)),
        {HEADER_SESSION_ID: session_id},
    )


async def _relayed(services: InterfaceServices, session_id: str) -> AsyncIterator[bytes]:
    """Yield the gateway's stream; the browser comes back by itself when it breaks."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    stopping = asyncio.create_task(services.stopping.wait())
    try:
        async with services.gateway.events(session_id) as stream:
            while chunk := await _before(stopping, stream):
                yield chunk
    except CordboardError as error:
        log.warning("Lost the gateway's events of a session", error=error)
    finally:
        stopping.cancel()


async def _before(stopping: "asyncio.Task[bool]", stream: aiohttp.StreamReader) -> bytes:
    """Return what comes next; nothing when the stream has ended, or we are to stop."""
    reading = asyncio.create_task(stream.readany())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()


@router.post("/logs", status_code=202)
async def logs(
    request: Request,
    services: Services,
    person: Who,
    sent: Annotated[float | None, Query(description="When, in ms by the browser's clock.")] = None,
) -> dict[str, int]:
    """Take a batch of a browser's lines: one JSON object a line."""
    body = await request.body()
    lines = [line for line in body.split(b"\n") if line.strip()]
    address = client_address(request.scope)
    wait_s = services.browser_log_limits.wait_s(person, address, len(lines), len(body))
    if len(lines) > LINES_MAX or wait_s > 0:
        raise TooManyLinesError("Too many lines at once.", retry_after_s=math.ceil(wait_s) or 5)
    taken = await services.browser_log.take(
        lines, person, sent / 1000 if sent is not None else None
    )
    return {"written": taken.written, "repeated": taken.repeated, "refused": taken.refused}


async def _own(services: InterfaceServices, session_id: str, person: Person) -> dict[str, Any]:
    """Return a session's record if it is this person's.

    Raises:
        NotFoundError: It is not, or there is none: who asks does not learn which.
    """
    if not is_session_id(session_id) or await services.owners.known(session_id, person) is None:
        raise no_such_session()
    with bound(session_id=session_id):
        record: dict[str, Any] = await services.gateway.record(session_id)
    if record.get("userId") != person.user_id:
        raise no_such_session()
    return record
