"""WebRTC signalling inside the bot process, with Pipecat's own request handler.

The messages come from a caller, so their number and size are limited.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiortc.sdp import SessionDescription
from fastapi import HTTPException
from pipecat.transports.smallwebrtc.request_handler import (
    ConnectionMode,
    IceCandidate,
    IceServer,
    SmallWebRTCPatchRequest,
    SmallWebRTCRequest,
    SmallWebRTCRequestHandler,
)

from cordboard.emit import get_logger
from cordboard.ice_client import UsableServers
from cordboard.runner.ice_candidates import (
    CANDIDATES_MAX,
    candidate_address,
    filter_candidates,
    is_permitted_address,
)
from cordboard.runner.ice_restart import check_new_paths, restart_ice

# Offers of one session: a call of four hours whose page reconnects every four minutes sends 60.
OFFERS_MAX: Final = 64

# The length of aiortc's error in an answer; it may repeat the whole offer.
ERROR_CHARS: Final = 200

CONNECT_S: Final = 5.0
"""Seconds within which a peer connects after its offer; ICE takes one or two, through a TURN server as well.
After that it counts as gone, so that a caller whose answer was lost can send another offer."""

_OFFER_FIELDS: Final = ("sdp", "type", "pc_id", "restart_pc", "request_data", "requestData")

log = get_logger("webrtc")


@dataclass(frozen=True, slots=True)
class OfferingPeer:
    """The first peer of a session.

    Attributes:
        connection: Pipecat's connection, which stays the same when the peer is replaced.
        request_data: What the peer's offer sends to the bot (``requestData``); None if it sends nothing.
    """

    connection: Any
    request_data: dict[str, Any] | None = None


class BotSignalling:
    """Answers offers and adds candidates. The connection of the first offer is the bot's.

    Args:
        peer: The future for the first peer.
        local: Whether the runner listens on loopback, so that callers may be on this machine.
        servers: The future for the STUN and TURN servers, for which the first offer waits; None without any.
        connect_s: Seconds within which a peer connects after its offer.

    Attributes:
        is_closed: Whether the connection has been closed; it is not replaced then.
    """

    def __init__(
        self,
        peer: asyncio.Future[OfferingPeer],
        *,
        local: bool = True,
        servers: asyncio.Future[UsableServers] | None = None,
        connect_s: float = CONNECT_S,
    ) -> None:
        self._peer = peer
        self._local = local
        self._servers = servers
        self._connect_s = connect_s
        self._answered_at = 0.0
        self._has_connected = False
        self._is_restarted = False  # ICE, on the present connection
        self._offer_lock = asyncio.Lock()
        self._offer_count = self._candidate_count = 0
        self.is_closed = False
        self._handler = SmallWebRTCRequestHandler(connection_mode=ConnectionMode.SINGLE)

    async def handle(self, method: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Handle an offer or candidates.

        Args:
            method: ``POST`` for an offer, ``PATCH`` for candidates.
            body: The body of the HTTP request.

        Returns:
            The status and the body of the answer.
        """
        try:
            if method == "PATCH":
                # Those of a first offer may come while its connection is being made.
                async with self._offer_lock:
                    return await self._add_candidates(body)
            return await self._answer_offer(body)
        except HTTPException as error:
            return _problem(error.status_code, "webrtc", str(error.detail))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"[:ERROR_CHARS]
            detail = f"Invalid offer: {message}."
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail)

    async def _answer_offer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        # Of several first offers at once only one may make the connection; the others must see it.
        async with self._offer_lock:
            refusal = self._refusal(body)
            if refusal is not None:
                return refusal
            self._offer_count += 1
            fields = _checked_offer(body)
            request_data = _request_data(body)
            is_same_peer = self._is_present_peer(body)
            if not is_same_peer:
                fields |= self._other_peer()
            if not is_same_peer or fields.get("restart_pc"):  # a new peer connection
                self._candidate_count = 0
                self._has_connected = self._is_restarted = False
            fields["sdp"] = filter_candidates(fields["sdp"], self._accept_candidate)
            await self._use_servers()
            if is_same_peer and not fields.get("restart_pc"):
                self._is_restarted |= restart_ice(self._peer.result().connection.pc, fields["sdp"])

            async def use_connection(connection: Any) -> None:
                self._use_connection(connection, request_data)

            answer = await self._handler.handle_web_request(
                SmallWebRTCRequest.from_dict(fields), use_connection
            )
            self._check_new_paths()
            self._answered_at = asyncio.get_running_loop().time()
            return HTTPStatus.OK, dict(answer or {})

    def _is_present_peer(self, body: dict[str, Any]) -> bool:
        """Return whether an offer is a further one of the present peer."""
        return self._peer.done() and body.get("pc_id") == self._peer.result().connection.pc_id

    def _other_peer(self) -> dict[str, Any]:
        """Return the fields of an offer of another peer than the present one.

        A peer of the session's bot before this one names a connection that no longer exists.
        """
        if not self._peer.done():
            return {"pc_id": None, "restart_pc": False}
        # The page was reloaded: the bot keeps its connection, with another peer.
        return {"pc_id": self._peer.result().connection.pc_id, "restart_pc": True}

    async def _use_servers(self) -> None:
        """Give Pipecat's handler the STUN and TURN servers for its next connection."""
        if self._servers is not None:
            servers = await asyncio.shield(self._servers)
            self._handler.update_ice_servers([IceServer(**entry) for entry in servers.entries])

    def _refusal(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        if self.is_closed:
            detail = "The connection of this session has been closed."
            return _problem(HTTPStatus.CONFLICT, "closed", detail)
        if self._peer.done() and not self._is_present_peer(body) and not self._is_peer_gone():
            detail = "A user is connected to this session already."
            return _problem(HTTPStatus.CONFLICT, "connected", detail)
        if self._offer_count >= OFFERS_MAX:
            detail = f"A session accepts at most {OFFERS_MAX} offers."
            return _problem(HTTPStatus.TOO_MANY_REQUESTS, "offers", detail)
        return None

    def _is_peer_gone(self) -> bool:
        """Return whether the peer has gone without closing its connection, or has never come."""
        connection = self._peer.result().connection
        if self._has_connected:
            # False 3 s after the last ping of Pipecat's client, long before ICE notices.
            return not connection.is_connected()
        waited_s = asyncio.get_running_loop().time() - self._answered_at
        return connection.pc.connectionState != "connected" and waited_s > self._connect_s

    async def _add_candidates(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        candidates = [
            _ice_candidate(item)
            for item in body["candidates"]
            # The empty candidate marks the end of the list.
            if not item["candidate"] or self._accept_candidate(item["candidate"])
        ]
        # Until it has the answer to its offer, a peer of the bot before names the connection to that one.
        pc_id = self._peer.result().connection.pc_id if self._peer.done() else body["pc_id"]
        await self._handler.handle_patch_request(
            SmallWebRTCPatchRequest(pc_id=pc_id, candidates=candidates)
        )
        self._check_new_paths()
        return HTTPStatus.OK, {"status": "ok"}

    def _check_new_paths(self) -> None:
        if self._is_restarted:
            check_new_paths(self._peer.result().connection.pc)

    def _accept_candidate(self, candidate: str) -> bool:
        """Return whether the bot gets this candidate; count it if its address is permitted."""
        if not is_permitted_address(candidate_address(candidate), local=self._local):
            log.debug("Dropping an ICE candidate whose address is not permitted")
            return False
        self._candidate_count += 1
        if self._candidate_count == CANDIDATES_MAX + 1:
            log.warning("Too many ICE candidates; dropping further ones", limit=CANDIDATES_MAX)
        return self._candidate_count <= CANDIDATES_MAX

    def _use_connection(self, connection: Any, request_data: dict[str, Any] | None) -> None:
        _expect_offered_video(connection)
        connection.add_event_handler("connected", self._on_connected)
        connection.add_event_handler("closed", self._on_closed)
        if not self._peer.done():
            self._peer.set_result(OfferingPeer(connection, request_data))

    async def _on_connected(self, _connection: Any) -> None:
        self._has_connected = True
        log.info("Bot connected", event="bot.connected", transport="webrtc")

    async def _on_closed(self, _connection: Any) -> None:
        self.is_closed = True


def _checked_offer(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an offer that a connection can be made from.

    aiortc accepts any text, and a connection made from nonsense would be the only one of the bot.

    Raises:
        ValueError: It is no offer of a peer.
    """
    fields: dict[str, Any] = {name: body[name] for name in _OFFER_FIELDS if name in body}
    if fields.get("type") != "offer":
        raise ValueError("expected the type offer")
    media = SessionDescription.parse(fields["sdp"]).media
    if not media:
        raise ValueError("the SDP has no media")
    first = media[0]
    has_dtls = first.dtls is not None and bool(first.dtls.fingerprints)
    if not has_dtls or not first.ice.usernameFragment or not first.ice.password:
        raise ValueError("the SDP has no fingerprint or no ICE credentials")
    return fields


def _request_data(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the caller sends to the bot, by either of the names that Pipecat's clients use.

    Raises:
        ValueError: It is not an object.
    """
    data = body.get("request_data") or body.get("requestData")
    if data is not None and not isinstance(data, dict):
        raise ValueError("requestData: expected an object")
    return data or None


@dataclass(frozen=True, slots=True)
class _VideoTrack:
    """One of Pipecat's two methods that return a video track.

    Attributes:
        connection: Pipecat's connection.
        index: The position of the medium in an offer of Pipecat's client: 0 is audio.
        kind: The medium.
        track: Pipecat's method, which warns if the caller has not offered the medium.
    """

    connection: Any
    index: int
    kind: str
    track: Callable[[], Any]

    def __call__(self) -> Any:
        """Return the track, or None if the caller has not offered the medium."""
        # Looked up at each call, because a later offer may add video.
        if len(self.connection.pc.getTransceivers()) <= self.index:
            log.debug("The caller offers no video", kind=self.kind)
            return None
        return self.track()


def _expect_offered_video(connection: Any) -> None:
    """Let Pipecat request only the video that the caller has offered.

    Pipecat requests camera and screen from each connection, even for a bot without video, and warns for each
    that is missing: two warnings in every voice call that goes well.
    """
    for index, kind, name in (
        (1, "camera", "video_input_track"),
        (2, "screen", "screen_video_input_track"),
    ):
        setattr(connection, name, _VideoTrack(connection, index, kind, getattr(connection, name)))


def _ice_candidate(item: dict[str, Any]) -> IceCandidate:
    """Read a candidate in Pipecat's spelling or in that of a browser's ``toJSON()``."""
    mid = item.get("sdp_mid", item.get("sdpMid"))
    index = item.get("sdp_mline_index", item.get("sdpMLineIndex"))
    return IceCandidate(candidate=item["candidate"], sdp_mid=mid, sdp_mline_index=index)


def _problem(status: int, code: str, detail: str) -> tuple[int, dict[str, Any]]:
    body = {"status": status, "code": code, "title": "WebRTC signalling", "detail": detail}
    return status, body
