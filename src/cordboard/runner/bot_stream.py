"""The bot's stream: one Starlette ``WebSocket`` over a connection that may be replaced by a newer one."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from cordboard.contract.carrier_streams import MESSAGES_MAX
from cordboard.contract.errors import ConflictError
from cordboard.contract.http_api import HEADER_STREAM_SILENCE
from cordboard.emit import get_logger
from cordboard.runner.call_streams import CallStream, CallStreams

# Close codes. 4000 to 4999 are for private use (RFC 6455, section 7.4.2), the others are registered.
REPLACED: Final = 4409
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
FAILED: Final = 1011
RESTART: Final = 1012

# How long a close code may wait behind messages that the peer does not read, and how long the peer may take to
# confirm it. It does so in one round trip; without it, the reset of the connection could overtake the code.
CLOSE_S: Final = 1.0

KEPT_S: Final = 10.0
"""Seconds for which a call without a stream keeps its bot. A carrier whose stream broke requests its next document at
once, or opens its stream again after a few seconds (Plivo)."""

# Seconds for the first messages of a call's later stream. Carriers send them at once.
_START_S: Final = 10.0

CLOSED: Final = "cordboard.closed"
"""Key of the state in an ASGI scope: the `Closing` of the connection."""

log = get_logger("stream")


@dataclass(slots=True, eq=False)
class Closing:
    """The end of a connection.

    Attributes:
        event: Set once it has ended.
        code: The code with which the peer has closed it; None if it has not, as when it died.
        at: The ``time.monotonic`` time at which it ended; None before.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None
    at: float | None = None

    def set(self) -> None:
        """Note the end."""
        self.at = self.at or time.monotonic()
        self.event.set()


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    """One connection of the stream.

    Attributes:
        receive: Receives its messages, the ASGI function of the server.
        send: Sends messages to it.
        closing: Its end.
        is_superseded: Set once the bot's stream does not wait for this connection any more: a newer one has
            replaced it, or the stream has ended.
        stream: The carrier's stream that it carries.
        unread: Messages that were read before the bot asked for them.
    """

    receive: Receive
    send: Send
    closing: Closing
    is_superseded: asyncio.Event = field(default_factory=asyncio.Event)
    stream: CallStream = field(default_factory=CallStream)
    unread: deque[Message] = field(default_factory=deque)

    async def close(self, code: int) -> None:
        """Close the connection with `code`, or without it if the peer does not read."""
        with contextlib.suppress(
            OSError, RuntimeError
        ):  # it is closed already; TimeoutError is an OSError
            async with asyncio.timeout(CLOSE_S):
                await self.send({"type": "websocket.close", "code": code})


