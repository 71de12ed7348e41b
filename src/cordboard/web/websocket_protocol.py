"""The server's side of WebSockets, whose connections end for certain."""

import asyncio
from typing import Any, ClassVar, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# While no more than this waits for the application, a connection is read on. uvicorn stops to read it at each message
# and resumes when the message is taken: two system calls, 8 % of a bot's processor time in a phone call.
_WAITING_MAX: Final = 8
# Twenty times a message of a phone call; a larger one is worth the system calls.
_SMALL_BYTES: Final = 4096

_MALFORMED: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that is aborted if its peer reads nothing.

    uvicorn closes a transport, and asyncio then waits, for ever, until the peer has read what was written.
    Peers that vanish, or that read nothing on purpose, would each keep a socket open.

    Args:
        *args: The arguments of uvicorn's class.
        **options: Its options.

    Attributes:
        abort_s: Seconds from the end of the application until the connection is aborted. uvicorn waits 10 s
            for the peer to confirm the close frame.
    """

    abort_s: ClassVar[float] = 11.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._abort_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Read `data`, and refuse a handshake that cannot be parsed, such as one with a body.

        uvicorn does not answer it, and would keep the connection for as long as the client does.

        Args:
            data: The bytes.
        """
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            self.transport.write(_MALFORMED)
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Queue a message for the application; stop to read the connection if more than a few wait."""
        is_small = len(self.frames) == 1 and len(self.frames[0]) <= _SMALL_BYTES
        if self.read_paused or not is_small or self.queue.qsize() >= _WAITING_MAX:
            super().send_receive_event_to_app()
            return
        # uvicorn then takes the connection for paused, and leaves it as it is.
        self.read_paused = True
        super().send_receive_event_to_app()
        self.read_paused = False

    async def send(self, message: Any) -> None:
        """Send a message, and note the end of a response that refuses the handshake.

        uvicorn does not, and then logs an error for each refused WebSocket.

        Args:
            message: The ASGI message.
        """
        await super().send(message)
        if self.close_sent and message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Bound the time in which the closed connection may end.

        Args:
            task: The task of the application.
        """
        super().on_task_complete(task)
        if not self.disconnected:
            self._abort_later(self.abort_s)

    def keepalive_timeout(self) -> None:
        """End a connection whose peer does not answer a ping."""
        super().keepalive_timeout()
        # In the next iteration, so that a peer that reads again receives the close frame.
        self._abort_later(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection.

        Args:
            exc: Why it was lost; None if it was closed.
        """
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def _abort_later(self, seconds: float) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._abort_timer = self.loop.call_later(seconds, self.transport.abort)
