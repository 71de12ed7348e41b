"""``POST /start``: a session of a bot, as Pipecat's clients start it, or a join of a room."""

import math
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from cordboard.context import adopt
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import UnauthorizedError
from cordboard.contract.ids import is_session_id
from cordboard.edge.access import Access, StartAccess
from cordboard.edge.gateway_response import gateway_response
from cordboard.edge.public_address import websocket_address
from cordboard.edge.services import EdgeServices, Services
from cordboard.edge.start_request import Start, parse_object, read_start
from cordboard.edge.transports import answer_start
from cordboard.emit import get_logger
from cordboard.web.gateway_proxy import TIMEOUT_S
from cordboard.web.openapi import DescribedRoute

_JOIN_WAIT_MAX_S: Final = 60  # the gateway's own limit
# Answers contain credentials of the session.
_NO_STORE: Final = {"Cache-Control": "no-store"}

log = get_logger("edge")
router = APIRouter(route_class=DescribedRoute, tags=["clients"])

WaitSeconds = Annotated[
    float,
    Query(
        ge=0, le=_JOIN_WAIT_MAX_S, allow_inf_nan=False, description="For a join: as at the gateway."
    ),
]


@router.post("/start", summary="Start a session")
async def start(
    request: Request, services: Services, access: StartAccess, wait: WaitSeconds = 0
) -> Response:
    """Start a session of a bot; with `room_url`, join a room as at the gateway.

    Args:
        request: The request. A body that is empty or is not a JSON object counts as an empty object.
        services: The edge's services.
        access: What the caller may do.
        wait: How long a join waits until the session runs, in seconds.
    """
    content = await request.body()
    data = parse_object(content)
    if "room_url" in data:
        return await _join(services, access, data, content, wait)
    return await _start(request, services, read_start(request, access, data))


async def _join(
    services: EdgeServices, access: Access, data: dict[str, Any], content: bytes, wait_s: float
) -> Response:
    """Pass a join on to the gateway; it needs the same proof there and here."""
    if not access.may_join:
        raise UnauthorizedError(
            "A start with room_url joins any room, so it requires the control secret.",
            hint="Send Authorization: Bearer SECRET, or leave out room_url.",
        )
    session_id = data.get("sessionId")
    if is_session_id(session_id):
        adopt(session_id=session_id)
    reply = await services.gateway.ask(
        "POST",
        f"/join?wait={wait_s:g}",
        content,
        timeout_s=TIMEOUT_S + math.ceil(wait_s),
        client_address=access.client_address,
    )
    return gateway_response(reply)


async def _start(request: Request, services: EdgeServices, start: Start) -> Response:
    log.info("Start requested", event="join.requested", transport=start.transport, bot=start.bot)
    base = websocket_address(services.settings, request.scope)
    answer = await answer_start(services, start, base)
    headers = {HEADER_SESSION_ID: start.session_id, **_NO_STORE}
    return JSONResponse(answer, HTTPStatus.OK, headers)
