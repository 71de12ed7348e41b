"""Rooms of Daily: made for a session, with tokens; phone calls that Daily holds."""

import base64
import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from pipecat.runner.types import DailyDialinRequest
from pipecat.transports.daily.utils import DailyRESTHelper

from cordboard.contract.errors import CordboardError, QueueFullError
from cordboard.contract.launch import MAX_DURATION_DEFAULT_S
from cordboard.edge.rooms.daily_api import DailyError, room_name
from cordboard.edge.rooms.start import NotConfiguredError, start_daily
from cordboard.edge.start_request import Start
from edge.rooms_support import API_KEY, Edge, encoded, running_edge

HMAC_SECRET = base64.b64encode(b"a secret of thirty-two bytes ...").decode()
CALL: dict[str, Any] = {
    "From": "+15551234567",
    "To": "+15557654321",
    "callId": "4e7d2b1a-call",
    "callDomain": "6f0c-domain",
    "sipHeaders": {"X-Caller": "ada"},
}


@pytest.fixture
async def edge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edge]:
    """An edge with an account at Daily."""
    monkeypatch.setenv("DAILY_API_KEY", API_KEY)
    monkeypatch.setenv("PINLESS_HMAC_SECRET", HMAC_SECRET)
    async with running_edge(monkeypatch) as running:
        yield running


def started(session_id: str, bot: str = "default", **fields: Any) -> Start:
    """Return a client's start of a session."""
    return Start(session_id, bot, "daily", **fields)


def signed(content: bytes, at: float, secret: str = HMAC_SECRET) -> dict[str, str]:
    """Return Daily's headers for a body: real webhooks carry milliseconds."""
    timestamp = str(int(at * 1000))
    digest = hmac.new(base64.b64decode(secret), f"{timestamp}.".encode() + content, hashlib.sha256)
    return {
        "X-Pinless-Timestamp": timestamp,
        "X-Pinless-Signature": base64.b64encode(digest.digest()).decode(),
    }


async def test_start_makes_a_room_and_gives_the_bot_alone_its_ownership(edge: Edge) -> None:
    """The bot's token owns the room, the person's does not, and both outlast the session."""
    answer = await start_daily(edge.services, started("call-7", bot="support", user_name="Ada"))
    name = room_name("call-7")
    assert answer == {
        "dailyRoom": f"https://acme.daily.co/{name}",
        "dailyToken": "token-2",
        "sessionId": "call-7",
    }
    (join,) = edge.gateway.joins
    assert (join["room_url"], join["token"], join["bot"]) == (
        answer["dailyRoom"],
        "token-1",
        "support",
    )
    bot, person = edge.daily.tokens
    assert (bot["is_owner"], person["is_owner"], person["user_name"]) == (True, False, "Ada")
    until = time.time() + MAX_DURATION_DEFAULT_S
    assert all(item["exp"] > until for item in (bot, person, edge.daily.rooms[name]["config"]))


async def test_repeated_start_meets_the_same_room(edge: Edge) -> None:
    """The room is named after the session."""
    first = await start_daily(edge.services, started("call-7"))
    second = await start_daily(edge.services, started("call-7"))
    assert first["dailyRoom"] == second["dailyRoom"]
    assert len(edge.daily.rooms) == 1


async def test_room_properties_of_the_caller_are_kept_and_ownership_is_not_theirs(
    edge: Edge,
) -> None:
    """A client chooses its room's properties, but cannot make itself the owner."""
    exp = int(time.time()) + 600
    start = started(
        "call-7",
        options={
            "dailyRoomProperties": {"exp": exp, "max_participants": 2},
            "dailyMeetingTokenProperties": {"user_id": "u-1", "is_owner": True},
        },
    )
    await start_daily(edge.services, start)
    config = edge.daily.rooms[room_name("call-7")]["config"]
    assert config == {"exp": exp, "eject_at_room_exp": True, "max_participants": 2}
    assert (edge.daily.tokens[1]["user_id"], edge.daily.tokens[1]["is_owner"]) == ("u-1", False)


async def test_room_of_a_refused_join_is_deleted(edge: Edge) -> None:
    """A room nobody uses does not stay at Daily."""
    edge.gateway.refusal = (429, {"code": "queue_full", "detail": "The queue is full."})
    with pytest.raises(QueueFullError, match="The queue is full"):
        await start_daily(edge.services, started("call-7"))
    assert edge.daily.rooms == {}


async def test_room_of_a_live_session_survives_a_refused_repetition(edge: Edge) -> None:
    """A second start that fails must not end the call of the first."""
    await start_daily(edge.services, started("call-7"))
    edge.gateway.refusal = (503, {"code": "store_unavailable", "detail": "Redis is away."})
    with pytest.raises(CordboardError):
        await start_daily(edge.services, started("call-7"))
    assert list(edge.daily.rooms) == [room_name("call-7")]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":"invalid-request-error","info":"unknown property x"}', "invalid"),
        (401, b'{"error":"authentication-error"}', "daily_unavailable"),
        (500, b"<html>", "daily_unavailable"),
        (200, b"[]", "daily_unavailable"),
        (429, b'{"error":"rate-limit-error"}', "daily_unavailable"),
    ],
)
async def test_refusal_of_daily_is_an_error_and_no_join(
    edge: Edge, status: int, body: bytes, kind: str
) -> None:
    """Whatever Daily answers, the error names it, and no session begins."""
    edge.daily.refusal = (status, body)
    with pytest.raises(CordboardError) as error:
        await start_daily(edge.services, started("call-7"))
    assert error.value.code == kind
    assert edge.gateway.joins == []


