"""A limit on the size of request bodies."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.contract.errors import BodyTooLargeError
from cordboard.web.problems import problem

BODY_MAX_BYTES: Final = 64 * 1024
"""The largest regular body, a WebRTC offer, has about 10 KB. A route holds the whole body in memory, so
this also limits the memory that a request takes."""


class BodyLimitMiddleware:
    """Refuses request bodies over a limit: by their declared length, or else while they are read.

    Args:
        app: The wrapped application.
        limit_bytes: The largest body, in bytes.
        limit_of: Returns the largest body of a request, given its ASGI scope; None for `limit_bytes`.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_bytes: int = BODY_MAX_BYTES,
        limit_of: Callable[[Scope], int] | None = None,
    ) -> None:
        self._app = app
        self._limit_of = limit_of or (lambda _scope: limit_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_of(scope)
        if _declared_length(scope) > limit_bytes:
            await _refuse(limit_bytes, scope, receive, send)
            return
        read_bytes = 0
        is_started = False

        async def receive_limited() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > limit_bytes:
                raise _BodyTooLongError
            return message

        async def send_noting_start(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive_limited, send_noting_start)
        except _BodyTooLongError:
            # After the start of a response nothing else can be sent; the server closes the connection.
            if not is_started:
                await _refuse(limit_bytes, scope, receive, send)


async def _refuse(limit_bytes: int, scope: Scope, receive: Receive, send: Send) -> None:
    error = BodyTooLargeError(f"The request body is over {limit_bytes} bytes.")
    await problem(error)(scope, receive, send)


class _BodyTooLongError(BaseException):
    """Not an ``Exception``, so that it passes the exception handlers of the application."""


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0  # unknown: a chunked body is counted while it is read
