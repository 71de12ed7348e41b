"""Requests of a public component to the gateway, with the control secret and the session's headers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from cordboard.contract.errors import (
    CordboardError,
    GatewayError,
    InvalidValueError,
    NotFoundError,
    StoreUnavailableError,
)
from cordboard.contract.http_api import session_path
from cordboard.emit import get_logger
from cordboard.web.event_stream import read_until
from cordboard.web.http_client import HttpClient, NoAnswerError, Reply

HEADER_CLIENT_ADDRESS: Final = "X-Client-Address"
# The gateway answers an offer within 15 s and a leave within 10 s; its answers must arrive here.
TIMEOUT_S: Final = 20.0
RETRY_DEFAULT_S: Final = 5  # for an answer without Retry-After
# Not passed on: to a page a 401 means that the person is signed out.
_AUTHENTICATION_FAILED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_HINT: Final = "Try again in a moment. If you operate this service, run `cordboard doctor`."


log = get_logger("http")


class GatewayProxy:
    """Sends a component's requests to the gateway.

    Args:
        http: Sends the requests.
        url: The base URL of the gateway.
        secrets: Returns the current control secrets, the newest first.
        component: The name of the component, for messages.

    Raises:
        GatewayError: From each request: the gateway cannot be reached, or rejects the control secret.
    """

    def __init__(
        self,
        http: HttpClient,
        url: str,
        secrets: Callable[[], tuple[str, ...]],
        component: str = "interface",
    ) -> None:
        self._http = http
        self._component = component
        self._url = url.rstrip("/")
        self._secrets = secrets

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        client_address: str | None = None,
    ) -> Reply:
        """Return the gateway's answer, whatever its status, unless it is a redirect.

        Args:
            method: The HTTP method.
            path: The path at the gateway, with quoted segments.
            body: A JSON body.
            timeout_s: Seconds until the complete answer must have arrived.
            client_address: The address of the client. The gateway limits its live sessions.
        """
        headers = {HEADER_CLIENT_ADDRESS: client_address} if client_address else {}
        with _gateway_errors():
            reply = await self._http.request(
                method,
                f"{self._url}{path}",
                body,
                credential=self._credential(),
                timeout_s=timeout_s,
                headers=headers,
            )
        self._check_authenticated(reply.status)
        if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
            raise GatewayError(
                f"The gateway answered HTTP {reply.status}, and redirects are not followed.",
                hint="Set CORDBOARD_GATEWAY_URL to the gateway's own address.",
            )
        return reply

    async def record(self, session_id: str, *, with_runner: bool = False) -> dict[str, Any]:
        """Return the record of session ``session_id``.

        Args:
            session_id: The session.
            with_runner: Whether the record has the runner's URL.

        Raises:
            NotFoundError: There is no such session.
            StoreUnavailableError: The gateway cannot reach Redis.
        """
        return await self.read(session_path(session_id) + ("?runner=true" if with_runner else ""))

    async def read(self, path: str) -> dict[str, Any]:
        """Return what the gateway has at a path.

        Args:
            path: The path, with its query.

        Raises:
            NotFoundError: There is no such session.
            InvalidValueError: The gateway does not accept a parameter.
            StoreUnavailableError: The gateway cannot reach Redis.
            GatewayError: The gateway gave another answer.
        """
        reply = await self.ask("GET", path)
        if reply.status == HTTPStatus.NOT_FOUND:
            raise NotFoundError("No such call was found.", hint="Join again.")
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise InvalidValueError(
                "The search contains an invalid value.",
                hint="Go back, and change what you searched for.",
            )
        if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise StoreUnavailableError(
                "The service is temporarily unavailable.",
                retry_after_s=reply.retry_after_s(RETRY_DEFAULT_S),
            )
        if not reply.is_success:
            raise GatewayError(f"The gateway answered HTTP {reply.status}.")
        found: dict[str, Any] = reply.json()
        return found

    async def suspect(self, session_id: str) -> Reply:
        """Report that the bot of a session may be dead, so that an operator asks its runner at once.

        Args:
            session_id: The session.
        """
        return await self.ask("POST", session_path(session_id, "suspect"))

    @asynccontextmanager
    async def events(self, session_id: str) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the gateway's server-sent events of session ``session_id``."""
        url = f"{self._url}{session_path(session_id, 'events')}"
        with _gateway_errors():
            async with self._http.stream(
                url, credential=self._credential(), connect_timeout_s=TIMEOUT_S
            ) as answer:
                self._check_authenticated(answer.status)
                if answer.status != HTTPStatus.OK:
                    raise GatewayError(f"The gateway answered HTTP {answer.status}.")
                yield answer.content

    async def relayed_events(
        self, session_id: str, stopping: asyncio.Event
    ) -> AsyncIterator[bytes]:
        """Yield the gateway's server-sent events of a session; where they end, the client reconnects.

        Args:
            session_id: The session.
            stopping: Set when the server stops.
        """
        stop = asyncio.create_task(stopping.wait())
        try:
            async with self.events(session_id) as stream:
                while chunk := await read_until(stop, stream):
                    yield chunk
        except CordboardError as error:
            log.warning("Lost the gateway's event stream for a session", reason=str(error))
        finally:
            stop.cancel()

    def _check_authenticated(self, status: int) -> None:
        if status in _AUTHENTICATION_FAILED:
            raise GatewayError(
                f"The gateway rejected the {self._component}'s control secret.",
                hint="Both need the same BOT_CONTROL_SHARED_SECRET.",
            )

    def _credential(self) -> str | None:
        return next(iter(self._secrets()), None)


@contextmanager
def _gateway_errors() -> Iterator[None]:
    try:
        yield
    except NoAnswerError as error:
        message = "The gateway cannot be reached."
        if error.failure == "timeout":
            message = "The gateway did not answer in time."
        raise GatewayError(message, hint=_HINT) from error
