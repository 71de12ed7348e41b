"""Webhooks of calls, over a real gateway and a real Redis: every answer that a carrier gets."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from starlette.responses import Response

from cordboard import emit
from cordboard.contract.errors import NotFoundError, SettingsError
from cordboard.edge.app import create_app
from cordboard.edge.phone.carriers import CARRIERS, Carrier
from cordboard.edge.phone.documents import TwimlDocuments
from cordboard.edge.phone.signatures import BasicProof
from cordboard.edge.phone.webhook import FieldNames
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings
from cordboard.settings.phone import CarrierAccount, PhoneNumber, PhoneSettings
from cordboard.store import RedisStore
from edge.phone_site import (
    QUEUE_MAX,
    SECRET,
    TELNYX_CALL,
    TWILIO_CALL,
    PhoneSite,
    form_of,
    phone_site,
)
from edge.phone_support import OURS, PUBLIC_URL, THEIRS, phone_settings, signed
from tests_support import until

CALL_IDS = {
    "twilio": TWILIO_CALL,
    "telnyx": TELNYX_CALL,
    "plivo": "2b5b12f4-3c3f-4e2b-9d2f-0d6d3b7c1d11",
    "exotel": "6f1b0c2d4e5f6071",
}
NUMBER = PhoneNumber(bot="support", body={"tenant": "acme", "rank": 7})


@pytest.fixture
async def phone(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PhoneSite]:
    """An edge with all carriers and one number, which does not wait for bots."""
    async with phone_site(store, monkeypatch, phone=phone_settings(NUMBER, ring_s=0)) as site:
        yield site


def stream_url(carrier: str, text: str) -> str:
    """Return the URL of the stream in an answer."""
    if carrier == "exotel":
        return str(json.loads(text)["url"])
    response = ET.fromstring(text)
    if carrier == "plivo":
        return str(response.findtext("Stream"))
    return next(stream.attrib["url"] for stream in response.iter("Stream"))


def again_url(text: str) -> str:
    return str(ET.fromstring(text).findtext("Redirect"))


@pytest.mark.parametrize("carrier", CALL_IDS)
async def test_a_call_becomes_a_session_with_the_carriers_id(
    phone: PhoneSite, carrier: str
) -> None:
    """The id of the call is the id of the session, byte for byte; the URL of the stream admits to it."""
    call_id = CALL_IDS[carrier]
    answer = await phone.post(carrier, f"/phone/{carrier}", form_of(carrier, call_id))
    assert answer.status == 200
    assert answer.headers["X-Session-Id"] == call_id
    url = stream_url(carrier, answer.text)
    assert url.startswith("wss://voice.example.com/phone/stream/")
    assert "?" not in url
    grant = StreamTokens(lambda: (SECRET,)).verify(url.rpartition("/")[2], 0)
    assert grant is not None
    assert (grant.session_id, grant.room_url) == (call_id, f"phone:{carrier}:{call_id}")
    record = await phone.store.session(call_id)
    assert (record.state, record.room_url) == ("queued", f"phone:{carrier}:{call_id}")
    assert record.bot == "support"
    launch = await launched(phone, call_id)
    plus = "" if carrier == "plivo" else "+"
    assert launch.body == {
        "tenant": "acme",
        "rank": 7,
        "call": {
            "provider": carrier,
            "call_id": call_id,
            "from": plus + THEIRS[1:],
            "to": plus + OURS[1:],
            "direction": "inbound",
        },
    }


async def launched(phone: PhoneSite, call_id: str) -> Any:
    await phone.run(call_id)
    return await phone.store.launch_record(call_id, 1)


async def test_twilio_passes_numbers_and_texts_to_the_bot(phone: PhoneSite) -> None:
    """Under the names that Pipecat reads into call_data.from_number and to_number."""
    answer = await phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
    parameters = {
        item.attrib["name"]: item.attrib["value"]
        for item in ET.fromstring(answer.text).iter("Parameter")
    }
    assert parameters == {"from_number": THEIRS, "to_number": OURS, "tenant": "acme"}


@pytest.mark.parametrize(
    ("path", "number", "bot"),
    [
        ("/phone/twilio/sales", PhoneNumber(bot="support"), "sales"),
        ("/phone/twilio", PhoneNumber(bot="support"), "support"),
        ("/phone/twilio", PhoneNumber(), "front"),
        ("/phone/twilio", PhoneNumber(provider="telnyx", bot="support"), "front"),
    ],
)
async def test_the_bot_of_the_path_then_of_the_number_then_of_all(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, path: str, number: PhoneNumber, bot: str
) -> None:
    """A number of another carrier does not count."""
    phone = phone_settings(number, ring_s=0, bot="front")
    async with phone_site(store, monkeypatch, phone=phone) as site:
        await site.post("twilio", path, form_of("twilio", TWILIO_CALL))
        assert (await store.session(TWILIO_CALL)).bot == bot


async def test_a_repeated_webhook_meets_the_same_session(phone: PhoneSite) -> None:
    """Twilio retries after a timeout: one call has one bot."""
    first, second = await asyncio.gather(
        *(phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL)) for _ in range(2))
    )
    assert (first.status, second.status) == (200, 200)
    assert (await phone.store.session(TWILIO_CALL)).epoch == 1


@pytest.mark.parametrize("carrier", CALL_IDS)
async def test_a_webhook_that_is_repeated_after_the_end_starts_no_session(
    phone: PhoneSite, carrier: str
) -> None:
    """The carrier's retry, or a replay: the line gets what comes after the session."""
    call_id = CALL_IDS[carrier]
    await phone.post(carrier, f"/phone/{carrier}", form_of(carrier, call_id))
    await phone.run(call_id)
    await phone.end(call_id, "bot_finished")
    answer = await phone.post(carrier, f"/phone/{carrier}", form_of(carrier, call_id))
    if carrier == "exotel":
        assert answer.status == 503
    else:
        assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Hangup"]
    record = await phone.store.session(call_id)
    assert (record.state, record.epoch) == ("ended", 1)


