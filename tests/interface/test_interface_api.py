"""What a page can have done: only for who is signed in, only with sessions of one's own."""

import asyncio
import contextlib
import re
import time
from typing import Any

import aiohttp
import pytest

from cordboard import emit
from cordboard.contract.errors import GatewayError
from cordboard.contract.ids import uuid7
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.interface.app import stop
from cordboard.settings import Settings
from cordboard.store import open_store
from interface.interface_support import SECRET, Site, an_id, open_site
from tests_support import StandIn, served, until


async def test_a_join_is_in_the_name_of_the_login(site: Site) -> None:
    """The page names session and room; who joins comes from the login, whatever the page says."""
    browser = await site.browser().sign_in("Ada Łovelace")
    body = {
        "sessionId": an_id("Call~7"),
        "room": "webrtc:demo",
        "sessionUserId": "root",
        "userId": "root",
    }
    with emit.capture() as records:
        status, told, headers = await browser.ask("POST", "/api/sessions", json=body)
    assert (status, told["sessionId"], told["reused"]) == (202, an_id("Call~7"), False)
    assert headers["X-Session-Id"] == an_id("Call~7")
    record = await site.store.session(an_id("Call~7"))
    assert record.user_name == "Ada Łovelace"
    assert record.user_id is not None
    assert record.user_id.startswith("u-")
    events = [r for r in records if "event" in r]
    assert [r["event"] for r in events] == ["join.requested", "join.received", "join.accepted"]
    assert {(r["sessionId"], r["userId"], r["room"]) for r in events} == {
        (an_id("Call~7"), record.user_id, "webrtc:demo")
    }


async def test_strangers_may_do_nothing(site: Site) -> None:
    """Without a login every call is refused, as problem+json that says what to do."""
    browser = site.browser()
    for method, path in (
        ("POST", "/api/sessions"),
        ("GET", f"/api/sessions/{an_id('s')}"),
        ("GET", f"/api/sessions/{an_id('s')}/events"),
        ("POST", f"/api/sessions/{an_id('s')}/leave"),
        ("POST", f"/api/sessions/{an_id('s')}/offer"),
        ("PATCH", f"/api/sessions/{an_id('s')}/offer"),
        ("POST", "/api/logs"),
    ):
        status, body, headers = await browser.ask(
            method, path, json={"sessionId": an_id("s"), "room": "webrtc:demo"}
        )
        assert (status, body["code"]) == (401, "unauthorized"), path
        assert headers["Content-Type"] == "application/problem+json"
        assert "Sign in" in body["hint"]


async def test_a_session_id_entitles_to_nothing(site: Site, stand_in: StandIn) -> None:
    """Who knows another's session id can neither see, hear, end nor join its session."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("s")
    await site.run("s", stand_in.url)
    for method, path in (
        ("GET", f"/api/sessions/{an_id('s')}"),
        ("GET", f"/api/sessions/{an_id('s')}/events"),
        ("POST", f"/api/sessions/{an_id('s')}/leave"),
        ("POST", f"/api/sessions/{an_id('s')}/offer"),
        ("PATCH", f"/api/sessions/{an_id('s')}/offer"),
    ):
        status, theirs, _ = await eve.ask(method, path, json={})
        _, nobodys, _ = await eve.ask(method, path.replace(an_id("s"), an_id("x")), json={})
        assert status == 404, path
        assert theirs["detail"] == nobodys["detail"]
    assert stand_in.asked == []
    assert (await site.store.session(an_id("s"))).live
    status, told, _ = await eve.join("s")
    assert (status, told["code"]) == (409, "session_id_used")


async def test_a_busy_room_says_whose_it_is(site: Site) -> None:
    """Of another's call only that there is one; of one's own, in another window, its id."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("a")
    _, told, _ = await eve.join("e")
    assert told == {
        "reused": True,
        "yours": False,
        "room_url": "webrtc:demo",
        "requestedSessionId": an_id("e"),
    }
    _, told, _ = await ada.join("a2")
    assert (told["sessionId"], told["yours"]) == (an_id("a"), True)


async def test_leaving_ends_the_session(site: Site) -> None:
    """Leave reaches the gateway; a beacon, with no body and no headers of ours, does as well."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    status, told, _ = await browser.ask("POST", f"/api/sessions/{an_id('s')}/leave")
    assert (status, told["status"]) == (200, "cancelled")
    assert (await site.store.session(an_id("s"))).state == "cancelled"


async def test_signalling_is_handed_on(site: Site, stand_in: StandIn) -> None:
    """Offer and candidates reach the runner byte for byte, and its answer the page."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s", stand_in.url)
    stand_in.answers["/offer"] = (200, {"sdp": "answer", "type": "answer", "pc_id": "p"})
    offer = {"sdp": "v=0", "type": "offer"}
    status, told, headers = await browser.ask(
        "POST", f"/api/sessions/{an_id('s')}/offer", json=offer
    )
    assert (status, told["pc_id"], headers["X-Session-Id"]) == (200, "p", an_id("s"))
    late = {"pc_id": "p", "candidates": []}
    assert (await browser.ask("PATCH", f"/api/sessions/{an_id('s')}/offer", json=late))[0] == 200
    assert [(method, body) for method, _, body, _ in stand_in.asked] == [
        ("POST", offer),
        ("PATCH", late),
    ]


