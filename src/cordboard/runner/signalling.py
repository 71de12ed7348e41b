"""WebRTC signalling inside the bot's process, by Pipecat's own request handler.

The messages come from a caller, so their number and size are limited.
"""

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
from cordboard.runner.ice_candidates import CANDIDATES_MAX, host_of, is_fit, take_candidates

OFFERS_MAX: Final = 64
"""Of one session: a call of four hours whose page connects anew every four minutes."""

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
        local: Whether the runner is on loopback, so that callers may be there, too.
    """

    def __init__(self, connection: asyncio.Future[Any], *, local: bool = True) -> None:
        self._connection = connection
        self._local = local
        self._one_offer_at_a_time = asyncio.Lock()
        self._offers = self._candidates_taken = 0
        self._closed = False
        self._handler = SmallWebRTCRequestHandler(connection_mode=ConnectionMode.SINGLE)

    async def handle(self, method: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to an offer (POST) or to candidates (PATCH)."""
        try:
            if method == "PATCH":
                return await self._candidates(body)
            return await self._offer(body)
        except HTTPException as error:
            return _problem(error.status_code, "webrtc", str(error.detail))
        except Exception as error:  # noqa: BLE001 - what aiortc makes of a stranger's bytes has no bound
            words = f"{type(error).__name__}: {error}"[:200]
            return _problem(422, "invalid", f"The offer cannot be used: {words}.")

    async def _offer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        async with (
            self._one_offer_at_a_time
        ):  # of several first ones the first makes the connection
            refusal = self._refusal(body)
            if refusal is not None:
                return refusal
            self._offers += 1
            if not body.get("pc_id") or body.get("restart_pc"):
                self._candidates_taken = 0
            wanted = {name: body[name] for name in _OFFER_FIELDS if name in body}
            wanted["sdp"] = take_candidates(body["sdp"], self._take)
            answer = await self._handler.handle_web_request(
                SmallWebRTCRequest.from_dict(wanted), self._connected
            )
            return 200, dict(answer or {})

    def _refusal(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        if self._connection.done() and not body.get("pc_id"):
            return _problem(409, "connected", "Somebody is connected to this session already.")
        if self._closed:
            return _problem(409, "closed", "The connection of this session has been closed.")
        if self._offers >= OFFERS_MAX:
            return _problem(429, "offers", f"A session takes no more than {OFFERS_MAX} offers.")
        return None

    async def _candidates(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        candidates = [
            _candidate(item)
            for item in body["candidates"]
            if not item["candidate"] or self._take(item["candidate"])  # the empty one ends the list
        ]
        await self._handler.handle_patch_request(
            SmallWebRTCPatchRequest(pc_id=body["pc_id"], candidates=candidates)
        )
        return 200, {"status": "ok"}

    def _take(self, candidate: str) -> bool:
        """Return whether a candidate is taken; count it."""
        if not is_fit(host_of(candidate), local=self._local):
            log.debug("An ICE candidate with a forbidden address is dropped")
            return False
        self._candidates_taken += 1
        if self._candidates_taken == CANDIDATES_MAX + 1:
            log.warning("Too many ICE candidates; further ones are dropped", most=CANDIDATES_MAX)
        return self._candidates_taken <= CANDIDATES_MAX

    async def _connected(self, connection: Any) -> None:
        _expect_no_video(connection)

        @connection.event_handler("connected")  # type: ignore[untyped-decorator]
        async def connected(_connection: Any) -> None:
            log.info("Bot connected", event="bot.connected", transport="webrtc")

        @connection.event_handler("closed")  # type: ignore[untyped-decorator]
        async def closed(_connection: Any) -> None:
            self._closed = True

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