@pytest.mark.parametrize(("path", "status"), [("", "in-progress"), ("/default", "ringing")])
async def test_a_call_that_the_users_own_document_sends_again_gets_a_session(
    phone: PhoneSite, path: str, status: str
) -> None:
    """The call is in progress then, or another bot is to take it: no repetition."""
    await phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
    await phone.run(TWILIO_CALL)
    await phone.end(TWILIO_CALL, "bot_finished")
    form = form_of("twilio", TWILIO_CALL, CallStatus=status)
    assert "Stream" in (await phone.post("twilio", f"/phone/twilio{path}", form)).text
    record = await phone.store.session(TWILIO_CALL)
    assert (record.state, record.epoch) == ("queued", 2)


class TestClosedDoors:
    async def test_a_wrong_signature_is_refused_and_accepts_nothing(self, phone: PhoneSite) -> None:
        """403, and no session."""
        for carrier, call_id in CALL_IDS.items():
            url = f"{PUBLIC_URL}/phone/{carrier}"
            body, headers = signed(carrier, url, form_of(carrier, call_id))
            for name in headers.keys() - {"Content-Type"}:
                wrong = headers | {name: "wrong"}
                with emit.capture() as records:
                    answer = await phone.send("POST", f"/phone/{carrier}", body, wrong)
                assert (answer.status, answer.json["code"]) == (403, "bad_signature")
                (refused,) = [r for r in records if r.get("event") == "auth.refused"]
                assert refused["meta"]["provider"] == carrier
                assert refused["meta"]["path"] == f"/phone/{carrier}"
            assert not await accepted(phone.store, call_id)

    async def test_a_signature_for_another_path_is_refused(self, phone: PhoneSite) -> None:
        """Twilio signs the URL."""
        url = f"{PUBLIC_URL}/phone/twilio/other"
        answer = await phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL), url)
        assert answer.status == 403

    @pytest.mark.parametrize(
        ("phone", "public_url"),
        [(PhoneSettings(), PUBLIC_URL), (phone_settings(), None)],
        ids=["no key", "no public_url"],
    )
    async def test_without_key_or_address_requests_get_404(
        self,
        store: RedisStore,
        monkeypatch: pytest.MonkeyPatch,
        phone: PhoneSettings,
        public_url: str | None,
    ) -> None:
        """404 for every request, however it is signed."""
        async with phone_site(store, monkeypatch, phone=phone, public_url=public_url) as site:
            for carrier, call_id in CALL_IDS.items():
                for end in ("", "/bot", "/status"):
                    path = f"/phone/{carrier}{end}"
                    answer = await site.post(carrier, path, form_of(carrier, call_id))
                    assert answer.status == 404, path

    async def test_other_paths(self, phone: PhoneSite) -> None:
        """Unknown carriers, methods and steps, and paths that no edge has made."""
        for method, path, status in (
            ("POST", "/phone/acme", 404),
            ("POST", "/phone/Twilio", 404),
            ("GET", "/phone/twilio", 404),
            ("POST", "/phone/twilio/no bot", 422),
            ("POST", "/phone/twilio/again/CA1/00", 404),
            ("POST", "/phone/twilio/else/CA1/00", 404),
        ):
            assert (await phone.send(method, path)).status == status, path

    async def test_bad_forms_get_a_clear_error(self, phone: PhoneSite) -> None:
        """Even a carrier's own request may be wrong; none is a 5xx."""
        many = [("n", str(number)) for number in range(600)]
        for form, status in (
            ([("From", THEIRS)], 422),
            ([("CallSid", "a b")], 422),
            ([("CallSid", "x" * 129)], 422),
            ([("CallSid", "..")], 422),
            ([("CallSid", "\x00")], 422),
            ([("CallSid", "CA1"), *many], 422),
            ([("CallSid", "CA1"), ("Note", "x" * 70_000)], 413),
        ):
            answer = await phone.post("twilio", "/phone/twilio", form)
            assert answer.status == status, form[:2]

    async def test_a_body_that_is_no_form(self, phone: PhoneSite) -> None:
        """The message says what to change at the carrier."""
        headers = {"Content-Type": "application/json"}
        answer = await phone.send("POST", "/phone/twilio", b"{}", headers)
        assert answer.status == 422
        assert "Expected a form" in answer.json["detail"]

    @pytest.mark.parametrize("charset", ["utf-7", "undefined", "raw_unicode_escape"])
    async def test_a_form_in_another_encoding(self, phone: PhoneSite, charset: str) -> None:
        """Before anything is decoded: some codecs of Python raise errors, or return what nothing can encode."""
        body = (
            b"--b\r\nContent-Disposition: form-data; name=CallSid\r\n\r\n+2AA-\\ud800\r\n--b--\r\n"
        )
        headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
        answer = await phone.send("POST", "/phone/twilio", body, headers)
        assert answer.status == 422


