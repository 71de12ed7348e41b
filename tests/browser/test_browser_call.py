"""A call by a person at a real browser, against everything that `cordboard up` starts."""

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route

from browser.browser_support import Room, chromium, enter, open_room
from tests_support import until
from up_support import Up

pytestmark = [
    pytest.mark.browser,
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(200),
]
RUNNERS = "2"  # one takes the other's call over
STALLED = "A turn was not measured, because the sound stood still"
STAGES = {"clicked", "microphone", "joined", "running", "answered", "connected", "first_audio"}


def lines(up: Up, session_id: str, service: str = "browser") -> list[dict[str, Any]]:
    """The lines of a session by one service so far."""
    return [r for r in up.records if r["sessionId"] == session_id and r["service"] == service]


def messages(up: Up, session_id: str) -> list[str]:
    return [line["message"] for line in lines(up, session_id)]


def bot_process(up: Up, session_id: str) -> int:
    forked = [r for r in lines(up, session_id, "runner") if r.get("event") == "bot.forked"]
    return int(forked[-1]["meta"]["pid"])


def runner_process(up: Up, session_id: str) -> int:
    """Return the process of the runner that has a session."""
    boot = lines(up, session_id, "runner")[-1]["boot"]
    (pid,) = {
        r["meta"]["pid"] for r in up.records if r["message"] == "Listening" and r["boot"] == boot
    }
    return int(pid)


def has_two_runners(up: Up) -> bool:
    """Return whether two runners take sessions: `up` starts the second one late, and killed ones again."""
    waiting = {
        int(r["meta"]["pid"])
        for r in up.records
        if r["message"] == "Listening" and r["service"] == "runner"
    }
    return sum(lives(pid) for pid in waiting) >= 2


def event(up: Up, session_id: str, name: str) -> dict[str, Any]:
    """Return the first line of a session with an event, empty before there is one."""
    found = (r for r in lines(up, session_id) if r.get("event") == name)
    return next(found, {})


def lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_call_with_speech_is_logged_under_one_id(up: Up, microphone: Path) -> None:
    """The bot greets, says back what was said, and Leave ends it; every line has the same id."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"], "Ada Łovelace")
        session_id = await room.call()
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", session_id)
        assert await room.state() == "connected"
        assert await room.energy() > 0
        await room.hears_more()
        # On a machine so busy that its sound stands still there is none to measure.
        await until(
            lambda: event(up, session_id, "turn.heard") or STALLED in messages(up, session_id)
        )
        await room.leave()
        assert await room.ended_as(session_id) == ("ended", "left")
        assert set(await room.stages()) == STAGES
        # Whoever has just hung up copies this call's id; the next call has another.
        assert await room.session_id() == session_id
        assert await room.text("log-command") == (f"cordboard logs --local --session {session_id}")
        assert await room.page.get_attribute("#room", "data-next") not in {session_id, ""}
        await until(lambda: "Call ended" in messages(up, session_id))
        assert room.faults == []
    if heard := event(up, session_id, "turn.heard").get("meta"):
        assert heard["turn"] == 1  # the greeting is none
        assert 0 < heard["heard_ms"] < 30_000
        assert {"network_ms", "buffer_ms", "device_ms"} <= heard.keys()
        assert heard["user_ended_at"] < heard["bot_began_at"]
    mine = lines(up, session_id)
    assert [line["seq"] for line in mine] == list(range(1, len(mine) + 1))
    assert {line["userName"] for line in mine} == {"Ada Łovelace"}
    assert {line["room"] for line in mine} == {"webrtc:demo"}
    assert {len(line["timestamp"]) for line in mine} == {27}
    events = up.events(session_id)
    assert events[0] == "join.requested" or events[0] == "page.opened"
    assert {"page.opened", "join.clicked", "join.requested", "user.connected"} <= set(events)
    assert not lives(bot_process(up, session_id))


async def test_second_call_of_a_page_has_another_id(up: Up, microphone: Path) -> None:
    """A second call from the same page works, under the new id."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        first = await room.call()
        await room.leave()
        second = await room.call()
        assert first != second == await room.session_id()
        await room.leave()
        assert await room.ended_as(second) == ("ended", "left")
        assert room.faults == []


async def test_refused_microphone_sends_no_join(up: Up, microphone: Path) -> None:
    """Where the person is asked and says no, no join is ever sent; the page says what to do."""
    async with chromium(microphone, allowed=False) as browser:
        room = await enter(browser, up.addresses["interface"])
        session_id = await room.join()
        said = await room.alert()
        assert "microphone is blocked" in said
        assert "press Join again" in said
        assert await room.page.is_enabled("#join")
        await until(lambda: "Microphone refused" in messages(up, session_id))
        assert (await room.record(session_id))["status"] == 404
    assert up.events(session_id) == ["page.opened", "join.clicked"]
    refused = next(x for x in lines(up, session_id) if x["message"] == "Microphone refused")
    assert refused["error"]["type"] == "NotAllowedError"


