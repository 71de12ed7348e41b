"""Middleware of the edge: claims of strangers are not bound, paths are shortened, requests are counted."""

import re
from typing import Final

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.context import Context, bound_context, current
from cordboard.contract.ids import BOT_NAME

requests = Counter(
    "cordboard_edge_requests", "Requests to the edge by their call and result.", ["call", "status"]
)
_NO_ROUTE: Final = "none"
# Pipecat Cloud's paths, which name the bot: /v1/public/BOT/start, /v1/public/BOT/sessions/ID/...
_BOT_PATH: Final = re.compile(rf"/v1/public/({BOT_NAME})(/start|/sessions/.+)", re.DOTALL)
_BOT: Final = "cordboard.bot"


class UnboundMiddleware:
    """Binds no session that a request merely names: anybody can send its header.

    A route binds the session (`cordboard.context.adopt`) when the caller has shown that it may use it.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        with bound_context(Context(traceparent=current().traceparent)):
            await self._app(scope, receive, send)


class BotPathMiddleware:
    """Serves the paths of Pipecat Cloud, ``/v1/public/BOT/...``, by the routes without that prefix.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        match = _BOT_PATH.fullmatch(scope["path"]) if scope["type"] != "lifespan" else None
        if match is not None:
            # A copy: the access line shows the path that the client sent.
            scope = {**scope, "path": match[2], _BOT: match[1]}
        await self._app(scope, receive, send)


def bot_of_path(scope: Scope) -> str | None:
    """Return the bot that the path of a request names; None if it names none.

    Args:
        scope: The ASGI scope of the request.
    """
    bot: str | None = scope.get(_BOT)
    return bot


class CountingMiddleware:
    """Counts HTTP requests by the path of their route and the status of their response.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The template of the path, not the path, so that strangers create no time series.
                call = getattr(scope.get("route"), "path", _NO_ROUTE)
                requests.labels(call, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, send_counted)
