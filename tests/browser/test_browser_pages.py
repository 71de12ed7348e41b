"""The pages of the interface in a browser: live, by keyboard, on a phone, in light and dark, and their size."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page

from browser.axe_support import DESKTOP, PHONE, findings
from browser.browser_support import CONTROL, Room, chromium, chromium_path, open_room, spoken
from tests_support import until
from up_support import Up, processes_of, ready, write_parrot

pytestmark = [
    pytest.mark.browser,
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]
PAGE_BYTES = 120_000
BOSS = "Boss"
# The page of a session shows all that it will show.
COMPLETE = "#session[data-complete=yes]"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def staffed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """Everything, with an operator."""
    chromium_path()
    state = tmp_path_factory.mktemp("pages")
    async with ready(
        state,
        *("--bot", write_parrot(state), "--runners", "1"),
        BOT_CONTROL_SHARED_SECRET=CONTROL,
        CORDBOARD_INTERFACE_OPERATORS=BOSS,
        CORDBOARD_SESSIONS_PER_USER="20",
        CORDBOARD_SESSIONS_PER_ADDRESS="20",
    ) as running:
        yield running
    assert processes_of(state) == []


async def enter_page(context: BrowserContext, up: Up, path: str, name: str = BOSS) -> Page:
    """Open a page, and sign in on the way if nobody is."""
    page = await context.new_page()
    await page.goto(f"{up.addresses['interface']}{path}")
    if "/login" in page.url:
        await page.fill("#name", name)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("main:not(.narrow)")
    return page


async def a_call(context: BrowserContext, up: Up, room_name: str) -> tuple[Room, str]:
    """Call in a room, and wait until the bot is heard; return the room and the session id."""
    room = await open_room(context, f"{up.addresses['interface']}/rooms/{room_name}", BOSS)
    return room, await room.call()


async def sections_of(page: Page) -> list[str]:
    """Return the ids of the sections of a session's page, from top to bottom."""
    found: list[str] = await page.eval_on_selector_all(
        "#sections > div", "(all) => all.map((one) => one.id)"
    )
    return found


