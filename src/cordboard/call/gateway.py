"""The gateway as a caller sees it: join, follow, offer, leave (contract, section 4)."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp

from cordboard.context import Context
from cordboard.context.carrier import inject_headers
from cordboard.contract.errors import (
    GATEWAY_AUTH_HINT,
    BusyError,
    CordboardError,
    UnauthorizedError,
    UpstreamError,
)
from cordboard.contract.state import TERMINAL
from cordboard.contract.urls import redacted_url
from cordboard.web.tls import client_context

ASK_TIMEOUT_S: Final = 20.0  # the gateway answers an offer within 15 s, a leave within 10 s
RECONNECT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Where:
    """A room behind a gateway, and under which id and name it is entered."""

    gateway_url: str
    control_secret: str | None
    tls_ca: str | None
    room: str
    session_id: str
    user_name: str | None = None
    bot: str | None = None


class Signalling:
    """HTTP to the gateway for one session.

    Attributes:
        answered: Whether the gateway has said anything at all.

    Raises:
        CordboardError: From each call: the gateway cannot be reached, or refuses, in its words.
    """

    def __init__(self, where: Where) -> None:
        self.answered = False
        self._where = where
        self._path = f"/sessions/{quote(where.session_id, safe='')}"
        self._client: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        headers: dict[str, str] = {}
        inject_headers(Context(session_id=self._where.session_id), headers)
        if self._where.control_secret:
            headers["Authorization"] = f"Bearer {self._where.control_secret}"
        self._client = aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(ssl=client_context(self._where.tls_ca))
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def join(self) -> dict[str, Any]:
        """Ask for a bot in the room.

        Raises:
            BusyError: Another session holds the room.
        """
        where = self._where
        body = {"room_url": where.room, "sessionId": where.session_id}
        if where.user_name:
            body["sessionUserName"] = where.user_name
        if where.bot:
            body["bot"] = where.bot
        answer: dict[str, Any] = await self._ask("POST", "/join", body)
        if answer["sessionId"] != where.session_id:
            raise BusyError(
                f"{where.room} is busy with session {answer['sessionId']}.",
                hint=f"Call another room, e.g. {where.room}-2, or let that call end first.",
            )
        return answer

    async def states(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each change of the session's state; the terminal one is the last."""
        while True:
            try:
                async for change in self._events():
                    yield change
                    if change.get("status") in TERMINAL:
                        return
            except (aiohttp.ClientError, OSError):
                pass  # the gateway may be starting again; whoever waits has a bound
            await asyncio.sleep(RECONNECT_S)

    async def offer(self, offer: Mapping[str, str]) -> dict[str, str]:
        """Send a WebRTC offer to the bot; return its answer."""
        answer: dict[str, str] = await self._ask("POST", f"{self._path}/offer", offer)
        return answer

    async def leave(self) -> str:
        """End the session; return the gateway's word for it."""
        answer = await self._ask("POST", "/leave", {"sessionId": self._where.session_id})
        return str(answer["status"])

    async def record(self) -> dict[str, Any]:
        """Return the session's record."""
        found: dict[str, Any] = await self._ask("GET", self._path)
        return found

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ASK_TIMEOUT_S)
        url = f"{self._where.gateway_url}{self._path}/events"
        async with self._client.get(url, timeout=timeout, allow_redirects=False) as answer:
            if answer.status != 200:  # noqa: PLR2004 - HTTP's OK
                raise _refused(answer.status, await answer.read())
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        where = self._where
        try:
            async with self._client.request(
                method,
                f"{where.gateway_url}{path}",
                json=body,
                allow_redirects=False,  # the secret goes only to the URL that the user gave
                timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S),
            ) as answer:
                content = await answer.read()
                self.answered = True
                if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    return json.loads(content)
        except TimeoutError as error:
            raise UpstreamError(
                f"The gateway at {redacted_url(where.gateway_url)} did not answer within {ASK_TIMEOUT_S:.0f} s.",
                hint=f"Its lines: cordboard logs --local --around {_now()} --service gateway",
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError(
                f"The gateway at {redacted_url(where.gateway_url)} cannot be reached: {_cause(error)}.",
                hint="Start one with `cordboard up`, or name another with --gateway URL.",
            ) from error
        raise _refused(answer.status, content)


def _cause(error: Exception) -> str:
    """Return why a connection failed, in the system's words; aiohttp's hold more than that."""
    inner = getattr(error, "os_error", error)
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno) if inner.errno > 0 else str(inner.strerror)
    return str(error) or type(error).__name__


def _now() -> str:
    """Return the time as a command takes it: unlike "the last minutes" it finds the same lines later."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(status: int, content: bytes) -> CordboardError:
    """Return the gateway's problem+json as an error."""
    try:
        problem = json.loads(content)
        if status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
            return UnauthorizedError(str(problem["detail"]), hint=GATEWAY_AUTH_HINT)
        return CordboardError(str(problem["detail"]), hint=str(problem.get("hint") or ""))
    except (ValueError, KeyError, TypeError):
        return CordboardError(f"The gateway answered HTTP {status}.")