async def test_missing_microphone_withdraws_the_join(up: Up) -> None:
    """Where the microphone is allowed, the join went ahead of it: the session is left cleanly."""
    async with chromium(None) as browser:
        room = await enter(browser, up.addresses["interface"])

        async def slowly(route: Route) -> None:  # the session's end is told before this is answered
            answer = await route.fetch()
            await asyncio.sleep(0.5)
            await route.fulfill(response=answer)

        await room.page.route("**/leave", slowly)
        session_id = await room.join()
        assert "No microphone was found" in await room.alert()
        status, reason = await room.ended_as(session_id)
        assert (status, reason) in {("ended", "left"), ("cancelled", "cancelled")}
        assert await room.state() == "idle"


async def test_page_without_https_says_how_to_open_it(up: Up, microphone: Path) -> None:
    """On another name than localhost, plain http has no microphone, and no clipboard either."""
    port = up.addresses["interface"].rpartition(":")[2]
    rules = "--host-resolver-rules=MAP insecure.test 127.0.0.1"
    async with chromium(microphone, rules) as browser:
        room = await enter(browser, f"http://insecure.test:{port}")
        session_id = await room.join()
        assert "secure pages only" in await room.alert()
        await room.page.click("[data-copy=session-id]")
        selected = await room.page.evaluate("() => getSelection().toString()")
        assert selected == session_id


async def test_copy_buttons_copy_id_and_command(up: Up, microphone: Path) -> None:
    """The buttons copy the id and the command."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await room.context.grant_permissions(["clipboard-read", "clipboard-write"])
        for name in ("session-id", "log-command"):
            await room.page.click(f"[data-copy={name}]")
            await until(lambda: room.text("copied"))
            copied = await room.page.evaluate("() => navigator.clipboard.readText()")
            assert copied == await room.text(name)


async def test_closed_tab_ends_the_session_as_left(up: Up, microphone: Path) -> None:
    """Closing the page in a call ends the session as left, and loses no line."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        witness = await open_room(room.context, up.addresses["interface"], None)
        session_id = await room.call()
        await room.page.close()
        assert await witness.ended_as(session_id) == ("ended", "left")
        await until(lambda: "Page closed in the call" in messages(up, session_id))
    mine = lines(up, session_id)
    assert [line["seq"] for line in mine] == list(range(1, len(mine) + 1))
    assert not lives(bot_process(up, session_id))


async def test_navigating_away_ends_the_session_as_left(up: Up, microphone: Path) -> None:
    """So does following a link away, and signing out."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        witness = await open_room(room.context, up.addresses["interface"], None)
        session_id = await room.call()
        await room.page.goto("about:blank")
        assert await witness.ended_as(session_id) == ("ended", "left")


async def test_session_of_a_killed_browser_ends(up: Up, microphone: Path) -> None:
    """Without any farewell the bot notices, and the session ends; its process goes."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        session_id = await room.call()
        cdp = await browser.new_browser_cdp_session()
        processes = (await cdp.send("SystemInfo.getProcessInfo"))["processInfo"]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process["id"], signal.SIGKILL)
        await until(lambda: "session.ended" in up.events(session_id), 90)
    ended = next(
        r for r in up.records if r.get("event") == "session.ended" and r["sessionId"] == session_id
    )
    assert (ended["meta"]["state"], ended["meta"]["reason"]) == ("ended", "bot_finished")
    assert not lives(bot_process(up, session_id))


async def test_browser_with_a_wrong_clock_can_call(up: Up, microphone: Path) -> None:
    """Its ids hold the server's time, and its lines stand where they belong."""
    wrong = "const now = Date.now; Date.now = () => now() - 400 * 86400e3;"
    async with chromium(microphone) as browser:
        context = await browser.new_context()
        room = await open_room(context, up.addresses["interface"], "Ada", script=wrong)
        session_id = await room.call()
        await room.leave()
        assert await room.ended_as(session_id) == ("ended", "left")
        await until(lambda: "Call ended" in messages(up, session_id))


