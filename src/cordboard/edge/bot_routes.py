"""The routes of a bot's own process, for its clients (Pipecat Cloud's Session API)."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import aiohttp
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from yarl import URL

from cordboard.context.carrier import HEADER_EPOCH, HEADER_SESSION_ID
from cordboard.contract.credential import bot_credential
from cordboard.contract.errors import NotFoundError, NotReadyError, UpstreamError
from cordboard.contract.http_api import HEADER_FROM_RUNNER, bearer_headers, session_path
from cordboard.edge.access import RequestAccess
from cordboard.edge.client_sessions import permitted_view, wait_for_run
from cordboard.edge.middleware import bot_of_path
from cordboard.edge.services import EdgeServices, Services
from cordboard.edge.sessions import SessionView
from cordboard.emit import get_logger
from cordboard.web.http_client import NoAnswerError
from cordboard.web.openapi import DescribedRoute
from cordboard.web.runner_client import runner_url

FILES_MAX_BYTES: Final = 50 * 1024 * 1024
"""The largest upload to ``/sessions/{id}/files``: the limit of Pipecat's own runner."""

ANSWER_TIMEOUT_S: Final = 60.0
"""Seconds without a byte of the bot's answer: load balancers close idle connections after as long."""

_CONNECT_TIMEOUT_S: Final = 5.0
# RFC 9110, section 7.6.1, and the names that were in use before it.
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
     "te", "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip
# The caller's proof is for the edge, not for the bot; the body arrives in the encoding in which it is sent.
_NOT_SENT: Final = _HOP_BY_HOP | {
    "host", "authorization", "cookie", "x-bot-secret", "accept-encoding", "expect",
    HEADER_SESSION_ID.lower(), HEADER_EPOCH.lower(), "x-user-id", "x-user-name",
}  # fmt: skip
# The edge writes these itself, and the body's bytes arrive decoded. All bots share the edge's origin, so no
# cookie passes: it would reach another session's bot, or come from another application of the domain.
_NOT_RETURNED: Final = _HOP_BY_HOP | {
    HEADER_SESSION_ID.lower(), HEADER_FROM_RUNNER.lower(), "date", "server", "set-cookie", "content-encoding",
}  # fmt: skip
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = get_logger("edge")
router = APIRouter(route_class=DescribedRoute, tags=["clients"])


@router.api_route("/sessions/{session_id}/{path:path}", methods=_METHODS, include_in_schema=False)
async def ask_bot(
    session_id: str, path: str, request: Request, services: Services, access: RequestAccess
) -> Response:
    """Send a request to the routes of the session's bot; it waits until the session runs.

    Args:
        session_id: The session.
        path: The path at the bot.
        request: The request, whose body and answer are passed on as they come.
        services: The edge's services.
        access: What the caller may do.
    """
    view = await permitted_view(services, access, session_id, bot_of_path(request.scope))
    view = await wait_for_run(services, view)
    answer = await _send(request, services, view, path)
    is_refused = answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT}
    if is_refused and HEADER_FROM_RUNNER in answer.headers:
        answer.close()
        # The session has moved to another runner since its record was read.
        raise NotReadyError("The session is being handed over.", retry_after_s=1)
    response = StreamingResponse(_content(answer), answer.status)
    response.raw_headers = _returned_headers(answer)
    return response


def _returned_headers(answer: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """Return the headers of a bot's answer that the client gets."""
    dropped = _NOT_RETURNED | _named_by(answer.headers.get("Connection", ""))
    if "Content-Encoding" in answer.headers:
        dropped |= {"content-length"}
    return [
        (name.lower(), value)
        for name, value in answer.raw_headers
        # A browser refuses an answer with two sets of CORS headers; the edge's are the ones that hold.
        if (text := name.decode("latin-1").lower()) not in dropped
        and not text.startswith("access-control-")
    ]


async def _send(
    request: Request, services: EdgeServices, view: SessionView, path: str
) -> aiohttp.ClientResponse:
    """Send a request to the bot's process; return its answer, whose body is not read yet.

    Raises:
        UpstreamError: The runner cannot be reached.
    """
    secrets = services.settings.control_secrets
    credential = bot_credential(secrets[0], view.session_id, view.epoch) if secrets else None
    dropped = _NOT_SENT | _named_by(request.headers.get("connection", ""))
    headers = [
        # aiohttp sends texts as UTF-8, so a value in it arrives byte for byte.
        (name, value.encode("latin-1").decode("utf-8", "replace"))
        for name, value in request.headers.items()
        if name not in dropped
    ]
    own = {
        **bearer_headers(credential),
        HEADER_EPOCH: str(view.epoch),
        HEADER_SESSION_ID: view.session_id,
        "Accept-Encoding": "identity",
    }
    upload = _Upload(request)
    try:
        return await services.connections.request(
            request.method,
            _bot_url(view, path, request.scope["query_string"]),
            data=upload.chunks() if upload.has_body else None,
            headers=[*headers, *own.items()],
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=ANSWER_TIMEOUT_S
            ),
            allow_redirects=False,
        )
    except (NoAnswerError, aiohttp.ClientError, TimeoutError, OSError) as error:
        if upload.error is not None:
            raise upload.error from error
        log.warning("A bot cannot be reached", reason=repr(error))
        raise UpstreamError("The runner that hosts the session cannot be reached.") from error


def _bot_url(view: SessionView, path: str, query: bytes) -> URL:
    """Return the URL of a bot's own path at its runner.

    Raises:
        NotFoundError: The path would lead elsewhere.
    """
    # The path arrives decoded; every character that could change its meaning is quoted again. Segments of
    # dots would address another resource of the runner.
    segments = path.split("/")
    if {".", ".."} & set(segments):
        raise NotFoundError("A path must not contain segments of dots.")
    quoted = "/".join(quote(part, safe="") for part in segments)
    text = query.decode("latin-1")
    suffix = f"bot/{quoted}" + (f"?{text}" if text else "")
    return runner_url(view.runner_url or "", session_path(view.session_id, suffix))


class _Upload:
    """The body of a request that is passed to the bot.

    aiohttp reads it in a separate task, where an error of the reading would be lost.

    Attributes:
        has_body: Whether the request has a body.
        error: Why the body could not be read; None as long as it could.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.has_body = not {"content-length", "transfer-encoding"}.isdisjoint(request.headers)
        self.error: BaseException | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        try:
            async for chunk in self._request.stream():
                yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # the limit on bodies raises its own class
            self.error = error
            raise OSError("the request's body ended early") from error


async def _content(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.close()


def _named_by(connection: str) -> frozenset[str]:
    """Return the headers that a ``Connection`` header declares as hop-by-hop."""
    return frozenset(name.strip().lower() for name in connection.split(","))
