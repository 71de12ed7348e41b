"""Requests to Daily's REST API: rooms and meeting tokens (https://docs.daily.co/reference/rest-api)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from cordboard.contract.errors import CordboardError, InvalidValueError
from cordboard.settings.room_services import DailyAccount

# A room takes Daily about 0.3 s; a person who clicked waits no longer than this.
TIMEOUT_S: Final = 10.0
# Daily names are limited to 128 characters of a narrower set than session ids, so a hash stands for the id.
_HASH_CHARS: Final = 32


class DailyError(CordboardError):
    """Daily's REST API cannot be reached, or refused a request."""

    status = 503
    retryable = True
    code = "daily_unavailable"
    title = "Daily refused the request"


@dataclass(frozen=True, slots=True)
class DailyRoom:
    """A room at Daily.

    Attributes:
        name: Its name.
        url: Its URL.
        is_new: Whether this request created it.
    """

    name: str
    url: str
    is_new: bool


def room_name(session_id: str) -> str:
    """Return the name of a session's room. A repeated start of the same session meets the same room.

    Args:
        session_id: The session.
    """
    digest = hashlib.sha256(session_id.encode()).hexdigest()
    return f"cordboard-{digest[:_HASH_CHARS]}"


class DailyApi:
    """Creates rooms and tokens of one account.

    Args:
        connections: The connections, which stay the caller's.
        account: The account.

    Raises:
        DailyError: From each request: Daily cannot be reached, or refused it for a reason of the account.
        InvalidValueError: From each request: Daily finds a property invalid.
    """

    def __init__(self, connections: aiohttp.ClientSession, account: DailyAccount) -> None:
        self._connections = connections
        self._account = account

    async def open_room(self, session_id: str, properties: Mapping[str, Any]) -> DailyRoom:
        """Create the room of a session, or return it if it exists.

        Args:
            session_id: The session.
            properties: The room's properties, as Daily documents them.
        """
        name = room_name(session_id)
        status, answer = await self._ask(
            "POST", "/rooms", {"name": name, "properties": dict(properties)}
        )
        is_new = status == HTTPStatus.OK
        if not is_new and "already exists" in str(answer.get("info")):
            status, answer = await self._ask("GET", f"/rooms/{quote(name, safe='')}")
        if status != HTTPStatus.OK:
            raise _refusal(status, answer, "the room")
        return DailyRoom(name, str(answer["url"]), is_new)

    async def token(self, room: str, properties: Mapping[str, Any]) -> str:
        """Return a meeting token for a room.

        Args:
            room: The room's name.
            properties: The token's properties, as Daily documents them.
        """
        body = {"properties": {**properties, "room_name": room}}
        status, answer = await self._ask("POST", "/meeting-tokens", body)
        if status != HTTPStatus.OK:
            raise _refusal(status, answer, "the meeting token")
        return str(answer["token"])

    async def delete_room(self, room: str) -> None:
        """Delete a room, which also ends it for everybody in it.

        Args:
            room: The room's name.
        """
        status, answer = await self._ask("DELETE", f"/rooms/{quote(room, safe='')}")
        if status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            raise _refusal(status, answer, "the deletion of the room")

    async def _ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        try:
            async with self._connections.request(
                method,
                f"{self._account.api_url}{path}",
                json=body,
                headers={"Authorization": f"Bearer {self._account.api_key}"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,  # a redirect would carry the key to another server
            ) as reply:
                answer = _as_object(await reply.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise DailyError(
                "Daily's REST API gave no valid answer.",
                hint="Check DAILY_API_URL, and https://status.daily.co.",
                retry_after_s=5,
            ) from error
        return reply.status, answer


def _as_object(content: bytes) -> dict[str, Any]:
    return msgspec.convert(json.loads(content), dict[str, Any])


def _refusal(status: int, answer: Mapping[str, Any], what: str) -> CordboardError:
    info = str(answer.get("info") or answer.get("error") or f"HTTP {status}")
    if status == HTTPStatus.BAD_REQUEST:
        return InvalidValueError(f"Daily refused {what}: {info}.")
    hint = "Check DAILY_API_KEY." if status == HTTPStatus.UNAUTHORIZED else ""
    return DailyError(f"Daily refused {what}: {info}.", hint=hint, retry_after_s=5)
