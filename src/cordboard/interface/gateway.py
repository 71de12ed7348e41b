"""Asking the gateway on a person's behalf, with the control secret and the session's headers."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from starlette.responses import Response

from cordboard.context import current
from cordboard.context.carrier import HEADER_SESSION_ID, inject_headers
from cordboard.contract.errors import GatewayError, NotFoundError, StoreUnavailableError
from cordboard.interface import error_texts

HEADER_CLIENT_ADDRESS: Final = "X-Client-Address"
TIMEOUT_S: Final = 20.0  # the gateway answers an offer within 15 s, a leave within 10 s
_REFUSED: Final = (401, 403)
_FOUND: Final = 200
_UNKNOWN: Final = 404
_ERRORS: Final = 400
_AWAY: Final = 503
_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answered."""

    status: int
    content: bytes
    media_type: str
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 300  # noqa: PLR2004 - HTTP's successes

    @property
    def retry_after_s(self) -> int:
        """The seconds of its Retry-After."""
        text = self.retry_after or ""
        return int(text) if text.isascii() and text.isdigit() else _RETRY_S

    def json(self) -> dict[str, Any]:
        """Return its object."""
        found: dict[str, Any] = json.loads(self.content)
        return found

    def handed_on(self) -> Response:
        """Return the same answer for the browser; an error with our own text."""
        headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        session_id = current().session_id
        if session_id:
            headers[HEADER_SESSION_ID] = session_id
        if self.status >= _ERRORS:
            return error_texts.retold(self.status, self.content, headers)
        return Response(self.content, self.status, headers, self.media_type)


class Gateway:
    """HTTP to the gateway.

    Args:
        client: The connections.
        url: Where the gateway is.
        headers: Gives the authentication as it is now.

    Raises:
        GatewayError: From each call: it cannot be reached, or does not know us.
    """

    def __init__(
        self, client: aiohttp.ClientSession, url: str, headers: Callable[[], Mapping[str, str]]
    ) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._headers = headers

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        client_address: str | None = None,
    ) -> Answer:
        """Return the gateway's answer, whatever it says.

        Args:
            method: The HTTP method.
            path: The path at the gateway.
            body: JSON.
            timeout_s: How long to wait.
            client_address: The address of the client; the gateway limits its live sessions.
        """
        limits = aiohttp.ClientTimeout(total=timeout_s)
        more = {HEADER_CLIENT_ADDRESS: client_address} if client_address else {}
        async with self._asked(method, path, body, limits, more) as answer:
            return Answer(
                answer.status,
                await answer.read(),
                answer.content_type,
                answer.headers.get("Retry-After"),
            )

    async def record(self, session_id: str) -> dict[str, Any]:
        """Return a session's record.

        Raises:
            NotFoundError: There is none.
            StoreUnavailableError: The gateway has no Redis now.
        """
        answer = await self.ask("GET", session_path(session_id))
        if answer.status == _UNKNOWN:
            raise no_such_session()
        if answer.status == _AWAY:
            raise StoreUnavailableError(
                "The service is interrupted.", retry_after_s=answer.retry_after_s
            )
        if not answer.ok:
            raise GatewayError(f"The gateway answered HTTP {answer.status}.")
        return answer.json()

    @asynccontextmanager
    async def events(self, session_id: str) -> AsyncIterator[aiohttp.StreamReader]:
        """Follow a session: the gateway's own stream of server-sent events."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S)
        path = f"{session_path(session_id)}/events"
        async with self._asked("GET", path, None, limits) as answer:
            if answer.status != _FOUND:
                raise GatewayError(f"The gateway answered HTTP {answer.status}.")
            yield answer.content

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None,
        limits: aiohttp.ClientTimeout,
        more: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**self._headers(), "Content-Type": "application/json", **(more or {})}
        inject_headers(current(), headers)
        try:
            async with self._client.request(
                method, f"{self._url}{path}", data=body, headers=headers, timeout=limits
            ) as answer:
                if answer.status in _REFUSED:
                    raise GatewayError(
                        "The gateway does not know this interface.",
                        hint="Both need the same BOT_CONTROL_SHARED_SECRET.",
                    )
                yield answer
        except TimeoutError as error:
            raise GatewayError("The gateway did not answer in time.", hint=_WAY_OUT) from error
        except (aiohttp.ClientError, OSError) as error:
            raise GatewayError("The gateway cannot be reached.", hint=_WAY_OUT) from error


_WAY_OUT: Final = (
    "Try again in a moment. Whoever runs this: `cordboard doctor` says what is the matter."
)


def session_path(session_id: str) -> str:
    """Return the path of a session at the gateway."""
    return f"/sessions/{quote(session_id, safe='')}"


def no_such_session() -> NotFoundError:
    """Return the error for a session that is not there, or not this person's."""
    return NotFoundError("You have no such session.", hint="Join again.")
