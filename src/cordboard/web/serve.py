"""Serving an application: binding with clear words, and stopping in order."""

import asyncio
import errno
import os
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.web.http_protocol import BoundedProtocol
from cordboard.web.tls import Certificate

GRACE_S: Final = 5

log = get_logger("http")

Drain = Callable[[], Awaitable[None]]


def run(
    app: ASGIApp,
    *,
    listener: socket.socket,
    grace_s: int = GRACE_S,
    drain: Drain | None = None,
    certificate: Certificate | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, let requests finish, return the exit status.

    Args:
        app: The application.
        listener: Where to listen, from ``bind``.
        grace_s: Seconds that open requests have after the signal.
        drain: Awaited after the first signal, while requests are still served; a second SIGINT
            does not wait for it.
        certificate: What to serve https with; without one it is http.
    """
    # uvicorn raises the signal again once it has stopped; the end it asked for is a clean one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_stopping)
    server = DrainingServer(uvicorn_config(app, grace_s=grace_s, certificate=certificate), drain)
    server.run(sockets=[listener])
    return 0 if server.started else 1


class DrainingServer(uvicorn.Server):
    """A server that drains before it stops.

    Args:
        settings: How to run.
        drain: What to await first.
    """

    def __init__(self, settings: uvicorn.Config, drain: Drain | None) -> None:
        super().__init__(settings)
        self._drain = drain
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._signals: Counter[int] = Counter()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and say where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            log.info("Listening", url=self._url(sockets), pid=os.getpid())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to serve, and say so."""
        url = self._url(sockets)  # while they are open
        await super().shutdown(sockets)
        log.info("Stopped", url=url, pid=os.getpid())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first begins to drain, a second SIGINT stops at once.

        Kubelets and supervisors send SIGTERM more than once; that ends nothing sooner.
        """
        self._signals[sig] += 1
        if self._signals.total() > 1 and self._signals[signal.SIGINT] <= 1:
            return
        if self._drain is None or self._loop is None or self._draining is not None:
            super().handle_exit(sig, frame)
            return
        self._draining = self._loop.create_task(self._drain_then_stop(self._drain))
        self._loop.call_soon_threadsafe(lambda: None)  # wakes the loop

    def _url(self, sockets: Sequence[socket.socket] | None) -> str | None:
        """Return where a listening socket is reached from this machine."""
        scheme = "https" if self.config.is_ssl else "http"
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        return None

    async def _drain_then_stop(self, drain: Drain) -> None:
        try:
            await drain()
        finally:
            self.should_exit = True


def uvicorn_config(
    app: ASGIApp, *, grace_s: int = GRACE_S, certificate: Certificate | None = None
) -> uvicorn.Config:
    """Return how we run uvicorn: quiet, as the middleware writes the access lines.

    Of its own lines only those that warn are left: start and end are told in one of ours each.
    """
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # ForwardedMiddleware reads them, of the proxies that are trusted
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=75,
        ssl_certfile=certificate.cert if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        CordboardError: The port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    listener.setblocking(False)
    return listener


def _cannot_listen(host: str, port: int, error: Exception) -> CordboardError:
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return CordboardError(
            f"Port {port} on {host} is taken.",
            hint="Stop what listens there, or choose another port (0 means any free one).",
        )
    why = getattr(error, "strerror", None) or str(error)
    return CordboardError(f"Cannot listen on {host} port {port}: {why}.")


def _already_stopping(_number: int, _frame: Any) -> None:
    """Take the signal that uvicorn hands on."""