async def test_no_bytes_of_a_stranger_are_a_server_error(phone: PhoneSite) -> None:
    """Bodies, headers, forms and paths of any kind, of which some have the carrier's password."""
    numbers = random.Random(7)
    _, password = signed("exotel", PUBLIC_URL, [])
    types = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "x", ""]
    paths = ["", "/bot", "/status", "/again/CA1/00", "/calls", f"/status/{'x' * 200}/00", "/%00"]
    for _ in range(150):
        carrier = numbers.choice(["twilio", "telnyx", "plivo", "exotel"])
        text = numbers.choice(
            ["CallSid=", "--b\r\nContent-Disposition: form-data; name=", "\xff%", ""]
        )
        body = text.encode("latin-1") + numbers.randbytes(numbers.randrange(40))
        headers = {
            **password,
            "Content-Type": numbers.choice(types),
            "X-Twilio-Signature": "\u00e9",
            "X-Twilio-Webhooks-Signature-Settings": numbers.choice(["", "key=1,algorithm=x", "="]),
            "Telnyx-Timestamp": numbers.choice(["1", "\u0661", "9" * 400]),
            "Telnyx-Signature-Ed25519": "AAAA",
            "X-Plivo-Signature-V3-Nonce": "\u00e9",
            "X-Plivo-Signature-V3": ",,\u00e9",
        }
        encoded = {name: value.encode("utf-8") for name, value in headers.items()}
        path = f"/phone/{carrier}{numbers.choice(paths)}"
        answer = await phone.send("POST", path, body, encoded)
        assert answer.status in {200, 204, 400, 401, 403, 404, 413, 422}, (path, body, answer.text)


