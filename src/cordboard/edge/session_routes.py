"""What the client that has started a session may ask of it: its states, new ICE credentials, its end."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.http_api import session_path
from cordboard.edge.access import RequestAccess
from cordboard.edge.client_sessions import permitted_view
from cordboard.edge.gateway_response import gateway_response
from cordboard.edge.middleware import bot_of_path
from cordboard.edge.services import Services
from cordboard.web.event_stream import EventStream
from cordboard.web.openapi import DescribedRoute


async def check_session(
    session_id: str, request: Request, services: Services, access: RequestAccess
) -> None:
    """Check that the caller may use the session, before each route of this module.

    Args:
        session_id: The session.
        request: The request, whose path may name a bot.
        services: The edge's services.
        access: What the caller may do.

    Raises:
        NotFoundError: There is no such session, or the caller may not use it.
    """
    await permitted_view(services, access, session_id, bot_of_path(request.scope))


router = APIRouter(
    route_class=DescribedRoute, tags=["clients"], dependencies=[Depends(check_session)]
)


@router.get(
    "/sessions/{session_id}/events", summary="Follow a session", response_class=StreamingResponse
)
async def events(session_id: str, services: Services) -> EventStream:
    """Send each state change as a server-sent event; the final state is the last.

    Args:
        session_id: The session.
        services: The edge's services.
    """
    content = services.gateway.relayed_events(session_id, services.stopping)
    return EventStream(content, _do_nothing, {HEADER_SESSION_ID: session_id})


def _do_nothing() -> None:
    """End no count: the gateway limits the streams of a session."""


@router.get("/sessions/{session_id}/ice", summary="ICE servers with new credentials")
async def ice(session_id: str, services: Services) -> Response:
    """Return the ICE servers of a live session, with new credentials, for a client that reconnects.

    Args:
        session_id: The session.
        services: The edge's services.
    """
    response = gateway_response(await services.gateway.ask("GET", session_path(session_id, "ice")))
    response.headers["Cache-Control"] = "no-store"  # it contains passwords
    return response


@router.post("/sessions/{session_id}/leave", summary="End a session")
async def leave(session_id: str, services: Services) -> JSONResponse:
    """End a session.

    Args:
        session_id: The session.
        services: The edge's services.
    """
    status = await services.sessions.leave(session_id)
    content = {"sessionId": session_id, "status": status}
    return JSONResponse(content, headers={HEADER_SESSION_ID: session_id})
