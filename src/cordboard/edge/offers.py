"""WebRTC offers and candidates at the paths of Pipecat's clients.

An offer waits until its session runs, because the clients take each answer of 4xx as final.
"""

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError, InvalidValueError
from cordboard.contract.http_api import read_problem
from cordboard.edge.access import Access, RequestAccess, StartAccess
from cordboard.edge.client_sessions import (
    client_room,
    permitted_view,
    wait_for_run,
    wait_for_successor,
)
from cordboard.edge.gateway_response import gateway_response
from cordboard.edge.middleware import bot_of_path
from cordboard.edge.services import EdgeServices, Services
from cordboard.edge.sessions import SessionView
from cordboard.edge.start_request import parse_object, read_start
from cordboard.edge.transports import join_and_wait
from cordboard.emit import get_logger
from cordboard.web.http_client import Reply
from cordboard.web.openapi import DescribedRoute

# Between two attempts to hand an offer over.
_RETRY_S: Final = 0.25
# Separates Pipecat's id of a peer connection from the session's in the id that a client without a session
# gets. Pipecat's has no such character.
_AT: Final = "@"
# The codes of the gateway's errors about a runner that may be dead.
_UNREACHED: Final = ("runner_unreachable", "runner_timeout")
_STORED: Final = b'{"status":"success"}'

log = get_logger("edge")
router = APIRouter(route_class=DescribedRoute, tags=["webrtc"])


@router.post("/sessions/{session_id}/api/offer", summary="Send an offer", operation_id="offer")
@router.patch(
    "/sessions/{session_id}/api/offer", summary="Send candidates", operation_id="candidates"
)
@router.post("/sessions/{session_id}/offer", include_in_schema=False)
@router.patch("/sessions/{session_id}/offer", include_in_schema=False)
async def offer(
    session_id: str, request: Request, services: Services, access: RequestAccess
) -> Response:
    """Send an offer (POST) or candidates (PATCH) to a session; it waits until the session runs.

    Args:
        session_id: The session.
        request: The request, whose body goes to the bot's process as it is.
        services: The edge's services.
        access: What the caller may do.
    """
    view = await permitted_view(services, access, session_id, bot_of_path(request.scope))
    reply = await relay_when_running(services, view, request.method, await request.body())
    return signalling_response(reply, request.method)


@router.post("/api/offer", summary="Start a session with an offer", operation_id="bare_offer")
async def bare_offer(
    request: Request, services: Services, access: StartAccess, session_id: str | None = None
) -> Response:
    """Send an offer without a session: the offer starts one.

    Args:
        request: The request.
        services: The edge's services.
        access: What the caller may do.
        session_id: The id of the new session.
    """
    data = parse_object(await request.body())
    if data.get("pc_id"):
        return await _bare_further(request, services, access, data)
    _check_offer(data)
    named = {"sessionId": session_id} if session_id else {}
    start = read_start(request, access, named, transport="webrtc")
    log.info("Start requested", event="join.requested", transport="offer", bot=start.bot)
    accepted, view = await join_and_wait(services, start, client_room("webrtc", start.session_id))
    reply = await relay_when_running(services, view, "POST", request_bytes(data))
    if not reply.is_success:
        if not accepted.is_reused:
            # The offer was the start; without its peer the bot would wait for a minute.
            with contextlib.suppress(CordboardError):
                await services.sessions.leave(start.session_id)
        return signalling_response(reply, "POST")
    answer = reply.json()
    answer["pc_id"] = f"{answer['pc_id']}{_AT}{start.session_id}"
    return JSONResponse(answer, headers={HEADER_SESSION_ID: start.session_id})


@router.patch("/api/offer", summary="Send candidates", operation_id="bare_candidates")
async def bare_candidates(request: Request, services: Services, access: RequestAccess) -> Response:
    """Send candidates for a session that an offer has started.

    Args:
        request: The request; its `pc_id` names the session.
        services: The edge's services.
        access: What the caller may do.
    """
    return await _bare_further(request, services, access, parse_object(await request.body()))


async def _bare_further(
    request: Request, services: EdgeServices, access: Access, data: dict[str, Any]
) -> Response:
    """Send a further offer or candidates to the session that the peer connection's id names."""
    pc_id, _, session_id = str(data.get("pc_id", "")).partition(_AT)
    view = await permitted_view(services, access, session_id, bot_of_path(request.scope))
    content = request_bytes({**data, "pc_id": pc_id})
    reply = await relay_when_running(services, view, request.method, content)
    if reply.is_success and request.method == "POST":
        answer = reply.json()
        answer["pc_id"] = f"{answer['pc_id']}{_AT}{session_id}"
        return JSONResponse(answer, headers={HEADER_SESSION_ID: session_id})
    return signalling_response(reply, request.method)


async def relay_when_running(
    services: EdgeServices, view: SessionView, method: str, content: bytes
) -> Reply:
    """Return the bot's answer to an offer or to candidates, as soon as there is a bot.

    Args:
        services: The edge's services.
        view: The session's record.
        method: ``POST`` for an offer, ``PATCH`` for candidates.
        content: The body.

    Raises:
        SessionEndedError: The session has ended.
        NotReadyError: The session does not run in time.
    """
    # Errors of gateway and runner that time mends: the session is being handed over to another runner, an earlier
    # peer is still connected, or the runner has died.
    waits = services.waits
    mended_within_s = {"conflict": waits.hold_s, "connected": waits.peer_gone_s}
    mended_within_s |= dict.fromkeys(_UNREACHED, waits.unreached_s)
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while True:
        elapsed_s = loop.time() - began_at
        view = await wait_for_run(services, view, max(waits.hold_s - elapsed_s, 0))
        reply = await services.sessions.relay(method, view.session_id, "offer", content)
        problem = None if reply.is_success else read_problem(reply.content)
        code = problem.code if problem else ""
        if loop.time() - began_at >= mended_within_s.get(code, 0) or services.stopping.is_set():
            return reply
        before = view
        if code in _UNREACHED:
            view = await wait_for_successor(services, view)
        else:
            await asyncio.sleep(_RETRY_S)
            view = await services.sessions.view(view.session_id)
        if view.epoch != before.epoch:
            began_at = loop.time()  # another bot comes: as after a start


def signalling_response(reply: Reply, method: str) -> Response:
    """Return a bot's answer for a client; that to candidates has Pipecat's form.

    Args:
        reply: The answer.
        method: ``POST`` for an offer, ``PATCH`` for candidates.
    """
    is_stored = method == "PATCH" and reply.is_success
    return gateway_response(replace(reply, content=_STORED) if is_stored else reply)


def request_bytes(data: dict[str, Any]) -> bytes:
    """Return `data` as the body of a request. It may contain lone surrogates, which stay escaped."""
    return json.dumps(data).encode()


def _check_offer(data: dict[str, Any]) -> None:
    """Refuse an invalid offer, before a session is started for it."""
    sdp = data.get("sdp")
    if data.get("type") != "offer" or not isinstance(sdp, str) or not sdp.startswith("v=0"):
        raise InvalidValueError(
            "Expected an offer: a JSON object with sdp and type.", extra={"field": "sdp"}
        )
