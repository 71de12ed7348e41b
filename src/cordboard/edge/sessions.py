"""Sessions as the edge uses them: join, wait until the bot is ready, leave."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec

from cordboard.contract.errors import (
    BodyTooLargeError,
    ConflictError,
    CordboardError,
    GatewayError,
    InvalidValueError,
    QueueFullError,
    StoreUnavailableError,
    TooManySessionsError,
)
from cordboard.contract.http_api import read_problem, session_path
from cordboard.contract.state import TERMINAL
from cordboard.web.gateway_proxy import RETRY_DEFAULT_S, GatewayProxy
from cordboard.web.http_client import NoAnswerError, Reply

DEFAULT_BOT: Final = "default"
"""The bot of a session for which nobody names one."""

# Between two attempts to follow a session whose gateway ended the event stream, because it restarts.
RECONNECT_S: Final = 0.25

EXPECTED_S: Final = 5.0
"""Seconds for which a record that was read ahead is kept. Carriers open their stream within a second of the document
that names it."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A join that the edge sends to the gateway.

    Attributes:
        session_id: The session.
        room_url: The room, in canonical form.
        bot: The bot's name.
        user_id: The user, if known.
        user_name: The user's display name, if known.
        body: What the bot receives as ``runner_args.body``.
        token: The room's token for the bot; a secret.
        max_duration_s: Seconds after which the session ends; None for the gateway's default.
    """

    session_id: str
    room_url: str
    bot: str = DEFAULT_BOT
    user_id: str | None = None
    user_name: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    max_duration_s: int | None = None

    def encode(self) -> bytes:
        """Return the body of ``POST /join``, without absent values."""
        values = {
            "sessionId": self.session_id,
            "room_url": self.room_url,
            "bot": self.bot,
            "sessionUserId": self.user_id,
            "sessionUserName": self.user_name,
            "body": self.body,
            "token": self.token,
            "maxDurationSeconds": self.max_duration_s,
        }
        present = {name: value for name, value in values.items() if value is not None}
        # Without escapes and blanks: the body may be as large as the gateway permits.
        return msgspec.json.encode(present)


@dataclass(frozen=True, slots=True)
class AcceptedSession:
    """The gateway's answer to a join.

    Attributes:
        session_id: The session that holds the room: another one than requested if the room was busy.
        status: Its state.
        epoch: The epoch of its grant.
        is_reused: Whether it was live before this join.
        ice_config: The ICE servers for a caller in a ``webrtc:`` room, with the session's credentials; None
            without servers.
    """

    session_id: str
    status: str
    epoch: int
    is_reused: bool
    ice_config: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session's record, as far as the edge needs it.

    Attributes:
        session_id: The session.
        room_url: Its room.
        bot: The name of its bot.
        status: Its state.
        reason: Why it has ended; None before.
        epoch: The epoch of its present grant.
        attempt: The number of its hand-over, from 1.
        has_run: Whether it ran before, and was queued again.
        runner_url: The base URL of its runner; None before a runner has it.
        created_at: When it was accepted, in seconds since the Unix epoch.
    """

    session_id: str
    room_url: str
    bot: str
    status: str
    reason: str | None
    epoch: int
    attempt: int
    has_run: bool
    runner_url: str | None
    created_at: float

    @property
    def is_over(self) -> bool:
        """Whether the session has ended, in whatever way."""
        return self.status in TERMINAL


