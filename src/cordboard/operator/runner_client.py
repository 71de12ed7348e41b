"""Talking to runners: handing a session over, and asking one whether it holds a session."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import aiohttp
import msgspec

from cordboard.contract.launch import Launch, start_body
from cordboard.contract.state import REASONS
from cordboard.operator.plan import Sign
from cordboard.web.runners import Failures, RunnerClient, session_path

START_TIMEOUT_S: Final = 10.0
ASK_TIMEOUT_S: Final = 2.0
NOT_AN_END: Final = frozenset({"lease_lost", "runner_lost"})
"""Reasons why a runner lost a session that may go on elsewhere."""
_OK: Final = 200
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409


class Answer(Enum):
    """How a runner answered to a start."""

    STARTED = "started"
    GONE = "the session is not its any more"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a session's holder.

    Attributes:
        sign: What it means.
        reason: Why the session ended there, when the holder could not write its end.
        detail: The same as text.
    """

    sign: Sign
    reason: str = ""
    detail: str | None = None


class Runners:
    """Asks runners on the operator's behalf.

    Args:
        client: Calls them.
    """

    def __init__(self, client: RunnerClient) -> None:
        self._client = client

    async def start(self, url: str, launch: Launch) -> tuple[Answer, str]:
        """Ask a runner to start a session; return its answer and the reason in words."""
        body = msgspec.json.encode(start_body(launch))
        try:
            reply = await self._client.ask("POST", url, "/start", body, timeout_s=START_TIMEOUT_S)
        except Failures as error:
            return Answer.UNREACHABLE, f"{type(error).__name__}: {error}"
        return _read_answer(reply.status, reply.content)

    async def holds(self, url: str, session_id: str, epoch: int) -> Told:
        """Ask a runner whether it holds a session under this epoch."""
        path = session_path(session_id)
        try:
            reply = await self._client.ask("GET", url, path, timeout_s=ASK_TIMEOUT_S)
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return Told(Sign.REFUSED if refused else Sign.SILENT)
        except Failures:
            return Told(Sign.SILENT)
        if reply.status == _NOT_FOUND:
            return Told(Sign.DOES_NOT_HOLD)
        record = _object(reply.content) if reply.status == _OK else None
        return Told(Sign.SILENT) if record is None else _holds(record, epoch)


def _object(content: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object; None for anything else."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _holds(record: Mapping[str, Any], epoch: int) -> Told:
    """Read what a runner says of a session; one that it is stopping is still held."""
    if record.get("epoch") != epoch:
        return Told(Sign.DOES_NOT_HOLD)
    if str(record.get("status")) in {"starting", "running", "stopping"}:
        return Told(Sign.HOLDS)
    reason, detail = str(record.get("reason")), record.get("detail")
    if reason not in REASONS or reason in NOT_AN_END:
        return Told(Sign.DOES_NOT_HOLD)
    return Told(Sign.OVER, reason, detail if isinstance(detail, str) else None)


def _read_answer(status: int, body: bytes) -> tuple[Answer, str]:
    if status == _OK:
        return Answer.STARTED, ""
    problem = _object(body) or {}
    code, words = str(problem.get("code", "")), str(problem.get("detail", ""))
    gone = status == _CONFLICT and code != "busy"
    return Answer.GONE if gone else Answer.REFUSED, words or f"HTTP {status}"
