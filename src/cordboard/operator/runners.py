"""Talking to runners: handing a session over, and asking one whether it holds a session."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import aiohttp
import msgspec

from cordboard.context import current
from cordboard.context.carrier import inject_headers
from cordboard.contract.launch import Launch
from cordboard.contract.state import REASONS
from cordboard.operator.plan import Sign

START_TIMEOUT_S: Final = 10.0
ASK_TIMEOUT_S: Final = 2.0
NOT_AN_END: Final = frozenset({"lease_lost", "runner_lost"})
"""Reasons by which a runner has lost a session that may go on elsewhere."""
_OK: Final = 200
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409


class Answer(Enum):
    """How a runner answered to a start."""

    STARTED = "started"
    GONE = "the session is not its any more"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


def start_body(launch: Launch) -> dict[str, Any]:
    """Return the body of ``POST /start`` (contract, section 6); absent values are not written."""
    values = {
        "sessionId": launch.session_id,
        "epoch": launch.epoch,
        "room_url": launch.room_url,
        "token": launch.token,
        "body": launch.body,
        "sessionUserId": launch.user_id,
        "sessionUserName": launch.user_name,
        "sessionUserEmail": launch.user_email,
        "tenantId": launch.tenant_id,
        "bot": launch.bot,
        "attempt": launch.attempt,
        "maxDurationSeconds": launch.max_duration_s,
    }
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Told:
    """What could be learnt of a session's holder.

    Attributes:
        sign: What it means.
        reason: Why the session ended there, when the holder could not write its end.
        detail: The same in words.
    """

    sign: Sign
    reason: str = ""
    detail: str | None = None


class Runners:
    """HTTP to runners, authenticated with the control secret.

    Args:
        client: The connections.
        headers: Gives the authentication as it is now.
    """

    def __init__(
        self, client: aiohttp.ClientSession, headers: Callable[[], Mapping[str, str]]
    ) -> None:
        self._client = client
        self._headers = headers

    async def start(self, url: str, launch: Launch) -> tuple[Answer, str]:
        """Ask a runner to start a session; return its answer and the reason in words."""
        headers = {**self._headers(), "Content-Type": "application/json"}
        inject_headers(current(), headers)
        try:
            async with self._client.post(
                f"{url}/start",
                data=msgspec.json.encode(start_body(launch)),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=START_TIMEOUT_S),
            ) as answer:
                return _read_answer(answer.status, await answer.read())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Answer.UNREACHABLE, f"{type(error).__name__}: {error}"

    async def holds(self, url: str, session_id: str, epoch: int) -> Told:
        """Ask a runner whether it holds a session under this epoch."""
        try:
            async with self._client.get(
                f"{url}/sessions/{session_id}",
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S),
            ) as answer:
                if answer.status == _NOT_FOUND:
                    return Told(Sign.DOES_NOT_HOLD)
                if answer.status != _OK:
                    return Told(Sign.SILENT)
                return _holds(await answer.json(), epoch)
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return Told(Sign.REFUSED if refused else Sign.SILENT)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return Told(Sign.SILENT)


def _holds(record: Mapping[str, Any], epoch: int) -> Told:
    """Read what a runner says of a session; one that it is stopping is still in its hands."""
    if record.get("epoch") != epoch:
        return Told(Sign.DOES_NOT_HOLD)
    if record.get("status") in {"starting", "running", "stopping"}:
        return Told(Sign.HOLDS)
    reason, detail = record.get("reason"), record.get("detail")
    if reason not in REASONS or reason in NOT_AN_END:
        return Told(Sign.DOES_NOT_HOLD)
    return Told(Sign.OVER, reason, detail if isinstance(detail, str) else None)


def _read_answer(status: int, body: bytes) -> tuple[Answer, str]:
    if status == _OK:
        return Answer.STARTED, ""
    try:
        problem = msgspec.json.decode(body)
        code, words = str(problem.get("code", "")), str(problem.get("detail", ""))
    except (msgspec.DecodeError, AttributeError):
        code, words = "", ""
    gone = status == _CONFLICT and code != "busy"
    return Answer.GONE if gone else Answer.REFUSED, words or f"HTTP {status}"
