"""Starts of sessions in rooms of Daily and LiveKit: the room, the tokens, the join."""

import contextlib
import time
from collections.abc import Callable
from typing import Final

from cordboard.contract.errors import CordboardError
from cordboard.contract.launch import MAX_DURATION_DEFAULT_S
from cordboard.contract.livekit import access_token, livekit_room
from cordboard.edge.rooms.daily_api import DailyApi, DailyError, DailyRoom
from cordboard.edge.services import EdgeServices
from cordboard.edge.start_request import Start, json_object
from cordboard.settings.room_services import daily_account, livekit_server

# A session starts within its deadline of 60 s and then lasts at most its maximum; rooms and tokens must
# cover both, also for a bot that takes a session over.
MARGIN_S: Final = 600


class NotConfiguredError(CordboardError):
    """A transport needs a key that this edge does not have."""

    status = 400
    code = "not_configured"
    title = "Not configured"


def is_configured(transport: str) -> bool:
    """Return whether the environment has the keys that `transport` needs.

    Args:
        transport: One of the transports of ``POST /start``.
    """
    needed = _KEYS_OF.get(transport)
    return needed is None or needed() is not None


_KEYS_OF: Final[dict[str, Callable[[], object]]] = {
    "daily": daily_account,
    "livekit": livekit_server,
}


async def start_daily(services: EdgeServices, start: Start) -> dict[str, str]:
    """Create a Daily room, join it with a bot, and return the person's way in.

    The bot's token owns the room; the person's does not. A start that is repeated with the same session id
    meets the same room. A room whose join is refused is deleted.

    Args:
        services: The edge's services.
        start: The start.

    Returns:
        ``dailyRoom``, ``dailyToken`` and ``sessionId``.

    Raises:
        NotConfiguredError: ``DAILY_API_KEY`` is not set.
        CordboardError: Daily or the gateway refused.
    """
    room_properties = json_object(start.options, "dailyRoomProperties")
    token_properties = json_object(start.options, "dailyMeetingTokenProperties")
    account = daily_account()
    if account is None:
        raise NotConfiguredError(
            "The transport daily is not configured.",
            hint="Set DAILY_API_KEY in the environment of the edge, then restart it.",
        )
    api = DailyApi(services.connections, account)
    expires_at = int(time.time()) + MAX_DURATION_DEFAULT_S + MARGIN_S
    properties = {"exp": expires_at, "eject_at_room_exp": True, **room_properties}
    room = await api.open_room(start.session_id, properties)
    try:
        expiry = {"exp": properties["exp"]}
        bot_token = await api.token(room.name, {**expiry, "is_owner": True})
        person = {"user_name": start.user_name} if start.user_name else {}
        person_token = await api.token(
            room.name, {**expiry, **person, **token_properties, "is_owner": False}
        )
        accepted = await services.sessions.join(
            start.join_request(room.url, bot_token), client_address=start.client_address
        )
    except BaseException:
        await _delete(api, room)
        raise
    return {
        "dailyRoom": room.url,
        "dailyToken": person_token,
        "sessionId": accepted.session_id,
    }


async def start_livekit(services: EdgeServices, start: Start) -> dict[str, str]:
    """Join a LiveKit room with a bot, and return the person's way in.

    LiveKit creates a room when its first participant joins. The runner makes the bot's token at each fork.

    Args:
        services: The edge's services.
        start: The start.

    Returns:
        ``url``, ``token`` and ``sessionId``.

    Raises:
        NotConfiguredError: ``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` or ``LIVEKIT_API_SECRET`` is not set.
        CordboardError: The gateway refused.
    """
    server = livekit_server()
    if server is None:
        raise NotConfiguredError(
            "The transport livekit is not configured.",
            hint="Set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET in the environment of the "
            "edge, then restart it.",
        )
    room_url = f"livekit:{start.session_id}"
    accepted = await services.sessions.join(
        start.join_request(room_url), client_address=start.client_address
    )
    token = access_token(
        server,
        room=livekit_room(room_url),
        identity=start.user_id or f"user-{start.session_id}",
        name=start.user_name or "User",
        now_s=time.time(),
        lifetime_s=MAX_DURATION_DEFAULT_S + MARGIN_S,
    )
    return {"url": server.url, "token": token, "sessionId": accepted.session_id}


async def _delete(api: DailyApi, room: DailyRoom) -> None:
    """Delete a room that this start has created. Without a join, nothing else deletes it."""
    if room.is_new:
        with contextlib.suppress(DailyError):
            await api.delete_room(room.name)
