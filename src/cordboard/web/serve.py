"""The HTTP server: binding with clear error messages, and an orderly shutdown."""

import asyncio
import errno
import os
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from cordboard.contract.errors import CordboardError, UsageError
from cordboard.emit import get_logger
from cordboard.web import health
from cordboard.web.http_protocol import BoundedProtocol, ConnectionLimits
from cordboard.web.tls import Certificate
from cordboard.web.websocket_protocol import BoundedWebSocketProtocol

GRACE_S: Final = 5
# Connections that wait to be accepted; the kernel's own limit (net.core.somaxconn) is often 4096.
_BACKLOG: Final = 512
# Longer than the 60 s for which common load balancers keep a connection: the side that closes first must
# be theirs, or a request that they send at that moment fails.
_KEEP_ALIVE_S: Final = 75

WEBSOCKET_MESSAGE_MAX_BYTES: Final = 1024 * 1024
"""The size of one message: a second of uncompressed stereo audio at 48 kHz takes a fifth of this."""

log = get_logger("http")

DrainHook = Callable[[], Awaitable[None]]


def run(
    app: Starlette,
    *,
    listener: socket.socket,
    grace_s: int = GRACE_S,
    drain: DrainHook | None = None,
    lame_duck_s: float = 0.0,
    certificate: Certificate | None = None,
    websockets: bool = False,
    protocol: type[BoundedProtocol] = BoundedProtocol,
) -> int:
    """Serve until SIGTERM or SIGINT, let requests finish, and return the exit status.

    Args:
        app: The application.
        listener: The socket to accept connections on, from `bind`.
        grace_s: How long open requests may take after the signal, in seconds.
        drain: Awaited after the first signal, while requests are still served. A second SIGINT does not
            wait for it.
        lame_duck_s: How long connections are accepted as before after the first signal, in seconds: load
            balancers still send requests until they have noticed. ``/readyz`` answers 503 from that signal on.
        certificate: The certificate for https; None for http.
        websockets: Whether the application serves WebSockets.
        protocol: The class of the connections.
    """
    # uvicorn raises the signal again when it has stopped; a requested stop is a success, however.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore_signal)
    config = uvicorn_config(
        app,
        grace_s=grace_s,
        certificate=certificate,
        websockets=websockets,
        protocol=protocol,
    )
    server = DrainingServer(
        config, drain, lame_duck_s=lame_duck_s, announce=lambda: health.announce_stop(app)
    )
    server.run(sockets=[listener])
    return 0 if server.started else 1


class DrainingServer(uvicorn.Server):
    """A server that drains before it stops.

    Args:
        settings: The configuration of uvicorn.
        drain: Awaited after the first signal; None to stop at once.
        lame_duck_s: Seconds after the first signal before it is awaited.
        announce: Called at the first signal.
    """

    def __init__(
        self,
        settings: uvicorn.Config,
        drain: DrainHook | None,
        *,
        lame_duck_s: float = 0.0,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(settings)
        self._drain = drain
        self._lame_duck_s = lame_duck_s
        self._announce = announce
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._signals: Counter[int] = Counter()
        self._forced = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve on `sockets` and log the address."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            log.info("Listening", url=self._url(sockets), pid=os.getpid())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to serve on `sockets` and log that; a second SIGINT ends all waits."""
        url = self._url(sockets)  # before they are closed
        stopping = asyncio.create_task(super().shutdown(sockets))
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait({stopping, forced}, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if stopping.done():
            stopping.result()
        else:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
        log.info("Stopped", url=url, pid=os.getpid())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one starts to drain, a second SIGINT stops at once.

        Kubelets and supervisors repeat SIGTERM; a repeated SIGTERM changes nothing.

        Args:
            sig: The number of the signal.
            frame: The interrupted stack frame.
        """
        self._signals[sig] += 1
        if self._signals[signal.SIGINT] > 1:
            self.should_exit = self.force_exit = True
            self._wake(self._forced.set)
            return
        if self._signals.total() > 1:
            return
        self._announce()
        has_work = self._drain is not None or self._lame_duck_s > 0
        if not has_work or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._draining = self._loop.create_task(self._drain_then_stop())
        self._wake(lambda: None)

    def _wake(self, callback: Callable[[], None]) -> None:
        """Wake the loop: a signal handler runs between two of its bytecodes, when it may be asleep."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(callback)

    def _url(self, sockets: Sequence[socket.socket] | None) -> str | None:
        """Return the URL of the first listening socket."""
        scheme = "https" if self.config.is_ssl else "http"
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        return None

    async def _drain_then_stop(self) -> None:
        try:
            if self._lame_duck_s > 0:
                log.info("Stopping after the lame-duck period", seconds=self._lame_duck_s)
                await asyncio.sleep(self._lame_duck_s)
            if self._drain is not None:
                await self._drain()
        finally:
            self.should_exit = True


def uvicorn_config(
    app: ASGIApp,
    *,
    grace_s: int = GRACE_S,
    certificate: Certificate | None = None,
    limits: ConnectionLimits | None = None,
    websockets: bool = False,
    protocol: type[BoundedProtocol] = BoundedProtocol,
) -> uvicorn.Config:
    """Return the configuration of uvicorn.

    uvicorn logs warnings only: the middleware writes the access lines, and `DrainingServer` logs the
    start and the stop.

    Args:
        app: The application.
        grace_s: How long open requests may take after a signal, in seconds.
        certificate: The certificate for https; None for http.
        limits: The limits of a connection; None for the defaults of this process.
        websockets: Whether the application serves WebSockets.
        protocol: The class of the connections.
    """
    return uvicorn.Config(
        app,
        http=protocol.with_limits(limits or ConnectionLimits.of_this_process()),
        ws=BoundedWebSocketProtocol if websockets else "none",
        ws_max_size=WEBSOCKET_MESSAGE_MAX_BYTES,
        # Audio does not compress, and each message would cost the time of a deflate.
        ws_per_message_deflate=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # ForwardedMiddleware reads them, from trusted proxies only
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=_KEEP_ALIVE_S,
        ssl_certfile=certificate.cert if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: The address to listen on.
        port: The port; 0 for any free port.

    Raises:
        CordboardError: The port is in use, or this machine does not have the address.
        UsageError: The number is no port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # Without this a restart fails for a minute, as long as old connections are in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    listener.setblocking(False)  # asyncio accepts the connections
    return listener


def _cannot_listen(host: str, port: int, error: Exception) -> CordboardError:
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return CordboardError(
            f"Port {port} on {host} is in use.",
            hint="Stop the program that listens there, or choose another port (0 for any free one).",
        )
    if isinstance(error, OverflowError):  # bind(2) has 16 bits for a port
        return UsageError(f"--port {port}: expected a number from 0 to 65535.")
    reason = getattr(error, "strerror", None) or str(error)
    return CordboardError(f"Cannot listen on {host} port {port}: {reason}.")


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing when uvicorn raises the signal again after its shutdown."""
