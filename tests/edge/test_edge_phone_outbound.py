"""Calls that an application places, against a double of the carriers' APIs."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cordboard import emit
from cordboard.contract.errors import NotFoundError
from cordboard.edge.tokens import StreamTokens
from cordboard.settings.phone import PhoneNumber
from cordboard.store import RedisStore
from edge.phone_site import QUEUE_MAX, SECRET, PhoneSite, form_of, phone_site
from edge.phone_support import OURS, PUBLIC_URL, THEIRS, TOKEN, accounts, phone_settings
from tests_support import served

# The answers that the carriers document.
ANSWERS: dict[str, Any] = {
    "twilio": {"sid": "CA77", "status": "queued", "to": THEIRS},
    "telnyx": {"from": OURS, "to": THEIRS, "status": "queued"},
    "plivo": {"message": "call fired", "request_uuid": "9834029e-58b6", "api_id": "97ceeb52"},
    "exotel": {"Call": {"Sid": "e77", "Status": "in-progress"}},
}
PATHS = {
    "twilio": "/2010-04-01/Accounts/AC1/Calls.json",
    "telnyx": "/v2/texml/Accounts/T1/Calls",
    "plivo": "/v1/Account/MA1/Call/",
    "exotel": "/v1/Accounts/E1/Calls/connect.json",
}


@dataclass
class CarrierApi:
    """The APIs of all carriers: takes orders at the documented paths."""

    url: str = ""
    refusal: tuple[int, str] | None = None
    orders: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        headers = dict(request.headers)
        if headers["content-type"] == "application/json":
            values = json.loads(body)
        else:
            values = {
                name: values if len(values) > 1 else values[0]
                for name, values in parse_qs(body.decode(), strict_parsing=True).items()
            }
        self.orders.append((request.url.path, headers, values))
        if self.refusal is not None:
            status, text = self.refusal
            return Response(text, status)
        name = next(name for name, path in PATHS.items() if path == request.url.path)
        return Response(json.dumps(ANSWERS[name]), 201)


@contextlib.asynccontextmanager
async def calling_site(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[tuple[PhoneSite, CarrierApi]]:
    api = CarrierApi()
    app = Starlette(routes=[Route("/{path:path}", api.answer, methods=["POST"])])
    async with served(app) as url:
        api.url = url
        phone = phone_settings(
            PhoneNumber(bot="support", body={"tenant": "acme"}),
            accounts_by_name=accounts(api_url=url),
            ring_s=0,
        )
        async with phone_site(store, monkeypatch, phone=phone, **settings) as site:
            yield site, api


@pytest.fixture
async def calling(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[PhoneSite, CarrierApi]]:
    """An edge whose carriers' APIs are a double."""
    async with calling_site(store, monkeypatch) as pair:
        yield pair


Calling = tuple[PhoneSite, CarrierApi]


def path_of(url: str) -> str:
    assert url.startswith(PUBLIC_URL)
    return url.removeprefix(PUBLIC_URL)


async def test_the_session_comes_first_and_the_order_has_what_the_carrier_needs(
    calling: Calling,
) -> None:
    """Each carrier's own names, authentication and answer."""
    site, api = calling
    bearer, basic = f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"AC1:{TOKEN}".encode()).decode()
    for carrier, call_id in (
        ("twilio", "CA77"),
        ("telnyx", None),
        ("plivo", "9834029e-58b6"),
        ("exotel", "e77"),
    ):
        answer = await site.order(carrier, body={"order": 7}, sessionId=f"out-{carrier}")
        assert answer.status == 201, answer.text
        assert answer.json["sessionId"] == f"out-{carrier}"
        assert answer.json["callId"] == call_id
        record = await site.store.session(f"out-{carrier}")
        assert (record.room_url, record.bot) == (f"phone:{carrier}:out-{carrier}", "support")
        path, _, _ = api.orders[-1]
        assert path == PATHS[carrier]
    twilio, telnyx, plivo, exotel = (values for _, _, values in api.orders)
    assert api.orders[0][1]["authorization"] == basic
    assert api.orders[1][1]["authorization"] == bearer
    assert (twilio["To"], twilio["From"], twilio["Timeout"]) == (THEIRS, OURS, "50")
    assert twilio["StatusCallbackEvent"] == ["ringing", "answered", "completed"]
    assert "MachineDetection" not in twilio
    assert (telnyx["To"], telnyx["From"], telnyx["ApplicationSid"]) == (THEIRS, OURS, "77")
    assert (plivo["to"], plivo["from"], plivo["ring_timeout"]) == (THEIRS[1:], OURS[1:], 50)
    assert (exotel["From"], exotel["CallerId"]) == (THEIRS, OURS)
    assert exotel["CustomField"] == "out-exotel"
    token = exotel["StreamUrl"].rpartition("/")[2]
    grant = StreamTokens(lambda: (SECRET,)).verify(token, 0)
    assert grant is not None
    assert grant.session_id == "out-exotel"
    assert exotel["StatusCallback"].startswith(f"https://exotel:{TOKEN}@voice.example.com/phone/")
    await site.run("out-twilio")
    launch = await site.store.launch_record("out-twilio", 1)
    assert launch.body == {
        "tenant": "acme",
        "order": 7,
        "call": {
            "provider": "twilio",
            "call_id": "out-twilio",
            "from": OURS,
            "to": THEIRS,
            "direction": "outbound",
        },
    }