async def test_an_offer_too_early_is_told_in_the_gateways_words(site: Site) -> None:
    """Problems of the gateway come through with status, code and hint."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    status, body, headers = await browser.ask("POST", f"/api/sessions/{an_id('s')}/offer", json={})
    assert (status, body["code"], body["status"]) == (409, "conflict", "queued")
    assert headers["Content-Type"] == "application/problem+json"


async def test_a_full_queue_says_when_to_come_back(site: Site) -> None:
    """429 keeps its Retry-After on the way to the page."""
    for i in range(5):
        await (await site.browser().sign_in()).join(f"s{i}", f"webrtc:{i}")
    browser = await site.browser().sign_in()
    status, body, headers = await browser.join("more", "webrtc:more")
    assert (status, body["code"]) == (429, "queue_full")
    assert int(headers["Retry-After"]) > 0


async def test_too_many_calls_at_once_are_told(site: Site) -> None:
    """The gateway counts a person's live sessions; the page says what to do about it."""
    browser = await site.browser().sign_in()
    for i in range(3):
        assert (await browser.join(f"s{i}", f"webrtc:{i}"))[0] == 202
    status, body, headers = await browser.join("more", "webrtc:more")
    assert (status, body["code"]) == (429, "too_many_sessions")
    assert "End another call" in body["hint"]
    assert int(headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"sessionId": "has blank"}, "sessionId"),
        ({"sessionId": ""}, "sessionId"),
        ({"room": "nowhere"}, "room"),
        ({"room": "https://acme.daily.co/x"}, "room"),
    ],
)
async def test_a_malformed_join_is_not_asked_for(
    site: Site, over: dict[str, str], field: str
) -> None:
    """What fits no grammar is refused here: 422 that names the field."""
    browser = await site.browser().sign_in()
    body = {"sessionId": an_id("s"), "room": "webrtc:demo"} | over
    status, told, _ = await browser.ask("POST", "/api/sessions", json=body)
    assert status == 422
    assert told["errors"][0]["field"] == field


async def test_events_come_as_they_happen(site: Site) -> None:
    """The relay gives every change of state, and ends with the terminal one."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    seen: list[bytes] = []

    async def follow() -> None:
        async with browser.client.get(f"{site.url}/api/sessions/{an_id('s')}/events") as answer:
            assert answer.content_type == "text/event-stream"
            async for line in answer.content:
                seen.extend(re.findall(rb'"status":"(\w+)"', line))

    following = asyncio.create_task(follow())
    await until(lambda: seen)
    await site.run("s")
    await until(lambda: b"running" in seen)
    await site.store.finish(an_id("s"), 1, "bot_finished", None)
    await asyncio.wait_for(following, 10)
    assert seen[0] == b"queued"
    assert seen[-1] == b"ended"


async def test_many_open_streams_block_nobody(site: Site) -> None:
    """A hundred calls and more, each with its stream of events, leave room for the next."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    connector = aiohttp.TCPConnector(limit=0)
    cookies = browser.client.cookie_jar
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, cookie_jar=cookies)
        )
        for _ in range(101):
            url = f"{site.url}/api/sessions/{an_id('s')}/events"
            answer = await stack.enter_async_context(client.get(url))
            await answer.content.readuntil(b"data:")
        assert (await asyncio.wait_for(browser.ask("GET", f"/api/sessions/{an_id('s')}"), 10))[
            0
        ] == 200


async def test_an_open_stream_does_not_hold_up_the_end(site: Site) -> None:
    """When the server stops, streams end: the page comes back to the next server by itself."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    async with browser.client.get(f"{site.url}/api/sessions/{an_id('s')}/events") as answer:
        await answer.content.readline()
        await stop(site.app)
        await asyncio.wait_for(answer.content.read(), 10)


async def test_the_record_is_shown_without_its_machinery(site: Site) -> None:
    """A person sees state, reason and stages; no process, runner or address."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s")
    _, record, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}")
    assert record["status"] == "running"
    assert not {"pid", "runner", "type", "userId"} & set(record)


