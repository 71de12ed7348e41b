"""The gateway's routes; ``docs/contract/http.md`` describes them."""

import asyncio
import os
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
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
from cordboard.contract.ids import check_session_id, is_webrtc_room, uuid7
from cordboard.contract.state import TERMINAL
from cordboard.emit import get_logger
from cordboard.gateway.cells import check_cell
from cordboard.gateway.hub import Waiter, wait_for_change
from cordboard.gateway.joins import accept
from cordboard.gateway.parameters import CellName, ClientAddress, WaitSeconds, WithRunner
from cordboard.gateway.schemas import (
    JoinBody,
    LeaveBody,
    SessionsQuery,
    join_response,
    overview_response,
    session_response,
)
from cordboard.gateway.services import GatewayServices, Services
from cordboard.gateway.session_events import state_events
from cordboard.store import AcceptedJoin, LeaveOutcome, SessionRecord
from cordboard.web.event_stream import EventStream
from cordboard.web.openapi import DescribedRoute

# Requests that wait for a session read its record this often, in case a state change was lost.
_POLL_S: Final = 1.0
PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}

log = get_logger("gateway")
router = APIRouter(route_class=DescribedRoute)


@router.post(
    "/join",
    status_code=202,
    tags=["sessions"],
    summary="Request a bot in a room",
    responses={
        200: {"description": "Reused"},
        409: PROBLEM,
        421: PROBLEM,
        422: PROBLEM,
        429: PROBLEM,
        503: PROBLEM,
    },
)
@router.post("/start", status_code=202, include_in_schema=False)
async def join(
    body: JoinBody,
    services: Services,
    wait: WaitSeconds = 0,
    cell: CellName = None,
    address: ClientAddress = None,
) -> JSONResponse:
    """Accept a join: 202 with a new session, or 200 with the live session of the room.

    Args:
        body: The join.
        services: The gateway's services.
        wait: How long to wait until the session runs, in seconds.
        cell: The cell in which the caller has placed the room.
        address: The address of a public entrance's client.
    """
    # Bound before anything can fail, so that also the lines of a refusal have the session.
    session_id = body.session_id or uuid7(time.time_ns() // 1_000_000, os.urandom(10))
    adopt(session_id=session_id, user_id=body.user_id, user_name=body.user_name, room=body.room_url)
    if body.session_id is None:
        log.warning("The join had no sessionId; generated one")
    log.info("Join received", event="join.received", bot=body.bot)
    accepted = await accept(services, body, session_id, address, cell)
    # Subscribed before the record is read, so that no change between the two is lost.
    with services.hub.subscribed(accepted.session_id) as waiter:
        content = join_response(accepted, session_id)
        ice_config = _ice_config(services, accepted.session_id, accepted.room_url)
        if ice_config:
            content["iceConfig"] = ice_config
        if wait and accepted.status not in {"running", *TERMINAL}:
            content |= await _wait_until_running(services, accepted, waiter, wait)
    status = 200 if accepted.reused else 202
    return JSONResponse(content, status, {HEADER_SESSION_ID: accepted.session_id})


async def _wait_until_running(
    services: GatewayServices, accepted: AcceptedJoin, waiter: Waiter, wait_s: float
) -> dict[str, Any]:
    """Wait until the session runs or has ended; return the fields of the response that changed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    session_id, room = accepted.session_id, accepted.room_url
    record = await services.store.session(session_id, room=room)
    while record.state not in {"running", *TERMINAL}:
        # closes_at is read each time: the gateway may begin to drain meanwhile.
        remaining_s = min(deadline, services.hub.closes_at) - loop.time()
        if remaining_s <= 0:
            break
        await wait_for_change(waiter, min(remaining_s, _POLL_S))
        record = await services.store.session(session_id, room=room)
    changed: dict[str, Any] = {"status": record.state, "epoch": record.epoch}
    return changed | ({"reason": record.reason} if record.reason else {})


def _ice_config(services: GatewayServices, session_id: str, room_url: str) -> dict[str, Any] | None:
    """Return the ICE servers for a caller in a ``webrtc:`` room; None in other rooms, or without servers."""
    if not is_webrtc_room(room_url):
        return None
    return services.settings.ice_config(session_id, time.time())


@router.post(
    "/leave",
    tags=["sessions"],
    summary="End a session",
    responses={
        202: {"description": "Stopping"},
        409: PROBLEM,
        421: PROBLEM,
        422: PROBLEM,
        503: PROBLEM,
    },
)
async def leave(body: LeaveBody, services: Services, cell: CellName = None) -> JSONResponse:
    """End a session; the status is `ended` only when its bot is gone.

    Args:
        body: The session, or the room whose holder ends.
        services: The gateway's services.
        cell: The cell in which the caller has placed the room.
    """
    if body.session_id is None and not (body.room_url and body.force):
        raise InvalidValueError(
            "Expected a sessionId, or a room_url with force.",
            hint='Send {"sessionId": ID}, or {"room_url": ROOM, "force": true}.',
        )
    # With force alone the session is unknown until the store has found the holder.
    adopt(session_id=body.session_id, room=body.room_url)
    if body.room_url is not None:
        check_cell(services.settings, body.room_url, cell)
    outcome = await services.store.leave(
        session_id=body.session_id,
        room=body.room_url,
        force=body.force,
        detail=body.detail,
    )
    faults.point("gateway.leave.decided")
    if outcome.session_id and outcome.outcome != "absent":
        await _read_and_bind(services, outcome.session_id, outcome.room_url)
    return await _complete_leave(services, outcome, body.detail)


async def _complete_leave(
    services: GatewayServices, outcome: LeaveOutcome, detail: str | None
) -> JSONResponse:
    status: str = outcome.outcome
    if status in {"cancelled", "ended"}:
        reason = "left" if status == "ended" else "cancelled"
        why = {"reason": reason, **({"detail": detail} if detail else {})}
        log.info("Session ended", event="session.ended", state=status, **why)
    elif status == "stopping":
        status = "ended" if await _stop_bot(services, outcome) else "stopping"
        log.info("Leave answered", status=status)
    content = {
        "sessionId": outcome.session_id or None,
        "room_url": outcome.room_url or None,
        "status": status,
    }
    headers = {HEADER_SESSION_ID: outcome.session_id} if outcome.session_id else None
    return JSONResponse(content, 202 if status == "stopping" else 200, headers)


async def _stop_bot(services: GatewayServices, outcome: LeaveOutcome) -> bool:
    """Ask the runner to stop the bot; return whether the session ended in time."""
    with services.hub.subscribed(outcome.session_id) as waiter:
        # A task: the session may end, by its own bot or another gateway, before the runner answers.
        request = asyncio.create_task(_request_stop(services, outcome))
        try:
            async with asyncio.timeout(services.leave_timeout_s):
                while (
                    await services.store.session(outcome.session_id, room=outcome.room_url)
                ).live:
                    await wait_for_change(waiter, _POLL_S)
        except TimeoutError:
            return False
        finally:
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
    return True


async def _request_stop(services: GatewayServices, outcome: LeaveOutcome) -> None:
    path = session_path(outcome.session_id, "leave")
    timeout_s = services.leave_timeout_s
    try:
        await services.relay.ask("POST", outcome.runner_url, path, b"{}", timeout_s=timeout_s)
    except UpstreamError as error:
        # The store has noted the leave: the runner reads it at its next renewal, and if the runner is
        # dead, an operator ends the session.
        log.warning("The runner could not be asked to stop the bot", error=error)


@router.get(
    "/sessions", tags=["sessions"], summary="List sessions, newest first", responses={422: PROBLEM}
)
async def sessions(query: Annotated[SessionsQuery, Query()], services: Services) -> dict[str, Any]:
    """Return a page of sessions; pass `nextCursor` as `cursor` for the next page.

    Args:
        query: Which sessions, and how many.
        services: The gateway's services.
    """
    page, next_cursor = await services.store.sessions(
        query.wanted(), limit=query.limit, cursor=query.cursor
    )
    cell = services.settings.cell
    return {
        "sessions": [session_response(record, cell) for record in page],
        "nextCursor": next_cursor,
    }


@router.get("/overview", tags=["plane"], summary="Queue, runners and operators")
async def overview(services: Services) -> dict[str, Any]:
    """Return the queue, the warm runners with their free slots, and the operators.

    Args:
        services: The gateway's services.
    """
    return overview_response(await services.store.overview())


@router.get(
    "/sessions/{session_id}", tags=["sessions"], summary="Show a session", responses={404: PROBLEM}
)
async def session(
    session_id: str, services: Services, runner: WithRunner = False
) -> dict[str, Any]:
    """Return a session's record with its stages.

    Reading a session is not part of it: the access line belongs to the session only if the request
    carries the session's id.

    Args:
        session_id: The session.
        services: The gateway's services.
        runner: Whether the response contains the address of the session's runner.
    """
    record = await _read(services, session_id)
    # Left out by default: clients show the record to people, and the address is of use to components only.
    address = {"runnerUrl": record.runner_url} if runner and record.runner_url else {}
    return session_response(record, services.settings.cell) | address


@router.get(
    "/sessions/{session_id}/events",
    tags=["sessions"],
    summary="Follow a session",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 404: PROBLEM, 429: PROBLEM},
)
async def events(session_id: str, services: Services) -> EventStream:
    """Send each state change as it happens; the final state is the last.

    A gateway that stops ends the stream without a final state; the client then reconnects.

    Args:
        session_id: The session.
        services: The gateway's services.
    """
    # Read first: an unknown session is 404 and does not count as a stream.
    record = await _read(services, session_id)
    on_end = services.streams.begin(session_id)
    return EventStream(
        state_events(services.hub, services.store, session_id, record.room_url), on_end
    )


@router.get(
    "/sessions/{session_id}/ice",
    tags=["webrtc"],
    summary="ICE servers with new credentials",
    responses={404: PROBLEM, 409: PROBLEM},
)
async def ice(session_id: str, services: Services) -> JSONResponse:
    """Return the ICE servers of a live session, with new credentials, for a caller that reconnects.

    Args:
        session_id: The session.
        services: The gateway's services.
    """
    record = await _read(services, session_id)
    if record.state in TERMINAL:
        raise ConflictError(
            f"Session {session_id} has ended.",
            extra={"sessionId": session_id, "status": record.state},
        )
    content = _ice_config(services, session_id, record.room_url) or {"iceServers": []}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})  # it contains passwords


@router.post(
    "/sessions/{session_id}/offer",
    tags=["webrtc"],
    summary="Relay a WebRTC offer to the session's runner",
    operation_id="offer",
    responses={404: PROBLEM, 409: PROBLEM, 502: PROBLEM, 504: PROBLEM},
)
@router.patch(
    "/sessions/{session_id}/offer",
    tags=["webrtc"],
    summary="Relay trickled candidates to the session's runner",
    operation_id="candidates",
    responses={404: PROBLEM, 409: PROBLEM, 502: PROBLEM, 504: PROBLEM},
)
async def offer(session_id: str, request: Request, services: Services) -> Response:
    """Relay an offer (POST) or candidates (PATCH) to the runner that hosts the session.

    Args:
        session_id: The session.
        request: The request, whose body goes to the runner as it is.
        services: The gateway's services.
    """
    record = await _read_and_bind(services, session_id)
    if record.state != "running" or not record.runner_url:
        raise ConflictError(
            f"Session {session_id} is {record.state}; no bot waits for an offer.",
            hint="Send the offer when the session runs: join with ?wait=10, or follow its events.",
            extra={"sessionId": session_id, "status": record.state},
        )
    # The body is not parsed here: the bot process validates it, and this gateway need not know its format.
    body = await request.body()
    reply = await services.relay.ask(
        request.method, record.runner_url, session_path(session_id, "offer"), body
    )
    headers = {HEADER_SESSION_ID: session_id}
    return Response(reply.content, reply.status, headers, reply.media_type)


async def _read_and_bind(
    services: GatewayServices, session_id: str, room: str = ""
) -> SessionRecord:
    """Return a session's record, and bind its user and room for the further lines of the request.

    Args:
        services: The gateway's services.
        session_id: The session.
        room: The session's room, if known; a sharded store then needs no look-up in its session index.

    Raises:
        NotFoundError: There is no such session.
    """
    record = await services.store.session(existing_id(session_id), room=room or None)
    adopt(
        session_id=session_id,
        room=record.room_url,
        epoch=record.epoch,
        user_id=record.user_id,
        user_name=record.user_name,
    )
    return record


async def _read(services: GatewayServices, session_id: str) -> SessionRecord:
    """Return a session's record; bind it only if the request carries the session's id.

    Raises:
        NotFoundError: There is no such session.
    """
    if current().session_id == session_id:
        return await _read_and_bind(services, session_id)
    return await services.store.session(existing_id(session_id))


def existing_id(session_id: str) -> str:
    """Return a session id from a path; a malformed one is 404, like any other unknown id."""
    try:
        return check_session_id(session_id)
    except InvalidValueError as error:
        raise NotFoundError("There is no such session.") from error
