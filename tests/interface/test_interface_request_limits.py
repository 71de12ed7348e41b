"""One caller cannot use up what all others need."""

import contextlib
import json
from typing import Any

import aiohttp
import pytest

from cordboard.interface.request_limits import OpenStreams, RequestLimits
from cordboard.settings import Settings
from cordboard.web.rate_limits import Buckets, Sampler, TooManyRequestsError
from interface.interface_support import Site, an_id
from tests_support import until

NARROW = Settings(
    interface_joins_per_minute=2,
    interface_offers_per_minute=2,
    interface_logins_per_minute=3,
    interface_streams_per_user=1,
    interface_people_per_address=2,
)


def refused(spend: Any, *who: str) -> int:
    """Return after how many seconds a caller may come again; 0 when it may now."""
    try:
        spend(*who)
    except TooManyRequestsError as error:
        return error.retry_after_s or 0
    return 0


@pytest.mark.parametrize("kind", ["join", "offer"])
def test_a_person_and_an_address_have_their_share(kind: str) -> None:
    """A person's share is one's own; an address has that of two people; time gives more."""
    now = [0.0]
    spend = getattr(RequestLimits(NARROW, lambda: now[0]), kind)
    assert [refused(spend, "ada", "a") for _ in range(3)] == [0, 0, 30]
    assert [refused(spend, "eve", "a") for _ in range(2)] == [0, 0]
    assert refused(spend, "bob", "a") == 15
    assert refused(spend, "bob", "b") == 0
    now[0] = 31.0
    assert refused(spend, "ada", "a") == 0


def test_logins_are_counted_by_address() -> None:
    """Before a login there is no person to count by."""
    limits = RequestLimits(NARROW, lambda: 0.0)
    assert [refused(limits.login, "a") for _ in range(4)] == [0, 0, 0, 20]
    assert refused(limits.login, "b") == 0


def test_what_is_open_is_counted_until_it_closes() -> None:
    """By person and by address; what has closed makes room, and leaves nothing behind."""
    bound = OpenStreams(1, 2)
    leave = bound.enter("ada", "a")
    assert refused(bound.enter, "ada", "b") > 0
    other = bound.enter("eve", "a")
    assert refused(bound.enter, "bob", "a") > 0
    leave()
    bound.enter("ada", "a")()
    other()
    assert not bound._open


def test_memory_is_bounded() -> None:
    """However many keys come, so many are kept, and the youngest are among them."""
    buckets = Buckets(1, 1, keys_max=3)
    for i in range(9):
        buckets.of(str(i), 0.0)
    kept = buckets.of("8", 0.0)
    assert (len(buckets), kept is buckets.of("8", 1.0)) == (3, True)


def test_a_sampler_counts_what_it_holds_back() -> None:
    """The next line that is let through says how many were not."""
    now = [0.0]
    sampler = Sampler(lambda: now[0])
    assert [sampler.admit() for _ in range(22)] == [0] * 20 + [None, None]
    now[0] = 5.0
    assert sampler.admit() == 2


async def test_joins_over_http(site: Site) -> None:
    """429 with the seconds to wait; another person goes on; no join reaches the gateway."""
    site.app.state.services.request_limits._joins = RequestLimits(NARROW)._joins
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    assert [(await ada.join(f"a{i}", f"webrtc:a{i}"))[0] for i in (1, 2)] == [202, 202]
    status, body, headers = await ada.join("a3", "webrtc:a3")
    assert (status, body["code"]) == (429, "too_many_requests")
    assert headers["Content-Type"] == "application/problem+json"
    assert 0 < int(headers["Retry-After"]) <= 30
    assert (await eve.join("e", "webrtc:e"))[0] == 202
    assert len((await site.store.sessions())[0]) == 3


async def test_logins_and_offers_over_http(site: Site) -> None:
    """Each has its bound, and says when to come back."""
    site.app.state.request_limits._logins = RequestLimits(NARROW)._logins
    site.app.state.request_limits._offers = RequestLimits(NARROW)._offers
    browser = await site.browser().sign_in()
    for _ in range(2):
        await site.browser().sign_in()
    status, _, headers = await site.browser().ask("POST", "/login", data={"name": "Ada"})
    assert (status, int(headers["Retry-After"]) > 0) == (429, True)
    asked = {"data": {"name": "Ada"}, "headers": {"Accept": "text/html"}}
    status, page, headers = await site.browser().ask("POST", "/login", **asked)
    assert (status, int(headers["Retry-After"]) > 0) == (429, True)
    assert "Too many people sign in" in page
    path = f"/api/sessions/{an_id('s')}/offer"
    assert [(await browser.ask("POST", path, json={}))[0] for _ in range(3)] == [404, 404, 429]


async def test_streams_over_http(site: Site) -> None:
    """A person's streams are bounded; one that is closed makes room for another."""
    site.app.state.request_limits.streams = OpenStreams(2, 10)
    browser = await site.browser().sign_in()
    await browser.join("s")
    url = f"{site.url}/api/sessions/{an_id('s')}/events"
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=browser.client.cookie_jar)
        )
        for _ in range(2):
            answer = await stack.enter_async_context(client.get(url))
            await answer.content.readuntil(b"data:")
        status, body, headers = await browser.ask("GET", url.removeprefix(site.url))
        assert (status, body["code"], headers["Retry-After"]) == (429, "too_many_requests", "10")
        answer.close()
        await until(lambda: len(site.app.state.request_limits.streams._open) == 2 and _one(site))
        async with client.get(url) as again:
            assert again.status == 200
    await until(lambda: not site.app.state.request_limits.streams._open)


def _one(site: Site) -> bool:
    return set(site.app.state.request_limits.streams._open.values()) == {1}


@pytest.fixture
def asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the interface asks the gateway for: method, path, body, client's address."""
    found: list[tuple[Any, ...]] = []
    ask = site.app.state.services.gateway.ask

    async def noted(method: str, path: str, body: bytes | None = None, **more: Any) -> Any:
        found.append((method, path, json.loads(body or b"null"), more.get("client_address")))
        return await ask(method, path, body, **more)

    monkeypatch.setattr(site.app.state.services.gateway, "ask", noted)
    return found


async def test_a_call_from_the_page_has_an_end(site: Site, asked: list[tuple[Any, ...]]) -> None:
    """The interface asks for half an hour at most, whatever a page sends."""
    browser = await site.browser().sign_in()
    body = {"sessionId": an_id("s"), "room": "webrtc:demo", "maxDurationSeconds": 99_999}
    assert (await browser.ask("POST", "/api/sessions", json=body))[0] == 202
    assert [sent["maxDurationSeconds"] for _, path, sent, _ in asked if path == "/join"] == [1800]


async def test_the_gateway_learns_who_came_through_our_door(
    site: Site, asked: list[tuple[Any, ...]]
) -> None:
    """A join carries the client's address, as a trusted proxy tells it; a page cannot say it."""
    browser = await site.browser().sign_in()
    body = {"sessionId": an_id("s"), "room": "webrtc:demo"}
    headers = {"X-Forwarded-For": "1.1.1.1, 203.0.113.7", "X-Client-Address": "9.9.9.9"}
    await browser.ask("POST", "/api/sessions", json=body, headers=headers)
    assert [address for *_, address in asked if address] == ["203.0.113.7"]
