"""The argument of ``bot()``: one of Pipecat's classes, chosen by the room."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pipecat.runner.types import (
    DailyRunnerArguments,
    RunnerArguments,
    SmallWebRTCRunnerArguments,
    WebSocketRunnerArguments,
)
from pipecat.utils.file_storage import FileStorage
from starlette.websockets import WebSocket

from cordboard.contract.ids import room_kind
from cordboard.contract.launch import Launch
from cordboard.runner.room_services import livekit_arguments, with_daily_key
from cordboard.runner.session_arguments import argument_class

DAILY_DOMAIN: Final = "daily.co"
_OWN_FIELDS: Final = frozenset({"room_url", "session_id", "epoch", "attempt", "context"})


@dataclass(frozen=True, slots=True)
class BotConnection:
    """How a bot reaches the people in its room, as far as that is not in the launch.

    Attributes:
        peer: The peer connection of a ``webrtc:`` room.
        websocket: The stream of a ``phone:`` or ``ws:`` room, accepted.
        request_data: What the first peer sends to the bot, in place of the join's body, as in Pipecat.
    """

    peer: Any = None
    websocket: WebSocket | None = None
    request_data: dict[str, Any] | None = None


class BotBody(dict[str, Any]):
    """The value of ``runner_args.body``: the caller's fields, and those of Cordboard.

    It is false if the caller has sent none, as in Pipecat: bots ask `if not runner_args.body` for their defaults.
    """

    def __bool__(self) -> bool:
        return not self.keys() <= _OWN_FIELDS


def runner_arguments(
    launch: Launch,
    connection: BotConnection,
    daily_domains: tuple[str, ...] = (),
    file_storage: FileStorage | None = None,
) -> RunnerArguments:
    """Return the argument for ``bot()``.

    Args:
        launch: The session.
        connection: The connection to the people in the room.
        daily_domains: Hosts besides ``*.daily.co`` whose rooms are Daily's.
        file_storage: The storage of uploaded files, if the bot file provides one.
    """
    body = BotBody(
        _caller_body(launch, connection),
        room_url=launch.room_url,
        session_id=launch.session_id,
        epoch=launch.epoch,
        attempt=launch.attempt,
    )
    common: dict[str, Any] = {
        "body": body,
        "session_id": launch.session_id,
        "file_storage": file_storage,
    }
    kind = room_kind(launch.room_url)
    if kind == "webrtc":
        return argument_class(SmallWebRTCRunnerArguments)(
            webrtc_connection=connection.peer, **common
        )
    if kind in {"phone", "ws"} and connection.websocket is not None:
        # None lets Pipecat detect the carrier, or its eval harness, from the first messages. A WebSocket of
        # another client detects it, too, if it came by the path at which Pipecat's own runner does.
        detects = kind == "phone" or "detect" in connection.websocket.query_params
        transport_type = None if detects else "websocket"
        return argument_class(WebSocketRunnerArguments)(
            websocket=connection.websocket, transport_type=transport_type, **common
        )
    if kind == "livekit":
        return livekit_arguments(launch, common)
    if _is_daily(launch.room_url, daily_domains):
        return argument_class(DailyRunnerArguments)(
            room_url=launch.room_url, token=launch.token, **common
        )
    return argument_class(RunnerArguments)(**common)


def _caller_body(launch: Launch, connection: BotConnection) -> dict[str, Any]:
    """Return what the caller sends to the bot."""
    if connection.request_data is not None:
        return connection.request_data
    return with_daily_key(launch.body)


def _is_daily(room_url: str, domains: tuple[str, ...]) -> bool:
    host = urlsplit(room_url).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in (DAILY_DOMAIN, *domains))
