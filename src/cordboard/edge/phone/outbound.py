"""Outbound calls: the join comes first, so that the bot is ready when the call is answered."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import aiohttp

from cordboard.context import adopt
from cordboard.contract.errors import (
    ConflictError,
    CordboardError,
    InvalidValueError,
    NotFoundError,
)
from cordboard.contract.ids import uuid7
from cordboard.edge.phone.carriers import Carrier
from cordboard.edge.phone.desk import PhoneDesk, call_body, unavailable_as_503
from cordboard.edge.phone.errors import CarrierRefusedError, CarrierUnavailableError
from cordboard.edge.phone.numbers import find_number
from cordboard.edge.phone.orders import (
    CallOrder,
    CarrierRequest,
    PlacedCall,
    read_placed,
    read_refusal,
)
from cordboard.edge.phone.webhook import Call
from cordboard.edge.sessions import EdgeSessions, JoinRequest
from cordboard.emit import get_logger
from cordboard.settings.phone import SECRETS, is_e164

ORDER_TIMEOUT_S: Final = 10.0
"""Seconds for a carrier's API, which normally answers within one."""

_ANSWER_MAX_BYTES: Final = 256 * 1024  # answers have about 2 KB
# A bot waits ``user_absent_s`` for its stream, so the phone rings for less than that: a person who answers at
# the last moment still finds the bot.
_SPARE_S: Final = 10
_RING_DEFAULT_S: Final = 50  # where runners wait without end
_RING_MIN_S: Final = 5

