"""What a page tells of its call: media, devices, and which tab it was."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from browser.browser_support import chromium, enter, open_room
from tests_support import until
from up_support import Up

pytestmark = [
    pytest.mark.browser,
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(200),
]
PAGE_BYTES = 120_000
WEIGHT = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((entry) => entry.initiatorType !== "fetch" && entry.initiatorType !== "beacon")
  .map((entry) => [entry.encodedBodySize, entry.decodedBodySize])"""


# No code of the page runs meanwhile: browsers do not freeze a page that is visible.
BLOCK = "() => { const until = performance.now() + 7000; while (performance.now() < until); }"


# The page's clock stands an hour back until the page wakes.
ASLEEP = """
window.behindMs = 3_600_000;
const Clock = Date;
window.Date = class extends Clock {
  constructor(...words) { super(...(words.length ? words : [Clock.now() - behindMs])); }
  static now() { return Clock.now() - behindMs; }
};"""
WAKE = "() => { behindMs = 0; dispatchEvent(new Event('online')); }"
LABEL = "() => window.peers.at(-1).getSenders()[0].track.label"
LABELS = """async () => (await navigator.mediaDevices.enumerateDevices())
  .filter(({ kind }) => kind === "audioinput").map(({ label }) => label)"""


def said(up: Up, session_id: str) -> list[dict[str, Any]]:
    """Return the browser's lines of a session so far."""
    return [r for r in up.records if (r["sessionId"], r["service"]) == (session_id, "browser")]


def metas(up: Up, session_id: str, event: str) -> list[dict[str, Any]]:
    """Return what the browser's events of a session hold so far."""
    return [
        r["meta"]
        for r in up.records
        if (r["sessionId"], r["service"], r.get("event")) == (session_id, "browser", event)
    ]


def kinds(up: Up, session_id: str) -> list[str]:
    return [meta["kind"] for meta in metas(up, session_id, "device.changed")]


async def test_page_tells_of_its_media_and_devices(up: Up, microphone: Path) -> None:
    """From the connection to its end: figures of both directions, the microphone, a frozen page."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        session_id = await room.call()
        await until(lambda: len(metas(up, session_id, "media.stats")) >= 4, 60)
        await room.page.evaluate(BLOCK)
        await until(lambda: "resumed" in kinds(up, session_id))
        await room.leave()
        await until(lambda: metas(up, session_id, "media.stats")[-1]["state"] == "closed")
    stats = metas(up, session_id, "media.stats")
    assert {"connecting", "connected", "closed"} <= {one["state"] for one in stats}
    assert {one["end"] for one in stats} == {"page"}
    full = next(one for one in stats if one["state"] == "connected" and one["interval_ms"] > 3000)
    assert full["packets_sent"] > 100
    assert full["packets_received"] > 100
    assert full["path"] in {"host", "prflx"}
    assert 1 <= full["mos"] <= 4.5
    assert {"packets_lost", "jitter_ms", "rtt_ms", "level_in", "level_out"} <= full.keys()
    assert max(one.get("level_in", 0) for one in stats) > 0.01  # the bot's greeting
    devices = metas(up, session_id, "device.changed")
    (first,) = (one for one in devices if one["kind"] == "microphone" and "label_hash" in one)
    assert len(first["label_hash"]) == 12
    assert "echoCancellation" in first["settings"]
    assert "deviceId" not in first["settings"]
    assert kinds(up, session_id).count("resumed") == 1
    assert next(one for one in devices if one["kind"] == "resumed")["duration_ms"] > 5000


async def test_label_of_the_microphone_is_in_no_line(up: Up, microphone: Path) -> None:
    """A test of the microphone and a call name it by a hash alone, in the lines of every service."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await room.page.click("#check")
        await room.page.wait_for_selector("#check[aria-pressed=true]")
        await room.page.click("#check")
        session_id = await room.call()
        label = await room.page.evaluate(LABEL)
        labels = {label, *await room.page.evaluate(LABELS)}
        await room.leave()
        await until(lambda: metas(up, session_id, "device.changed"))
        await until(lambda: any(r["message"] == "Call ended" for r in said(up, session_id)))
    assert min(map(len, labels)) > 5
    messages = {r["message"] for r in said(up, session_id)}
    assert {"Microphone tested", "Microphone opened"} <= messages
    devices = metas(up, session_id, "device.changed")
    hashes = {one["label_hash"] for one in devices if "label_hash" in one}
    assert hashes == {hashlib.sha256(label.encode()).hexdigest()[:12]}
    told = [json.dumps(r, ensure_ascii=False) for r in up.records]
    assert [line for line in told if any(one in line for one in labels)] == []