async def test_a_gateway_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """502 with the way out; the pages themselves are still there."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    async with open_site(None, Settings(gateway_url="http://127.0.0.1:9")) as site:
        browser = await site.browser().sign_in()
        assert (await browser.ask("GET", "/rooms/demo"))[0] == 200
        status, body, _ = await browser.join("s")
        assert (status, body["code"]) == (502, "gateway_unreachable")
        assert "cordboard doctor" in body["hint"]
        assert (await browser.ask("GET", "/readyz"))[0] == 200


async def test_a_gateway_that_does_not_know_us(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong control secret is our fault, not the person's: no 401, which means signed out."""

    class Other(Settings):
        control_secrets = ("wrong",)

    other = Other(gateway_url=site.settings.gateway_url)
    async with open_site(site.store, other) as wrong:
        browser = await wrong.browser().sign_in()
        status, body, _ = await browser.join("s")
        assert status == 502
        assert "BOT_CONTROL_SHARED_SECRET" in body["hint"]


async def test_the_control_secret_stays_here(site: Site) -> None:
    """No page, file or answer has it in it."""
    browser = await site.browser().sign_in()
    answers: list[Any] = [await browser.ask("GET", "/rooms/demo"), await browser.join("s")]
    answers.append(await browser.ask("GET", f"/api/sessions/{an_id('s')}"))
    assert SECRET not in str(answers)


async def test_a_large_body_is_refused(site: Site) -> None:
    """Nothing over 64 KiB is read."""
    browser = await site.browser().sign_in()
    status, body, _ = await browser.ask("POST", "/api/logs", data=b"x" * 70_000)
    assert (status, body["code"]) == (413, "too_large")


async def test_a_lost_stream_of_the_gateway_ends_the_relay(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the gateway breaks off, so do we: the browser then asks anew."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    gateway = site.app.state.services.gateway

    def broken(*_: Any) -> Any:
        raise GatewayError("broken off")

    monkeypatch.setattr(gateway, "events", broken)
    with emit.capture() as records:
        _, text, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}/events")
    assert text == "retry: 1000\n\n"
    assert any(r["message"] == "Lost the gateway's events of a session" for r in records)


INSIDE = re.compile(r"redis|127\.0\.0\.1|://|hunter2|sk-live", re.IGNORECASE)


async def test_a_bots_words_are_not_for_a_person(site: Site) -> None:
    """Why a call failed is told by its reason; what a bot has raised stays with its operators."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s")
    said = "ValueError: postgres://app:hunter2@db.internal/x refused sk-live-0123456789"
    await site.store.finish(an_id("s"), 1, "bot_crashed", said)
    status, record, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}")
    assert (status, record["status"], record["reason"]) == (200, "failed", "bot_crashed")
    assert not INSIDE.search(str(record))
    _, events, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}/events")
    assert "bot_crashed" in events
    assert not INSIDE.search(events)


async def test_no_address_of_the_inside_is_told(site: Site) -> None:
    """A runner that is away: 502 in our own words."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s", "http://127.0.0.1:9")
    status, body, _ = await browser.ask("POST", f"/api/sessions/{an_id('s')}/offer", json={})
    assert (status, body["code"]) == (502, "runner_unreachable")
    assert not INSIDE.search(str(body["detail"] + body["hint"]))


async def test_no_redis_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis that is away: 503 with the seconds to wait, and no word of where it is."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    away = open_store("redis://:hunter2@127.0.0.1:1/0")
    async with (
        served(create_gateway(Settings(), away)) as gateway,
        open_site(None, Settings(gateway_url=gateway)) as site,
    ):
        browser = await site.browser().sign_in()
        path = f"/api/sessions/{an_id('s')}"
        for method, where in (("GET", path), ("POST", f"{path}/leave"), ("GET", f"{path}/events")):
            status, body, headers = await browser.ask(method, where)
            assert (status, body["code"]) == (503, "store_unavailable")
            assert not INSIDE.search(body["detail"] + body.get("hint", ""))
            assert int(headers["Retry-After"]) > 0
        status, body, _ = await browser.join("s")
        assert (status, body["code"]) == (503, "store_unavailable")
        assert not INSIDE.search(body["detail"] + body.get("hint", ""))


async def test_a_page_that_was_open_for_long_gets_another_id(site: Site) -> None:
    """An id that nobody made lately may have been somebody's: 409, and the next one is taken."""
    browser = await site.browser().sign_in()
    old = uuid7(time.time_ns() // 1_000_000 - 25 * 3_600_000, bytes(10))
    for session_id in (old, "call-7", "server:gateway-1"):
        body = {"sessionId": session_id, "room": "webrtc:demo"}
        status, told, headers = await browser.ask("POST", "/api/sessions", json=body)
        assert (status, told["code"]) == (409, "session_id_used")
        assert headers["Content-Type"] == "application/problem+json"
    assert (await browser.join("new"))[0] == 202


async def test_an_ended_id_is_its_users(site: Site) -> None:
    """While its record is kept nobody else joins with it, and its user still sees it."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("s")
    await site.run("s")
    await site.store.finish(an_id("s"), 1, "left", None)
    for room in ("webrtc:demo", "webrtc:another"):
        status, told, _ = await eve.join("s", room)
        assert (status, told["code"]) == (409, "session_id_used")
    assert (await ada.ask("GET", f"/api/sessions/{an_id('s')}"))[1]["status"] == "ended"
