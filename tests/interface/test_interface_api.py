"""The routes that pages call: only for signed-in people, and only for their own sessions."""

import asyncio
import contextlib
import re
import time
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cordboard import emit
from cordboard.contract.errors import GatewayError
from cordboard.contract.ice import parse_ice_servers
from cordboard.contract.ids import uuid7
from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.interface.app import stop
from cordboard.settings import Settings
from cordboard.store import RedisStore, Suspicion, open_store
from interface.interface_support import SECRET, Site, an_id, open_site
from tests_support import StandIn, served, until


async def test_join_has_the_user_of_the_login(site: Site) -> None:
    """The page names the session and the room; another user in its body is ignored."""
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


async def test_every_route_needs_a_login(site: Site) -> None:
    """Without one they answer 401 with a hint."""
    browser = site.browser()
    for method, path in (
        ("POST", "/api/sessions"),
        ("GET", f"/api/sessions/{an_id('s')}"),
        ("GET", f"/api/sessions/{an_id('s')}/events"),
        ("POST", f"/api/sessions/{an_id('s')}/leave"),
        ("POST", f"/api/sessions/{an_id('s')}/offer"),
        ("PATCH", f"/api/sessions/{an_id('s')}/offer"),
        ("POST", f"/api/sessions/{an_id('s')}/suspect"),
        ("POST", "/api/logs"),
    ):
        status, body, headers = await browser.ask(
            method, path, json={"sessionId": an_id("s"), "room": "webrtc:demo"}
        )
        assert (status, body["code"]) == (401, "unauthorized"), path
        assert headers["Content-Type"] == "application/problem+json"
        assert body["hint"]


async def test_session_id_alone_grants_no_access(site: Site, stand_in: StandIn) -> None:
    """A person who knows another's session id can neither read, hear, end nor join the session."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("s")
    await site.run("s", stand_in.url)
    for method, path in (
        ("GET", f"/api/sessions/{an_id('s')}"),
        ("GET", f"/api/sessions/{an_id('s')}/events"),
        ("POST", f"/api/sessions/{an_id('s')}/leave"),
        ("POST", f"/api/sessions/{an_id('s')}/offer"),
        ("PATCH", f"/api/sessions/{an_id('s')}/offer"),
        ("POST", f"/api/sessions/{an_id('s')}/suspect"),
    ):
        status, theirs, _ = await eve.ask(method, path, json={})
        _, nobodys, _ = await eve.ask(method, path.replace(an_id("s"), an_id("x")), json={})
        assert status == 404, path
        assert theirs["detail"] == nobodys["detail"]
    assert stand_in.asked == []
    assert (await site.store.session(an_id("s"))).live
    status, told, _ = await eve.join("s")
    assert (status, told["code"]) == (409, "session_id_used")


async def test_join_in_busy_room_shows_only_an_own_session(site: Site) -> None:
    """Of another person's call only its existence; of one's own call, in another window, the id."""
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


async def test_leave_ends_the_session(site: Site) -> None:
    """A beacon, which has neither a body nor our headers, ends it, too."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    status, told, _ = await browser.ask("POST", f"/api/sessions/{an_id('s')}/leave")
    assert (status, told["status"]) == (200, "cancelled")
    assert (await site.store.session(an_id("s"))).state == "cancelled"


async def test_offer_and_candidates_are_relayed_unchanged(site: Site, stand_in: StandIn) -> None:
    """They reach the runner, and its answer reaches the page."""
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


