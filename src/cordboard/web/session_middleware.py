"""Middleware that binds the session of a request, for any ASGI application.

Pure ASGI: a ``BaseHTTPMiddleware`` runs the application in another task and loses what it binds.
The access line is written here, when the response is complete, so that it has the session's id and does
not wait for background tasks; the server's own access line is muted.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from time import perf_counter_ns
from typing import Any, Final

from cordboard.context import EMPTY, Context, bound_context, current, merged
from cordboard.context.carrier import HEADER_SESSION_ID, extract_headers
from cordboard.contract.ids import is_session_id
from cordboard.contract.redaction import REDACTED
from cordboard.emit import get_logger
from cordboard.emit.bridges import standard

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SILENT_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/livez", "/health"})
"""Probes and Prometheus request these every few seconds; access lines for them would hide the others."""

CLAIMED: Final = "cordboard.claimed"
"""Key of an ASGI scope: what a request claimed without being trusted, for the access line."""

_LOGGED_PATH: Final = "cordboard.logged_path"
_SESSION_HEADER: Final = HEADER_SESSION_ID.lower().encode()
_SERVER_ERROR: Final = 500
_CLIENT_CLOSED: Final = 499  # nginx's status for a client that closed the connection
_SWITCHING_PROTOCOLS: Final = 101
_FORBIDDEN: Final = 403
# 401 and 403: no valid secret or login; 421: a page of another site (DNS rebinding).
_UNTRUSTED: Final = frozenset({401, 403, 421})
log = get_logger("http")


class SessionMiddleware:
    """Binds the session that a request's headers name, for every line of that request.

    Args:
        app: Any ASGI application.
        silent_paths: Paths whose requests write no access line.
        trust_identity: Whether ``X-User-Id`` and ``X-User-Name`` are trusted. Set it to False for a
            server that browsers reach directly. Nothing is trusted in a request that ends as 401, 403
            or 421: its access line belongs to the server, with the claims in ``meta.claimed``.
        secret_prefixes: Paths below which the rest is a secret, such as a token: no log line shows it.
    """

    def __init__(
        self,
        app: App,
        *,
        silent_paths: Iterable[str] = SILENT_PATHS,
        trust_identity: bool = True,
        secret_prefixes: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.secret_prefixes = tuple(secret_prefixes)
        self.silent_paths = frozenset(silent_paths)
        self.trust_identity = trust_identity
        # uvicorn's line has no session, and it comes after the background tasks.
        standard.muted_loggers.add("uvicorn.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        extracted = extract_headers(scope["headers"])
        context = extracted.context
        if not self.trust_identity:
            context = Context(session_id=context.session_id, traceparent=context.traceparent)
        scope[_LOGGED_PATH] = _masked(scope["path"], self.secret_prefixes)
        is_silent = scope["path"] in self.silent_paths
        exchange = _Exchange(scope, send, context, extracted.refused, is_silent=is_silent)
        with bound_context(context):
            try:
                await self.app(scope, receive, exchange.send)
            except BaseException as error:
                exchange.fail(error)
                raise
            finally:
                exchange.log_access()


class _Exchange:
    """A request and its response: adds the session header and writes the access line once."""

    __slots__ = (
        "_context",
        "_is_logged",
        "_is_silent",
        "_malformed",
        "_scope",
        "_send",
        "_started_ns",
        "size",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        send: Send,
        context: Context,
        malformed: Sequence[str],
        *,
        is_silent: bool,
    ) -> None:
        self._scope = scope
        self._send = send
        self._context = context
        self._malformed = malformed
        self._is_silent = is_silent
        self._is_logged = False
        self._started_ns = perf_counter_ns()
        self.status: int | None = None
        self.size = 0

    async def send(self, message: Message) -> None:
        """Forward a `message` of the application."""
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            self.status = message["status"]
            self._on_start(message)
        elif kind in {"http.response.body", "websocket.http.response.body"}:
            self.size += len(message.get("body", b""))
        elif kind == "websocket.accept":
            self.status = _SWITCHING_PROTOCOLS
            self._on_start(message)
        elif kind == "websocket.send":
            self.size += _size(message)
        elif kind == "websocket.close" and self.status is None:
            self.status = _FORBIDDEN
            self._distrust()
        await self._send(message)
        # Here, not when the application returns: it may still run background tasks.
        if kind == "http.response.body" and not message.get("more_body", False):
            self.log_access()

    def fail(self, error: BaseException) -> None:
        """Log an `error` of the application while the session is known."""
        # The server cancels a request whose client has disconnected; that is not an error of ours.
        if isinstance(error, CancelledError):
            self.status = self.status or _CLIENT_CLOSED
            return
        self.status = self.status or _SERVER_ERROR
        if isinstance(error, Exception):
            with bound_context(self._context):
                log.error("Request failed", error=error, path=logged_path(self._scope))
            standard.mark_logged(error)  # the server logs it again, without a session

    def log_access(self) -> None:
        """Write the access line, unless it is written or the path is silent."""
        if self._is_logged or self._is_silent:
            return
        self._is_logged = True
        status = self.status or _SERVER_ERROR
        with bound_context(self._context):
            if self._malformed:
                log.warning("Malformed session headers were ignored", names=list(self._malformed))
            (log.warning if status >= _SERVER_ERROR else log.info)(
                "Request served",
                method=self._scope.get("method", "WEBSOCKET"),
                path=logged_path(self._scope),
                status=status,
                ms=round((perf_counter_ns() - self._started_ns) / 1e6, 2),
                bytes=self.size,
                **self._sender(),
            )

    def _distrust(self) -> None:
        """Make the access line the server's own: a stranger must not write into a session."""
        claims = {
            key: value
            for key, value in (
                ("sessionId", self._context.session_id),
                ("userId", self._context.user_id),
                ("userName", self._context.user_name),
            )
            if value
        }
        if claims:
            self._scope[CLAIMED] = {**self._scope.get(CLAIMED, {}), "claimed": claims}
        self._context = EMPTY

    def _sender(self) -> dict[str, Any]:
        """Return the address of the sender, and what it claimed without being trusted."""
        client = self._scope.get("client")
        peer = {"peer": client[0]} if client and client[0] else {}
        return {**peer, **self._scope.get(CLAIMED, {})}

    def _on_start(self, message: Message) -> None:
        """Add the session's id to the start of the response, and decide whose the access line is.

        What the application has bound by now (``context.adopt``) belongs to the access line, too. If the
        application has bound nothing, or refused the request, the request's own headers do not count.
        """
        context = current()
        if self.status in _UNTRUSTED or (context == EMPTY and self._context != EMPTY):
            self._distrust()
            return
        self._context = context
        headers = list(message.get("headers") or ())
        for name, value in headers:
            if name.lower() == _SESSION_HEADER:
                # The application has named a session itself; do not overrule it.
                session_id = value.decode("latin-1")
                if is_session_id(session_id):
                    self._context = _with_session(self._context, session_id)
                return
        if is_session_id(self._context.session_id):
            headers.append((_SESSION_HEADER, str(self._context.session_id).encode()))
            message["headers"] = headers


def logged_path(scope: Scope) -> str:
    """Return the path of a request as log lines show it: without a secret.

    Args:
        scope: The ASGI scope of the request.
    """
    path: str = scope.get(_LOGGED_PATH, scope["path"])
    return path


def _size(message: Message) -> int:
    """Return the bytes of a WebSocket message that is sent."""
    text: str | None = message.get("text")
    if text is None:
        return len(message.get("bytes") or b"")
    # Streams send 50 a second. Python knows of each text whether it is ASCII, and then need not encode it.
    return len(text) if text.isascii() else len(text.encode())


def _masked(path: str, secret_prefixes: Sequence[str]) -> str:
    for prefix in secret_prefixes:
        if path.startswith(prefix):
            return f"{prefix}{REDACTED}"
    return path


def _with_session(context: Context, answered: str) -> Context:
    """Return the context of a request whose response names a session.

    A request with a session id of its own keeps it: the session in the response may belong to another
    user, for example the holder of a busy room, and the request must not write a line into it.
    """
    return merged(context, session_id=context.session_id or answered)
