"""The argument of ``bot()``: one of Pipecat's classes, chosen by the room."""

from typing import Any, Final
from urllib.parse import urlsplit

from pipecat.runner.types import (
    DailyRunnerArguments,
    RunnerArguments,
    SmallWebRTCRunnerArguments,
)

from cordboard.contract.ids import is_webrtc_room
from cordboard.contract.launch import Launch

DAILY_DOMAIN: Final = "daily.co"


def runner_arguments(
    launch: Launch, connection: Any, daily_domains: tuple[str, ...]
) -> RunnerArguments:
    """Return the argument for ``bot()``.

    Args:
        launch: The session.
        connection: The peer connection of a ``webrtc:`` room; None for other rooms.
        daily_domains: Hosts besides ``*.daily.co`` whose rooms are Daily's.
    """
    body = {
        **launch.body,
        "room_url": launch.room_url,
        "session_id": launch.session_id,
        "epoch": launch.epoch,
        "attempt": launch.attempt,
    }
    common: dict[str, Any] = {"body": body, "session_id": launch.session_id}
    if is_webrtc_room(launch.room_url):
        return SmallWebRTCRunnerArguments(webrtc_connection=connection, **common)
    if _is_daily(launch.room_url, daily_domains):
        return DailyRunnerArguments(room_url=launch.room_url, token=launch.token, **common)
    return RunnerArguments(**common)


def _is_daily(room_url: str, domains: tuple[str, ...]) -> bool:
    host = urlsplit(room_url).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in (DAILY_DOMAIN, *domains))
