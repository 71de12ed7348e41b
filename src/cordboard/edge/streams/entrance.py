"""Which WebSockets the edge accepts, and by which proof."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope
from starlette.websockets import WebSocket

from cordboard.context import EMPTY, adopt, bound_context
from cordboard.contract.carrier_streams import Message
from cordboard.contract.errors import CordboardError, NotReadyError
from cordboard.edge.sessions import EdgeSessions, JoinRequest
from cordboard.edge.streams import closing, open_websocket
from cordboard.edge.streams.bot_connection import StreamTarget
from cordboard.edge.streams.closing import StreamRefusedError
from cordboard.edge.streams.relay import StreamRelay
from cordboard.edge.tokens import StreamGrant, StreamTokens
from cordboard.emit import get_logger
from cordboard.web.auth import given_secret, refusals
from cordboard.web.problems import problem
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import Sampler
from cordboard.web.session_middleware import logged_path

HandshakeProof = Callable[[WebSocket], bool | None]
"""Returns whether a carrier has signed the handshake; None if this cannot be known, as no carrier does."""

_RETRY_AFTER_S: Final = 1
# What JavaScript makes of a token that it does not have: examples of clients append `?token=` in any case.
_NO_TOKENS: Final = frozenset({"", "undefined", "null"})

log = get_logger("stream")


class StreamTokenError(CordboardError):
    """The token of a WebSocket is missing or wrong, or the carrier's signature of the handshake is wrong."""

    status = 403
    code = "stream_token"
    title = "WebSocket not permitted"


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """Which WebSockets need no token.

    Attributes:
        is_open: Whether any client may open one.
        check_origin: Raises an error if a page of another site opens one.
        signed_by_carrier: Checks a carrier's signature.
    """

    is_open: bool
    check_origin: Callable[[Scope], None]
    signed_by_carrier: HandshakeProof


