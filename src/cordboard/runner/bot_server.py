"""The HTTP server of a bot process. It accepts no connections; the runner passes them.

The parts of uvicorn that serve one connection, without its server, are not documented as an interface.
`tests/runner/test_runner_uvicorn_internals.py` checks the attributes that are used here and in ``web.http_protocol``;
read it before you extend `UVICORN_VERSIONS`.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from cordboard.emit import get_logger
from cordboard.runner import bot_stream
from cordboard.runner.passed_sockets import receive_connection
from cordboard.web.http_protocol import BoundedProtocol, ConnectionLimits
from cordboard.web.serve import uvicorn_config
from cordboard.web.websocket_protocol import BoundedWebSocketProtocol

# The releases of uvicorn, by major and minor number, with which the parts used here were tested.
UVICORN_VERSIONS: Final = ("0.54",)

# A session has one stream and a few requests of its page at a time. A body may take as long as a file of 50 MiB
# at 1.4 Mbit/s, the upstream of a slow connection.
LIMITS: Final = ConnectionLimits(connections=64, body_s=300.0)

log = get_logger("bot")


class BotServer:
    """Serves the connections that the runner passes to this process.

    Args:
        connections: The socket on which they arrive.
        make_app: Makes the application, for the first connection: many bots never get one, and memory that a
            bot process writes to is no longer shared with the others.
        limits: The limits of the connections.
    """

    def __init__(
        self,
        connections: socket.socket,
        make_app: Callable[[], ASGIApp],
        limits: ConnectionLimits = LIMITS,
    ) -> None:
        self._connections = connections
        self._limits = limits
        self._make_app = make_app
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def _config(self) -> uvicorn.Config:
        config = uvicorn_config(
            self._make_app(), limits=self._limits, websockets=True, protocol=_PassedProtocol
        )
        config.ws = _WebSocketProtocol
        config.load()
        return config

    @cached_property
    def _state(self) -> ServerState:
        return ServerState()

    def start(self) -> None:
        """Take connections from now on; those that wait already are served at once."""
        self._connections.setblocking(False)
        asyncio.get_running_loop().add_reader(self._connections, self._take)

    def prepare(self) -> None:
        """Make the application now, for a connection that will come."""
        _ = self._config

    def stop(self) -> None:
        """Take no more connections."""
        asyncio.get_running_loop().remove_reader(self._connections)

    async def wait_until_closed(self, seconds: float) -> None:
        """Return when all connections are closed, or after a number of seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _take(self) -> None:
        try:
            passed = receive_connection(self._connections)
        except BlockingIOError:
            return
        except (EOFError, OSError):  # the runner ends the process by its control channel
            self.stop()
            return
        if passed is None:
            log.warning("A connection was lost: this process has too many open files")
            return
        task = asyncio.create_task(self._serve(*passed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, received: bytes) -> None:
        """Serve a connection until it is closed."""
        closing = bot_stream.Closing()
        make_protocol: Any = self._config.http_protocol_class
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: make_protocol(
                    config=self._config,
                    server_state=self._state,
                    app_state={bot_stream.CLOSED: closing},
                    received=received,
                ),
                connection,
            )
        except OSError as error:  # it was reset on its way
            connection.close()
            log.debug("A connection cannot be served", error=error)
        else:
            await closing.event.wait()


class _WebSocketProtocol(BoundedWebSocketProtocol):
    """A WebSocket whose end is known even if the bot does not read."""

    def handle_close(self, event: Any) -> None:
        """Note the code with which the peer closes the connection.

        Args:
            event: The close frame.
        """
        if not self.close_sent and self.conn.close_rcvd is not None:
            self.app_state[bot_stream.CLOSED].code = self.conn.close_rcvd.code
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Set the event in the state of the connection's scope.

        Args:
            exc: Why the connection was lost; None if it was closed.
        """
        super().connection_lost(exc)
        self.app_state[bot_stream.CLOSED].set()


class _PassedProtocol(BoundedProtocol):
    """A connection whose start the runner has read.

    Args:
        received: What the runner has read.
    """

    def __init__(self, *args: Any, received: bytes, **options: Any) -> None:
        super().__init__(*args, **options)
        self._received = received

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve what has been read, before anything else.

        Args:
            transport: The connection.
        """
        super().connection_made(transport)
        received, self._received = self._received, b""
        if not transport.is_closing():
            self.data_received(received)

    def connection_lost(self, exc: Exception | None) -> None:
        """Set the event in the state of the connection's scopes.

        Args:
            exc: Why the connection was lost; None if it was closed.
        """
        super().connection_lost(exc)
        self.app_state[bot_stream.CLOSED].set()
