"""The ASGI application of a bot process: the bot's stream, files, and the bot's own routes."""

import sys
from typing import Final

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.contract.errors import CordboardError, NotFoundError
from cordboard.runner.bot_files import BotFiles
from cordboard.runner.bot_stream import BotStream
from cordboard.web.problems import problem
from cordboard.web.unread_body import with_body_read

# The modules whose ``app`` may have routes of the bot: that of Pipecat Cloud's base image, and that of
# Pipecat's development runner.
_OWN_APPS: Final = ("pipecatcloud_system", "pipecat.runner.run")
# FastAPI adds these routes to every application. Their pages load scripts of another site, and list to
# strangers what a bot can do.
_DOCUMENTATION: Final = frozenset(
    {"openapi", "swagger_ui_html", "swagger_ui_redirect", "redoc_html"}
)
# The segments of /sessions/ID/bot/ and the empty one before them. An id has no slash, quoted or not.
_PREFIX_SEGMENTS: Final = 4
# They authenticate the caller at this process; the bot's routes have no use for them.
_CREDENTIAL_HEADERS: Final = frozenset({b"authorization", b"x-bot-secret"})


class BotApp:
    """Serves the connections of one bot process.

    Args:
        session_id: The session.
        stream: The bot's stream; None in a room that needs none.
        files: The files of the session.
    """

    def __init__(self, session_id: str, stream: BotStream | None, files: BotFiles) -> None:
        self._prefix = f"/sessions/{session_id}/bot/"
        self._stream = stream
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "http":
            receive, send = with_body_read(scope, receive, _with_close(send))
        try:
            await self._serve(self._own_scope(scope), receive, send)
        except CordboardError as error:
            await problem(error)(scope, receive, send)  # Starlette answers a handshake as well

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, path = scope["type"], scope["path"]
        own_app = _own_app(scope)
        is_upload = kind == "http" and scope["method"] == "POST" and path == "/files"
        if kind == "websocket" and path == "/stream" and self._stream is not None:
            await self._stream.serve(scope, receive, send)
        elif is_upload and (self._files.storage is not None or own_app is None):
            file = await self._files.save(scope, receive)
            await JSONResponse(file)(scope, receive, send)
        elif own_app is not None:
            await own_app(scope, receive, send)
        else:
            raise NotFoundError("The bot has no such route.")

    def _own_scope(self, scope: Scope) -> Scope:
        """Return `scope` as the bot's routes expect it: without our prefix and without the credential.

        Raises:
            NotFoundError: The request is not for this bot, as it can be behind another on its connection.
        """
        path: str = scope["path"]
        if not path.startswith(self._prefix):
            raise NotFoundError("There is no such session.")
        raw_path = scope["raw_path"].split(b"/", _PREFIX_SEGMENTS)[-1]
        headers = [
            (name, value) for name, value in scope["headers"] if name not in _CREDENTIAL_HEADERS
        ]
        return {
            **scope,
            "path": "/" + path.removeprefix(self._prefix),
            "raw_path": b"/" + raw_path,
            "headers": headers,
        }


def _own_app(scope: Scope) -> ASGIApp | None:
    """Return the application of the bot that has a route for the request in `scope`."""
    for name in _OWN_APPS:
        app: ASGIApp | None = getattr(sys.modules.get(name), "app", None)
        routes: list[BaseRoute] = getattr(app, "routes", [])
        matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
        if any(getattr(route, "name", "") not in _DOCUMENTATION for route in matching):
            return app
    return None


def _with_close(send: Send) -> Send:
    """Return `send` with a header that ends the connection after the response.

    A client may keep a connection for its next request to the runner, which can be for another session.
    """

    async def send_with_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", []) if pair[0] != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await send(message)

    return send_with_close