class StreamEntrance:
    """Accepts WebSockets, and passes them to the relay.

    Args:
        relay: Serves the streams.
        sessions: Joins sessions.
        tokens: Verifies tokens.
        policy: Which WebSockets need no token.
        stopping: Set when the edge stops; then no stream begins.
    """

    def __init__(
        self,
        relay: StreamRelay,
        sessions: EdgeSessions,
        tokens: StreamTokens,
        policy: StreamPolicy,
        stopping: asyncio.Event,
    ) -> None:
        self._relay = relay
        self._sessions = sessions
        self._tokens = tokens
        self._policy = policy
        self._stopping = stopping
        self._sampler = Sampler()

    async def serve(self, websocket: WebSocket, *, detects_carrier: bool) -> None:
        """Serve a WebSocket whose path has no token; the query or a header may have one.

        Args:
            websocket: The WebSocket, not accepted yet.
            detects_carrier: Whether the bot reads the carrier from the first messages.
        """
        token = self._token_beside_path(websocket)
        if token is None:
            await self.serve_open(websocket, detects_carrier=detects_carrier)
        else:
            await self.serve_with_token(websocket, token, detects_carrier=detects_carrier)

    def _token_beside_path(self, websocket: WebSocket) -> str | None:
        """Return the token where Pipecat's own runner takes it as well; None without one."""
        token = websocket.query_params.get("token", "")
        if token not in _NO_TOKENS:
            return token
        # Any other credential may be for a proxy in front of the edge, and is no reason to refuse.
        given = given_secret(websocket.scope).decode("latin-1")
        is_token = given and self._tokens.verify(given, self._relay.clock()) is not None
        return given if is_token else None

    async def serve_with_token(
        self, websocket: WebSocket, token: str, *, detects_carrier: bool
    ) -> None:
        """Serve a WebSocket with a token.

        Args:
            websocket: The WebSocket, not accepted yet.
            token: The token.
            detects_carrier: Whether the bot reads the carrier from the first messages.
        """
        try:
            grant = self._check_token(websocket, token)
        except CordboardError as error:
            await self._refuse(websocket, error)
            return
        target = StreamTarget(
            grant.session_id, grant.room_url, detects_carrier=detects_carrier, grant=grant
        )
        adopt(session_id=target.session_id, room=target.room_url)
        await websocket.accept()
        await self._relay.serve(websocket, target)

    async def serve_open(self, websocket: WebSocket, *, detects_carrier: bool) -> None:
        """Serve a WebSocket without a token.

        Args:
            websocket: The WebSocket, not accepted yet.
            detects_carrier: Whether the first messages may name a carrier's call.
        """
        try:
            self._check_open(websocket)
            join = open_websocket.join_of(websocket)
        except CordboardError as error:
            await self._refuse(websocket, error)
            return
        if not detects_carrier:  # else the session is known later
            adopt(session_id=join.session_id, room=join.room_url)
        await websocket.accept()
        messages: list[Message] = []
        try:
            if detects_carrier:
                messages, call = await open_websocket.read_first_messages(
                    websocket, self._relay.limits
                )
                if call is not None:
                    join = open_websocket.join_of_call(join, call)
                adopt(session_id=join.session_id, room=join.room_url)
            target = await self._join(websocket, join, detects_carrier=detects_carrier)
        except StreamRefusedError as error:
            await _close(websocket, error)
            return
        await self._relay.serve(websocket, target, messages)

    async def _join(
        self, websocket: WebSocket, join: JoinRequest, *, detects_carrier: bool
    ) -> StreamTarget:
        target = await open_websocket.joined(
            self._sessions,
            join,
            address=client_address(websocket.scope),
            detects_carrier=detects_carrier,
        )
        adopt(session_id=target.session_id)  # the room's holder may be another session
        return target

    def _check_token(self, websocket: WebSocket, token: str) -> StreamGrant:
        """Return what the token grants.

        Raises:
            CordboardError: The WebSocket is refused.
        """
        self._check_running()
        grant = self._tokens.verify(token, self._relay.clock())
        if grant is None:
            raise StreamTokenError(
                "The token of this WebSocket is not valid.", hint="Start a session for a new one."
            )
        self._check_signature(websocket)
        return grant

    def _check_open(self, websocket: WebSocket) -> None:
        """Check that a WebSocket without a token may open.

        Raises:
            CordboardError: The WebSocket is refused.
        """
        self._check_running()
        if self._check_signature(websocket):
            return
        if not self._policy.is_open:
            raise StreamTokenError(
                "This URL needs a token.",
                hint="POST /start returns a URL with one. CORDBOARD_OPEN_WEBSOCKETS=true permits all clients.",
            )
        self._policy.check_origin(websocket.scope)

    def _check_running(self) -> None:
        if self._stopping.is_set():
            raise NotReadyError("This edge stops.", retry_after_s=_RETRY_AFTER_S)

    def _check_signature(self, websocket: WebSocket) -> bool:
        """Return whether a carrier has signed the handshake.

        Raises:
            StreamTokenError: The signature is wrong.
        """
        is_signed = self._policy.signed_by_carrier(websocket)
        if is_signed is False:
            raise StreamTokenError("The carrier's signature of the handshake is not valid.")
        return bool(is_signed)

    async def _refuse(self, websocket: WebSocket, error: CordboardError) -> None:
        """Answer the handshake with an error. Nothing that the request claims is bound meanwhile."""
        with bound_context(EMPTY):
            if isinstance(error, StreamTokenError):
                self._log_refusal(websocket)
            await websocket.send_denial_response(problem(error))

    def _log_refusal(self, websocket: WebSocket) -> None:
        refusals.labels("stream").inc()
        suppressed = self._sampler.admit()
        if suppressed is not None:
            log.warning(
                "A WebSocket was refused",
                event="auth.refused",
                reason="stream",
                peer=client_address(websocket.scope),
                path=logged_path(websocket.scope),
                suppressed=suppressed,
            )


async def _close(websocket: WebSocket, error: StreamRefusedError) -> None:
    """Close a WebSocket that was accepted but not connected to a session."""
    end = error.end
    log.info("Stream refused", code=end.code, reason=end.reason or None, by=end.by)
    if end.by != "client":
        with contextlib.suppress(OSError, RuntimeError):
            await websocket.close(
                closing.code_to_send(end.code), closing.reason_to_send(end.reason)
            )