MachinePolicy = Literal["ignore", "report", "hangup"]
log = get_logger("phone")


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call that an application orders.

    Attributes:
        called: The number to call.
        caller: Our number.
        bot: The bot; None for that of our number.
        body: Passed to the bot.
        session_id: The session; None for a new id. A repeated request with the same id places no second call.
        machine: What an answering machine causes: nothing, an event, or the end of the session.
    """

    called: str
    caller: str
    bot: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    machine: MachinePolicy = "ignore"


@dataclass(frozen=True, slots=True)
class CallResult:
    """What came of a request for a call.

    Attributes:
        session_id: The session.
        call_id: The carrier's id of the call; None if it is not known here.
        status: The state of the call, in the carrier's words; that of the session for a repeated request.
        is_new: Whether this request placed the call.
    """

    session_id: str
    call_id: str | None
    status: str
    is_new: bool


class OutboundCalls:
    """Places calls through carriers' APIs.

    Args:
        desk: The carriers and their URLs.
        sessions: Joins, follows and ends sessions.
        connections: Connections to carriers' APIs.
        clock: Returns the seconds since 1970, for the ids of sessions.
    """

    def __init__(
        self,
        desk: PhoneDesk,
        sessions: EdgeSessions,
        connections: aiohttp.ClientSession,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._desk = desk
        self._sessions = sessions
        self._connections = connections
        self._clock = clock

    async def place(self, carrier: Carrier, request: CallRequest) -> CallResult:
        """Accept a session and place its call.

        Args:
            carrier: The carrier.
            request: The call.

        Raises:
            CordboardError: The request is invalid, no session can be accepted, or the carrier refuses.
        """
        self._check(carrier, request)
        session_id = request.session_id or uuid7(int(self._clock() * 1000), os.urandom(10))
        room = f"phone:{carrier.name}:{session_id}"
        adopt(session_id=session_id, user_id=self._desk.user_id(request.called), room=room)
        earlier = await self._earlier(session_id, room)
        if earlier is not None:
            return earlier
        with unavailable_as_503():
            accepted = await self._sessions.join(self._join_request(carrier, request, session_id))
        if accepted.is_reused:
            return CallResult(accepted.session_id, None, accepted.status, is_new=False)
        try:
            placed = await self._order(
                carrier, self._call_order(carrier, request, session_id, room)
            )
        except CordboardError as error:
            log.warning("The call was not placed", reason=error.code, detail=error.message)
            error.extra.setdefault("sessionId", session_id)
            await self._end(session_id, f"The call was not placed: {error.code}.")
            raise
        log.info(
            "Call placed",
            event="call.status",
            provider=carrier.name,
            status=placed.status,
            call_id=placed.call_id or "",
            number=request.caller,
            called=self._desk.shown(request.called),
        )
        return CallResult(session_id, placed.call_id, placed.status, is_new=True)

    def _check(self, carrier: Carrier, request: CallRequest) -> None:
        for name, number in (("to", request.called), ("from", request.caller)):
            if not is_e164(number):
                raise InvalidValueError(
                    f"{name}: invalid number.",
                    hint="Write it with + and the country code, without spaces, such as +15551234567.",
                    extra={"field": name},
                )
        account = self._desk.credentials(carrier)
        missing = [
            name
            for name in carrier.order_settings
            if not (account.secret(name) if name in SECRETS else account.text(name))
        ]
        if carrier.order is None or missing or self._desk.settings.public_url is None:
            raise NotFoundError(
                f"Calls through {carrier.title} are not configured.",
                hint=f"Set public_url, and in [phone.{carrier.name}]: {', '.join(carrier.order_settings)}.",
            )

    async def _earlier(self, session_id: str, room: str) -> CallResult | None:
        """Return the result of an earlier request with the same session id, if there was one."""
        with unavailable_as_503():
            try:
                view = await self._sessions.view(session_id)
            except NotFoundError:
                return None
        if view.room_url != room:
            raise ConflictError(
                f"Session {session_id} belongs to another room.", hint="Use another sessionId."
            )
        return CallResult(session_id, None, view.status, is_new=False)

    def _join_request(self, carrier: Carrier, request: CallRequest, session_id: str) -> JoinRequest:
        phone = self._desk.settings.phone
        number = find_number(request.caller, phone.numbers, carrier.name)
        call = Call(
            provider=carrier.name,
            call_id="",
            caller=request.caller,
            called=request.called,
            is_outbound=True,
            status="",
        )
        return JoinRequest(
            session_id=session_id,
            room_url=f"phone:{carrier.name}:{session_id}",
            bot=request.bot or number.bot or phone.bot,
            user_id=self._desk.user_id(request.called),
            body=call_body(call, {**number.body, **request.body}, session_id),
        )

    def _call_order(
        self, carrier: Carrier, request: CallRequest, session_id: str, room: str
    ) -> CallOrder:
        machine_urls = {
            "ignore": None,
            "report": self._desk.url(carrier, "status", session_id),
            "hangup": self._desk.url(carrier, "machine", session_id),
        }
        wait_s = self._desk.settings.offer_timeout_s
        return CallOrder(
            called=request.called,
            caller=request.caller,
            session_id=session_id,
            answer_url=self._desk.url(carrier, "answer", session_id),
            status_url=self._desk.url(carrier, "status", session_id),
            machine_url=machine_urls[request.machine],
            stream_url=self._desk.stream_url(session_id, room),
            ring_s=max(wait_s - _SPARE_S, _RING_MIN_S) if wait_s else _RING_DEFAULT_S,
        )

    async def _order(self, carrier: Carrier, order: CallOrder) -> PlacedCall:
        if carrier.order is None:
            raise NotFoundError(f"Calls through {carrier.title} are not supported.")
        status, body = await self._send(
            carrier, carrier.order(order, self._desk.credentials(carrier))
        )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise CarrierUnavailableError(f"{carrier.title} answered HTTP {status}.")
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            reason = self._without_number(read_refusal(body), order.called)
            raise CarrierRefusedError(
                f"{carrier.title} answered HTTP {status}{f': {reason}' if reason else '.'}"
            )
        try:
            return read_placed(body)
        except (ValueError, RecursionError) as error:
            raise CarrierUnavailableError(f"{carrier.title} answered without JSON.") from error

    async def _send(self, carrier: Carrier, request: CarrierRequest) -> tuple[int, bytes]:
        limits = aiohttp.ClientTimeout(total=ORDER_TIMEOUT_S)
        try:
            # No redirect is followed: it would take the credentials to another address.
            async with self._connections.post(
                request.url,
                data=request.body,
                headers=dict(request.headers),
                timeout=limits,
                allow_redirects=False,
            ) as answer:
                return answer.status, await answer.content.read(_ANSWER_MAX_BYTES)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise CarrierUnavailableError(
                f"{carrier.title}'s API cannot be reached: {type(error).__name__}."
            ) from error

    def _without_number(self, text: str, number: str) -> str:
        """Return a carrier's message without the number that it quotes."""
        return text.replace(number, self._desk.shown(number)).replace(
            number.lstrip("+"), self._desk.shown(number)
        )

    async def _end(self, session_id: str, detail: str) -> None:
        try:
            await self._sessions.leave(session_id, detail)
        except CordboardError as error:
            log.warning("The session could not be ended", reason=error.code)