async def test_whoever_answers_gets_the_stream_of_the_session(calling: Calling) -> None:
    """The URL in the order leads to the session, whatever the carrier's id of the call is."""
    site, api = calling
    for carrier, name in (("twilio", "Url"), ("telnyx", "Url"), ("plivo", "answer_url")):
        await site.order(carrier, sessionId=f"out-{carrier}")
        form = form_of(carrier, "CA-of-carrier", CallStatus="in-progress", Direction="outbound-api")
        with emit.capture() as records:
            answer = await site.post(carrier, path_of(api.orders[-1][2][name]), form)
        text = answer.text
        root = ET.fromstring(text)
        url = root.findtext("Stream") or next(root.iter("Stream")).attrib["url"]
        grant = StreamTokens(lambda: (SECRET,)).verify(url.rpartition("/")[2], 0)
        assert grant is not None
        assert grant.session_id == f"out-{carrier}"
        (answered,) = [r for r in records if r.get("event") == "call.answered"]
        assert answered["sessionId"] == f"out-{carrier}"
        assert answered["meta"]["direction"] == "outbound"


async def test_an_answer_after_the_end_of_the_session_hangs_up(calling: Calling) -> None:
    """The bot has crashed while the phone rang."""
    site, api = calling
    await site.order("twilio", sessionId="out")
    await site.store.leave(session_id="out")
    path = path_of(api.orders[-1][2]["Url"])
    answer = await site.post("twilio", path, form_of("twilio", "CA1", CallStatus="in-progress"))
    assert ET.fromstring(answer.text)[0].tag == "Hangup"


async def test_a_repeated_request_calls_nobody_twice(calling: Calling) -> None:
    """Neither at the same time, nor later, nor after the end of the call."""
    site, api = calling
    answers = await asyncio.gather(*(site.order("twilio", sessionId="one") for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 200, 201]
    assert {answer.json["sessionId"] for answer in answers} == {"one"}
    await site.store.leave(session_id="one")
    late = await site.order("twilio", sessionId="one")
    assert (late.status, late.json["status"]) == (200, "cancelled")
    assert len(api.orders) == 1


async def test_without_a_session_id_each_request_is_a_call(calling: Calling) -> None:
    """The answer has the new id."""
    site, api = calling
    first, second = await site.order("twilio"), await site.order("twilio")
    assert first.json["sessionId"] != second.json["sessionId"]
    assert len(api.orders) == 2


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (
            (400, '{"code": 21211, "message": "Invalid \'To\' Phone Number"}'),
            422,
            "carrier_refused",
        ),
        ((401, '{"message": "Authenticate"}'), 422, "carrier_refused"),
        ((429, "slow down"), 503, "carrier_unavailable"),
        ((500, "<html>"), 503, "carrier_unavailable"),
        ((200, "<html>"), 503, "carrier_unavailable"),
        ((302, ""), 422, "carrier_refused"),
    ],
)
async def test_a_refused_order_ends_its_session(
    calling: Calling, refusal: tuple[int, str], status: int, code: str
) -> None:
    """The bot does not wait for a call that will not come."""
    site, api = calling
    api.refusal = refusal
    answer = await site.order("twilio", sessionId="out")
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["sessionId"] == "out"
    record = await site.store.session("out")
    assert (record.state, record.detail) == ("cancelled", f"The call was not placed: {code}.")
    assert TOKEN not in answer.text


