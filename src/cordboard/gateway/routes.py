"""The gateway's calls (contract, section 4)."""

import asyncio
import os
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from cordboard import faults
from cordboard.context import adopt, current
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import (
    ConflictError,
    InvalidValueError,
    NotFoundError,
    UpstreamError,
)
from cordboard.contract.http_api import session_path
from cordboard.contract.ids import canonical_room, check_session_id, uuid7
from cordboard.contract.state import TERMINAL, State
from cordboard.emit import get_logger
from cordboard.gateway.hub import Waiter, told
from cordboard.gateway.joins import accept
from cordboard.gateway.schemas import JoinBody, LeaveBody, join_answer, session_answer
from cordboard.gateway.services import GatewayServices, Services
from cordboard.gateway.session_events import changes
from cordboard.gateway.session_limits import ADDRESS_HEADER
from cordboard.store import AcceptedJoin, LeaveOutcome, SessionRecord
from cordboard.web.event_stream import EventStream

LEAVE_CONFIRM_S: Final = 10.0
WAIT_MAX_S: Final = 60
RETRY_MAX_S: Final = 60
_PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}

log = get_logger("gateway")
router = APIRouter()


@router.post(
    "/join",
    status_code=202,
    tags=["sessions"],
    summary="Ask for a bot in a room",
    responses={
        200: {"description": "Reused"},
        409: _PROBLEM,
        422: _PROBLEM,
        429: _PROBLEM,
        503: _PROBLEM,
    },
)
@router.post("/start", status_code=202, include_in_schema=False)
async def join(
    body: JoinBody,
    services: Services,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=WAIT_MAX_S,
            allow_inf_nan=False,
            description="Seconds to wait for it to run.",
        ),
    ] = 0,
    address: Annotated[
        str | None,
        Header(
            alias=ADDRESS_HEADER,
            max_length=256,
            description="Sent by a public entrance only: the address of its client. The limits of "
            "persons and addresses apply then.",
        ),
    ] = None,
) -> JSONResponse:
    """Accept a join: 202 with a new session, 200 with the live one that it met."""
    session_id = body.session_id or uuid7(time.time_ns() // 1_000_000, os.urandom(10))
    adopt(
        session_id=session_id,
        user_id=body.user_id,
        user_name=body.user_name,
        room=body.room_url,
    )
    if body.session_id is None:
        log.warning("The join had no sessionId; made one")
    log.info("Join received", event="join.received", bot=body.bot)
    accepted = await accept(services, body, session_id, address)
    with services.hub.waiting(accepted.session_id) as waiter:
        answer = join_answer(accepted, session_id)
        if wait and accepted.status not in {"running", *TERMINAL}:
            answer |= await _until_runs(services, accepted, waiter, wait)
    return JSONResponse(
        answer,
        200 if accepted.reused else 202,
        {HEADER_SESSION_ID: accepted.session_id},
    )


async def _until_runs(
    services: GatewayServices, accepted: AcceptedJoin, waiter: Waiter, wait_s: float
) -> dict[str, Any]:
    """Wait until the session runs or has ended; return what has changed in the answer."""
    deadline = asyncio.get_running_loop().time() + wait_s
    session_id, room = accepted.session_id, accepted.room_url
    record: SessionRecord = await services.store.session(session_id, room=room)
    while record.state not in {"running", *TERMINAL}:
        left = min(deadline, services.hub.closes_at) - asyncio.get_running_loop().time()
        if left <= 0:
            break
        await told(waiter, min(left, 1.0))
        record = await services.store.session(session_id, room=room)
    changed: dict[str, Any] = {"status": record.state, "epoch": record.epoch}
    return changed | ({"reason": record.reason} if record.reason else {})


@router.post(
    "/leave",
    tags=["sessions"],
    summary="End a session",
    responses={202: {"description": "Stopping"}, 409: _PROBLEM, 422: _PROBLEM, 503: _PROBLEM},
)
async def leave(body: LeaveBody, services: Services) -> JSONResponse:
    """End a session, and say so only when its bot is gone."""
    if body.session_id is None and not (body.room_url and body.force):
        raise InvalidValueError(
            "Neither a sessionId nor a room_url with force was given.",
            hint='Send {"sessionId": ID}, or {"room_url": ROOM, "force": true}.',
        )
    adopt(session_id=body.session_id, room=body.room_url)
    left: LeaveOutcome = await services.store.leave(
        session_id=body.session_id, room=body.room_url, force=body.force
    )
    faults.point("gateway.leave.decided")
    if left.session_id and left.outcome != "absent":
        await _session(services, left.session_id, left.room_url)
    return await _left(services, left)


async def _left(services: GatewayServices, left: LeaveOutcome) -> JSONResponse:
    status: str = left.outcome
    if left.outcome == "cancelled":
        log.info("Session ended", event="session.ended", state="cancelled", reason="cancelled")
    elif left.outcome == "stopping":
        status = "ended" if await _stopped(services, left) else "stopping"
        log.info("Leave answered", status=status)
    answer = {
        "sessionId": left.session_id or None,
        "room_url": left.room_url or None,
        "status": status,
    }
    headers = {HEADER_SESSION_ID: left.session_id} if left.session_id else None
    return JSONResponse(answer, 202 if status == "stopping" else 200, headers)


async def _stopped(services: GatewayServices, left: LeaveOutcome) -> bool:
    """Ask the runner to stop the bot; wait, bounded, until the session has ended."""
    with services.hub.waiting(left.session_id) as waiter:
        asked = asyncio.create_task(_ask_to_stop(services, left))
        try:
            async with asyncio.timeout(LEAVE_CONFIRM_S):
                while (await services.store.session(left.session_id, room=left.room_url)).live:
                    await told(waiter, 1.0)
        except TimeoutError:
            return False
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    return True


async def _ask_to_stop(services: GatewayServices, left: LeaveOutcome) -> None:
    path = session_path(left.session_id, "leave")
    try:
        await services.relay.ask("POST", left.runner_url, path, b"{}", timeout_s=LEAVE_CONFIRM_S)
    except UpstreamError as error:
        # The runner reads the wish at its next renewal; a dead one is swept by an operator.
        log.warning("The runner could not be asked to stop the bot", error=error)


@router.get(
    "/sessions", tags=["sessions"], summary="List sessions, newest first", responses={422: _PROBLEM}
)
async def sessions(
    services: Services,
    state: State | None = None,
    room_url: str | None = None,
    userId: str | None = None,  # noqa: N803 - a name of the contract
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return a page of sessions; hand ``nextCursor`` back for the next one."""
    page, following = await services.store.sessions(
        state=state,
        room=canonical_room(room_url) if room_url else None,
        user_id=userId,
        limit=limit,
        cursor=cursor,
    )
    return {"sessions": [session_answer(record) for record in page], "nextCursor": following}


@router.get(
    "/sessions/{session_id}", tags=["sessions"], summary="Show a session", responses={404: _PROBLEM}
)
async def session(session_id: str, services: Services) -> dict[str, Any]:
    """Return a session's record with its stages.

    Reading a session is not part of it: the access line belongs to the session only if the request
    itself carries its id.
    """
    return session_answer(await _looked_at(services, session_id))


@router.get(
    "/sessions/{session_id}/events",
    tags=["sessions"],
    summary="Follow a session",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 404: _PROBLEM, 429: _PROBLEM},
)
async def events(session_id: str, services: Services) -> EventStream:
    """Send every change of state as it happens; the terminal one is the last.

    A gateway that stops ends the stream without it: whoever follows asks again.
    """
    record = await _looked_at(services, session_id)
    ended = services.streams.begin(session_id)
    return EventStream(changes(services.hub, services.store, session_id, record.room_url), ended)


@router.post(
    "/sessions/{session_id}/offer",
    tags=["webrtc"],
    summary="Relay a WebRTC offer to the session's runner",
    operation_id="offer",
    responses={404: _PROBLEM, 409: _PROBLEM, 502: _PROBLEM, 504: _PROBLEM},
)
@router.patch(
    "/sessions/{session_id}/offer",
    tags=["webrtc"],
    summary="Relay trickled candidates to the session's runner",
    operation_id="candidates",
    responses={404: _PROBLEM, 409: _PROBLEM, 502: _PROBLEM, 504: _PROBLEM},
)
async def offer(session_id: str, request: Request, services: Services) -> Response:
    """Hand an offer (POST) or candidates (PATCH) to the runner that holds the session."""
    record = await _session(services, session_id)
    if record.state != "running" or not record.runner_url:
        raise ConflictError(
            f"Session {session_id} is {record.state}: no bot waits for an offer.",
            hint="Offer once it runs: join with ?wait=10, or follow its events.",
            extra={"sessionId": session_id, "status": record.state},
        )
    body = await request.body()
    reply = await services.relay.ask(
        request.method, record.runner_url, session_path(session_id, "offer"), body
    )
    headers = {HEADER_SESSION_ID: session_id}
    return Response(reply.content, reply.status, headers, reply.media_type)


async def _session(services: GatewayServices, session_id: str, room: str = "") -> SessionRecord:
    """Return a session's record; from here on the request's lines are of its user and room.

    Args:
        services: What the routes work with.
        session_id: The session.
        room: Its room, where it is known.

    Raises:
        NotFoundError: There is none.
    """
    record: SessionRecord = await services.store.session(_known_id(session_id), room=room or None)
    adopt(
        session_id=session_id,
        room=record.room_url,
        epoch=record.epoch,
        user_id=record.user_id,
        user_name=record.user_name,
    )
    return record


async def _looked_at(services: GatewayServices, session_id: str) -> SessionRecord:
    """Return a session's record; the request is a part of the session only if it carries its id.

    Raises:
        NotFoundError: There is none.
    """
    if current().session_id == session_id:
        return await _session(services, session_id)
    record: SessionRecord = await services.store.session(_known_id(session_id))
    return record


def _known_id(session_id: str) -> str:
    """A malformed id in a path names nothing: 404, as any other unknown one."""
    try:
        return check_session_id(session_id)
    except InvalidValueError as error:
        raise NotFoundError("There is no such session.") from error