class TestNoCapacity:
    async def test_a_full_queue_is_a_busy_line_and_never_429(self, phone: PhoneSite) -> None:
        """The first verb rejects the call; Exotel's flow goes on with its next applet."""
        for number in range(QUEUE_MAX):
            await phone.post("twilio", "/phone/twilio", form_of("twilio", f"CA{number}"))
        for carrier, tag in (("twilio", "Reject"), ("telnyx", "Reject"), ("plivo", "Hangup")):
            form = form_of(carrier, "CA-one-more")
            answer = await phone.post(carrier, f"/phone/{carrier}", form)
            verb = ET.fromstring(answer.text)[0]
            assert (answer.status, verb.tag, verb.attrib) == (200, tag, {"reason": "busy"})
        answer = await phone.post("exotel", "/phone/exotel", form_of("exotel", "E-one-more"))
        assert answer.status == 503

    async def test_without_a_gateway_the_number_gets_its_fallback_url(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """503, so that the carrier asks the fallback URL of the number; with a hint when to try again."""
        async with phone_site(store, monkeypatch, gateway_url="http://127.0.0.1:9") as site:
            answer = await site.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            again = CallPath(TWILIO_CALL).again
            answer = await site.post("twilio", again, form_of("twilio", TWILIO_CALL))
            assert answer.status == 503

    async def test_without_redis_the_number_gets_its_fallback_url(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """503, as with a gateway that is away."""
        from cordboard.store import open_store

        del store
        async with open_store("redis://127.0.0.1:1/0") as away:
            assert isinstance(away, RedisStore)
            async with phone_site(away, monkeypatch) as site:
                for path in ("/phone/twilio", CallPath("CA1").again, CallPath("CA1").answer):
                    assert (await site.post("twilio", path, form_of("twilio", "CA1"))).status == 503
                placed = await site.order("twilio")
                assert (placed.status, placed.json["code"]) == (503, "store_unavailable")


class CallPath:
    """The paths of a call, as an edge with the same control secret makes them."""

    def __init__(self, session_id: str, carrier: str = "twilio") -> None:
        from cordboard.edge.phone.paths import CallPaths

        paths = CallPaths(lambda: (SECRET,))
        self.again = paths.path(carrier, "again", session_id)
        self.answer = paths.path(carrier, "answer", session_id)
        self.status = paths.path(carrier, "status", session_id)
        self.machine = paths.path(carrier, "machine", session_id)


class TestRinging:
    async def test_the_line_rings_until_the_bot_runs(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The webhook is answered when the session runs, not before."""
        async with phone_site(store, monkeypatch, phone=phone_settings(ring_s=10)) as site:
            call = asyncio.create_task(
                site.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
            )
            await until(lambda: accepted(store, TWILIO_CALL))
            assert not call.done()
            await site.run(TWILIO_CALL)
            assert stream_url("twilio", (await call).text)

    @pytest.mark.parametrize(
        ("fallback", "tag"), [("busy", "Reject"), ("https://app.example.com/x?a=1&b=2", "Redirect")]
    )
    async def test_a_session_that_ends_meanwhile_is_busy_or_the_fallback(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch, fallback: str, tag: str
    ) -> None:
        """The caller does not hear a stream without a bot."""
        phone = phone_settings(PhoneNumber(fallback=fallback), ring_s=10)
        async with phone_site(store, monkeypatch, phone=phone) as site:
            call = asyncio.create_task(
                site.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
            )
            await until(lambda: accepted(store, TWILIO_CALL))
            await site.store.leave(session_id=TWILIO_CALL)
            verb = ET.fromstring((await call).text)[0]
            assert verb.tag == tag
            assert fallback in {verb.attrib.get("reason"), verb.text}

    async def test_a_gateway_that_fails_meanwhile_does_not_lose_the_call(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The session is accepted, so the line gets its stream, which waits for the bot."""
        phone = phone_settings(ring_s=1)

        def joins_only(app: Any) -> Any:
            async def serve(scope: Any, receive: Any, send: Any) -> None:
                is_join = scope.get("path") == "/join"
                if scope["type"] == "lifespan" or is_join:
                    await app(scope, receive, send)
                else:
                    await Response(status_code=500)(scope, receive, send)

            return serve

        async with phone_site(store, monkeypatch, phone=phone, before_gateway=joins_only) as site:
            answer = await site.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
            assert stream_url("twilio", answer.text)


async def accepted(store: RedisStore, session_id: str) -> bool:
    try:
        await store.session(session_id)
    except NotFoundError:
        return False
    return True


class TestAgain:
    @pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])
    async def test_a_live_session_gets_its_stream_once_more(
        self, phone: PhoneSite, carrier: str
    ) -> None:
        """The URL of the document itself leads to another stream of the same session."""
        call_id = CALL_IDS[carrier]
        first = await phone.post(carrier, f"/phone/{carrier}", form_of(carrier, call_id))
        await phone.run(call_id)
        again = await phone.post(carrier, again_url(first.text), form_of(carrier, call_id))
        grant = StreamTokens(lambda: (SECRET,)).verify(
            stream_url(carrier, again.text).rpartition("/")[2], 0
        )
        assert grant is not None
        assert grant.session_id == call_id
        assert again_url(again.text) == again_url(first.text)
        assert (await phone.store.session(call_id)).epoch == 1

    @pytest.mark.parametrize(
        ("after", "tags"),
        [
            ("hangup", ["Hangup"]),
            ("hold", ["Pause", "Redirect"]),
            ("https://app.example.com/next", ["Redirect"]),
        ],
    )
    async def test_after_the_session_the_line_does_what_the_number_says(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch, after: str, tags: list[str]
    ) -> None:
        """hangup, hold (and ask again), or a URL."""
        phone = phone_settings(PhoneNumber(after=after), ring_s=0)
        async with phone_site(store, monkeypatch, phone=phone) as site:
            first = await site.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
            await site.run(TWILIO_CALL)
            await site.end(TWILIO_CALL, "bot_finished")
            answer = await site.post(
                "twilio", again_url(first.text), form_of("twilio", TWILIO_CALL)
            )
            response = ET.fromstring(answer.text)
            assert [verb.tag for verb in response] == tags
            if after == "hold":
                assert response[0].attrib == {"length": "3600"}
                assert response[1].text == again_url(first.text)
            elif after != "hangup":
                assert response[0].text == after

    async def test_a_bot_that_returns_is_not_called_again(self, phone: PhoneSite) -> None:
        """Its stream ends a moment before its session; the edge waits for that."""
        first = await phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
        await phone.run(TWILIO_CALL)
        again = asyncio.create_task(
            phone.post("twilio", again_url(first.text), form_of("twilio", TWILIO_CALL))
        )
        await asyncio.sleep(0.05)
        await phone.end(TWILIO_CALL, "bot_finished")
        assert ET.fromstring((await again).text)[0].tag == "Hangup"

    async def test_an_unknown_session_is_a_hangup(self, phone: PhoneSite) -> None:
        """Its record may have expired while the line was on hold."""
        answer = await phone.post("twilio", CallPath("CA-old").again, form_of("twilio", "CA-old"))
        assert ET.fromstring(answer.text)[0].tag == "Hangup"

    async def test_the_signature_is_checked_as_for_the_webhook(self, phone: PhoneSite) -> None:
        """The proof in the path alone opens nothing."""
        path = CallPath(TWILIO_CALL).again
        answer = await phone.post("twilio", path, form_of("twilio", TWILIO_CALL), f"{PUBLIC_URL}/x")
        assert answer.status == 403


class TestStatus:
    async def test_states_are_events_of_the_session(self, phone: PhoneSite) -> None:
        """State, duration and SIP code, under the session of the call."""
        form = form_of(
            "twilio",
            TWILIO_CALL,
            CallStatus="completed",
            CallDuration="17",
            SipResponseCode="200",
        )
        with emit.capture() as records:
            answer = await phone.post("twilio", "/phone/twilio/status", form)
        assert answer.status == 204
        (status,) = [record for record in records if record.get("event") == "call.status"]
        assert status["sessionId"] == TWILIO_CALL
        assert status["meta"] == {
            "provider": "twilio",
            "status": "completed",
            "call_id": TWILIO_CALL,
            "duration_s": 17,
            "sip_code": "200",
        }

    @pytest.mark.parametrize(
        ("carrier", "over", "details"),
        [
            (
                "telnyx",
                {"CallStatus": "completed", "CallDuration": "45", "HangupCause": "normal_clearing"},
                {"duration_s": 45, "cause": "normal_clearing"},
            ),
            (
                "plivo",
                {"CallStatus": "completed", "Duration": "9", "HangupCauseName": "Normal Hangup"},
                {"duration_s": 9, "cause": "Normal Hangup"},
            ),
            ("exotel", {"Status": "completed", "ConversationDuration": "3"}, {"duration_s": 3}),
        ],
    )
    async def test_other_carriers_names(
        self, phone: PhoneSite, carrier: str, over: dict[str, str], details: dict[str, Any]
    ) -> None:
        """Each carrier has its own names for the same facts."""
        call_id = CALL_IDS[carrier]
        with emit.capture() as records:
            await phone.post(carrier, f"/phone/{carrier}/status", form_of(carrier, call_id, **over))
        (status,) = [record for record in records if record.get("event") == "call.status"]
        assert status["sessionId"] == call_id
        assert status["meta"].items() >= {"status": "completed", **details}.items()

    async def test_the_end_of_a_call_ends_a_session_whose_stream_never_stopped(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the grace period; a bot that ends by itself has the whole of it."""
        phone = phone_settings(ring_s=0, hangup_grace_s=0)
        async with phone_site(store, monkeypatch, phone=phone) as site:
            await site.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
            form = form_of("twilio", TWILIO_CALL, CallStatus="completed")
            await site.post("twilio", "/phone/twilio/status", form)
            await until(lambda: is_over(store, TWILIO_CALL))
            record = await store.session(TWILIO_CALL)
            assert record.detail == "The carrier reported the end of the call."

    async def test_the_end_of_a_call_without_a_session_asks_for_nothing(
        self, phone: PhoneSite
    ) -> None:
        """A call that was refused as busy, for example."""
        form = form_of("twilio", "CA-refused", CallStatus="completed")
        with emit.capture() as records:
            assert (await phone.post("twilio", "/phone/twilio/status", form)).status == 204
            await until(lambda: "GET" in str(records))
            await asyncio.sleep(0.3)
        assert str(records).count("GET") == 1

    async def test_nothing_ends_before_the_grace_period(self, phone: PhoneSite) -> None:
        """The bot may still write down what it has learned; ringing ends nothing at all."""
        await phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
        for status in ("ringing", "in-progress", "completed"):
            form = form_of("twilio", TWILIO_CALL, CallStatus=status)
            await phone.post("twilio", CallPath(TWILIO_CALL).status, form)
        assert (await phone.store.session(TWILIO_CALL)).state == "queued"

    async def test_a_call_that_nobody_answered_ends_at_once(self, phone: PhoneSite) -> None:
        """No bot has anything to finish."""
        for status in ("busy", "no-answer", "failed", "canceled"):
            call_id = f"CA-{status}"
            await phone.post("twilio", "/phone/twilio", form_of("twilio", call_id))
            form = form_of("twilio", call_id, CallStatus=status)
            await phone.post("twilio", CallPath(call_id).status, form)
            assert await is_over(phone.store, call_id)

    async def test_a_redirect_after_the_end_of_the_call_hangs_up(self, phone: PhoneSite) -> None:
        """Twilio asks the action of <Connect> when the caller has hung up, too."""
        first = await phone.post("twilio", "/phone/twilio", form_of("twilio", TWILIO_CALL))
        form = form_of("twilio", TWILIO_CALL, CallStatus="completed")
        answer = await phone.post("twilio", again_url(first.text), form)
        assert ET.fromstring(answer.text)[0].tag == "Hangup"

    async def test_exotel_sends_its_states_as_multipart(self, phone: PhoneSite) -> None:
        """The form that Exotel documents for status callbacks."""
        body = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in form_of("exotel", "E7", Status="completed")
        )
        _, headers = signed("exotel", PUBLIC_URL, [])
        headers["Content-Type"] = "multipart/form-data; boundary=b"
        with emit.capture() as records:
            answer = await phone.send(
                "POST", "/phone/exotel/status", f"{body}--b--\r\n".encode(), headers
            )
        assert answer.status == 204
        assert [r["sessionId"] for r in records if r.get("event") == "call.status"] == ["E7"]


async def is_over(store: RedisStore, session_id: str) -> bool:
    return (await store.session(session_id)).state in {"ended", "cancelled", "failed", "expired"}


async def test_lines_have_the_session_and_no_number_or_token(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first line on; the person's number and the stream's token are in no line."""
    with emit.capture() as records:
        async with phone_site(store, monkeypatch, phone=phone_settings(NUMBER, ring_s=0)) as site:
            for carrier, call_id in CALL_IDS.items():
                form = form_of(carrier, call_id)
                first = await site.post(carrier, f"/phone/{carrier}", form)
                token = stream_url(carrier, first.text).rpartition("/")[2]
                await site.post(carrier, CallPath(call_id, carrier).again, form)
                await site.post(carrier, f"/phone/{carrier}/status", form)
                text = json.dumps(records, default=str)
                assert token not in text
                assert THEIRS[1:] not in text
                events = [
                    record["event"]
                    for record in records
                    if record["sessionId"] == call_id
                    and str(record.get("event")).startswith("call.")
                ]
                assert events == ["call.received", "call.answered", "call.status"]
                received = next(
                    record
                    for record in records
                    if record["sessionId"] == call_id and record.get("event") == "call.received"
                )
                assert received["meta"]["caller"] == "…321"
                assert received["userId"].startswith("tel:")


async def test_numbers_are_logged_if_the_operator_wants_them(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log_numbers."""
    phone = phone_settings(NUMBER, ring_s=0, log_numbers=True)
    async with phone_site(store, monkeypatch, phone=phone) as site:
        with emit.capture() as records:
            await site.post("plivo", "/phone/plivo", form_of("plivo", CALL_IDS["plivo"]))
    (received,) = [record for record in records if record.get("event") == "call.received"]
    assert received["meta"]["caller"] == THEIRS


async def test_a_further_carrier_is_a_table(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of fields, a proof, and documents: the engine and the settings need no change."""
    acme = Carrier(
        name="acme",
        title="Acme Telecom",
        proof=BasicProof(),
        documents=TwimlDocuments({"codec": "PCMU"}, has_action=False, has_parameters=False),
        proof_settings="password_env",
        fields=FieldNames(call_id=("call",), caller=("a",), called=("b",), status=("state",)),
    )
    accounts = {
        "acme": CarrierAccount(
            name="acme", user="exotel", secret_sources={"password_env": "TEST_CARRIER_TOKEN"}
        )
    }
    phone = phone_settings(PhoneNumber(provider="acme"), accounts_by_name=accounts, ring_s=0)
    carriers = {**CARRIERS, "acme": acme}
    async with phone_site(store, monkeypatch, phone=phone, carriers=carriers) as site:
        body, headers = signed("exotel", "", [("call", "7"), ("a", THEIRS), ("b", OURS)])
        answer = await site.send("POST", "/phone/acme", body, headers)
        stream = next(ET.fromstring(answer.text).iter("Stream"))
        assert stream.attrib["codec"] == "PCMU"
        assert (await store.session("7")).room_url == "phone:acme:7"
        body, headers = signed("exotel", "", [("call", "7"), ("state", "busy")])
        assert (await site.send("POST", "/phone/acme/status", body, headers)).status == 204
        assert await is_over(store, "7")


@pytest.mark.parametrize(
    "phone",
    [
        PhoneSettings(carriers={"twillio": CarrierAccount(name="twillio")}),
        PhoneSettings(numbers={OURS: PhoneNumber(provider="twillio")}),
    ],
)
def test_unknown_carriers_are_an_error_at_the_start(phone: PhoneSettings) -> None:
    """The message suggests the nearest one."""
    with pytest.raises(SettingsError, match=r"Did you mean twilio\?"):
        create_app(Settings(phone=phone))
