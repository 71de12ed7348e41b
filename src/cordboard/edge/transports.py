"""How a client's start is carried out for each transport: the room, the join, the answer."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from cordboard.context import adopt
from cordboard.contract.errors import ConflictError, CordboardError
from cordboard.edge.client_sessions import client_room, wait_or_stop
from cordboard.edge.rooms.start import start_daily, start_livekit
from cordboard.edge.services import EdgeServices
from cordboard.edge.sessions import AcceptedSession, SessionView
from cordboard.edge.start_request import CARRIERS, Start

# Pipecat's own runner returns this server if a client requests one and none is configured.
_DEFAULT_ICE: Final = {"iceServers": [{"urls": ["stun:stun.l.google.com:19302"]}]}


class StartFailedError(CordboardError):
    """The session was accepted, but ended before it ran."""

    status = 503
    retryable = True
    code = "start_failed"
    title = "Session did not start"


async def join_and_wait(
    services: EdgeServices, start: Start, room_url: str
) -> tuple[AcceptedSession, SessionView]:
    """Join a room for a client, and wait until the session runs.

    Args:
        services: The edge's services.
        start: The start.
        room_url: The room, in canonical form.

    Returns:
        The gateway's answer, and the session's record, which may still wait for a runner.

    Raises:
        ConflictError: Another session holds the room, or another bot has the session.
        StartFailedError: The session has ended already.
        CordboardError: The join is refused.
    """
    accepted = await services.sessions.join(
        start.join_request(room_url), client_address=start.client_address
    )
    _check_is_own(accepted.session_id, start)
    adopt(room=room_url, epoch=accepted.epoch)
    view = await wait_or_stop(services, accepted.session_id, services.waits.start_s)
    _check_session(view, start)
    return accepted, view


def _check_session(view: SessionView, start: Start) -> None:
    """Refuse a session that is not the one that the client has started, or that has failed.

    Raises:
        ConflictError: Another session holds the room, or another bot has the session.
        StartFailedError: The session has ended already.
    """
    _check_is_own(view.session_id, start)
    if view.bot != start.bot:
        raise _in_use()
    if view.is_over:
        raise StartFailedError(
            f"The session ended before it ran ({view.reason or view.status}).",
            hint="If you operate this service, run `cordboard logs` with the session id.",
        )


def _check_is_own(session_id: str, start: Start) -> None:
    if session_id != start.session_id:
        raise _in_use()


def _in_use() -> ConflictError:
    # Not which session it is: the id of another caller's session is that caller's proof.
    return ConflictError("The session id is in use.", hint="Use another session id, or none.")


async def answer_start(services: EdgeServices, start: Start, websocket_base: str) -> dict[str, Any]:
    """Carry out a start; return Pipecat's answer, and nothing more: clients refuse unknown keys.

    Args:
        services: The edge's services.
        start: The start.
        websocket_base: The base URL of the edge's WebSockets.

    Raises:
        CordboardError: The session could not be started.
    """
    if start.transport in _ROOM_SERVICES:
        return await _answer_in_created_room(services, start)
    if start.transport == "webrtc":
        room = client_room("webrtc", start.session_id)
        accepted, _ = await join_and_wait(services, start, room)
        return _webrtc_answer(accepted, start)
    is_call = start.transport in CARRIERS
    # A client that acts as a carrier, such as a test page. A real carrier's call id comes by its webhook.
    kind = f"phone:{start.transport}" if is_call else "ws"
    room = client_room(kind, start.session_id)
    await join_and_wait(services, start, room)
    token = services.tokens.issue(start.session_id, room, time.time())
    return {"wsUrl": f"{websocket_base}/{'ws' if is_call else 'ws-client'}/{token}"}


def _webrtc_answer(accepted: AcceptedSession, start: Start) -> dict[str, Any]:
    """Return the answer for a peer-to-peer connection, with the ICE servers that the gateway chose."""
    config = accepted.ice_config
    if config is None and start.options.get("enableDefaultIceServers"):
        config = _DEFAULT_ICE
    return {"sessionId": start.session_id, **({"iceConfig": config} if config else {})}


async def _answer_in_created_room(services: EdgeServices, start: Start) -> dict[str, Any]:
    """Start a session in a room of a service, which the edge creates.

    The answer is of use at once: a person who is there before the bot waits in the room.
    """
    answer = await _ROOM_SERVICES[start.transport](services, start)
    view = await wait_or_stop(services, answer["sessionId"], services.waits.room_s)
    _check_session(view, start)
    return dict(answer)


_ROOM_SERVICES: Final[dict[str, Callable[[EdgeServices, Start], Awaitable[dict[str, str]]]]] = {
    "daily": start_daily,
    "livekit": start_livekit,
}
