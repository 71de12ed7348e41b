"""How the page bears bots that are silent, fail or end, impatient keys, and many tabs."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Route

from browser.browser_support import Room, chromium, chromium_path, enter, open_room
from tests_support import until
from up_support import Up, processes_of, ready

pytestmark = [
    pytest.mark.browser,
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(150),
]
BOT = Path(__file__).with_name("acting_bot.py")
TABS = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """Everything, with the bot that does as its room says."""
    chromium_path()
    state = tmp_path_factory.mktemp("acting")
    async with ready(
        state,
        "--bot",
        str(BOT),
        CORDBOARD_RUNNER_CAPACITY="10",
        CORDBOARD_SESSIONS_PER_USER="20",
    ) as running:
        yield running
    assert processes_of(state) == []


def said(up: Up, session_id: str) -> list[dict[str, Any]]:
    """Return the browser's lines of a session so far."""
    return [r for r in up.records if r["sessionId"] == session_id and r["service"] == "browser"]


def told(up: Up, room: str, message: str) -> int:
    """Return how often the pages of a room have said something so far."""
    mine = [
        r for r in up.records if r["service"] == "browser" and r.get("room") == f"webrtc:{room}"
    ]
    return [r["message"] for r in mine].count(message)


async def connected(room: Room) -> str:
    """Press Join, and wait until the call is connected; return its session id."""
    session_id = await room.join()
    await room.page.wait_for_selector("#room[data-state=connected]")
    return session_id


def at(up: Up, room: str) -> str:
    return f"{up.addresses['interface']}/rooms/{room}"


@pytest.mark.parametrize("act", ["silent", "stubborn"])
async def test_leaving_before_first_audio_logs_no_error(
    acting: Up, microphone: Path, act: str
) -> None:
    """A call that ends before its first audio raises nothing, however long its bot takes to end."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, act))
        session_id = await connected(room)
        await room.leave()
        assert await room.ended_as(session_id) == ("ended", "left")
        await until(lambda: "Call ended" in [line["message"] for line in said(acting, session_id)])
        assert room.faults == []
    assert [line for line in said(acting, session_id) if line["level"] == "error"] == []


async def test_call_ended_by_the_bot_shows_a_status(acting: Up, microphone: Path) -> None:
    """A normal end is said calmly, and the last call's log is named."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "brief"))
        session_id = await room.join()
        assert "The bot has ended the call." in await room.alert()
        await room.ended()
        assert await room.page.get_attribute("#alert", "data-tone") == "info"
        assert await room.page.get_attribute("#alert", "role") == "status"
        assert await room.text("state") == "Call ended"
        assert "last call" in await room.text("session-title")
        assert await room.session_id() == session_id
        assert room.faults == []


async def test_silent_bot_is_reported_as_information(acting: Up, microphone: Path) -> None:
    """After some seconds without the bot's voice the page says so, and is no alarm."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "silent-words"))
        session_id = await connected(room)
        assert "no sound has come from it yet" in await room.alert()
        assert await room.page.get_attribute("#alert", "data-tone") == "info"
        await room.leave()
        await until(lambda: told(acting, "silent-words", "Nothing was heard from the bot"))
        assert await room.ended_as(session_id) == ("ended", "left")


async def test_errors_of_the_bot_are_shown_as_text(acting: Up, microphone: Path) -> None:
    """What a bot reports over the data channel is shown, escaped; only the fact is logged."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "failing"))
        session_id = await connected(room)
        shown = await room.alert()
        assert "The bot reports an error." in shown
        assert "<b>The voice service said no</b>" in shown
        assert await room.page.query_selector("#alert b") is None
        await room.leave()
        await until(lambda: "Call ended" in [x["message"] for x in said(acting, session_id)])
        assert room.faults == []
    (line,) = (x for x in said(acting, session_id) if x["message"] == "The bot reported an error")
    assert line["meta"] == {"type": "error", "fatal": False}
    assert "said no" not in json.dumps(said(acting, session_id))


async def test_held_key_joins_once(acting: Up, microphone: Path) -> None:
    """Enter that is held on Join makes one call, and does not leave it."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "silent-key"))
        await room.page.focus("#join")
        for _ in range(30):
            await room.page.keyboard.down("Enter")  # from the second on it is a repeat
            await asyncio.sleep(0.03)
        await room.page.keyboard.up("Enter")
        await room.page.wait_for_selector("#room[data-state=connected]")
        await room.page.keyboard.press("Enter")  # a new press is meant
        await room.ended()
        await until(lambda: told(acting, "silent-key", "Call ended"))
    assert told(acting, "silent-key", "Join clicked") == 1
    assert told(acting, "silent-key", "Leave clicked") == 1


async def test_double_click_joins_and_leaves_once(acting: Up, microphone: Path) -> None:
    """The second click of a double click does not press the button that came in between."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "silent-double"))
        await room.page.evaluate("() => document.getElementById('mute').remove()")  # Leave is there
        await room.page.evaluate(
            "() => document.body.insertAdjacentHTML('beforeend', '<i id=\"mute\" hidden></i>')"
        )
        session_id = await room.session_id()
        await room.page.dblclick("#join")
        await room.page.wait_for_selector("#room[data-state=connected]")
        assert await room.session_id() == session_id
        box = await room.page.locator("#leave").bounding_box()
        assert box is not None
        await room.page.mouse.dblclick(box["x"] + 5, box["y"] + 5)
        await room.ended()
        await asyncio.sleep(0.3)
        assert await room.state() == "idle"
        assert await room.ended_as(session_id) == ("ended", "left")


