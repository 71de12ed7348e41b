"""Pipecat's own browser clients, unchanged, on a page of another origin, against `cordboard up`.

The page is one of a user's own site: it has a public key, and its origin is allowed.
"""

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from browser.browser_support import chromium, spoken
from clients.clients_support import AUTOPLAY, ClientPages, Person, needs_clients, serve_page
from tests_support import until
from up_support import Up, pid_of, processes_of, ready

BOT = Path(__file__).with_name("clients_bot.py")
KEY = "pk_clients0123456789"
SECRET = "the-secret-of-these-tests"
CONTROL = {"Authorization": f"Bearer {SECRET}"}
WEBRTC = {"transport": "webrtc"}
WEBSOCKET = {"transport": "websocket"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Site:
    """A user's site, the services behind it, and a browser."""

    up: Up
    pages: ClientPages
    strangers: ClientPages

    @property
    def start(self) -> str:
        """The address that the site's clients start bots at."""
        return f"{self.up.addresses['edge']}/start"

    async def ended(self, session_id: str) -> dict[str, Any]:
        """Wait until a session has ended; return its record."""

        async def terminal() -> dict[str, Any] | None:
            record = await self.record(session_id)
            return None if record["status"] in {"queued", "starting", "running"} else record

        return dict(await until(terminal, 30))

    async def record(self, session_id: str) -> dict[str, Any]:
        """Return a session's record, as the gateway has it."""
        url = f"{self.up.addresses['gateway']}/sessions/{session_id}"
        async with aiohttp.ClientSession(headers=CONTROL) as client, client.get(url) as answer:
            return dict(await answer.json())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    needs_clients()
    async with chromium(spoken(tmp_path_factory.mktemp("sound")), AUTOPLAY) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> AsyncIterator[Site]:
    state = tmp_path_factory.mktemp("state")
    async with (
        serve_page() as ours,
        serve_page() as foreign,
        ready(
            state,
            *("--bot", str(BOT)),
            BOT_CONTROL_SHARED_SECRET=SECRET,
            CORDBOARD_PUBLIC_KEYS=KEY,
            CORDBOARD_ALLOWED_ORIGINS=ours,
            CORDBOARD_RUNNER_CAPACITY="2",
            CORDBOARD_QUEUE_MAX="1",
        ) as up,
    ):
        yield Site(up, ClientPages(browser, ours), ClientPages(browser, foreign))
    assert processes_of(state) == []


async def leave(person: Person) -> None:
    """Hang up, and close the page."""
    await person.do("() => person.client.disconnect()")
    await person.page.context.close()


async def test_client_over_webrtc_hears_the_bot_and_its_disconnect_ends_the_session(
    site: Site,
) -> None:
    """Audio and RTVI messages arrive; what the page sent with the start is the bot's body."""
    person = await site.pages.enter("webrtc")
    await person.call(site.start, WEBRTC | {"body": {"customer": "Ada"}}, KEY)
    session_id = await person.session_id()
    assert (await person.seen("botReady"))["version"]
    answer = await person.do("() => person.client.sendClientRequest('body', {})")
    assert answer["body"]["customer"] == "Ada"
    assert await person.seen("errors") == []
    await leave(person)
    assert (await site.ended(session_id))["status"] == "ended"


async def test_transport_reconnects_to_the_same_session(site: Site) -> None:
    """After a network change the transport offers a new connection (`restart_pc`); the bot goes on."""
    person = await site.pages.enter("webrtc")
    await person.call(site.start, WEBRTC, KEY)
    session_id = await person.session_id()
    # Pipecat 1.14 ends the output of a bot whose connection is replaced while it writes audio.
    await person.hears_the_end()
    await person.do("() => person.fail()")
    await person.do("() => person.reconnected()")
    await person.do("() => person.playNewest()")
    await person.hears_again("() => person.client.sendClientMessage('say')")
    assert (await site.record(session_id))["status"] == "running"
    await leave(person)
    await site.ended(session_id)


async def test_reloaded_page_gets_a_new_session_at_once(site: Site) -> None:
    """Neither waits the new call for the end of the old one, nor does the old one stay."""
    person = await site.pages.enter("webrtc")
    await person.call(site.start, WEBRTC, KEY)
    first = await person.session_id()
    await site.pages.visit(person, "webrtc")
    await person.call(site.start, WEBRTC, KEY)
    second = await person.session_id()
    assert first != second
    await leave(person)
    assert (await site.ended(second))["status"] == "ended"
    assert (await site.ended(first))["status"] == "ended"


async def test_end_by_the_bot_reaches_the_page(site: Site) -> None:
    person = await site.pages.enter("webrtc")
    await person.call(site.start, WEBRTC, KEY)
    await person.do("() => person.client.sendClientMessage('end')")
    assert (await site.ended(await person.session_id()))["reason"] == "bot_finished"
    await leave(person)


async def test_client_over_a_websocket_hears_the_bot(site: Site) -> None:
    """The answer to the start is `{wsUrl}` alone: the stock transport throws at any other key."""
    person = await site.pages.enter("websocket")
    await person.call(site.start, WEBSOCKET | {"body": {"customer": "Bob"}}, KEY)
    assert [set(answer) for answer in await person.seen("answers")] == [{"wsUrl"}]
    answer = await person.do("() => person.client.sendClientRequest('body', {})")
    assert answer["body"]["customer"] == "Bob"
    await person.do("() => person.client.sendClientMessage('say')")
    await person.hears_more()
    await leave(person)


async def joined(client: aiohttp.ClientSession, gateway: str, room: str) -> Any:
    """Send a join; return the answer's body."""
    async with client.post(f"{gateway}/join", json={"room_url": f"webrtc:{room}"}) as answer:
        return await answer.json()


async def test_full_queue_is_shown_by_its_detail(site: Site) -> None:
    """The client shows its page what the edge says, not a status code."""
    gateway = site.up.addresses["gateway"]
    operator = pid_of(site.up, "operator")
    os.kill(operator, signal.SIGSTOP)  # what waits in the queue, waits
    try:
        async with aiohttp.ClientSession(headers=CONTROL) as client:
            accepted = await joined(client, gateway, "held")
            refused = await joined(client, gateway, "refused")
            person = await site.pages.enter("webrtc")
            assert await person.attempt(site.start, WEBRTC, KEY) == refused["detail"]
            async with client.post(
                f"{gateway}/leave", json={"sessionId": accepted["sessionId"]}
            ) as answer:
                assert (await answer.json())["status"] == "cancelled"
    finally:
        os.kill(operator, signal.SIGCONT)


async def test_page_of_another_origin_or_without_the_key_starts_nothing(site: Site) -> None:
    stranger = await site.strangers.enter("webrtc")
    assert await stranger.attempt(site.start, WEBRTC, KEY) == "Failed to fetch"
    person = await site.pages.enter("webrtc")
    refusal = await person.attempt(site.start, WEBRTC, "pk_anotherkey01234567")
    assert refusal
    assert refusal != "Failed to fetch"  # the page may read why
    assert await person.seen("answers") == []
