"""The runner's HTTP routes; `docs/contract/http.md` describes them."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from cordboard.context import bound_context
from cordboard.runner.bot_session import BotSession
from cordboard.runner.request_bodies import OfferBody, StartBody
from cordboard.runner.request_context import adopt_launch
from cordboard.runner.services import Services
from cordboard.web import problems
from cordboard.web.event_stream import EventStream

router = APIRouter()


@router.post("/start", summary="Start a session's bot")
async def start(body: StartBody, services: Services) -> dict[str, Any]:
    """Start a session; the response arrives when its bot is running.

    If each bot process imports the bot file itself, the response arrives before that, with the status
    ``starting``.
    """
    return _session_body(await services.starter.start(body))


@router.get("/sessions", summary="Sessions of this runner")
async def sessions(services: Services) -> dict[str, Any]:
    """Return the live sessions of this runner and those that ended recently."""
    registry = services.registry
    return {
        "capacity": registry.capacity,
        "free": registry.free,
        "draining": registry.is_draining,
        "overloaded": registry.is_overloaded,
        "sessions": [_session_body(session) for session in registry.all],
    }


@router.get(
    "/watch", summary="A connection that ends with the runner", response_class=StreamingResponse
)
async def watch(services: Services) -> EventStream:
    """Send a comment every 5 seconds, until the runner stops or dies. Operators hold such a connection."""
    return EventStream(services.watch.comments(), on_end=lambda: None)


@router.get("/sessions/{session_id}", summary="One session")
async def session(session_id: str, services: Services) -> dict[str, Any]:
    """Return the session `session_id`; its status is that of its bot process on this runner."""
    return _session_body(services.registry.get(session_id))


@router.post("/sessions/{session_id}/leave", summary="Stop a bot")
async def leave(session_id: str, services: Services) -> dict[str, Any]:
    """Stop the bot of `session_id`; the response arrives when the session has ended."""
    bot_session = services.registry.get(session_id)
    adopt_launch(bot_session.launch)
    with bound_context(bot_session.context):
        await bot_session.stop("left")
        await bot_session.finished.wait()
    return _session_body(bot_session)


@router.post("/sessions/{session_id}/offer", summary="A WebRTC offer", operation_id="offer")
@router.patch("/sessions/{session_id}/offer", summary="Candidates", operation_id="candidates")
async def offer(
    session_id: str, body: OfferBody, request: Request, services: Services
) -> JSONResponse:
    """Forward an offer (POST) or candidates (PATCH) to the bot process; return its response."""
    bot_session = services.registry.get(session_id)
    adopt_launch(bot_session.launch)
    with bound_context(bot_session.context):
        status, answer = await bot_session.request(
            request.method, body.model_dump(exclude_unset=True, by_alias=True)
        )
    is_problem = status >= HTTPStatus.BAD_REQUEST
    media_type = problems.MEDIA_TYPE if is_problem else "application/json"
    return JSONResponse(answer, status, media_type=media_type)


def _session_body(bot_session: BotSession) -> dict[str, Any]:
    values = {
        "sessionId": bot_session.launch.session_id,
        "epoch": bot_session.launch.epoch,
        "room_url": bot_session.launch.room_url,
        "botPid": bot_session.pid or None,
        "runner": bot_session.host.runner_id,
        "status": bot_session.status,
        "reason": bot_session.reason,
        "detail": bot_session.detail,
        "handOver": bot_session.hand_over,
    }
    return {name: value for name, value in values.items() if value is not None}