async def test_hint_about_a_dead_bot_reaches_the_operators(site: Site, stand_in: StandIn) -> None:
    """And the page learns the present state."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s", stand_in.url)
    async with asyncio.timeout(10), site.store.reader.suspicions() as suspicions:
        status, told, _ = await browser.ask("POST", f"/api/sessions/{an_id('s')}/suspect")
        assert (status, told) == (202, {"sessionId": an_id("s"), "status": "running"})
        assert await anext(suspicions) == Suspicion(an_id("s"), 1)


async def test_page_gets_the_ice_servers_of_its_own_session_only(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the join's answer and for a reconnect; no other person gets them, and the page's source has none."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    fixed = {"urls": ["turn:turn.example.com"], "username": "u", "credential": "the-turn-password"}
    turn = Settings(ice_servers=parse_ice_servers([fixed]))
    async with (
        served(create_gateway(turn, store)) as gateway,
        open_site(store, Settings(gateway_url=gateway)) as site,
    ):
        ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
        status, joined, _ = await ada.join("s")
        assert (status, joined["iceConfig"]) == (202, {"iceServers": [fixed]})
        path = f"/api/sessions/{an_id('s')}/ice"
        assert (await ada.ask("GET", path))[:2] == (200, {"iceServers": [fixed]})
        others = [await eve.ask("GET", path), await eve.join("t")]
        others.append(await ada.ask("GET", "/rooms/demo"))
    assert [status for status, _, _ in others] == [404, 200, 200]
    assert "the-turn-password" not in str(others)


async def test_offer_before_the_session_runs_is_409(site: Site) -> None:
    """The response has the gateway's code and the session's state."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    status, body, headers = await browser.ask("POST", f"/api/sessions/{an_id('s')}/offer", json={})
    assert (status, body["code"], body["status"]) == (409, "conflict", "queued")
    assert headers["Content-Type"] == "application/problem+json"


async def test_full_queue_keeps_its_retry_after(site: Site) -> None:
    """429 reaches the page with the gateway's ``Retry-After``."""
    for i in range(5):
        await (await site.browser().sign_in()).join(f"s{i}", f"webrtc:{i}")
    browser = await site.browser().sign_in()
    status, body, headers = await browser.join("more", "webrtc:more")
    assert (status, body["code"]) == (429, "queue_full")
    assert int(headers["Retry-After"]) > 0


async def test_too_many_calls_of_a_person_are_429(site: Site) -> None:
    """The gateway counts a person's live sessions."""
    browser = await site.browser().sign_in()
    for i in range(3):
        assert (await browser.join(f"s{i}", f"webrtc:{i}"))[0] == 202
    status, body, headers = await browser.join("more", "webrtc:more")
    assert (status, body["code"]) == (429, "too_many_sessions")
    assert body["hint"]
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
async def test_malformed_join_is_422_and_names_the_field(
    site: Site, over: dict[str, str], field: str
) -> None:
    """The interface refuses it without asking the gateway."""
    browser = await site.browser().sign_in()
    body = {"sessionId": an_id("s"), "room": "webrtc:demo"} | over
    status, told, _ = await browser.ask("POST", "/api/sessions", json=body)
    assert status == 422
    assert told["errors"][0]["field"] == field


async def test_event_stream_has_every_state_change(site: Site) -> None:
    """It is sent as it happens, and ends with the final state."""
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


async def test_many_open_streams_do_not_block_other_requests(site: Site) -> None:
    """More than a hundred calls, each with its event stream, leave room for the next."""
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


async def test_open_stream_ends_when_the_server_stops(site: Site) -> None:
    """The page then reconnects to the next server by itself."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    async with browser.client.get(f"{site.url}/api/sessions/{an_id('s')}/events") as answer:
        await answer.content.readline()
        await stop(site.app)
        await asyncio.wait_for(answer.content.read(), 10)


async def test_unreachable_gateway_is_502_and_pages_still_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hint helps the operator; the interface stays ready."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    async with open_site(None, Settings(gateway_url="http://127.0.0.1:9")) as site:
        browser = await site.browser().sign_in()
        assert (await browser.ask("GET", "/rooms/demo"))[0] == 200
        status, body, _ = await browser.join("s")
        assert (status, body["code"]) == (502, "gateway_unreachable")
        assert "cordboard doctor" in body["hint"]
        assert (await browser.ask("GET", "/readyz"))[0] == 200


async def test_wrong_control_secret_is_502_and_not_401(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 would tell the page that the person is signed out."""

    class Other(Settings):
        control_secrets = ("wrong",)

    other = Other(gateway_url=site.settings.gateway_url)
    async with open_site(site.store, other) as wrong:
        browser = await wrong.browser().sign_in()
        status, body, _ = await browser.join("s")
        assert status == 502
        assert "BOT_CONTROL_SHARED_SECRET" in body["hint"]


async def test_redirect_of_the_gateway_is_502(site: Site) -> None:
    """A browser that got a redirect without its address could do nothing with it."""

    async def redirect(_request: Request) -> Response:
        return RedirectResponse("https://gateway.example/join", 308)

    routes = [Route("/{path:path}", redirect, methods=["GET", "POST"])]
    async with (
        served(Starlette(routes=routes)) as url,
        open_site(site.store, Settings(gateway_url=url)) as moved,
    ):
        browser = await moved.browser().sign_in()
        status, body, _ = await browser.join("s")
    assert (status, body["code"]) == (502, "gateway_unreachable")
    assert "CORDBOARD_GATEWAY_URL" in body["hint"]


