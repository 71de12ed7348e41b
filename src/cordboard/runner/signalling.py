"""WebRTC signalling inside the bot's process, by Pipecat's own request handler."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from fastapi import HTTPException
from pipecat.transports.smallwebrtc.request_handler import (
    ConnectionMode,
    IceCandidate,
    SmallWebRTCPatchRequest,
    SmallWebRTCRequest,
    SmallWebRTCRequestHandler,
)

from cordboard.emit import get_logger

_OFFER_FIELDS: Final = ("sdp", "type", "pc_id", "restart_pc", "request_data", "requestData")
# Pipecat's order of media in an offer: audio, camera, screen; and how it asks for the last two.
_VIDEO_TRACKS: Final = (
    (1, "camera", "video_input_track"),
    (2, "screen", "screen_video_input_track"),
)

log = get_logger("webrtc")


class Signalling:
    """Answers offers and takes candidates; the first offer's connection is the bot's.

    Args:
        connection: Gets the first connection.
    """

    def __init__(self, connection: asyncio.Future[Any]) -> None:
        self._connection = connection
        self._handler = SmallWebRTCRequestHandler(connection_mode=ConnectionMode.SINGLE)

    async def handle(self, method: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to an offer (POST) or to candidates (PATCH)."""
        try:
            if method == "PATCH":
                return await self._candidates(body)
            return await self._offer(body)
        except HTTPException as error:
            return _problem(error.status_code, "webrtc", str(error.detail))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _problem(422, "invalid", f"The offer cannot be used: {error}.")

    async def _offer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self._connection.done() and not body.get("pc_id"):
            return _problem(409, "connected", "Somebody is connected to this session already.")
        wanted = {name: body[name] for name in _OFFER_FIELDS if name in body}
        answer = await self._handler.handle_web_request(
            SmallWebRTCRequest.from_dict(wanted), self._connected
        )
        return 200, dict(answer or {})

    async def _candidates(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        candidates = [_candidate(item) for item in body["candidates"]]
        await self._handler.handle_patch_request(
            SmallWebRTCPatchRequest(pc_id=body["pc_id"], candidates=candidates)
        )
        return 200, {"status": "ok"}

    async def _connected(self, connection: Any) -> None:
        _expect_no_video(connection)

        @connection.event_handler("connected")  # type: ignore[untyped-decorator]
        async def connected(_connection: Any) -> None:
            log.info("Bot connected", event="bot.connected", transport="webrtc")

        if not self._connection.done():
            self._connection.set_result(connection)


def _expect_no_video(connection: Any) -> None:
    """Let Pipecat ask for video only where there is some.

    It asks each connection for camera and screen, whatever the bot wants, and warns of each that
    the caller has not offered: two warnings in every spoken call that goes well. The question is
    put anew each time, as video may come with a later offer.
    """
    for place, kind, name in _VIDEO_TRACKS:
        setattr(
            connection, name, _unless_absent(connection, place, kind, getattr(connection, name))
        )


def _unless_absent(
    connection: Any, place: int, kind: str, track: Callable[[], Any]
) -> Callable[[], Any]:
    def ask() -> Any:
        if len(connection.pc.getTransceivers()) <= place:
            log.debug("The caller offers no video", kind=kind)
            return None
        return track()

    return ask


def _candidate(item: dict[str, Any]) -> IceCandidate:
    """Both spellings are taken: Pipecat's, and the one a browser's toJSON() gives."""
    mid = item.get("sdp_mid", item.get("sdpMid"))
    index = item.get("sdp_mline_index", item.get("sdpMLineIndex"))
    return IceCandidate(candidate=item["candidate"], sdp_mid=mid, sdp_mline_index=index)


def _problem(status: int, code: str, detail: str) -> tuple[int, dict[str, Any]]:
    return status, {"status": status, "code": code, "title": "WebRTC signalling", "detail": detail}