async def test_call_continues_after_its_bot_process_dies(up: Up, microphone: Path) -> None:
    """The session is handed on, and the page connects to the bot's successor."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        session_id = await room.call()
        os.kill(bot_process(up, session_id), signal.SIGKILL)
        await hears_successor(up, room, session_id)
        await room.leave()


async def test_call_goes_on_after_its_runner_is_killed(up: Up, microphone: Path) -> None:
    await goes_on(up, microphone, signal.SIGKILL)


async def goes_on(up: Up, microphone: Path, number: signal.Signals) -> None:
    """End a call's runner: the second bot is heard on the same page, in the same session."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        session_id = await room.call()
        await room.page.evaluate(KEEP_STATES)
        await until(lambda: has_two_runners(up), 100)
        os.kill(runner_process(up, session_id), number)
        await hears_successor(up, room, session_id)
        # For people who see, and for those who hear: the states are in a live region.
        states = await room.page.evaluate("states")
        assert "The bot was lost. Connecting to a new one." in states
        assert await room.page.get_attribute("#state", "role") == "status"
        assert await room.page.evaluate(MICROPHONES) == [True, True]
        await room.leave()
        assert await room.ended_as(session_id) == ("ended", "left")
        assert room.faults == []


# Every text of the state from now on.
KEEP_STATES = """() => {
  window.states = [];
  const state = document.querySelector("#state");
  new MutationObserver(() => states.push(state.textContent)).observe(state, { childList: true });
}"""
# For each connection, whether it has the live track of the first one.
MICROPHONES = """() => {
  const tracks = peers.map((peer) => peer.getSenders()[0].track);
  return tracks.map((track) => track === tracks[0] && track.readyState === "live");
}"""


async def hears_successor(up: Up, room: Room, session_id: str) -> None:
    """Wait until the page hears the bot's successor; check what it has logged about the gap."""
    await until(lambda: event(up, session_id, "call.resumed"), 40)
    await until(room.energy)  # of the new connection: its bot greets again
    interrupted, resumed = (event(up, session_id, f"call.{x}") for x in ("interrupted", "resumed"))
    epoch = (await room.record(session_id))["epoch"]
    assert (interrupted["meta"]["epoch"], resumed["meta"]["epoch"]) == (epoch - 1, epoch)
    assert interrupted["meta"]["sign"] in {"ice", "event", "silence"}
    assert resumed["meta"]["silence_ms"] > 0
    assert await room.state() == "connected"


async def test_busy_room_is_reported_without_its_session(up: Up, microphone: Path) -> None:
    """Somebody else hears that it is, not whose call it is, and does not disturb it."""
    async with chromium(microphone) as browser:
        ada = await enter(browser, up.addresses["interface"], "Ada")
        eve = await enter(browser, up.addresses["interface"], "Eve")
        session_id = await ada.call()
        await eve.join()
        said = await eve.alert()
        assert "Somebody else is in this room" in said
        assert session_id not in said
        assert (await ada.record(session_id))["status"] == "running"
        assert (await eve.record(session_id))["status"] == 404
        await ada.leave()
        await eve.page.click("#alert-button")
        await eve.first_audio()
        await eve.leave()


async def test_user_can_end_their_other_call_and_join(up: Up, microphone: Path) -> None:
    """In another window of the same person, the call there can be ended to join here."""
    async with chromium(microphone) as browser:
        there = await enter(browser, up.addresses["interface"])
        here = await open_room(there.context, up.addresses["interface"], None)
        first = await there.call()
        await here.join()
        assert "already in this room" in await here.alert()
        await here.page.click("#alert-button")
        await here.first_audio()
        assert "ended from elsewhere" in await there.alert()
        assert await here.ended_as(first) == ("ended", "left")
        await here.leave()


async def test_mute_disables_the_microphone_track(up: Up, microphone: Path) -> None:
    """Muted, the bot hears nothing to say back; the button says so to everybody."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await room.call()
        await room.page.click("#mute")
        assert await room.page.get_attribute("#mute", "aria-pressed") == "true"
        enabled = await room.page.evaluate(
            "() => peers.at(-1).getSenders().map((sender) => sender.track.enabled)"
        )
        assert enabled == [False]
        await room.page.click("#mute")
        assert await room.text("mute") == "Mute"
        await room.leave()
        assert await room.page.get_attribute("#mute", "aria-pressed") == "false"


async def test_call_needs_only_the_keyboard(up: Up, microphone: Path) -> None:
    """The focus is where the next action is: Join, then Leave, then Join again."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await room.page.focus("#join")
        await room.page.keyboard.press("Enter")
        await room.first_audio()
        await room.page.keyboard.press("Enter")
        await room.ended()
        focused = await room.page.evaluate("() => document.activeElement.id")
        assert focused == "join"
        assert await room.ended_as(await room.session_id()) == ("ended", "left")


@pytest.mark.faults_full
async def test_call_goes_on_after_its_runner_was_stopped(up: Up, microphone: Path) -> None:
    """By SIGTERM, as a rollout stops it. Last, because the runner of the test above has to start again."""
    await goes_on(up, microphone, signal.SIGTERM)