async def test_control_secret_never_reaches_a_browser(site: Site) -> None:
    """No page and no response contains it."""
    browser = await site.browser().sign_in()
    answers: list[Any] = [await browser.ask("GET", "/rooms/demo"), await browser.join("s")]
    answers.append(await browser.ask("GET", f"/api/sessions/{an_id('s')}"))
    assert SECRET not in str(answers)


async def test_body_over_the_limit_is_413(site: Site) -> None:
    """At most 64 KiB are read."""
    browser = await site.browser().sign_in()
    status, body, _ = await browser.ask("POST", "/api/logs", data=b"x" * 70_000)
    assert (status, body["code"]) == (413, "too_large")


async def test_lost_event_stream_of_the_gateway_ends_the_relay(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser then reconnects."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    gateway = site.app.state.services.gateway

    def broken(*_: Any) -> Any:
        raise GatewayError("broken off")

    monkeypatch.setattr(gateway, "events", broken)
    with emit.capture() as records:
        _, text, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}/events")
    assert text == "retry: 1000\n\n"
    assert any(r["message"] == "Lost the gateway's event stream for a session" for r in records)


INTERNAL = re.compile(r"redis|127\.0\.0\.1|://|hunter2|sk-live", re.IGNORECASE)


async def test_error_text_of_a_bot_does_not_reach_a_person(site: Site) -> None:
    """A failed call has a reason; the exception of the bot is for operators."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s")
    said = "ValueError: postgres://app:hunter2@db.internal/x refused sk-live-0123456789"
    await site.store.finish(an_id("s"), 1, "bot_crashed", said)
    status, record, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}")
    assert (status, record["status"], record["reason"]) == (200, "failed", "bot_crashed")
    assert not INTERNAL.search(str(record))
    _, events, _ = await browser.ask("GET", f"/api/sessions/{an_id('s')}/events")
    assert "bot_crashed" in events
    assert not INTERNAL.search(events)


async def test_unreachable_runner_is_502_without_its_address(site: Site) -> None:
    """The text is the interface's own."""
    browser = await site.browser().sign_in()
    await browser.join("s")
    await site.run("s", "http://127.0.0.1:9")
    status, body, _ = await browser.ask("POST", f"/api/sessions/{an_id('s')}/offer", json={})
    assert (status, body["code"]) == (502, "runner_unreachable")
    assert not INTERNAL.search(str(body["detail"] + body["hint"]))


async def test_redis_outage_is_503_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each route answers with ``Retry-After``."""
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
            assert not INTERNAL.search(body["detail"] + body.get("hint", ""))
            assert int(headers["Retry-After"]) > 0
        status, body, _ = await browser.join("s")
        assert (status, body["code"]) == (503, "store_unavailable")
        assert not INTERNAL.search(body["detail"] + body.get("hint", ""))


async def test_join_with_an_old_id_is_session_id_used(site: Site) -> None:
    """An id that no page made recently may have been another person's; a new id is accepted."""
    browser = await site.browser().sign_in()
    old = uuid7(time.time_ns() // 1_000_000 - 25 * 3_600_000, bytes(10))
    for session_id in (old, "call-7", "server:gateway-1"):
        body = {"sessionId": session_id, "room": "webrtc:demo"}
        status, told, headers = await browser.ask("POST", "/api/sessions", json=body)
        assert (status, told["code"]) == (409, "session_id_used")
        assert headers["Content-Type"] == "application/problem+json"
    assert (await browser.join("new"))[0] == 202


async def test_id_of_an_ended_session_belongs_to_its_user(site: Site) -> None:
    """While its record is kept, nobody else can join with it, and its user can read it."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("s")
    await site.run("s")
    await site.store.finish(an_id("s"), 1, "left", None)
    for room in ("webrtc:demo", "webrtc:another"):
        status, told, _ = await eve.join("s", room)
        assert (status, told["code"]) == (409, "session_id_used")
    assert (await ada.ask("GET", f"/api/sessions/{an_id('s')}"))[1]["status"] == "ended"
