"""The gateway as a caller meets it: join, follow the session, exchange the WebRTC offer, leave."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from cordboard.context import Context
from cordboard.contract.errors import BusyError, CordboardError, GatewayError
from cordboard.contract.http_api import gateway_refusal, gateway_unreachable, session_path
from cordboard.contract.state import TERMINAL
from cordboard.contract.urls import redacted_url
from cordboard.web.http_client import HttpClient, NoAnswerError, Reply, open_connections

TIMEOUT_S: Final = 20.0  # the gateway answers an offer within 15 s, a leave within 10 s
RECONNECT_S: Final = 0.5
# A gateway sends a comment every 15 s. Without three of them the connection is dead, whatever the kernel knows.
STREAM_SILENCE_S: Final = 45.0
_RETRIED: Final = (HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600))


class OfferRefusedError(CordboardError):
    """The gateway did not pass the offer to a bot, or the bot did not accept it.

    Args:
        status: The HTTP status of the answer.
        cause: The error that the gateway reports.
    """

    def __init__(self, status: int, cause: CordboardError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.http_status = status


@dataclass(frozen=True, slots=True)
class CallTarget:
    """A room behind a gateway, and the identity with which the caller enters it.

    Attributes:
        gateway_url: The base URL of the gateway.
        control_secret: The gateway's control secret; None if it has none.
        tls_ca: A file of certificate authorities for the gateway; None for the system's.
        room: The room, in canonical form.
        session_id: The id of the session.
        user_name: The caller's name.
        bot: The name of the bot; None for the default.
        timeout_s: Seconds within which the gateway must answer.
    """

    gateway_url: str
    control_secret: str | None
    tls_ca: str | None
    room: str
    session_id: str
    user_name: str | None = None
    bot: str | None = None
    timeout_s: float = TIMEOUT_S


class CallGateway:
    """The requests of one call to its gateway; an asynchronous context manager.

    Args:
        target: The room and the gateway.

    Attributes:
        has_answered: Whether the gateway has answered any request.

    Raises:
        CordboardError: From each request: the gateway cannot be reached, or refuses the request.
    """

    def __init__(self, target: CallTarget) -> None:
        self.has_answered = False
        self._target = target
        self._stack = AsyncExitStack()
        self._http: HttpClient

    async def __aenter__(self) -> Self:
        await self.reconnect()
        return self

    async def reconnect(self) -> None:
        """Use new connections for all further requests.

        Those that are open may begin at an address that this machine has lost. Nothing would arrive on them, and
        no error either.
        """
        connections = await self._stack.enter_async_context(open_connections(self._target.tls_ca))
        # Every request carries the session id, so that the gateway's lines belong to this session.
        context = Context(session_id=self._target.session_id)
        self._http = HttpClient(connections, lambda: context)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def join(self) -> dict[str, Any]:
        """Request a bot in the room; return the gateway's answer.

        Raises:
            BusyError: Another session holds the room.
        """
        target = self._target
        body = {"room_url": target.room, "sessionId": target.session_id}
        if target.user_name:
            body["sessionUserName"] = target.user_name
        if target.bot:
            body["bot"] = target.bot
        answer: dict[str, Any] = await self._request("POST", "/join", body)
        # The gateway reuses the session of a busy room, but that call is another caller's.
        if answer["sessionId"] != target.session_id:
            raise BusyError(
                f"{target.room} is busy with session {answer['sessionId']}.",
                hint=f"Call another room, e.g. {target.room}-2, or let that call end first.",
            )
        return answer

    async def states(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each change of the session's state; the last one is a final state."""
        while True:
            try:
                async for change in self._events():
                    yield change
                    if change.get("status") in TERMINAL:
                        return
            except NoAnswerError:
                pass  # the gateway may be restarting; each stage of the call has its own timeout
            await asyncio.sleep(RECONNECT_S)

    async def offer(self, offer: Mapping[str, str]) -> dict[str, str]:
        """Send the WebRTC ``offer`` to the bot; return the bot's answer.

        Raises:
            OfferRefusedError: No bot took it.
        """
        path = session_path(self._target.session_id, "offer")
        reply = await self._send("POST", path, offer)
        if not reply.is_success:
            raise OfferRefusedError(reply.status, self._refusal(reply))
        answer: dict[str, str] = self._decode(reply)
        return answer

    async def ice_config(self) -> dict[str, Any]:
        """Return the STUN and TURN servers for another connection, with new credentials."""
        path = session_path(self._target.session_id, "ice")
        config: dict[str, Any] = await self._request("GET", path)
        return config

    async def suspect(self) -> None:
        """Report that the session's bot may be dead: an operator then asks its runner at once."""
        await self._request("POST", session_path(self._target.session_id, "suspect"))

    async def leave(self) -> str:
        """End the session; return the status that the gateway reports."""
        answer = await self._request("POST", "/leave", {"sessionId": self._target.session_id})
        return str(answer["status"])

    async def record(self) -> dict[str, Any]:
        """Return the session record."""
        record: dict[str, Any] = await self._request("GET", session_path(self._target.session_id))
        return record

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        target = self._target
        url = f"{target.gateway_url}{session_path(target.session_id, 'events')}"
        async with self._http.stream(
            url,
            credential=target.control_secret,
            connect_timeout_s=target.timeout_s,
            read_timeout_s=STREAM_SILENCE_S,
        ) as answer:
            if answer.status in _RETRIED:
                return  # Redis is away, or a proxy finds no gateway: that ends no call
            if answer.status != HTTPStatus.OK:
                raise gateway_refusal(url, answer.status, await answer.read())
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    async def _request(self, method: str, path: str, body: object = None) -> Any:
        reply = await self._send(method, path, body)
        if not reply.is_success:
            raise self._refusal(reply)
        return self._decode(reply)

    async def _send(self, method: str, path: str, body: object) -> Reply:
        target = self._target
        try:
            reply = await self._http.request(
                method,
                f"{target.gateway_url}{path}",
                None if body is None else json.dumps(body).encode(),
                credential=target.control_secret,
                timeout_s=target.timeout_s,
            )
        except NoAnswerError as error:
            if error.failure == "timeout":
                raise self._timeout_error() from error
            raise gateway_unreachable(target.gateway_url, error.reason) from error
        self.has_answered = True  # whatever the answer is, there are log lines of it
        return reply

    def _refusal(self, reply: Reply) -> CordboardError:
        return gateway_refusal(self._target.gateway_url, reply.status, reply.content)

    def _decode(self, reply: Reply) -> Any:
        try:
            return reply.json()
        except ValueError as error:
            raise gateway_unreachable(self._target.gateway_url, str(error)) from error

    def _timeout_error(self) -> GatewayError:
        target = self._target
        # An absolute time: the hint's command finds the same lines when it is run later.
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return GatewayError(
            f"The gateway at {redacted_url(target.gateway_url)} did not answer within "
            f"{target.timeout_s:g} s.",
            hint=f"Its lines: cordboard logs --local --around {now} --service gateway",
        )
