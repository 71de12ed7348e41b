"""Carriers wait 15 s for an answer: what the gateway has taken of it, the line does not ring."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from cordboard.contract.errors import NotFoundError, NotReadyError
from cordboard.edge.phone.calls import ANSWER_TIMEOUT_S, JOIN_TIMEOUT_S, PhoneCalls
from cordboard.edge.phone.carriers import TWILIO
from cordboard.edge.phone.desk import PhoneDesk
from cordboard.edge.phone.webhook import Webhook
from cordboard.edge.sessions import AcceptedSession, JoinRequest, SessionView
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings
from edge.phone_site import TWILIO_CALL, form_of
from edge.phone_support import PUBLIC_URL, TOKEN, phone_settings, signed

TWILIO_WAITS_S = 15
RING_MAX_S = 10


class SlowSessions:
    """A gateway that accepts a join slowly, and never has a bot.

    Args:
        join_s: Seconds for a join.
        knows: Whether it has the call; it then never says more of it.
    """

    def __init__(self, join_s: float, *, knows: bool = False) -> None:
        self._join_s = join_s
        self._knows = knows

    async def view(self, session_id: str) -> SessionView:
        if not self._knows:
            raise NotFoundError("No such call.")
        await asyncio.Event().wait()
        raise AssertionError(session_id)

    async def join(self, request: JoinRequest) -> AcceptedSession:
        await asyncio.sleep(self._join_s)
        return AcceptedSession(request.session_id, "queued", 1, is_reused=False)

    async def states(self, _session_id: str) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


def calls_of(sessions: Any, **limits: float) -> PhoneCalls:
    settings = Settings(public_url=PUBLIC_URL, phone=phone_settings(ring_s=RING_MAX_S))
    return PhoneCalls(PhoneDesk(settings, StreamTokens(lambda: ("secret",))), sessions, **limits)


def webhook_of_a_call() -> Webhook:
    url, form = f"{PUBLIC_URL}/phone/twilio", form_of("twilio", TWILIO_CALL)
    body, headers = signed("twilio", url, form)
    lower = {name.lower(): value for name, value in headers.items()}
    return Webhook("POST", url, lower, body, form, [], "192.0.2.9", time.time())


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)


def test_limits_fit_into_what_the_carrier_waits() -> None:
    """A join that takes as long as it may leaves some time to ring."""
    assert JOIN_TIMEOUT_S < ANSWER_TIMEOUT_S < TWILIO_WAITS_S
    assert JOIN_TIMEOUT_S + RING_MAX_S > TWILIO_WAITS_S


async def test_the_line_rings_for_what_the_join_has_left() -> None:
    """The stream is in the answer, and waits for the bot; without the limit the line would ring for 10 s more."""
    calls = calls_of(SlowSessions(0.1), join_timeout_s=5, answer_timeout_s=0.2)
    async with asyncio.timeout(RING_MAX_S / 2):
        document = await calls.receive(TWILIO, webhook_of_a_call(), None)
    assert next(ET.fromstring(document.content).iter("Stream")).attrib["url"].startswith("wss://")


async def test_a_gateway_that_does_not_answer_gets_the_fallback_url_in_time() -> None:
    """Both at the first webhook and after a stream."""
    calls = calls_of(SlowSessions(0, knows=True), join_timeout_s=0.1)
    async with asyncio.timeout(RING_MAX_S / 2):
        with pytest.raises(NotReadyError):
            await calls.receive(TWILIO, webhook_of_a_call(), None)
        with pytest.raises(NotReadyError):
            await calls.continue_call(TWILIO, webhook_of_a_call(), TWILIO_CALL, is_answer=False)