WATCH = """async (id) => {
  const { Watch } = await import("/static/watch.js");
  window.told = [];
  const handlers = {
    onState: ({ status }) => told.push(status), onConnection() {}, onRefused() {},
  };
  window.watch = new Watch(id, handlers);
}"""


async def test_eight_tabs_share_three_streams(acting: Up, microphone: Path) -> None:
    """Each tab loads and hears how a session ends, though all share six connections."""
    async with chromium(microphone) as browser:
        first = await enter(browser, at(acting, "silent-tabs"))
        session_id = await connected(first)
        tabs = []
        for _ in range(TABS):
            tab = await open_room(first.context, at(acting, "silent-tabs"), None)
            await tab.page.evaluate(WATCH, session_id)
            await tab.page.wait_for_function("() => told.includes('running')")
            tabs.append(tab)
        held = await first.page.evaluate(
            "async () => (await navigator.locks.query()).held.map((lock) => lock.name)"
        )
        assert len(held) == 3
        await first.leave()
        for tab in tabs:
            await tab.page.wait_for_function("() => told.includes('ended')")
            assert tab.faults == []
        await tabs[0].page.evaluate("() => watch.close()")
        await tabs[-1].page.evaluate(WATCH, session_id)  # a stream is free again
        await tabs[-1].page.wait_for_function("() => told.includes('ended')")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("too_many_sessions", "too many calls at the same time."),
        ("too_many_requests", "too many attempts"),
        ("queue_full", "All bots are busy."),
    ],
)
async def test_each_429_shows_its_reason_and_pause(
    acting: Up, microphone: Path, code: str, words: str
) -> None:
    """The page says which bound was met, waits as long as it was told, and shows no call."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "silent-429"))
        await answer_once(room, 429, {"code": code, "detail": "No."}, {"Retry-After": "2"})
        await room.join()
        assert words in await room.alert()
        assert await room.page.is_disabled("#join")
        assert await room.text("state") == "Ready"
        assert "last call" not in await room.text("session-title")
        await room.page.wait_for_selector("#join:enabled")


async def answer_once(
    room: Room, status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    """Have the server answer the next join so, and all later ones by itself."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(status=status, headers=headers, body=json.dumps(body))

    await room.page.route("**/api/sessions", fulfill, times=1)


async def test_used_session_id_is_replaced(acting: Up, microphone: Path) -> None:
    """Where the id has been somebody's, the page joins with a new one and says nothing."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "silent-used"))
        first = await room.session_id()
        await answer_once(room, 409, {"code": "session_id_used", "detail": "Used."})
        await connected(room)
        second = await room.session_id()
        assert second != first
        assert await room.page.is_hidden("#alert")
        await room.leave()
        assert await room.ended_as(second) == ("ended", "left")


async def test_join_without_login_opens_the_login_page(acting: Up, microphone: Path) -> None:
    """After a restart the cookie is no longer good: Join leads to the login page."""
    async with chromium(microphone) as browser:
        room = await enter(browser, at(acting, "silent-login"))
        await room.context.clear_cookies()
        await room.page.click("#join")
        await room.page.wait_for_selector("#name")


CONTRAST = """(pairs) => {
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (node) => {
    const color = rgb(getComputedStyle(node).backgroundColor);
    return color.length === 4 && color[3] === 0 ? behind(node.parentElement) : color;
  };
  return pairs.map(([selector, kind]) => {
    const node = document.querySelector(selector);
    const shown = kind === "border" ? rgb(getComputedStyle(node).borderTopColor) : behind(node);
    const [a, b] = [light(shown), light(behind(node.parentElement))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_controls_have_enough_contrast(acting: Up, scheme: Any) -> None:
    """Borders of fields and meters, and what fills a meter, have 3:1 (WCAG 1.4.11) in both schemes."""
    async with chromium() as browser:
        context = await browser.new_context(color_scheme=scheme)
        page = await context.new_page()
        await page.goto(acting.addresses["interface"])
        (field,) = await page.evaluate(CONTRAST, [["#name", "border"]])
        await page.fill("#name", "Ada")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#timeline .bar")
        ratios = await page.evaluate(
            CONTRAST,
            [
                ["#meter-you", "border"],
                ["#meter-you span", "fill"],
                ["#meter-bot span", "fill"],
                ["#timeline .bar", "border"],
                [".dot", "fill"],
            ],
        )
        assert [ratio for ratio in [field, *ratios] if ratio < 3] == []
