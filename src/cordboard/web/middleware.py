"""Binds the session of a request, in any ASGI application: extract, bind, echo, say, reset.

Pure ASGI: a ``BaseHTTPMiddleware`` runs the application in another task and loses what it binds.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter_ns
from typing import Any, Final

from cordboard.context import Context, bound_context
from cordboard.context.carrier import HEADER_SESSION_ID, extract_headers
from cordboard.emit import get_logger

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SILENT_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/livez", "/health"})
_SESSION_HEADER: Final = HEADER_SESSION_ID.lower().encode()
_SERVER_ERROR: Final = 500
log = get_logger("http")


class SessionMiddleware:
    """Gives every line of a request the session named in its headers.

    Args:
        app: Any ASGI application.
        silent_paths: Requests to these write no access line.
        trust_identity: Whether ``X-User-Id`` and ``X-User-Name`` are believed: behind our own
            services yes, before a browser no.
    """

    def __init__(
        self,
        app: App,
        *,
        silent_paths: frozenset[str] = SILENT_PATHS,
        trust_identity: bool = True,
    ) -> None:
        self.app = app
        self.silent_paths = silent_paths
        self.trust_identity = trust_identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        found = extract_headers(scope["headers"])
        context = found.context
        if not self.trust_identity:
            context = Context(session_id=context.session_id, traceparent=context.traceparent)
        with bound_context(context):
            if found.refused:
                log.warning("Malformed session headers ignored", names=list(found.refused))
            await self._serve(scope, receive, send, context)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, context: Context) -> None:
        answer = _Answer(send, context)
        began = perf_counter_ns()
        try:
            await self.app(scope, receive, answer.send)
        except BaseException:
            answer.status = answer.status or _SERVER_ERROR
            raise
        finally:
            if scope["path"] not in self.silent_paths:
                log.info(
                    "Request served",
                    method=scope.get("method", "WEBSOCKET"),
                    path=scope["path"],
                    status=answer.status,
                    ms=round((perf_counter_ns() - began) / 1e6, 2),
                    bytes=answer.size,
                )


class _Answer:
    """Watches what is sent: the status, how many bytes; adds the session's header."""

    __slots__ = ("_send", "_session", "size", "status")

    def __init__(self, send: Send, context: Context) -> None:
        self._send = send
        self._session = context.session_id
        self.status: int | None = None
        self.size = 0

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self._add_header(message)
        elif kind == "http.response.body":
            self.size += len(message.get("body", b""))
        elif kind == "websocket.accept":
            self.status = 101
            self._add_header(message)
        await self._send(message)

    def _add_header(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        if self._session and all(name.lower() != _SESSION_HEADER for name, _ in headers):
            headers.append((_SESSION_HEADER, self._session.encode()))
            message["headers"] = headers