class EdgeSessions:
    """Joins, follows and ends sessions through the gateway.

    Args:
        gateway: Sends the requests.
        cell: The cell of this edge, if there are cells. The edge makes the rooms of its joins, and places
            them there.
    """

    def __init__(self, gateway: GatewayProxy, cell: str | None = None) -> None:
        self._gateway = gateway
        self._join_path = f"/join?cell={cell}" if cell else "/join"
        self._expected: dict[str, asyncio.Task[SessionView]] = {}

    async def join(
        self, request: JoinRequest, *, client_address: str | None = None
    ) -> AcceptedSession:
        """Accept a join.

        Args:
            request: The join.
            client_address: The address of a client whose live sessions the gateway limits; None for a
                carrier or a server.

        Raises:
            QueueFullError: The launch queue is full.
            TooManySessionsError: The client has too many live sessions.
            StoreUnavailableError: Redis is not reachable.
            ConflictError: The session id is live in another room.
            InvalidValueError: The gateway finds a value invalid.
            GatewayError: The gateway is not reachable, or gave another answer.
        """
        reply = await self._gateway.ask(
            "POST", self._join_path, request.encode(), client_address=client_address
        )
        if not reply.is_success:
            raise _refusal(reply)
        answer = reply.json()
        return AcceptedSession(
            answer["sessionId"],
            answer["status"],
            answer["epoch"],
            answer["reused"],
            answer.get("iceConfig"),
        )

    async def view(self, session_id: str) -> SessionView:
        """Return the session's present record.

        Args:
            session_id: The session.

        Raises:
            NotFoundError: There is no such session.
            StoreUnavailableError: Redis is not reachable.
            GatewayError: The gateway is not reachable.
        """
        record = await self._gateway.record(session_id, with_runner=True)
        return SessionView(
            session_id=record["sessionId"],
            room_url=record["room_url"],
            bot=record.get("bot", DEFAULT_BOT),
            status=record["status"],
            reason=record.get("reason"),
            epoch=record["epoch"],
            attempt=record.get("attempt", 1),
            has_run="recovery" in record,
            runner_url=record.get("runnerUrl"),
            created_at=datetime.fromisoformat(record["createdAt"]).timestamp(),
        )

    def expect_stream(self, session_id: str) -> None:
        """Read the record of a session that runs, ahead of its stream.

        Args:
            session_id: The session.
        """
        reading = asyncio.create_task(self.view(session_id), name="record of an expected stream")
        reading.add_done_callback(_note_failure)
        self._expected[session_id] = reading
        asyncio.get_running_loop().call_later(EXPECTED_S, self._forget, session_id, reading)

    def _forget(self, session_id: str, reading: "asyncio.Task[SessionView]") -> None:
        if self._expected.get(session_id) is reading:
            del self._expected[session_id]

    async def view_for_stream(self, session_id: str) -> SessionView:
        """Return the record that was read ahead, once; else read it.

        An outdated record does no harm: the runner refuses a stream for another epoch or an ended session.

        Args:
            session_id: The session.

        Raises:
            NotFoundError: There is no such session.
            StoreUnavailableError: Redis is not reachable.
            GatewayError: The gateway is not reachable.
        """
        expected = self._expected.pop(session_id, None)
        if expected is not None:
            with contextlib.suppress(CordboardError):
                return await asyncio.shield(expected)
        return await self.view(session_id)

    async def wait_until_running(self, session_id: str, timeout_s: float) -> SessionView:
        """Wait until the session runs, has ended, or the time is over; return its record then.

        Args:
            session_id: The session.
            timeout_s: How long to wait, in seconds.

        Raises:
            NotFoundError: There is no such session.
            StoreUnavailableError: Redis is not reachable.
            GatewayError: The gateway is not reachable.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for state in self.states(session_id):
                    if state["status"] == "running" or state["status"] in TERMINAL:
                        break
        return await self.view(session_id)

    async def wait_for_change(self, view: SessionView, timeout_s: float) -> None:
        """Wait until the state of a session is another one than in `view`, but not longer than the timeout.

        Args:
            view: The session's record, as it was read last.
            timeout_s: How long to wait, in seconds.
        """
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(timeout_s),
                contextlib.aclosing(self.states(view.session_id)) as states,
            ):
                async for state in states:
                    if (state["status"], state["epoch"]) != (view.status, view.epoch):
                        return

    async def suspect(self, session_id: str) -> None:
        """Report that the bot of a session may be dead. It is a hint: that it fails changes nothing.

        Args:
            session_id: The session.
        """
        with contextlib.suppress(GatewayError):
            await self._gateway.suspect(session_id)

    async def states(self, session_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the session's present state and each change; the final state is the last.

        A gateway that stops ends its stream; this method then connects again.

        Args:
            session_id: The session.

        Yields:
            The data of the gateway's events: ``status``, ``epoch``, ``attempt``, ``reason``.
        """
        while True:
            with contextlib.suppress(NoAnswerError, GatewayError):
                async with self._gateway.events(session_id) as content:
                    async for line in content:
                        if line.startswith(b"data:"):
                            state = json.loads(line[5:])
                            yield state
                            if state["status"] in TERMINAL:
                                return
            await asyncio.sleep(RECONNECT_S)

    async def leave(self, session_id: str, detail: str | None = None) -> str:
        """End the session; return its status as the gateway reports it.

        Args:
            session_id: The session.
            detail: Why, in one sentence for people.

        Raises:
            CordboardError: The gateway refuses, or is not reachable.
        """
        values = {"sessionId": session_id, **({"detail": detail} if detail else {})}
        reply = await self._gateway.ask("POST", "/leave", json.dumps(values).encode())
        if not reply.is_success:
            raise _refusal(reply)
        return str(reply.json()["status"])

    async def relay(self, method: str, session_id: str, call: str, body: bytes) -> Reply:
        """Return the gateway's answer to a call of a session, such as an offer.

        Args:
            method: The HTTP method.
            session_id: The session.
            call: The call below the session, such as ``offer``.
            body: The JSON body.

        Raises:
            GatewayError: The gateway is not reachable.
        """
        return await self._gateway.ask(method, session_path(session_id, call), body)


def _note_failure(reading: "asyncio.Task[SessionView]") -> None:
    """Keep asyncio from reporting a failure: the stream, if it comes, reads the record again."""
    if not reading.cancelled():
        reading.exception()


def _refusal(reply: Reply) -> CordboardError:
    """Return the error of a gateway's answer."""
    problem = read_problem(reply.content)
    message = problem.detail if problem else f"The gateway answered HTTP {reply.status}."
    hint = problem.hint if problem else ""
    retry_after_s = reply.retry_after_s(RETRY_DEFAULT_S)
    match reply.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            is_limit = problem is not None and problem.code == TooManySessionsError.code
            kind = TooManySessionsError if is_limit else QueueFullError
            return kind(message, hint=hint, retry_after_s=retry_after_s)
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return StoreUnavailableError(message, hint=hint, retry_after_s=retry_after_s)
        case HTTPStatus.CONFLICT:
            return ConflictError(message, hint=hint)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return BodyTooLargeError(message, hint=hint)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return InvalidValueError(message, hint=hint)
    return GatewayError(message, hint=hint)
