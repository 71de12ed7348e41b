"""The operator's requests to runners: start a session, and ask whether a runner still holds one."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import msgspec

from cordboard.contract.http_api import read_problem, session_path
from cordboard.contract.launch import Launch, start_body
from cordboard.contract.state import REASONS
from cordboard.operator.plan import Sign
from cordboard.web.http_client import NoAnswerError, Reply
from cordboard.web.runner_client import RunnerClient

# A runner answers ``POST /start`` when the bot process runs. A longer wait would use up the session's
# deadline.
START_TIMEOUT_S: Final = 10.0

# A runner answers from memory. A slower one counts as silent, and is asked again at the next sweep.
STATUS_TIMEOUT_S: Final = 2.0

# Reasons why a runner stopped a session that may continue on another runner.
_NOT_FINAL: Final = frozenset({"lease_lost", "runner_lost"})


class StartOutcome(Enum):
    """How ``POST /start`` ended."""

    STARTED = "started"
    GONE = "the session is no longer assigned to this runner"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class StartResult:
    """The outcome of ``POST /start``.

    Attributes:
        outcome: How it ended.
        reason: Why the session did not start; empty if it did.
    """

    outcome: StartOutcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HolderStatus:
    """What a session's holder answered.

    Attributes:
        sign: What the answer says about the session.
        reason: Why the session ended there, if the runner could not write its end to Redis.
        detail: The reason in words.
    """

    sign: Sign
    reason: str = ""
    detail: str | None = None


class SessionRunners:
    """Sends the operator's requests to runners.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: RunnerClient) -> None:
        self._client = client

    async def start(self, url: str, launch: Launch) -> StartResult:
        """Ask a runner to start a session.

        Args:
            url: The runner's base URL, from its registration.
            launch: The session.
        """
        body = msgspec.json.encode(start_body(launch))
        try:
            reply = await self._client.ask("POST", url, "/start", body, timeout_s=START_TIMEOUT_S)
        except NoAnswerError as error:
            return StartResult(StartOutcome.UNREACHABLE, str(error))
        return _start_result(reply)

    async def status(self, url: str, session_id: str, epoch: int) -> HolderStatus:
        """Ask a runner whether it holds a session.

        Args:
            url: The runner's base URL, from the session record.
            session_id: The session.
            epoch: The epoch under which the runner should hold it.
        """
        path = session_path(session_id)
        try:
            reply = await self._client.ask("GET", url, path, timeout_s=STATUS_TIMEOUT_S)
        except NoAnswerError as error:
            return HolderStatus(Sign.REFUSED if error.failure == "refused" else Sign.SILENT)
        if reply.status == HTTPStatus.NOT_FOUND:
            return HolderStatus(Sign.DOES_NOT_HOLD)
        session = _json_object(reply.content) if reply.status == HTTPStatus.OK else None
        return HolderStatus(Sign.SILENT) if session is None else _holder_status(session, epoch)


def _json_object(content: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object in the body of an answer; None for anything else."""
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _holder_status(session: Mapping[str, Any], epoch: int) -> HolderStatus:
    """Return the status of the holder of ``epoch``, from a runner's answer about the session."""
    # Another epoch: the runner holds an earlier or a later grant, and not the one in the record.
    if session.get("epoch") != epoch:
        return HolderStatus(Sign.DOES_NOT_HOLD)
    # A session that is stopping is still held: its bot may be in the room.
    if str(session.get("status")) in {"starting", "running", "stopping"}:
        return HolderStatus(Sign.HOLDS)
    reason, detail = str(session.get("reason")), session.get("detail")
    # Of a hand-over, the reason is that of the process alone: the runner may not have written yet that it goes on.
    if session.get("handOver") or reason not in REASONS or reason in _NOT_FINAL:
        return HolderStatus(Sign.DOES_NOT_HOLD)
    return HolderStatus(Sign.OVER, reason, detail if isinstance(detail, str) else None)


def _start_result(reply: Reply) -> StartResult:
    if reply.status == HTTPStatus.OK:
        return StartResult(StartOutcome.STARTED)
    problem = read_problem(reply.content)
    code = problem.code if problem else ""
    reason = (problem.detail if problem else "") or f"HTTP {reply.status}"
    # 409 for a stale epoch or an ended session: the runner is healthy, the session is another's.
    if reply.status == HTTPStatus.CONFLICT and code != "busy":
        return StartResult(StartOutcome.GONE, reason)
    return StartResult(StartOutcome.REFUSED, reason)