async def test_lines_that_waited_in_a_frozen_page_keep_their_time(up: Up, microphone: Path) -> None:
    """An hour later they still stand before the end of their session, in the log as in what reads it."""
    async with chromium(microphone) as browser:
        context = await browser.new_context()
        await context.route("**/api/logs*", lambda route: route.abort())
        room = await open_room(context, up.addresses["interface"], "Ada", script=ASLEEP)
        session_id = await room.join()
        await room.page.wait_for_selector("#room[data-state=connected]")
        await room.leave()
        await until(lambda: "session.ended" in up.events(session_id))
        assert said(up, session_id) == []
        page = await context.new_cdp_session(room.page)
        for state in ("frozen", "active"):
            await page.send("Page.setWebLifecycleState", {"state": state})
        await context.unroute_all()
        await room.page.evaluate(WAKE)
        await until(lambda: any(r["message"] == "Call ended" for r in said(up, session_id)))
    (end,) = (
        r for r in up.records if (r["sessionId"], r.get("event")) == (session_id, "session.ended")
    )
    told = said(up, session_id)
    assert {"page.opened", "join.clicked"} <= {r.get("event") for r in told}
    assert [r for r in told if r["timestamp"] >= end["timestamp"]] == []
    assert [r for r in told if {"browser_time", "timestamp_is"} & r.get("meta", {}).keys()] == []
    done = up.cordboard("logs", "--local", "--session", session_id, "-o", "json")
    read = [json.loads(text) for text in done.stdout.splitlines()]
    assert [r["timestamp"] for r in read] == sorted(r["timestamp"] for r in read)
    assert [r["seq"] for r in read if r["service"] == "browser"] == [r["seq"] for r in told]


async def test_tabs_share_neither_session_nor_boot(up: Up) -> None:
    """A tab that is opened by another one copies its storage, and is another page all the same."""
    async with chromium() as browser:
        first = await enter(browser, up.addresses["interface"])
        await first.page.evaluate("sessionStorage.setItem('x', '1')")
        async with first.context.expect_page() as opened:
            await first.page.evaluate("void window.open(location.href)")
        copy = await opened.value
        await copy.wait_for_selector("#join:enabled")
        assert await copy.evaluate("sessionStorage.getItem('x')") == "1"
        again = await open_room(first.context, first.page.url, None)
        ids = [await page.inner_text("#session-id") for page in (first.page, copy, again.page)]
        assert len({*ids}) == 3

        def boots() -> list[set[str]]:
            return [{r["boot"] for r in up.records if r["sessionId"] == one} for one in ids]

        await until(lambda: all(boots()))
        assert len(set().union(*boots())) == 3


async def test_room_page_is_small(up: Up) -> None:
    """All that the page loads has less than 120 KB on its way, and loads from this site alone."""
    async with chromium() as browser:
        room = await enter(browser, up.addresses["interface"])
        sizes = await room.page.evaluate(WEIGHT)
    sent, unpacked = (sum(column) for column in zip(*sizes, strict=True))
    assert sent < unpacked
    assert len(sizes) > 20
    assert sent < PAGE_BYTES
