"""What a bot needs of Daily and LiveKit beside its launch: made in the bot's process, so that Redis never holds it."""

import time
from typing import Any, Final

from pipecat.runner.types import LiveKitRunnerArguments

from cordboard.contract.errors import CordboardError
from cordboard.contract.launch import Launch
from cordboard.contract.livekit import access_token, agent_identity, livekit_room
from cordboard.settings.room_services import daily_account, livekit_server

# The bot joins within seconds of its fork; the connection outlives the token.
TOKEN_LIFETIME_S: Final = 600
_AGENT_NAME: Final = "Agent"


def livekit_arguments(launch: Launch, common: dict[str, Any]) -> LiveKitRunnerArguments:
    """Return the argument for a bot in a room of the configured LiveKit server.

    A token in the launch has precedence: its caller has another server, or other grants in mind.

    Args:
        launch: The session, in a room ``livekit:NAME``.
        common: The arguments that all of Pipecat's classes take.

    Raises:
        CordboardError: The runner's environment names no LiveKit server.
    """
    server = livekit_server()
    if server is None:
        raise CordboardError(
            "A room livekit:NAME needs a LiveKit server.",
            hint="Set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET at the runner.",
        )
    room = livekit_room(launch.room_url)
    token = launch.token or access_token(
        server,
        room=room,
        identity=agent_identity(launch.session_id),
        name=_AGENT_NAME,
        now_s=time.time(),
        lifetime_s=TOKEN_LIFETIME_S,
        is_agent=True,
    )
    return LiveKitRunnerArguments(room_name=room, url=server.url, token=token, **common)


def with_daily_key(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a bot that a call through Daily has started, with the key to let the caller in.

    Pipecat's ``DailyDialinRequest`` has both members. They come from the runner's environment: a body
    passes through Redis.

    Args:
        body: The body of the launch; returned unchanged if it has no ``dialin_settings``.
    """
    account = daily_account() if "dialin_settings" in body else None
    if account is None:
        return body
    return {"daily_api_key": account.api_key, "daily_api_url": account.api_url, **body}