async def test_live_session_is_shown_as_it_happens(staffed: Up, microphone: Path) -> None:
    """The waterfall, turns, lines, cause and coverage come while the call lives; the verdict comes with its end."""
    async with chromium(microphone) as browser:
        context = await browser.new_context()
        room, session_id = await a_call(context, staffed, "watched")
        page = await enter_page(context, staffed, f"/sessions/{session_id}")
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        await page.wait_for_selector("#of-startup li", timeout=60_000)
        assert "In the call" in await page.inner_text("#facts")
        assert "of-verdict" not in await sections_of(page)
        await page.wait_for_selector("#of-turns tbody tr", timeout=90_000)
        # The server draws them again when the coverage is renewed.
        await page.wait_for_selector("#of-coverage:has-text('So far') td:text-is('bot')")
        assert "So far" in await page.inner_text("#of-cause")
        assert await findings(page) == []
        await room.leave()
        await page.wait_for_selector(COMPLETE, timeout=90_000)
        assert "Ended" in await page.inner_text("#facts")
        assert await page.query_selector("#leave") is None
        shown = await sections_of(page)
        assert shown[0] == "of-verdict"
        assert shown[-1] == "of-coverage"
        assert "complete" in await page.inner_text("#of-coverage h2")
        assert "So far" not in await page.inner_text("#sections")
        services = await page.eval_on_selector_all(
            "#service option", "(all) => all.map((one) => one.value)"
        )
        assert {"browser", "interface", "gateway", "operator", "runner", "bot"} <= set(services)
        assert faults == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def past(staffed: Up, microphone: Path) -> str:
    """Return the id of a session that has ended."""
    async with chromium(microphone) as browser:
        room, session_id = await a_call(await browser.new_context(), staffed, "past")
        await room.leave()
        await room.ended_as(session_id)
    return session_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser for the tests without calls."""
    async with chromium() as running:
        yield running


async def visible_rows(page: Page) -> list[str]:
    """Return the texts of the lines that are shown."""
    found: list[str] = await page.eval_on_selector_all(
        "#rows li:not([hidden])", "(all) => all.map((one) => one.textContent)"
    )
    return found


async def test_lines_are_searched_and_filtered(staffed: Up, past: str, browser: Browser) -> None:
    """Text, level, service and events restrict the lines; a link of a section leads to its line."""
    page = await enter_page(await browser.new_context(), staffed, f"/sessions/{past}")
    await page.wait_for_selector(COMPLETE, timeout=60_000)
    everything = await visible_rows(page)
    await page.fill("#find", "join.accepted")
    assert len(await visible_rows(page)) == 1

    async def is_counted() -> bool:
        return (await page.inner_text("#counted")).startswith("1 of")

    await until(is_counted, 30)
    await page.fill("#find", "")
    await page.select_option("#service", "bot")
    assert 0 < len(await visible_rows(page)) < len(everything)
    await page.select_option("#service", "")
    await page.check("#only-events")
    assert 0 < len(await visible_rows(page)) < len(everything)
    await page.fill("#find", "no line has this text")
    assert await visible_rows(page) == []
    await page.click("#of-startup li:not(.none) a >> nth=1")
    # The browser tells the page of its new address after the click.
    await page.wait_for_function("'#' + document.activeElement.id === location.hash")
    assert len(await visible_rows(page)) == 1


async def test_pages_are_used_by_the_keyboard_alone(
    staffed: Up, past: str, browser: Browser
) -> None:
    """From the rooms to the search, to a session, and back, with Tab and Enter."""
    page = await enter_page(await browser.new_context(), staffed, "/rooms")

    async def tab_to(words: str) -> None:
        for _ in range(60):
            await page.keyboard.press("Tab")
            text = await page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
            )
            if text.strip() == words:
                return
        raise AssertionError(f"Tab does not reach {words!r}")

    await tab_to("Sessions")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/sessions")
    await page.focus("#room")
    await page.keyboard.type("past")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/sessions?*room=past*")
    await tab_to(past)
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/sessions/{past}")
    await tab_to("Copy the command")
    await tab_to("Report")


async def test_lists_refresh_and_leave_the_focus(staffed: Up, browser: Browser) -> None:
    """A list changes by itself, but not while the person is in it."""
    page = await enter_page(await browser.new_context(), staffed, "/health")
    await page.evaluate("document.getElementById('refreshed').append('Outdated')")
    await page.wait_for_selector("#refreshed:not(:text('Outdated'))", timeout=60_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing_and_nothing_overflows(
    staffed: Up, past: str, browser: Browser, size: dict[str, int], scheme: str
) -> None:
    """No page breaks a rule of axe-core, and none has to be scrolled sideways."""
    context = await browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    for path in ("/rooms", "/sessions", f"/sessions/{past}", "/health", "/rooms/x", "/nowhere"):
        page = await enter_page(context, staffed, path)
        if past in path:
            await page.wait_for_selector(COMPLETE, timeout=60_000)
        assert await findings(page) == [], path
        over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, path
        await page.close()


async def test_microphone_is_tested_and_chosen_and_a_failed_attempt_keeps_its_id(
    staffed: Up, tmp_path: Path
) -> None:
    """Its level is shown before the call; the list names the devices; the next attempt has the same session id."""
    async with chromium(spoken(tmp_path, before_s=0)) as running:
        context = await running.new_context()
        room = await open_room(context, f"{staffed.addresses['interface']}/rooms/choice", BOSS)
        await room.page.focus("#check")
        await room.page.keyboard.press("Enter")
        await room.page.wait_for_selector("#meter-you:not([aria-valuenow='0'])")
        assert await room.page.get_attribute("#check", "aria-pressed") == "true"
        assert await findings(room.page) == []
        full = {"code": "queue_full", "detail": "Full."}
        await room.page.route(
            "**/api/sessions", lambda route: route.fulfill(status=429, json=full), times=1
        )
        failed = await room.join()
        assert "All bots are busy." in await room.alert()
        assert await room.page.get_attribute("#check", "aria-pressed") == "false"
        assert await room.page.get_attribute("#room", "data-next") == failed
        assert "keeps this ID" in await room.text("session-note")
        names = await room.page.eval_on_selector_all(
            "#microphone option", "(all) => all.map((one) => one.textContent)"
        )
        assert names[0] == "Preferred by the browser"
        assert len(names) > 1
        await room.page.select_option("#microphone", index=1)
        assert await room.join() == failed
        await room.page.wait_for_selector("#timeline [data-stage=microphone]:not(.pending)")
        assert await room.page.is_disabled("#microphone")
        assert await room.page.is_disabled("#check")
        await room.leave()
        assert await room.page.is_enabled("#microphone")
        assert await room.page.get_attribute("#room", "data-next") != failed


async def test_caller_gets_no_link_that_is_refused(staffed: Up, browser: Browser) -> None:
    """A caller sees no lines, no reports and no health page."""
    context = await browser.new_context()
    page = await enter_page(context, staffed, "/rooms", name="Eve")
    assert await page.query_selector("nav a[href$='/health']") is None
    response = await page.goto(f"{staffed.addresses['interface']}/health")
    assert response is not None
    assert response.status == 403
    assert "Only operators may open this." in await page.inner_text("main")
    assert await findings(page) == []


async def test_each_page_is_small(staffed: Up, past: str, browser: Browser) -> None:
    """A page with all its files is under 120 KB; what a session's log contains comes on top."""
    context = await browser.new_context()
    await enter_page(context, staffed, "/rooms")
    for path in ("/rooms", "/rooms/x", "/sessions", f"/sessions/{past}", "/health"):
        page = await context.new_page()
        client = await context.new_cdp_session(page)
        await client.send("Network.enable")
        await client.send("Network.setCacheDisabled", {"cacheDisabled": True})
        received: dict[str, int] = {}
        streams: set[str] = set()
        client.on(
            "Network.responseReceived",
            lambda event, streams=streams: (
                streams.add(event["requestId"])
                if event["response"]["mimeType"] == "text/event-stream"
                else None
            ),
        )
        client.on(
            "Network.loadingFinished",
            lambda event, received=received: received.update(
                {event["requestId"]: event["encodedDataLength"]}
            ),
        )
        await page.goto(f"{staffed.addresses['interface']}{path}", wait_until="load")
        await asyncio.sleep(0.5)
        total = sum(size for request, size in received.items() if request not in streams)
        assert 2_000 < total < PAGE_BYTES, path
        await page.close()


async def test_lists_need_no_script(staffed: Up, past: str, browser: Browser) -> None:
    """Without JavaScript, rooms open, searches find, and a session shows its stages."""
    context = await browser.new_context(java_script_enabled=False)
    page = await enter_page(context, staffed, "/sessions?room=past")
    await page.click(f"text={past}")
    assert "Bot running" in await page.inner_text("#facts")
    await page.goto(f"{staffed.addresses['interface']}/rooms")
    await page.fill("#name", "another")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/rooms/another")
