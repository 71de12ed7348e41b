"""The bot's stream: one Starlette ``WebSocket`` over a connection that may be replaced by a newer one."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from cordboard.contract.errors import ConflictError
from cordboard.emit import get_logger

# Close codes. 4000 to 4999 are for private use (RFC 6455, section 7.4.2), the others are registered.
REPLACED: Final = 4409
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
FAILED: Final = 1011

# How long a close code may wait behind messages that the peer does not read, and how long the peer may take to
# confirm it. It does so in one round trip; without it, the reset of the connection could overtake the code.
CLOSE_S: Final = 1.0

CLOSED: Final = "cordboard.closed"
"""Key of the state in an ASGI scope: an event that is set once the connection has ended."""

log = get_logger("stream")


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    """One connection of the stream.

    Attributes:
        receive: Receives its messages, the ASGI function of the server.
        send: Sends messages to it.
        closed: Set once the connection has ended.
    """

    receive: Receive
    send: Send
    closed: asyncio.Event

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
    one replaces.

    Attributes:
        opened: The bot's ``WebSocket``, accepted; done once there is the first connection.
    """

    def __init__(self) -> None:
        self.opened: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
        self._connection: _Connection | None = None
        self._handshake = asyncio.Lock()
        self._has_ended = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None and not self._connection.closed.is_set()

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
            older, self._connection = self._connection, connection
            await self._accept(scope, connection)
        log.info("Bot connected", event="bot.connected", transport="websocket")
        if older is not None and not older.closed.is_set():
            log.warning("A newer stream replaces the one before")
            await older.close(REPLACED)
        await connection.closed.wait()

    async def _accept(self, scope: Scope, connection: _Connection) -> None:
        if not self.opened.done():
            websocket = WebSocket(scope, self._receive, self._send)
            await websocket.accept()
            self.opened.set_result(websocket)
        else:
            await connection.receive()
            await connection.send({"type": "websocket.accept"})

    async def close(self, code: int) -> None:
        """Close the stream with `code`, unless it is closed already; refuse later connections."""
        self._has_ended = True
        if self._connection is not None and not self._connection.closed.is_set():
            await self._connection.close(code)

    async def _receive(self) -> Message:
        """Return the next message of the newest connection."""
        while True:
            connection = self._connection
            if connection is None:
                raise RuntimeError("The stream has no connection.")
            message = await connection.receive()
            if message["type"] != "websocket.disconnect":
                return message
            if connection is self._connection:
                self._has_ended = (
                    True  # to Starlette's object, which takes no message after this one
                )
                return message

    async def _send(self, message: Message) -> None:
        """Send a message on the newest connection."""
        self._has_ended = self._has_ended or message["type"] == "websocket.close"
        while True:
            connection = self._connection
            if connection is None:
                raise RuntimeError("The stream has no connection.")
            try:
                await connection.send(message)
            except (OSError, RuntimeError):
                if connection is self._connection:
                    raise
            else:
                return
