"""Hints that a session's bot or runner may be dead."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.gateway.routes import PROBLEM, existing_id
from cordboard.gateway.services import Services
from cordboard.web.openapi import DescribedRoute

# A death is confirmed within milliseconds, and a check that finds none needs no repetition at once.
SUSPECT_PAUSE_S: Final = 1.0

router = APIRouter(route_class=DescribedRoute)


@router.post(
    "/sessions/{session_id}/suspect",
    status_code=202,
    tags=["sessions"],
    summary="Report that a session's bot may be dead",
    responses={404: PROBLEM, 503: PROBLEM},
)
async def suspect(session_id: str, services: Services) -> JSONResponse:
    """Make an operator ask the session's runner at once, instead of after the lease.

    This is a hint, for whoever sees a peer or a stream break: only a confirmed death ends the bot's session
    there. Hints about one session within a second count as one.

    Args:
        session_id: The session.
        services: The gateway's services.
    """
    state = await services.store.suspect(existing_id(session_id), pause_s=SUSPECT_PAUSE_S)
    content = {"sessionId": session_id, "status": state}
    return JSONResponse(content, HTTPStatus.ACCEPTED, {HEADER_SESSION_ID: session_id})
