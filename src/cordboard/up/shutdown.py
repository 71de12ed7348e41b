"""Ends the live sessions before the parts stop: whoever presses Ctrl-C has left, and lost no runner."""

import asyncio
from typing import Final

import aiohttp

from cordboard.contract.errors import CordboardError
from cordboard.contract.http_api import bearer_headers

TIMEOUT_S: Final = 12.0  # the gateway answers a leave within 10 s
_LIVE: Final = ("queued", "starting", "running")
_PAGE: Final = 500


async def end_live_sessions(gateway_url: str, control_secret: str) -> int:
    """Ask the gateway to end every live session.

    Returns:
        How many there were.

    Raises:
        CordboardError: The gateway did not answer; the runner's own grace ends what is left.
    """
    headers = bearer_headers(control_secret)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(gateway_url, headers=headers, timeout=timeout) as client:
            live = [one for state in _LIVE for one in await _sessions(client, state)]
            await asyncio.gather(*(_leave(client, session_id) for session_id in live))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise CordboardError(f"The gateway did not end the live sessions: {error!r}.") from error
    return len(live)


async def _sessions(client: aiohttp.ClientSession, state: str) -> list[str]:
    found: list[str] = []
    query = {"state": state, "limit": str(_PAGE)}
    while True:
        async with client.get("/sessions", params=query, raise_for_status=True) as answer:
            page = await answer.json()
        found += [item["sessionId"] for item in page["sessions"]]
        if page["nextCursor"] is None:
            return found
        query["cursor"] = page["nextCursor"]


async def _leave(client: aiohttp.ClientSession, session_id: str) -> None:
    async with client.post("/leave", json={"sessionId": session_id}) as answer:
        await answer.read()
