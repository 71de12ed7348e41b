"""The engine of calls: webhooks become joins, and the answers are documents of the carrier."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import Counter

from cordboard.context import adopt
from cordboard.contract.errors import (
    ConflictError,
    CordboardError,
    NotFoundError,
    QueueFullError,
    TooManySessionsError,
)
from cordboard.contract.ids import check_session_id
from cordboard.contract.state import TERMINAL
from cordboard.edge.phone.carriers import Carrier
from cordboard.edge.phone.desk import PhoneDesk, call_body, unavailable_as_503
from cordboard.edge.phone.documents import Document, StreamPlan
from cordboard.edge.phone.numbers import find_number
from cordboard.edge.phone.webhook import Call, Webhook
from cordboard.edge.sessions import AcceptedSession, EdgeSessions, JoinRequest, SessionView
from cordboard.emit import get_logger
from cordboard.settings.phone import PhoneNumber

JOIN_TIMEOUT_S: Final = 8.0
"""Seconds for a join, and for a look at a session. What a join has left, the line may ring."""

ANSWER_TIMEOUT_S: Final = 13.0
"""Seconds for a whole answer: Twilio waits 15 s for a document (``tt`` of its connection overrides), of which two remain
for the network and for a proxy."""

SETTLE_S: Final = 0.5
"""Seconds in which a session whose stream has ended may end itself, before its stream is opened again. A bot
that returns closes its stream a moment before its session has ended."""

answers = Counter(
    "cordboard_phone_answers", "Answers to webhooks of calls.", ["provider", "answer"]
)
log = get_logger("phone")


class PhoneCalls:
    """Answers the webhooks of carriers.

    Args:
        desk: The carriers and their URLs.
        sessions: Joins, follows and ends sessions.
        join_timeout_s: Seconds for a join, and for a look at a session.
        answer_timeout_s: Seconds from a webhook to its answer, with the join and the ringing.
        settle_s: Seconds in which a session whose stream has ended may end itself.
    """

    def __init__(
        self,
        desk: PhoneDesk,
        sessions: EdgeSessions,
        *,
        join_timeout_s: float = JOIN_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._desk = desk
        self._sessions = sessions
        self._join_timeout_s = join_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._settle_s = settle_s
        self._endings: set[asyncio.Task[None]] = set()

    async def receive(self, carrier: Carrier, webhook: Webhook, bot: str | None) -> Document:
        """Accept an inbound call; return what the carrier does next.

        Args:
            carrier: The carrier.
            webhook: Its request.
            bot: The bot of the path; None for that of the number.

        Raises:
            CordboardError: The request is not the carrier's, or no session can be accepted for now.
        """
        started = time.monotonic()
        call = self._desk.verified_call(carrier, webhook)
        session_id = check_session_id(call.call_id)
        number = self._number(call)
        room = f"phone:{carrier.name}:{session_id}"
        user = self._desk.user_id(call.their_number)
        adopt(session_id=session_id, user_id=user, room=room)
        log.info(
            "Call received",
            event="call.received",
            provider=carrier.name,
            direction="outbound" if call.is_outbound else "inbound",
            number=call.our_number,
            caller=self._desk.shown(call.their_number),
        )
        request = JoinRequest(
            session_id=session_id,
            room_url=room,
            bot=bot or number.bot or self._desk.settings.phone.bot,
            user_id=user,
            body=call_body(call, number.body, session_id),
        )
        try:
            accepted = await self._join(request, call)
        except (QueueFullError, TooManySessionsError, ConflictError) as error:
            log.warning("Call refused as busy", reason=error.code, detail=error.message)
            return self._counted(carrier, "busy", carrier.documents.busy())
        if accepted is None:
            log.warning("A webhook came again after the end of its session")
            return self._after(carrier, call, session_id)
        return await self._answer(carrier, call, number, accepted, room, started)

    async def continue_call(
        self, carrier: Carrier, webhook: Webhook, session_id: str, *, is_answer: bool
    ) -> Document:
        """Return the next document: the stream again while its session lives, else `after` of the number.

        Args:
            carrier: The carrier.
            webhook: Its request.
            session_id: The session of the path.
            is_answer: Whether an outbound call was answered; else a stream has ended.

        Raises:
            CordboardError: The request is not the carrier's, or the gateway cannot be reached.
        """
        started = time.monotonic()
        call = self._desk.verified_call(carrier, webhook)
        adopt(session_id=session_id, user_id=self._desk.user_id(call.their_number))
        if call.is_over:
            self._end_later(session_id)
            return carrier.documents.hangup()
        view = await self._live(session_id, settle=not is_answer)
        if view is None:
            return self._after(carrier, call, session_id)
        if is_answer:
            self._log_answered(carrier, call, view.status, started)
        else:
            log.info("The stream is opened again", provider=carrier.name, status=view.status)
        return self._counted(
            carrier, "stream", self._connect(carrier, call, session_id, view.room_url)
        )

    async def note_status(
        self,
        carrier: Carrier,
        webhook: Webhook,
        session_id: str | None,
        *,
        ends_on_machine: bool = False,
    ) -> None:
        """Log a state that the carrier reports, and end the session of a call that is over.

        Args:
            carrier: The carrier.
            webhook: Its request.
            session_id: The session of the path; None for the one that has the id of the call.
            ends_on_machine: Whether an answering machine ends the session.

        Raises:
            CordboardError: The request is not the carrier's, or names no call.
        """
        call = self._desk.verified_call(carrier, webhook)
        session_id = check_session_id(session_id or call.session_id or call.call_id)
        adopt(session_id=session_id, user_id=self._desk.user_id(call.their_number))
        log.info(
            "Call status",
            event="call.status",
            provider=carrier.name,
            status=call.status,
            call_id=call.call_id,
            **call.details,
        )
        if ends_on_machine and call.is_machine:
            log.info("An answering machine ends the session")
            await self._end(session_id, "An answering machine answered the call.")
        elif call.is_over and call.status != "completed":
            # Without an answer, no bot has anything to finish.
            await self._end(session_id, f"The call was not answered: {call.status}.")
        elif call.is_over:
            self._end_later(session_id)

    async def close(self) -> None:
        """Stop waiting for the ends of calls; runners end the sessions without a stream by themselves."""
        for task in self._endings:
            task.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def _join(self, request: JoinRequest, call: Call) -> AcceptedSession | None:
        """Accept the join of a webhook; return None if the carrier has sent it before, and the session has ended."""
        with unavailable_as_503():
            async with asyncio.timeout(self._join_timeout_s):
                # A call that nobody knows is the usual case. Without its record, the call is taken as a new one.
                with contextlib.suppress(CordboardError):
                    if _is_repeated(await self._sessions.view(request.session_id), request, call):
                        return None
                return await self._sessions.join(request)

    async def _answer(
        self,
        carrier: Carrier,
        call: Call,
        number: PhoneNumber,
        accepted: AcceptedSession,
        room: str,
        started: float,
    ) -> Document:
        """Let the line ring until the bot runs, then return the document with its stream."""
        status = await self._ring(accepted, self._answer_timeout_s - (time.monotonic() - started))
        if status in TERMINAL:
            log.warning("No bot answers the call", status=status, fallback=number.fallback)
            documents = carrier.documents
            is_busy = number.fallback == "busy"
            document = documents.busy() if is_busy else documents.redirect(number.fallback)
            return self._counted(carrier, "fallback", document)
        if status == "running":
            self._sessions.expect_stream(accepted.session_id)
        self._log_answered(carrier, call, status, started)
        document = self._connect(carrier, call, accepted.session_id, room)
        return self._counted(carrier, "stream", document)

    async def _ring(self, accepted: AcceptedSession, max_s: float) -> str:
        """Return the state of the session when it runs, has ended, or the line has rung long enough.

        Args:
            accepted: The session.
            max_s: Seconds that are left for the answer.
        """
        status = accepted.status
        # Without the present state, as when the gateway restarts, the line rings on: the session is accepted,
        # and the edge that gets the stream waits for its bot.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._desk.settings.phone.ring_s, max_s)):
                async for state in self._sessions.states(accepted.session_id):
                    status = str(state["status"])
                    if status == "running" or status in TERMINAL:
                        break
        return status

    async def _live(self, session_id: str, *, settle: bool) -> SessionView | None:
        """Return the session's record if it is live; None if it has ended or does not exist."""
        with unavailable_as_503():
            try:
                async with asyncio.timeout(self._join_timeout_s):
                    view = await self._sessions.view(session_id)
                    if settle and not view.is_over:
                        await self._wait_until_over(session_id)
                        view = await self._sessions.view(session_id)
            except NotFoundError:
                return None
        return None if view.is_over else view

    async def _wait_until_over(self, session_id: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settle_s):
                async for _ in self._sessions.states(session_id):
                    pass  # the final state is the last

    def _connect(self, carrier: Carrier, call: Call, session_id: str, room: str) -> Document:
        number = self._number(call)
        plan = StreamPlan(
            stream_url=self._desk.stream_url(session_id, room),
            again_url=self._desk.url(carrier, "again", session_id),
            status_url=self._desk.url(carrier, "status", session_id),
            parameters=_parameters(call, number.body),
        )
        return carrier.documents.connect(plan)

    def _after(self, carrier: Carrier, call: Call, session_id: str) -> Document:
        """Return what the line does when the session has ended: ``after`` of the number."""
        after = self._number(call).after
        documents = carrier.documents
        if after == "hangup":
            document = documents.hangup()
        elif after == "hold":
            document = documents.hold(self._desk.url(carrier, "again", session_id))
        else:
            document = documents.redirect(after)
        is_url = after not in {"hangup", "hold"}
        log.info("The call goes on without a session", after="redirect" if is_url else after)
        return self._counted(carrier, "after", document)

    def _number(self, call: Call) -> PhoneNumber:
        return find_number(call.our_number, self._desk.settings.phone.numbers, call.provider)

    def _log_answered(self, carrier: Carrier, call: Call, status: str, started: float) -> None:
        log.info(
            "Call answered",
            event="call.answered",
            provider=carrier.name,
            direction="outbound" if call.is_outbound else "inbound",
            status=status,
            ms=round((time.monotonic() - started) * 1000),
        )

    def _end_later(self, session_id: str) -> None:
        """End the session of a call that is over, unless its bot does so first."""
        task = asyncio.create_task(self._end_after_grace(session_id))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end_after_grace(self, session_id: str) -> None:
        # A number may have calls without a session, such as those that were refused as busy.
        with contextlib.suppress(CordboardError):
            if await self._live(session_id, settle=False) is None:
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._desk.settings.phone.hangup_grace_s):
                async for _ in self._sessions.states(session_id):
                    pass  # the final state is the last
                return
        log.info("The call is over, and its session is not: ending it")
        await self._end(session_id, "The carrier reported the end of the call.")

    async def _end(self, session_id: str, detail: str) -> None:
        try:
            status = await self._sessions.leave(session_id, detail)
        except CordboardError as error:
            log.warning("The session could not be ended", reason=error.code)
            return
        log.info("Session ended by its call", status=status)

    @staticmethod
    def _counted(carrier: Carrier, answer: str, document: Document) -> Document:
        answers.labels(carrier.name, answer).inc()
        return document


def _is_repeated(earlier: SessionView, request: JoinRequest, call: Call) -> bool:
    """Return whether a webhook is one that the carrier has sent before, for a session that has ended since.

    A document of the user's own may send a call to a bot again, or to another bot: the carrier then reports the call
    as in progress, or the path names the other bot.

    Args:
        earlier: The record of the session with the id of the call.
        request: The join for the webhook.
        call: The webhook's data of the call.
    """
    is_same = (earlier.room_url, earlier.bot) == (request.room_url, request.bot)
    return earlier.is_over and is_same and call.status != "in-progress"


def _parameters(call: Call, body: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters for the bot, under the names that Pipecat reads for the two numbers."""
    texts = {name: value for name, value in body.items() if isinstance(value, str)}
    return {**texts, **_present([("from_number", call.caller), ("to_number", call.called)])}


def _present(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in pairs if value}
