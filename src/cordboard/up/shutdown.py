"""Ends the live sessions before the components stop, so that none ends as one without a runner."""

import asyncio
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from cordboard.contract.errors import CordboardError
from cordboard.web.http_client import HttpClient, NoAnswerError, open_connections

TIMEOUT_S: Final = 12.0  # the gateway answers POST /leave within 10 s
_LIVE_STATES: Final = ("queued", "starting", "running")
# So many sessions fit into the 256 KiB that the client accepts as one answer.
PAGE_SIZE: Final = 100


async def end_live_sessions(
    gateway_url: str, control_secret: str, page_size: int = PAGE_SIZE
) -> int:
    """Ask the gateway to end every live session.

    Args:
        gateway_url: The base URL of the gateway.
        control_secret: The control secret.
        page_size: How many sessions to request at once.

    Returns:
        The number of live sessions.

    Raises:
        CordboardError: The gateway did not answer. The runner ends the sessions when it stops.
    """
    # The gateway listens on loopback, without TLS; without a limit all sessions end at once.
    async with open_connections(None, limit=0) as connections:
        gateway = _Gateway(HttpClient(connections), gateway_url, control_secret)
        try:
            live = [
                session_id
                for state in _LIVE_STATES
                for session_id in await gateway.sessions_in(state, page_size)
            ]
            await asyncio.gather(*(gateway.end_session(session_id) for session_id in live))
        except (NoAnswerError, ValueError) as error:
            raise CordboardError(f"The gateway did not end the live sessions: {error}.") from error
    return len(live)


class _Gateway:
    """The two requests to the gateway that are needed here."""

    def __init__(self, client: HttpClient, url: str, control_secret: str) -> None:
        self._client = client
        self._url = url
        self._control_secret = control_secret

    async def sessions_in(self, state: str, page_size: int) -> list[str]:
        """Return the ids of all sessions in a state."""
        session_ids: list[str] = []
        query = {"state": state, "limit": str(page_size)}
        while True:
            page = await self._sessions_page(query)
            session_ids += [item["sessionId"] for item in page["sessions"]]
            if page["nextCursor"] is None:
                return session_ids
            query["cursor"] = page["nextCursor"]

    async def _sessions_page(self, query: dict[str, str]) -> dict[str, Any]:
        reply = await self._client.request(
            "GET",
            f"{self._url}/sessions?{urlencode(query)}",
            credential=self._control_secret,
            timeout_s=TIMEOUT_S,
        )
        if reply.status != HTTPStatus.OK:
            raise CordboardError(f"The gateway answered GET /sessions with status {reply.status}.")
        page: dict[str, Any] = reply.json()
        return page

    async def end_session(self, session_id: str) -> None:
        """End a session, whatever the gateway answers: it may have just ended by itself."""
        await self._client.request(
            "POST",
            f"{self._url}/leave",
            msgspec.json.encode({"sessionId": session_id}),
            credential=self._control_secret,
            timeout_s=TIMEOUT_S,
        )
