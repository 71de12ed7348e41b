"""The WebSocket to a bot's process, through its runner."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import chain, repeat
from typing import Final

import aiohttp
from starlette.websockets import WebSocketDisconnect
from yarl import URL

from cordboard.context import current
from cordboard.context.carrier import inject_headers
from cordboard.contract.carrier_streams import Message
from cordboard.contract.credential import bot_credential
from cordboard.contract.errors import CordboardError, NotFoundError
from cordboard.contract.http_api import HEADER_STREAM_SILENCE, bearer_headers, session_path
from cordboard.edge.sessions import EdgeSessions, SessionView
from cordboard.edge.streams import closing
from cordboard.edge.streams.closing import StreamEnd, StreamRefusedError
from cordboard.edge.streams.limits import StreamLimits
from cordboard.edge.tokens import FIRST_USE_S, StreamGrant
from cordboard.emit import get_logger
from cordboard.web.http_client import NoAnswerError
from cordboard.web.runner_client import runner_url

# Pauses between two attempts: a bot that starts is ready within the first, a gateway that restarts within the last.
_RETRY_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
# The same for a bot that was lost. A change of the session's state ends a pause, so longer ones cost no time; the
# calls of a runner that is cut off ask all at once, for 90 s.
_AGAIN_S: Final = (*_RETRY_S, 2.0, 5.0)
_HANDSHAKE_S: Final = 10.0  # a connection within a cluster takes milliseconds
# The same for a bot that was lost: while a runner that is frozen does not answer, the session may go on elsewhere.
_REDIAL_S: Final = 2.0
# A runner's machine that vanishes is noticed after this and half of it again: later than a client that does not
# read is given up (40 s), because the bot's answer waits behind the messages that such a client does not read.
_HEARTBEAT_S: Final = 40.0

# A second of a call's audio in its largest form is 43 KB. What the kernel holds comes on top of this.
_BEHIND_BYTES: Final = 16 * 1024

GONE: Final = (OSError, RuntimeError, WebSocketDisconnect, aiohttp.ClientError)
"""What a WebSocket that is closed already raises when a message is sent."""

log = get_logger("stream")


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """The bot to which a stream goes.

    Attributes:
        session_id: The session.
        room_url: Its room.
        detects_carrier: Whether the bot reads the carrier from the first messages, as with Pipecat's ``/ws``.
        grant: The grant of the stream's token; None if the edge has just joined the session itself.
    """

    session_id: str
    room_url: str
    detects_carrier: bool
    grant: StreamGrant | None = None

    def check(self, view: SessionView, *, is_open: bool = False) -> None:
        """Check that the stream may go to a session.

        Args:
            view: The session's record.
            is_open: Whether the stream has had a bot of this session already.

        Raises:
            StreamRefusedError: The session has ended, or it is not the one for which the token was issued.
        """
        if view.is_over:
            ended = f"The session has ended: {view.reason or view.status}."
            raise StreamRefusedError.with_code(closing.ENDED, ended)
        if self.grant is None:
            return
        # The clocks of the edge and of Redis differ a little, hence the tolerance.
        is_newer = view.created_at > self.grant.issued_at + FIRST_USE_S
        if view.room_url != self.room_url or is_newer:
            raise StreamRefusedError.with_code(
                closing.ENDED, "The session of this token has ended."
            )
        # A session that is handed over does not run for a moment, and its first stream came long ago.
        has_run = view.status == "running" or view.has_run or is_open
        if self.grant.is_expired and not has_run:
            raise StreamRefusedError.with_code(closing.POLICY, "The token has expired.")


class BotConnection:
    """A WebSocket to the bot's process.

    Args:
        websocket: The connected WebSocket.
        epoch: The epoch of the session that it belongs to.
        close_s: Seconds for the closing handshake.

    Attributes:
        epoch: The epoch.
        silence_ms: Milliseconds since the bot's last message on an earlier stream of the call, which this one
            continues; None for the bot's first stream.
    """

    def __init__(
        self, websocket: aiohttp.ClientWebSocketResponse, epoch: int, close_s: float
    ) -> None:
        self._websocket = websocket
        # aiohttp gives neither the headers of the handshake nor the transport by a public name.
        # `tests/edge/test_edge_call_goes_on.py` fails if they have moved.
        response = websocket._response  # noqa: SLF001
        self._transport = response.connection.transport if response.connection else None
        self._close_s = close_s
        self.epoch = epoch
        silence = response.headers.get(HEADER_STREAM_SILENCE, "")
        self.silence_ms = int(silence) if re.fullmatch("[0-9]{1,9}", silence) else None

    @property
    def is_behind(self) -> bool:
        """Whether the bot does not read what was sent to it."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > _BEHIND_BYTES

    @property
    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport is None or self._transport.is_closing()

    async def send(self, message: Message) -> None:
        """Send `message`; wait while the bot does not read.

        Raises:
            ConnectionError: The connection is closed.
        """
        if isinstance(message, str):
            await self._websocket.send_str(message)
        else:
            await self._websocket.send_bytes(message)

    async def receive(self) -> Message | StreamEnd:
        """Return the next message of the bot, or how the bot's side ended."""
        message = await self._websocket.receive()
        if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            data: Message = message.data
            return data
        if message.type is aiohttp.WSMsgType.CLOSE:
            return StreamEnd("bot", message.data or closing.NO_CODE, str(message.extra or ""))
        if message.type is aiohttp.WSMsgType.ERROR and self._websocket.close_code not in {
            None,
            closing.LOST,
        }:
            # A message that breaks the protocol or the limit; aiohttp has closed with its code.
            return StreamEnd("bot", self._websocket.close_code, "The bot sent an invalid message.")
        return StreamEnd("bot", closing.RESTART, "The bot's runner was lost.", is_lost=True)

    async def close(self, code: int, reason: str) -> None:
        """Close the connection with `code` and `reason`; abort it if the bot does not confirm that in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._close_s):
                await self._websocket.close(code=code, message=reason.encode())
        if self._websocket.close_code in {None, closing.LOST}:
            log.debug("The bot did not confirm the end of its stream", code=code)
            self.abort()

    def abort(self) -> None:
        """End the connection at once. asyncio would keep it open until the bot has read what was written."""
        if self._transport is not None:
            self._transport.abort()


class BotConnector:
    """Connects streams to bots.

    Args:
        connections: The connections to runners.
        sessions: Follows sessions at the gateway.
        secrets: Returns the control secrets, the current one first.
        limits: The limits of streams.
    """

    def __init__(
        self,
        connections: aiohttp.ClientSession,
        sessions: EdgeSessions,
        secrets: Callable[[], tuple[str, ...]],
        limits: StreamLimits,
    ) -> None:
        self._connections = connections
        self._sessions = sessions
        self._secrets = secrets
        self._limits = limits

    async def connect(self, target: StreamTarget, *, again: bool = False) -> BotConnection:
        """Wait until the session runs, and connect to its bot.

        A request to a gateway or a runner that does not answer is repeated until the limit: it may restart.

        Args:
            target: The session.
            again: Whether the stream has lost its bot. Then an operator is asked to look at it at once.

        Raises:
            StreamRefusedError: The session has ended, or there is no bot in time.
        """
        hint = asyncio.create_task(self._sessions.suspect(target.session_id)) if again else None
        try:
            return await self._connected(target, again=again)
        finally:
            if hint is not None:
                hint.cancel()

    async def _connected(self, target: StreamTarget, *, again: bool) -> BotConnection:
        """Repeat what fails, until the limit; return a connection."""
        limit_s = self._limits.unconfirmed_s if again else self._limits.connect_s
        deadline = time.monotonic() + limit_s
        pauses = _AGAIN_S if again else _RETRY_S
        for pause_s in chain(pauses, repeat(pauses[-1])):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                break
            view = await self._running(target, remaining_s, is_open=again)
            if view is None:
                await asyncio.sleep(pause_s)
                continue
            connection = await self._dial(view, target, _REDIAL_S if again else _HANDSHAKE_S)
            if connection is not None:
                return connection
            await self._sessions.wait_for_change(view, min(pause_s, remaining_s))
        raise StreamRefusedError.with_code(closing.TRY_LATER, "The bot did not answer in time.")

    async def _running(
        self, target: StreamTarget, timeout_s: float, *, is_open: bool
    ) -> SessionView | None:
        """Return the record of the session once it runs; None if another attempt may succeed."""
        try:
            view = await self._sessions.view_for_stream(target.session_id)
            target.check(view, is_open=is_open)
            if view.status != "running":
                view = await self._sessions.wait_until_running(target.session_id, timeout_s)
                target.check(view, is_open=is_open)
        except NotFoundError:
            raise StreamRefusedError.with_code(closing.ENDED, "There is no such session.") from None
        except CordboardError as error:  # the gateway or Redis is away
            log.warning("The session of a stream cannot be read", reason=str(error))
            return None
        return view if view.status == "running" and view.runner_url is not None else None

    async def _dial(
        self, view: SessionView, target: StreamTarget, timeout_s: float
    ) -> BotConnection | None:
        """Return a connection to a session that runs; None if another attempt may succeed."""
        try:
            return await self._open(view, timeout_s, detects=target.detects_carrier)
        except aiohttp.WSServerHandshakeError as error:
            self._check_accepted(error)
        except (aiohttp.ClientError, NoAnswerError, OSError) as error:
            log.warning("The runner of a stream cannot be reached", reason=str(error))
        return None

    async def _open(self, view: SessionView, timeout_s: float, *, detects: bool) -> BotConnection:
        secrets = self._secrets()
        credential = bot_credential(secrets[0], view.session_id, view.epoch) if secrets else None
        headers = bearer_headers(credential)
        # What is bound here may be the epoch of a bot that was lost.
        inject_headers(replace(current(), epoch=view.epoch), headers)
        path = session_path(view.session_id, "bot/stream")
        url: URL = runner_url(view.runner_url or "", path + ("?detect=true" if detects else ""))
        async with asyncio.timeout(timeout_s):
            websocket = await self._connections.ws_connect(
                url,
                headers=headers,
                # aiohttp refuses a message of this size; uvicorn accepts it.
                max_msg_size=self._limits.message_bytes + 1,
                heartbeat=_HEARTBEAT_S,
            )
        return BotConnection(websocket, view.epoch, self._limits.close_s)

    def _check_accepted(self, error: aiohttp.WSServerHandshakeError) -> None:
        """Log a refusal of the runner.

        Raises:
            StreamRefusedError: It will not change.
        """
        if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            log.error(
                "The runner of a stream rejected the edge's credential; "
                "both need the same BOT_CONTROL_SHARED_SECRET"
            )
            raise StreamRefusedError.with_code(closing.FAILED, "The runner refused the stream.")
        # 404 and 409: the session has just moved, or its bot is not ready. 5xx: the runner stops.
        log.info("The runner of a stream is not ready", status=error.status)
