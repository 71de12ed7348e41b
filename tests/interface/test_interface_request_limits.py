"""Limits on the requests of one person and of one address."""

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from cordboard.interface.request_limits import OpenStreams, RequestLimits
from cordboard.settings import Settings
from cordboard.web.rate_limits import Buckets, Sampler, TooManyRequestsError
from interface.interface_support import Site, an_id, open_site
from tests_support import until

NARROW = Settings(
    interface_joins_per_minute=2,
    interface_offers_per_minute=2,
    interface_logins_per_minute=3,
    interface_streams_per_user=1,
    interface_people_per_address=2,
)


def refused(spend: Any, *who: str) -> int:
    """Return the seconds after which a caller may try again; 0 if the request is accepted."""
    try:
        spend(*who)
    except TooManyRequestsError as error:
        return error.retry_after_s or 0
    return 0


@pytest.mark.parametrize("kind", ["join", "offer"])
def test_requests_are_limited_by_person_and_address(kind: str) -> None:
    """An address has the limit of two people; the buckets refill."""
    now = [0.0]
    spend = getattr(RequestLimits(NARROW, lambda: now[0]), kind)
    assert [refused(spend, "ada", "a") for _ in range(3)] == [0, 0, 30]
    assert [refused(spend, "eve", "a") for _ in range(2)] == [0, 0]
    assert refused(spend, "bob", "a") == 15
    assert refused(spend, "bob", "b") == 0
    now[0] = 31.0
    assert refused(spend, "ada", "a") == 0


def test_logins_are_limited_by_address() -> None:
    """Before a login there is no person to count."""
    limits = RequestLimits(NARROW, lambda: 0.0)
    assert [refused(limits.login, "a") for _ in range(4)] == [0, 0, 0, 20]
    assert refused(limits.login, "b") == 0


def test_open_streams_are_counted_until_they_close() -> None:
    """By person and by address; a closed stream leaves nothing in memory."""
    bound = OpenStreams(1, 2)
    leave = bound.enter("ada", "a")
    assert refused(bound.enter, "ada", "b") > 0
    other = bound.enter("eve", "a")
    assert refused(bound.enter, "bob", "a") > 0
    leave()
    bound.enter("ada", "a")()
    other()
    assert len(bound) == 0


def test_buckets_are_limited_in_number() -> None:
    """The buckets that were used last are kept."""
    buckets = Buckets(1, 1, keys_max=3)
    for i in range(9):
        buckets.of(str(i), 0.0)
    kept = buckets.of("8", 0.0)
    assert (len(buckets), kept is buckets.of("8", 1.0)) == (3, True)


def test_sampler_counts_suppressed_lines() -> None:
    """The next line that passes has their number."""
    now = [0.0]
    sampler = Sampler(lambda: now[0])
    assert [sampler.admit() for _ in range(22)] == [0] * 20 + [None, None]
    now[0] = 5.0
    assert sampler.admit() == 2


@asynccontextmanager
async def limited(site: Site, **limits: int) -> AsyncIterator[Site]:
    """Open another interface at the same gateway, with these limits."""
    settings = Settings(gateway_url=site.settings.gateway_url, **limits)  # type: ignore[arg-type]
    async with open_site(site.store, settings) as other:
        yield other


async def test_joins_over_the_limit_are_429(site: Site) -> None:
    """Another person is not affected, and no refused join reaches the gateway."""
    async with limited(site, interface_joins_per_minute=2) as narrow:
        ada, eve = await narrow.browser().sign_in("Ada"), await narrow.browser().sign_in("Eve")
        assert [(await ada.join(f"a{i}", f"webrtc:a{i}"))[0] for i in (1, 2)] == [202, 202]
        status, body, headers = await ada.join("a3", "webrtc:a3")
        assert (status, body["code"]) == (429, "too_many_requests")
        assert headers["Content-Type"] == "application/problem+json"
        assert 0 < int(headers["Retry-After"]) <= 30
        assert (await eve.join("e", "webrtc:e"))[0] == 202
    assert len((await site.store.sessions())[0]) == 3


async def test_logins_and_offers_over_their_limits_are_429(site: Site) -> None:
    """With ``Retry-After``, also on the page for people."""
    limits = {"interface_logins_per_minute": 3, "interface_offers_per_minute": 2}
    async with limited(site, **limits) as narrow:
        browser = await narrow.browser().sign_in()
        for _ in range(2):
            await narrow.browser().sign_in()
        status, _, headers = await narrow.browser().ask("POST", "/login", data={"name": "Ada"})
        assert (status, int(headers["Retry-After"]) > 0) == (429, True)
        form = {"data": {"name": "Ada"}, "headers": {"Accept": "text/html"}}
        status, page, headers = await narrow.browser().ask("POST", "/login", **form)
        assert (status, int(headers["Retry-After"]) > 0) == (429, True)
        assert '<a class="button" href="/">' in page
        path = f"/api/sessions/{an_id('s')}/offer"
        statuses = [(await browser.ask("POST", path, json={}))[0] for _ in range(3)]
        assert statuses == [404, 404, 429]


async def test_event_streams_over_the_limit_are_429(site: Site) -> None:
    """A stream that is closed makes room for another."""
    async with limited(site, interface_streams_per_user=2) as narrow:
        browser = await narrow.browser().sign_in()
        await browser.join("s")
        url = f"{narrow.url}/api/sessions/{an_id('s')}/events"
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                aiohttp.ClientSession(cookie_jar=browser.client.cookie_jar)
            )
            for _ in range(2):
                answer = await stack.enter_async_context(client.get(url))
                await answer.content.readuntil(b"data:")
            status, body, headers = await browser.ask("GET", url.removeprefix(narrow.url))
            assert (status, body["code"], headers["Retry-After"]) == (
                429,
                "too_many_requests",
                "10",
            )
            answer.close()

            async def is_accepted() -> bool:
                async with client.get(url) as again:
                    return again.status == 200

            await until(is_accepted)
        streams = narrow.app.state.request_limits.streams
        await until(lambda: len(streams) == 0)


@pytest.fixture
def asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The requests to the gateway: method, path, body and the client's address."""
    found: list[tuple[Any, ...]] = []
    ask = site.app.state.services.gateway.ask

    async def noted(method: str, path: str, body: bytes | None = None, **more: Any) -> Any:
        found.append((method, path, json.loads(body or b"null"), more.get("client_address")))
        return await ask(method, path, body, **more)

    monkeypatch.setattr(site.app.state.services.gateway, "ask", noted)
    return found


async def test_session_of_a_page_has_a_maximum_duration(
    site: Site, asked: list[tuple[Any, ...]]
) -> None:
    """It is half an hour, whatever a page sends."""
    browser = await site.browser().sign_in()
    body = {"sessionId": an_id("s"), "room": "webrtc:demo", "maxDurationSeconds": 99_999}
    assert (await browser.ask("POST", "/api/sessions", json=body))[0] == 202
    assert [sent["maxDurationSeconds"] for _, path, sent, _ in asked if path == "/join"] == [1800]


async def test_gateway_gets_the_address_of_the_browser(
    site: Site, asked: list[tuple[Any, ...]]
) -> None:
    """As reported by a trusted proxy; a page cannot choose it."""
    browser = await site.browser().sign_in()
    body = {"sessionId": an_id("s"), "room": "webrtc:demo"}
    headers = {"X-Forwarded-For": "1.1.1.1, 203.0.113.7", "X-Client-Address": "9.9.9.9"}
    await browser.ask("POST", "/api/sessions", json=body, headers=headers)
    assert [address for *_, address in asked if address] == ["203.0.113.7"]