async def test_a_carrier_that_cannot_be_reached_is_503(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry with the same id gets the end of the session, and calls nobody."""
    phone = phone_settings(accounts_by_name=accounts(api_url="http://127.0.0.1:9"))
    async with phone_site(store, monkeypatch, phone=phone) as site:
        answer = await site.order("plivo", sessionId="out")
        assert (answer.status, answer.json["code"]) == (503, "carrier_unavailable")
        again = await site.order("plivo", sessionId="out")
        assert (again.status, again.json["status"]) == (200, "cancelled")


class TestNoCall:
    async def test_without_capacity_nobody_is_called(self, calling: Calling) -> None:
        """429, as for every join."""
        site, api = calling
        for number in range(QUEUE_MAX):
            await site.post("twilio", "/phone/twilio", form_of("twilio", f"CA{number}"))
        answer = await site.order("twilio")
        assert (answer.status, answer.json["code"]) == (429, "queue_full")
        assert api.orders == []

    async def test_the_control_secret_is_required(self, calling: Calling) -> None:
        """A carrier's signature, or nothing, places no call."""
        site, api = calling
        content = json.dumps({"to": THEIRS, "from": OURS}).encode()
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {SECRET}"},
        ):
            headers["Content-Type"] = "application/json"
            answer = await site.send("POST", "/phone/twilio/calls", content, headers)
            assert answer.status == 401
        assert api.orders == []

    async def test_bad_requests_get_a_clear_error(self, calling: Calling) -> None:
        """Before anything is accepted."""
        site, api = calling
        for over, words in (
            ({"to": "5557654321"}, "to: invalid number"),
            ({"from": "sip:me"}, "from: invalid number"),
            ({"bot": "a b"}, "bot"),
            ({"sessionId": "a b"}, "sessionId"),
            ({"machine": "shout"}, "machine"),
            ({"too": "x"}, "too"),
        ):
            answer = await site.order("twilio", **over)
            assert answer.status == 422, over
            assert words in answer.json["detail"]
        answer = await site.order("acme")
        assert answer.status == 404
        assert api.orders == []

    async def test_an_account_that_is_not_configured_is_404(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hint names the missing keys."""
        phone = phone_settings(accounts_by_name={})
        async with phone_site(store, monkeypatch, phone=phone) as site:
            answer = await site.order("telnyx", sessionId="out")
            assert answer.status == 404
            assert "account, application, api_key" in answer.json["hint"]
        with pytest.raises(NotFoundError):
            await store.session("out")

    async def test_a_session_id_of_another_room_is_409(self, calling: Calling) -> None:
        """The id names something else."""
        site, _ = calling
        await site.post("twilio", "/phone/twilio", form_of("twilio", "CA1"))
        assert (await site.order("telnyx", sessionId="CA1")).status == 409


@pytest.mark.parametrize(
    ("carrier", "url", "found"),
    [
        ("twilio", "AsyncAmdStatusCallback", {"AnsweredBy": "machine_start"}),
        ("telnyx", "AsyncAmdStatusCallback", {"AnsweredBy": "machine"}),
        ("plivo", "machine_detection_url", {"Machine": "true"}),
    ],
)
async def test_an_answering_machine_ends_the_session_if_the_application_wants_that(
    calling: Calling, carrier: str, url: str, found: dict[str, str]
) -> None:
    """A person does not; with report, a machine does not either."""
    site, api = calling
    person = {name: {"true": "false"}.get(value, "human") for name, value in found.items()}
    for machine, answered_by, state in (
        ("hangup", person, "queued"),
        ("hangup", found, "cancelled"),
        ("report", found, "queued"),
    ):
        session_id = f"{machine}-{state}"
        await site.order(carrier, sessionId=session_id, machine=machine)
        form = form_of(carrier, "CA1", CallStatus="in-progress", **answered_by)
        with emit.capture() as records:
            answer = await site.post(carrier, path_of(api.orders[-1][2][url]), form)
        assert answer.status == 204
        (status,) = [r for r in records if r.get("event") == "call.status"]
        assert status["meta"]["answered_by"] in answered_by.values()
        assert (await site.store.session(session_id)).state == state


async def test_a_call_that_nobody_answers_ends_its_session(calling: Calling) -> None:
    """By the status callback of the order."""
    site, api = calling
    for carrier, url, status in (
        ("twilio", "StatusCallback", "no-answer"),
        ("telnyx", "StatusCallback", "busy"),
        ("plivo", "hangup_url", "timeout"),
    ):
        await site.order(carrier, sessionId=f"out-{carrier}")
        form = form_of(carrier, "CA1", CallStatus=status, Direction="outbound-api")
        await site.post(carrier, path_of(api.orders[-1][2][url]), form)
        record = await site.store.session(f"out-{carrier}")
        assert (record.state, record.detail) == (
            "cancelled",
            f"The call was not answered: {status}.",
        )


async def test_lines_have_no_number_and_no_secret(calling: Calling) -> None:
    """Neither the number that is called, nor the credentials of the carrier's API, nor the token."""
    site, api = calling
    with emit.capture() as records:
        for carrier in ANSWERS:
            await site.order(carrier)
        api.refusal = (400, json.dumps({"message": f"{THEIRS} is not a number"}))
        refused = await site.order("twilio")
    text = json.dumps(records, default=str)
    for secret in (THEIRS[1:], TOKEN, api.orders[3][2]["StreamUrl"].rpartition("/")[2]):
        assert secret not in text
    assert refused.json["detail"].endswith("…321 is not a number")
    placed = [r["meta"] for r in records if r.get("event") == "call.status"]
    assert {meta["called"] for meta in placed} == {"…321"}
