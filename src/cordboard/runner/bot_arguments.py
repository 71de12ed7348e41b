"""The arguments of ``bot()``: Pipecat's own classes, chosen by the room (contract, section 6)."""

from typing import Any, Final
from urllib.parse import urlsplit

from pipecat.runner.types import (
    DailyRunnerArguments,
    RunnerArguments,
    SmallWebRTCRunnerArguments,
)

from cordboard.contract.ids import is_webrtc_room
from cordboard.contract.launch import Launch

DAILY: Final = "daily.co"


def runner_arguments(
    launch: Launch, connection: Any, daily_domains: tuple[str, ...]
) -> RunnerArguments:
    """Return what ``bot()`` gets.

    Args:
        launch: The session.
        connection: The peer connection, in a ``webrtc:`` room.
        daily_domains: Hosts beside ``*.daily.co`` whose rooms are Daily's.
    """
    body = {
        **launch.body,
        "room_url": launch.room_url,
        "session_id": launch.session_id,
        "epoch": launch.epoch,
        "attempt": launch.attempt,
    }
    shared: dict[str, Any] = {"body": body, "session_id": launch.session_id}
    if is_webrtc_room(launch.room_url):
        return SmallWebRTCRunnerArguments(webrtc_connection=connection, **shared)
    if _is_daily(launch.room_url, daily_domains):
        return DailyRunnerArguments(room_url=launch.room_url, token=launch.token, **shared)
    return RunnerArguments(**shared)


def _is_daily(room: str, domains: tuple[str, ...]) -> bool:
    host = urlsplit(room).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in (DAILY, *domains))
