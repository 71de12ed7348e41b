"""Serving an application: binding with clear words, and stopping in order."""

import errno
import signal
import socket
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from cordboard.contract.errors import CordboardError

GRACE_S: Final = 5


def run(app: ASGIApp, *, host: str, port: int, grace_s: int = GRACE_S) -> int:
    """Serve until SIGTERM or SIGINT, let requests finish, return the exit status.

    Args:
        app: The application.
        host: Where to listen.
        port: Where to listen; 0 means any free port.
        grace_s: Seconds that open requests have after the signal.

    Raises:
        CordboardError: The port is taken, or the host is none of this machine's.
    """
    # uvicorn raises the signal again once it has stopped; the end it asked for is a clean one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_stopping)
    listener = bind(host, port)
    server = uvicorn.Server(config(app, grace_s=grace_s))
    server.run(sockets=[listener])
    return 0 if server.started else 1


def config(app: ASGIApp, *, grace_s: int = GRACE_S) -> uvicorn.Config:
    """Return how we run uvicorn: quiet, as the middleware writes the access lines."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=75,
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
