"""What the page asks for: join, leave, signalling, events, log lines.

Every call about a session asks first whose it is: the id alone, which may be read over a shoulder
or in a log, entitles nobody to anything.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import aiohttp
import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError

from cordboard.context import bound
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError, InvalidValueError
from cordboard.contract.ids import canonical_room, check_session_id, is_session_id, is_webrtc
from cordboard.emit import get_logger
from cordboard.interface.gateway import Answer, no_such_session, session_path
from cordboard.interface.login import Person, required_person

if TYPE_CHECKING:
    from cordboard.interface.app import Services

LINES_MAX: Final = 500
RETRY_MS: Final = 1000
_SHOWN: Final = (
    "sessionId", "room_url", "status", "reason", "detail", "epoch", "attempt", "createdAt", "stages",
)  # fmt: skip

log = get_logger("interface")
router = APIRouter(prefix="/api")


def services(request: Request) -> "Services":
    """Return what the application's lifespan made."""
    found: Services = request.app.state.services
    return found


Deps = Annotated[Any, Depends(services)]
Who = Annotated[Person, Depends(required_person)]


class TooManyLinesError(CordboardError):
    """A browser sends more lines than anyone would read."""

    status = 429
    retryable = True
    code = "too_many_lines"
    title = "Too many lines"


def _room(value: str) -> str:
    try:
        room = canonical_room(value)
        if not is_webrtc(room):
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
async def join(body: JoinCall, svc: Deps, person: Who) -> Response:
    """Ask the gateway for a bot in the room, in the name of who is signed in."""
    with bound(session_id=body.sessionId, room=body.room):
        log.info("Join requested", event="join.requested")
        asked = {
            "room_url": body.room,
            "sessionId": body.sessionId,
            "sessionUserId": person.user_id,
            "sessionUserName": person.name,
        }
        answer: Answer = await svc.gateway.ask("POST", "/join", msgspec.json.encode(asked))
        if not answer.ok:
            return answer.handed_on()
        told = answer.json()
        if told["reused"]:
            record = await svc.gateway.record(told["sessionId"])
            told["yours"] = record.get("userId") == person.user_id
        headers = {HEADER_SESSION_ID: body.sessionId}
        return JSONResponse(told, answer.status, headers)


@router.post("/sessions/{session_id}/leave")
async def leave(session_id: str, svc: Deps, person: Who) -> Response:
    """End a session of one's own; also what a page sends with its last breath."""
    with bound(session_id=_known_id(session_id)):
        await _own(svc, session_id, person)
        body = msgspec.json.encode({"sessionId": session_id})
        answer: Answer = await svc.gateway.ask("POST", "/leave", body)
        return answer.handed_on()


@router.get("/sessions/{session_id}")
async def show(session_id: str, svc: Deps, person: Who) -> JSONResponse:
    """Show a session of one's own, without what only its operators need."""
    with bound(session_id=_known_id(session_id)):
        record = await _own(svc, session_id, person)
        shown = {name: record[name] for name in _SHOWN if name in record}
        return JSONResponse(shown, headers={HEADER_SESSION_ID: session_id})


@router.post("/sessions/{session_id}/offer", operation_id="offer")
@router.patch("/sessions/{session_id}/offer", operation_id="candidates")
async def offer(session_id: str, request: Request, svc: Deps, person: Who) -> Response:
    """Hand an offer (POST) or candidates (PATCH) on to a session of one's own."""
    with bound(session_id=_known_id(session_id)):
        await _own(svc, session_id, person)
        path = f"{session_path(session_id)}/offer"
        body = await request.body()
        answer: Answer = await svc.gateway.ask(request.method, path, body)
        return answer.handed_on()


@router.get("/sessions/{session_id}/events")
async def events(session_id: str, svc: Deps, person: Who) -> StreamingResponse:
    """Relay a session's changes of state, as server-sent events."""
    with bound(session_id=_known_id(session_id)):
        await _own(svc, session_id, person)
    return StreamingResponse(
        _relayed(svc, session_id),
        media_type="text/event-stream",
        # X-Accel-Buffering: a proxy that collects what it passes on would make events late.
        headers={HEADER_SESSION_ID: session_id, "X-Accel-Buffering": "no"},
    )


async def _relayed(svc: "Services", session_id: str) -> AsyncIterator[bytes]:
    """Yield the gateway's stream; the browser comes back by itself when it breaks."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    stopping = asyncio.create_task(svc.stopping.wait())
    try:
        async with svc.gateway.events(session_id) as stream:
            while chunk := await _before(stopping, stream):
                yield chunk
    except (aiohttp.ClientError, CordboardError) as error:
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
    svc: Deps,
    person: Who,
    sent: Annotated[float | None, Query(description="When, in ms by the browser's clock.")] = None,
) -> dict[str, int]:
    """Take a batch of a browser's lines: one JSON object a line."""
    lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
    if len(lines) > LINES_MAX or not svc.intake.admit(person, len(lines)):
        raise TooManyLinesError("Too many lines at once.", retry_after_s=5)
    taken = svc.intake.take(lines, person, sent / 1000 if sent is not None else None)
    return {"written": taken.written, "repeated": taken.repeated, "refused": taken.refused}


async def _own(svc: "Services", session_id: str, person: Person) -> dict[str, Any]:
    """Return a session's record if it is this person's.

    Raises:
        NotFoundError: It is not, or there is none: who asks does not learn which.
    """
    record: dict[str, Any] = await svc.gateway.record(session_id)
    if record.get("userId") != person.user_id:
        log.warning("A session of somebody else was asked for")
        raise no_such_session()
    return record


def _known_id(session_id: str) -> str:
    if not is_session_id(session_id):
        raise no_such_session()
    return session_id
