"""HTTP to gateways and runners: one client for headers, timeouts, bounds and errors.

``HttpClient`` enforces the same rules for every request from one component to another:

- No redirect is followed: it would take the credential, or a room's token, to another address.
- The body of an answer is bounded, and never requested in compressed form, because a few compressed
  bytes could expand beyond the bound.
- The headers of the current session are sent, so that both components log the same session id.
- Every failure is a ``NoAnswerError``.
"""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

import aiohttp
from yarl import URL

from cordboard.context import Context, current
from cordboard.context.carrier import inject_headers
from cordboard.contract.http_api import bearer_headers
from cordboard.web.tls import client_context

ANSWER_MAX_BYTES: Final = 256 * 1024
"""Bytes of the longest accepted answer. The longest that Cordboard sends is that to a WebRTC offer, about 10 KB."""

CONNECTIONS_MAX: Final = 100
"""Connections of one client, as is aiohttp's default. Further requests wait for a free one."""

_CHUNK_BYTES: Final = 64 * 1024


class NoAnswerError(Exception):
    """A request got no usable answer.

    Args:
        cause: The error of the HTTP library or of the operating system.

    Attributes:
        failure: ``timeout``; ``refused``: the port is closed; ``unreachable``: any other reason.
        reason: The cause, in the words of the operating system where they are known.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        system_error = getattr(
            cause, "os_error", cause
        )  # aiohttp wraps the error of the connection
        self.failure: Literal["timeout", "refused", "unreachable"] = "unreachable"
        if isinstance(cause, TimeoutError):
            self.failure = "timeout"
        elif isinstance(system_error, ConnectionRefusedError):
            self.failure = "refused"
        self.reason = _reason(system_error) or str(cause) or type(cause).__name__


class AnswerTooLongError(aiohttp.ClientError):
    """The body of an answer is longer than ``ANSWER_MAX_BYTES``."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer.

    Attributes:
        status: The HTTP status.
        content: The body.
        media_type: The media type of the body, without parameters.
        retry_after: The header ``Retry-After``.
    """

    status: int
    content: bytes
    media_type: str
    retry_after: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success (2xx)."""
        return self.status < HTTPStatus.MULTIPLE_CHOICES

    def retry_after_s(self, default: int) -> int:
        """Return the seconds of ``Retry-After``, or ``default`` if the header has none."""
        text = self.retry_after or ""
        return int(text) if text.isascii() and text.isdigit() else default

    def json(self) -> Any:
        """Return the decoded body.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.content)


def open_connections(
    ca: str | None, *, limit: int = CONNECTIONS_MAX, setting: str = "CORDBOARD_TLS_CA"
) -> aiohttp.ClientSession:
    """Return connections to other components, to be closed by the caller.

    Args:
        ca: A file of certificate authorities, as in the setting ``tls_ca``; None for the system's.
        limit: The most connections at once; 0 for no limit.
        setting: The variable of the setting with that file, for the message of an error.
    """
    connector = aiohttp.TCPConnector(limit=limit, ssl=client_context(ca, setting))
    # A cookie that one answer sets must not be sent with another caller's request.
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class HttpClient:
    """Sends requests to other components, under the rules of this module.

    Args:
        connections: The connections; they stay the caller's.
        context: Returns the context whose session headers a request carries.
    """

    def __init__(
        self, connections: aiohttp.ClientSession, context: Callable[[], Context] = current
    ) -> None:
        self._connections = connections
        self._context = context

    async def request(
        self,
        method: str,
        url: str | URL,
        body: bytes | None = None,
        *,
        credential: str | None,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the answer to a request, whatever its status.

        Args:
            method: The HTTP method.
            url: The URL. A ``URL`` is sent unchanged; a text is normalised and quoted.
            body: A JSON body.
            credential: The bearer credential, or None.
            timeout_s: Seconds until the complete answer must have arrived.
            headers: Further headers.

        Raises:
            NoAnswerError: No complete answer arrived in time, or it is too long.
        """
        limits = aiohttp.ClientTimeout(total=timeout_s)
        sent = self._headers(credential) | dict(headers or {})
        async with self._send(method, url, body, sent, limits) as answer:
            return Reply(
                answer.status,
                await _read(answer),
                answer.content_type,
                answer.headers.get("Retry-After"),
            )

    @asynccontextmanager
    async def stream(
        self,
        url: str | URL,
        *,
        credential: str | None,
        connect_timeout_s: float,
        read_timeout_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request an endless answer; its status and content are the caller's to read.

        Args:
            url: The URL, as in ``request``.
            credential: The bearer credential, or None.
            connect_timeout_s: Seconds for the connection. There is no limit for the answer.
            read_timeout_s: Seconds between two parts of the answer; None for no limit.

        Raises:
            NoAnswerError: The connection failed, now or while the caller reads.
        """
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout_s, sock_read=read_timeout_s
        )
        async with self._send("GET", url, None, self._headers(credential), limits) as answer:
            yield answer

    def _headers(self, credential: str | None) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **bearer_headers(credential),
        }
        inject_headers(self._context(), headers)
        return headers

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        url: str | URL,
        body: bytes | None,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        with _failures_as_no_answer():
            async with self._connections.request(
                method, url, data=body, headers=headers, timeout=limits, allow_redirects=False
            ) as answer:
                yield answer


@contextmanager
def _failures_as_no_answer() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise NoAnswerError(error) from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    # In chunks, so that an answer that is too long is dropped before it is in memory.
    content = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise AnswerTooLongError(f"the answer is over {ANSWER_MAX_BYTES} bytes")
    return bytes(content)


def _reason(error: object) -> str:
    """Return an error's reason in the operating system's words; empty if it has none."""
    if not isinstance(error, OSError) or not error.errno:
        return ""
    # Name resolution fails with negative numbers, which os.strerror does not know.
    return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