class BotStream:
    """The stream of a bot in a room that people reach by a WebSocket.

    The bot's ``WebSocket`` receives and sends through this object, so it outlives a connection that a newer
    one replaces. In a carrier's call it also outlives, for a while, a connection that was lost.

    Args:
        call: What the bot knows of the streams of its call; None in a room of another kind.
        kept_s: Seconds for which a call without a connection keeps its bot.

    Attributes:
        opened: The bot's ``WebSocket``, accepted; done once there is the first connection.
    """

    def __init__(self, call: CallStreams | None = None, kept_s: float = KEPT_S) -> None:
        self.opened: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
        self._call = call
        self._kept_s = kept_s
        self._connection: _Connection | None = None
        self._handshake = asyncio.Lock()
        self._has_ended = False
        self._spoke_at = time.monotonic()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, or the bot still waits for the next one."""
        connection = self._connection
        if connection is None:
            return False
        return not connection.closing.event.is_set() or self._kept_s_left(connection) > 0

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket; return when it has ended. A newer one replaces it.

        Args:
            scope: The ASGI scope of the connection.
            receive: The ASGI function that receives its messages.
            send: The ASGI function that sends messages.

        Raises:
            ConflictError: The stream has ended.
            OSError: The peer has gone before it was accepted.
        """
        connection = _Connection(receive, send, scope["state"][CLOSED])
        # One at a time: the bot's WebSocket must not receive the handshake of the next connection.
        async with self._handshake:
            if self._has_ended:
                raise ConflictError("The stream of this session has ended.")
            older = self._connection
            if older is None or not self.opened.done():
                self._connection = connection
                await self._accept_first(scope)
            elif not await self._replace(older, connection):
                return
        log.info("Bot connected", event="bot.connected", transport="websocket")
        if older is not None and not older.closing.event.is_set():
            log.warning("A newer stream replaces the one before")
            await older.close(REPLACED)
        await connection.closing.event.wait()
        if connection is self._connection and (seconds := self._kept_s_left(connection)) > 0:
            log.info(
                "The call has lost its stream; its bot waits for the next one", seconds=seconds
            )

    async def _accept_first(self, scope: Scope) -> None:
        websocket = WebSocket(scope, self._receive, self._send)
        await websocket.accept()
        self.opened.set_result(websocket)

    async def _replace(self, older: _Connection, newer: _Connection) -> bool:
        """Accept a newer connection and give it to the bot; return whether it could be given."""
        await newer.receive()
        headers = []
        if self._call is not None:
            silence_ms = round((time.monotonic() - self._spoke_at) * 1000)
            headers = [(HEADER_STREAM_SILENCE.lower().encode(), str(silence_ms).encode())]
        await newer.send({"type": "websocket.accept", "headers": headers})
        # Until the carrier's id of the new stream is known, the bot cannot speak on it.
        if self._call is not None and self._call.has_start:
            await self._read_start(newer)
            if newer.closing.event.is_set():
                return False
        if self._has_ended:  # meanwhile
            await newer.close(GOING_AWAY)
            return False
        self._connection = newer
        older.is_superseded.set()
        return True

    async def _read_start(self, connection: _Connection) -> None:
        """Read the first messages of a call's later stream. The bot gets none of them again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                for _ in range(MESSAGES_MAX):
                    message = await connection.receive()
                    if self._for_bot(connection, message) is not None:
                        connection.unread.append(message)
                    if connection.stream.has_started or message["type"] == "websocket.disconnect":
                        return

    async def close(self, code: int) -> None:
        """Close the stream with `code`, unless it is closed already; refuse later connections."""
        self._end()
        if self._connection is not None and not self._connection.closing.event.is_set():
            await self._connection.close(code)

    def _end(self) -> None:
        self._has_ended = True
        if self._connection is not None:
            self._connection.is_superseded.set()

    def _kept_s_left(self, connection: _Connection) -> float:
        """Return for how many seconds the bot waits for another connection than `connection`, which is lost."""
        closing = connection.closing
        is_kept = self._call is not None and not self._call.has_stopped and not self._has_ended
        # A carrier that closes its stream has ended it; an edge that stops closes it with RESTART.
        if not is_kept or closing.code not in {None, RESTART}:
            return 0.0
        closing.at = closing.at or time.monotonic()
        return closing.at + self._kept_s - time.monotonic()

    async def _has_successor(self, connection: _Connection) -> bool:
        """Wait for the connection that follows a lost one; return whether there is one."""
        if connection is self._connection and (seconds := self._kept_s_left(connection)) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await connection.is_superseded.wait()
        return connection is not self._connection

    async def _receive(self) -> Message:
        """Return the next message of the newest connection."""
        while True:
            connection = self._connection
            if connection is None:
                raise RuntimeError("The stream has no connection.")
            unread = connection.unread
            message = unread.popleft() if unread else await connection.receive()
            if message["type"] == "websocket.disconnect":
                # For the next call: the bot may give this one up, and the connection has nothing else to say.
                unread.append(message)
                if await self._has_successor(connection):
                    continue
                self._end()  # to Starlette's object, which takes no message after this one
                return message
            if connection is not self._connection:
                continue
            kept = self._for_bot(connection, message)
            if kept is not None:
                return kept

    def _for_bot(self, connection: _Connection, message: Message) -> Message | None:
        """Return a message of a connection as the bot gets it; None if the bot must not get it."""
        text = message.get("text")
        if self._call is None or text is None:
            return message
        kept = self._call.for_bot(connection.stream, text)
        return None if kept is None else {**message, "text": kept}

    async def _send(self, message: Message) -> None:
        """Send a message on the newest connection; in a call that has none, wait for the next one."""
        is_close = message["type"] == "websocket.close"
        if is_close:
            self._end()
        while True:
            connection = self._connection
            if connection is None:
                raise RuntimeError("The stream has no connection.")
            try:
                await connection.send(self._for_carrier(connection, message))
            except (OSError, RuntimeError):
                if is_close and self._call is not None:
                    return  # a bot that ends while its call has no stream
                if not await self._has_successor(connection):
                    self._end()
                    raise
            else:
                self._spoke_at = time.monotonic()
                return

    def _for_carrier(self, connection: _Connection, message: Message) -> Message:
        text = message.get("text")
        if self._call is None or text is None:
            return message
        return {**message, "text": self._call.for_carrier(connection.stream, text)}
