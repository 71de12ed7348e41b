"""The main job, whole: a spoken call in a browser, then one command that returns every line of it."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from browser.browser_support import chromium, chromium_path, enter, spoken
from up_support import Up, ready

pytestmark = [pytest.mark.browser, pytest.mark.media, pytest.mark.timeout(150)]
SERVICES = {"browser", "interface", "gateway", "operator", "runner", "bot"}


async def logs(up: Up, *words: str) -> list[dict[str, Any]]:
    done = await asyncio.to_thread(
        up.cordboard, "logs", "--local", "-t", "10m", "-o", "json", *words
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def last_lines(up: Up, session: str) -> None:
    """Wait for the page's last lines: with a browser that is killed they would be lost, and missed."""
    words = ("logs", "--local", "--session", session, "--grep", "^Call ended$", "-o", "raw", "-q")
    for _ in range(100):
        if (await asyncio.to_thread(up.cordboard, *words)).stdout:
            return
    raise AssertionError("The page's last lines have not come.")


async def test_browser_call_is_logged_by_all_services_under_one_id(tmp_path: Path) -> None:
    """All six services under one id, in time order, from page.opened to session.ended; none warns."""
    chromium_path()
    async with ready(tmp_path) as up:
        async with chromium(spoken(tmp_path)) as browser:
            room = await enter(browser, up.addresses["interface"], "Ada Łovelace")
            session = await room.call()
            greeted = await room.silence()
            assert greeted > 0
            await room.hears_more()
            command = await room.text("log-command")
            await room.leave()
            assert await room.ended_as(session) == ("ended", "left")
            await last_lines(up, session)
        assert command == f"cordboard logs --local --session {session}"
        lines = await logs(up, "--session", session)
        everything = await logs(up)
    assert {line["service"] for line in lines} == SERVICES
    assert {line["sessionId"] for line in lines} == {session}
    assert {line["userName"] for line in lines} == {"Ada Łovelace"}
    assert [line for line in lines if line["level"] in {"warn", "error"}] == []
    stamps = [line["timestamp"] for line in lines]
    assert stamps == sorted(stamps)
    events = [line["event"] for line in lines if "event" in line]
    # The page and the bot measure their media once more when the connection has closed.
    events = [event for event in events if event != "media.stats"]
    # A line of another host's clock may come a moment earlier or later: here all clocks are one.
    assert events[0] == "page.opened"
    assert events[-1] == "session.ended"
    assert {"join.clicked", "join.requested", "join.accepted", "turn.ended"} <= set(events)
    assert len(everything) > len(lines)
    numbers = defaultdict(list)
    for line in everything:
        if "boot" in line:  # none of Valkey's own
            numbers[line["boot"]].append(line["seq"])
    for boot, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), boot
