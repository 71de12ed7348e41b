"""Sessions that a client may use, and waiting for them."""

import asyncio
import contextlib
from typing import Final

from cordboard.context import adopt
from cordboard.contract.errors import CordboardError, NotFoundError, NotReadyError
from cordboard.contract.ids import is_session_id, room_kind
from cordboard.contract.state import TERMINAL
from cordboard.edge.access import Access
from cordboard.edge.rooms.daily_api import room_name
from cordboard.edge.services import EdgeServices
from cordboard.edge.sessions import SessionView

RETRY_S: Final = 2
# Between two hints about one session: those within a second count as one.
_SUCCESSOR_S: Final = 1.0


class SessionEndedError(CordboardError):
    """The session has ended. No retry can succeed."""

    status = 410
    code = "session_ended"
    title = "Session has ended"


def client_room(kind: str, session_id: str) -> str:
    """Return the room of a session that a client starts, in canonical form.

    Args:
        kind: ``webrtc``, ``ws``, or ``phone:`` and a provider.
        session_id: The session, which names the room: a repeated start meets the same session.
    """
    # The names of webrtc: rooms have no colon. Session ids have no other character that rooms lack.
    name = session_id.replace(":", "~") if kind == "webrtc" else session_id
    return f"{kind}:{name}"


async def permitted_view(
    services: EdgeServices, access: Access, session_id: str, bot: str | None
) -> SessionView:
    """Return a session's record if the caller may use the session; bind it for further lines.

    The caller shows that it may by the id, which is not to be guessed, as at Pipecat Cloud. A public key
    is limited to sessions of its bot that a client may have started.

    Args:
        services: The edge's services.
        access: What the caller may do.
        session_id: The id from the path.
        bot: The bot that the path names; None if it names none.

    Raises:
        NotFoundError: There is no such session, or the caller may not use it: it does not learn which.
    """
    error = NotFoundError("There is no such session.", hint="Start a new session.")
    if not is_session_id(session_id):
        raise error
    view = await services.sessions.view(session_id)
    if bot is not None and view.bot != bot:
        raise error
    if access.bot is not None and not _is_of_key(view, access.bot):
        raise error
    adopt(session_id=session_id, room=view.room_url, epoch=view.epoch)
    return view


def _is_of_key(view: SessionView, bot: str) -> bool:
    """Return whether a client with the key of a bot may have started a session.

    Clients' rooms have names that follow from the session id; rooms of the interface and of joins do not,
    and telephone calls are the carriers'.
    """
    if view.bot != bot:
        return False
    kind = room_kind(view.room_url)
    if kind == "url":
        return view.room_url.endswith(f"/{room_name(view.session_id)}")
    return kind != "phone" and view.room_url == client_room(kind, view.session_id)


async def wait_for_run(
    services: EdgeServices, view: SessionView, timeout_s: float | None = None
) -> SessionView:
    """Wait until a session runs; return its record.

    Args:
        services: The edge's services.
        view: Its record as it was.
        timeout_s: How long to wait, in seconds; None for ``hold_s``.

    Raises:
        SessionEndedError: The session has ended.
        NotReadyError: It does not run yet. If the edge stops, another one answers a retry.
    """
    if view.status != "running" and not view.is_over:
        wait_s = services.waits.hold_s if timeout_s is None else timeout_s
        view = await wait_or_stop(services, view.session_id, wait_s)
    if view.is_over:
        raise SessionEndedError(
            f"The session has ended ({view.reason or view.status}).", hint="Start a new session."
        )
    if view.status != "running":
        state = "The edge is stopping" if services.stopping.is_set() else "Its bot is not ready yet"
        raise NotReadyError(f"The session is {view.status}. {state}.", retry_after_s=RETRY_S)
    return view


async def wait_for_successor(services: EdgeServices, view: SessionView) -> SessionView:
    """Report that a session's bot may be dead, and wait a moment for another one; return the session's record.

    Args:
        services: The edge's services.
        view: The record as it was.
    """
    with contextlib.suppress(CordboardError):
        await services.gateway.suspect(view.session_id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SUCCESSOR_S):
            async for state in services.sessions.states(view.session_id):
                if state["epoch"] != view.epoch or state["status"] in TERMINAL:
                    break
    return await services.sessions.view(view.session_id)


async def wait_or_stop(services: EdgeServices, session_id: str, wait_s: float) -> SessionView:
    """Wait until a session runs, has ended, the time is over, or the edge stops; return its record then.

    Args:
        services: The edge's services.
        session_id: The session.
        wait_s: How long to wait, in seconds.
    """
    waiting = asyncio.ensure_future(services.sessions.wait_until_running(session_id, wait_s))
    stopping = asyncio.ensure_future(services.stopping.wait())
    try:
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else await services.sessions.view(session_id)
    finally:
        waiting.cancel()
        stopping.cancel()
