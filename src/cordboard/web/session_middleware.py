"""Binds the session of a request, in any ASGI application: extract, bind, echo, say, reset.

Pure ASGI: a ``BaseHTTPMiddleware`` runs the application in another task and loses what it binds.
The access line is written here, when the answer is complete, so that it has the session's id and
does not wait for background tasks; the server's own access line is muted.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from time import perf_counter_ns
from typing import Any, Final

from cordboard.context import EMPTY, Context, bound_context, current, merged
from cordboard.context.carrier import HEADER_SESSION_ID, extract_headers
from cordboard.contract.ids import is_session_id
from cordboard.emit import get_logger
from cordboard.emit.bridges import standard

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SILENT_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/livez", "/health"})
"""Asked every few seconds by machines: nobody wants a line about each."""

CLAIMED: Final = "cordboard.claimed"
"""Key of a scope: what a request claimed and is not trusted. The access line contains it."""

_SESSION_HEADER: Final = HEADER_SESSION_ID.lower().encode()
_SERVER_ERROR: Final = 500
_CLIENT_WENT: Final = 499  # as nginx has it: the client closed the connection
_SWITCHING: Final = 101
_FORBIDDEN: Final = 403
_REFUSED: Final = frozenset({401, 403, 421})
log = get_logger("http")


class SessionMiddleware:
    """Gives every line of a request the session named in its headers.

    Args:
        app: Any ASGI application.
        silent_paths: Requests to these write no access line.
        trust_identity: Whether ``X-User-Id`` and ``X-User-Name`` are believed: behind our own
            services yes, before a browser no. Of a request that ends as 401, 403 or 421 nothing is
            believed: its access line is the server's own, with the claims in ``meta.claimed``.
    """

    def __init__(
        self,
        app: App,
        *,
        silent_paths: Iterable[str] = SILENT_PATHS,
        trust_identity: bool = True,
    ) -> None:
        self.app = app
        self.silent_paths = frozenset(silent_paths)
        self.trust_identity = trust_identity
        standard.muted.add("uvicorn.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        found = extract_headers(scope["headers"])
        context = found.context
        if not self.trust_identity:
            context = Context(session_id=context.session_id, traceparent=context.traceparent)
        silent = scope["path"] in self.silent_paths
        exchange = _Exchange(scope, send, context, found.refused, silent=silent)
        with bound_context(context):
            try:
                await self.app(scope, receive, exchange.send)
            except BaseException as error:
                exchange.fail(error)
                raise
            finally:
                exchange.say()


class _Exchange:
    """Watches what is sent, adds the session's header, and says how it went, once."""

    __slots__ = (
        "_began_ns",
        "_context",
        "_malformed",
        "_said",
        "_scope",
        "_send",
        "_silent",
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
        silent: bool,
    ) -> None:
        self._scope = scope
        self._send = send
        self._context = context
        self._malformed = malformed
        self._silent = silent
        self._said = False
        self._began_ns = perf_counter_ns()
        self.status: int | None = None
        self.size = 0

    async def send(self, message: Message) -> None:
        """Pass a message of the application on."""
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            self.status = message["status"]
            self._meet_header(message)
        elif kind in {"http.response.body", "websocket.http.response.body"}:
            self.size += len(message.get("body", b""))
        elif kind == "websocket.accept":
            self.status = _SWITCHING
            self._meet_header(message)
        elif kind == "websocket.send":
            self.size += len(message.get("bytes") or (message.get("text") or "").encode())
        elif kind == "websocket.close" and self.status is None:
            self.status = _FORBIDDEN
            self._disown()
        await self._send(message)
        if kind == "http.response.body" and not message.get("more_body", False):
            self.say()

    def fail(self, error: BaseException) -> None:
        """Say what the application raised, while the session is known."""
        if isinstance(error, CancelledError):
            self.status = self.status or _CLIENT_WENT
            return
        self.status = self.status or _SERVER_ERROR
        if isinstance(error, Exception):
            with bound_context(self._context):
                log.error("Request failed", error=error, path=self._scope["path"])
            standard.mark_said(error)  # the server will say it again, without a session

    def say(self) -> None:
        """Write the access line."""
        if self._said or self._silent:
            return
        self._said = True
        status = self.status or _SERVER_ERROR
        with bound_context(self._context):
            if self._malformed:
                log.warning("Malformed session headers ignored", names=list(self._malformed))
            (log.warning if status >= _SERVER_ERROR else log.info)(
                "Request served",
                method=self._scope.get("method", "WEBSOCKET"),
                path=self._scope["path"],
                status=status,
                ms=round((perf_counter_ns() - self._began_ns) / 1e6, 2),
                bytes=self.size,
                **self._sender(),
            )

    def _disown(self) -> None:
        """Make the access line the server's own: a stranger must not write into a session."""
        claimed = {
            key: value
            for key, value in (
                ("sessionId", self._context.session_id),
                ("userId", self._context.user_id),
                ("userName", self._context.user_name),
            )
            if value
        }
        if claimed:
            self._scope[CLAIMED] = {**self._scope.get(CLAIMED, {}), "claimed": claimed}
        self._context = EMPTY

    def _sender(self) -> dict[str, Any]:
        """Return the address that sent the request, and what it claimed without being trusted."""
        client = self._scope.get("client")
        peer = {"peer": client[0]} if client and client[0] else {}
        return {**peer, **self._scope.get(CLAIMED, {})}

    def _meet_header(self, message: Message) -> None:
        """Echo the session, unless the application names one; of a request without, that is its own.

        What is bound where the answer begins, beyond the request's own headers, was learnt of it
        on the way (``context.adopt``): it belongs to the access line too. Where nothing is bound any
        more, or the request was refused, what it claimed is not believed.
        """
        learnt = current()
        if self.status in _REFUSED or (learnt == EMPTY and self._context != EMPTY):
            self._disown()
            return
        self._context = learnt
        headers = list(message.get("headers") or ())
        for name, value in headers:
            if name.lower() == _SESSION_HEADER:
                named = value.decode("latin-1")
                if is_session_id(named):
                    self._context = _of_session(self._context, named)
                return
        if is_session_id(self._context.session_id):
            headers.append((_SESSION_HEADER, str(self._context.session_id).encode()))
            message["headers"] = headers


def _of_session(context: Context, named: str) -> Context:
    """Return the context of a request whose answer names a session.

    One that the request did not ask for is perhaps another user's, as where a room is busy: who asks
    puts no line into it.
    """
    return merged(context, session_id=context.session_id or named)