async def test_daily_that_cannot_be_reached_is_an_error(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is no error of the server."""
    monkeypatch.setenv("DAILY_API_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(DailyError):
        await start_daily(edge.services, started("call-7"))


async def test_start_without_an_account_names_the_variable(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets 400, as from Pipecat's own runner for a transport that is not enabled."""
    monkeypatch.delenv("DAILY_API_KEY")
    with pytest.raises(NotConfiguredError, match="DAILY_API_KEY"):
        await start_daily(edge.services, started("call-7"))


async def test_pipecats_own_client_finds_the_room(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The double of Daily answers Pipecat's client too, which a bot uses for calls."""
    await start_daily(edge.services, started("call-7"))
    async with aiohttp.ClientSession() as session:
        helper = DailyRESTHelper(
            daily_api_key=API_KEY,
            daily_api_url=os.environ["DAILY_API_URL"],
            aiohttp_session=session,
        )
        room = await helper.get_room_from_url(f"https://acme.daily.co/{room_name('call-7')}")
    assert room.name == room_name("call-7")


async def test_call_that_daily_holds_gets_a_bot(edge: Edge) -> None:
    """The session is the call's, the caller is a hash, and the bot's body is Pipecat's."""
    content = encoded(CALL)
    answer = await edge.client.post(
        "/phone/daily/support", content=content, headers=signed(content, time.time())
    )
    assert answer.status_code == 200
    assert answer.json()["sessionId"] == CALL["callId"]
    (join,) = edge.gateway.joins
    assert (join["sessionId"], join["bot"]) == (CALL["callId"], "support")
    assert join["sessionUserId"].startswith("tel:")
    assert "5551234567" not in join["sessionUserId"]
    body = DailyDialinRequest(**join["body"], daily_api_key="k", daily_api_url="u")
    assert body.dialin_settings.From == CALL["From"]
    assert body.dialin_settings.sip_headers == CALL["sipHeaders"]
    sip = edge.daily.rooms[room_name(CALL["callId"])]["config"]["sip"]
    assert sip["sip_mode"] == "dial-in"


@pytest.mark.parametrize("call_id", ["4e7d2b1a-call", "a call/with signs"])
async def test_webhook_that_comes_again_starts_no_second_bot(edge: Edge, call_id: str) -> None:
    """While the session lives, it is met again; after its end nothing is, whatever bot the path names."""
    content = encoded({**CALL, "callId": call_id})
    headers = signed(content, time.time())
    answers = []
    for path in ("/phone/daily", "/phone/daily", "/phone/daily", "/phone/daily/support"):
        answer = await edge.client.post(path, content=content, headers=headers)
        answers.append(answer.json())
        edge.gateway.ended = len(answers) > 1
    session_id = answers[0]["sessionId"]
    assert answers[1]["sessionId"] == session_id
    assert answers[2:] == [{"sessionId": session_id, "status": "ended"}] * 2
    assert [join["sessionId"] for join in edge.gateway.joins] == [session_id] * 2
    assert list(edge.daily.rooms) == [room_name(session_id)]


async def test_test_request_of_daily_is_answered(edge: Edge) -> None:
    """Daily sends it when a number is configured, and wants 200."""
    content = encoded({"test": "test"})
    answer = await edge.client.post(
        "/phone/daily", content=content, headers=signed(content, time.time())
    )
    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})
    assert edge.gateway.joins == []


@pytest.mark.parametrize("age_s", [-600, 600])
async def test_old_webhook_is_refused(edge: Edge, age_s: int) -> None:
    """A recorded webhook starts nothing later."""
    content = encoded(CALL)
    headers = signed(content, time.time() + age_s)
    assert (
        await edge.client.post("/phone/daily", content=content, headers=headers)
    ).status_code == 401
    assert edge.gateway.joins == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Pinless-Timestamp": "now", "X-Pinless-Signature": "e30="},
        {
            "X-Pinless-Timestamp": "9" * 40,
            "X-Pinless-Signature": "é".encode("latin-1").decode("latin-1"),
        },
    ],
)
async def test_unsigned_webhook_is_refused(edge: Edge, headers: dict[str, str]) -> None:
    """Neither absence nor nonsense is a proof."""
    given = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = await edge.client.post("/phone/daily", content=encoded(CALL), headers=given)
    assert answer.status_code == 401


async def test_signature_of_another_body_or_secret_is_refused(edge: Edge) -> None:
    """The signature covers every byte."""
    content = encoded(CALL)
    other = base64.b64encode(b"another secret").decode()
    for headers in (signed(content + b" ", time.time()), signed(content, time.time(), other)):
        answer = await edge.client.post("/phone/daily", content=content, headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", encoded({"From": "+1"}), b"[" * 5000, encoded({**CALL, "To": 7})]
)
async def test_signed_nonsense_is_an_error_of_the_request(edge: Edge, content: bytes) -> None:
    """A malformed webhook gets 422, and loses nothing."""
    answer = await edge.client.post(
        "/phone/daily", content=content, headers=signed(content, time.time())
    )
    assert answer.status_code == 422
    assert edge.gateway.joins == []


async def test_webhook_without_a_key_gets_404(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the secret nobody could prove anything."""
    monkeypatch.delenv("PINLESS_HMAC_SECRET")
    content: Any = encoded(CALL)
    answer = await edge.client.post(
        "/phone/daily", content=content, headers=signed(content, time.time())
    )
    assert answer.status_code == 404
