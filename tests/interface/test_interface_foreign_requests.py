"""No sequence of requests by a stranger changes the log of another person's session."""

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cordboard import emit
from cordboard.contract.ids import uuid7
from interface.interface_support import Browser, Site, an_id
from tests_support import until
from up_support import Up, ready

SETTLED_S = 6.0  # for 5 s after a line, the coverage says that others may follow
_CHANGING = re.compile(r"mention|Created |cordboard logs|searched|read in")
_SIZES = re.compile(r"\b\d+ (more )?bytes|\d+(\.\d+)? [kM]B")


@contextlib.asynccontextmanager
async def people(up: Up, *names: str) -> AsyncIterator[list[Browser]]:
    """Return browsers in which these people are signed in; with an empty name, nobody."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name in names:
            jar = aiohttp.CookieJar(unsafe=True)
            client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
            browser = Browser(client, up.addresses["interface"])
            found.append(await browser.sign_in(name) if name else browser)
        yield found


def a_line(session_id: str, seq: int, **over: Any) -> str:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    record = {
        "timestamp": now, "level": "info", "message": "Page opened", "service": "browser",
        "tag": "room", "sessionId": session_id, "userId": None, "userName": None,
        "room": "webrtc:hers", "boot": "deadbee0", "seq": seq,
    }  # fmt: skip
    return json.dumps(record | over)


async def said(up: Up, session_id: str, file: Path) -> tuple[Any, ...]:
    """Return what a reader sees of a session: status, lines, coverage and report."""

    def read() -> tuple[Any, ...]:
        words = ("logs", "--local", "--session", session_id)
        lines = up.cordboard(*words, "-o", "json")
        file.unlink(missing_ok=True)
        report = up.cordboard(*words, "--report", str(file))
        text = file.read_text()
        return lines.returncode, sorted(lines.stdout.splitlines()), report.returncode, _proven(text)

    return await asyncio.to_thread(read)


def _proven(report: str) -> list[str]:
    """Return a report's lines without its time, and without lines that only mention the id.

    A stranger's claims are counted as mentions, apart from the session.
    """
    kept = [line for line in report.splitlines() if not _CHANGING.search(line)]
    return [_SIZES.sub("N", line) for line in kept]


def same(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    """Return whether two results are equal; show the difference if not."""
    for old, new in zip(before, after, strict=True):
        if isinstance(old, list):
            assert [line for line in new if line not in old] == []
            assert [line for line in old if line not in new] == []
    return before == after


async def attack(up: Up, eve: Browser, nobody: Browser, hers: str) -> None:
    """Do everything that a stranger can do with an id."""
    claims = {
        "X-Session-Id": hers, "X-User-Id": "u-boss", "X-User-Name": "Boss", "X-Session-Epoch": "9",
        "baggage": f"session.id={hers},user.id=u-boss",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }  # fmt: skip
    for browser in (eve, nobody):
        for method, path in (
            ("GET", "/rooms/The%20bot%20was%20hacked"),
            ("GET", "/login"),
            ("GET", f"/api/sessions/{hers}"),
            ("GET", f"/api/sessions/{hers}/events"),
            ("POST", f"/api/sessions/{hers}/leave"),
            ("POST", f"/api/sessions/{hers}/offer"),
            ("PATCH", f"/api/sessions/{hers}/offer"),
            ("POST", "/api/logs"),
        ):
            await browser.ask(method, path, headers=claims, json={})
        for room in ("webrtc:hers", "webrtc:another"):
            body = {"sessionId": hers, "room": room}
            status, _, _ = await browser.ask("POST", "/api/sessions", json=body, headers=claims)
            assert status in {401, 409}
    lies = [
        a_line(hers, 1, event="page.opened"),
        a_line(hers, 500, event="join.clicked", level="error", error={"type": "Lie"}),
        a_line(hers, 501, epoch=7, traceId="c" * 32, spanId="d" * 16),
        a_line(hers, 502, event="session.ended", room="webrtc:eves", meta={"state": "failed"}),
    ]
    status, told, _ = await eve.ask("POST", "/api/logs", data="\n".join(lies), headers=claims)
    assert (status, told["written"] + told["repeated"]) == (202, 4)
    for path in ("/sessions", f"/sessions/{hers}", "/join", "/leave"):
        async with eve.client.post(up.addresses["gateway"] + path, headers=claims, json={}) as got:
            assert got.status == 401


async def settled(up: Up, session_id: str, file: Path) -> tuple[Any, ...]:
    """Return what a reader sees of a session when its lines are old enough for a verdict."""
    await asyncio.sleep(SETTLED_S)
    return await said(up, session_id, file)


async def test_stranger_changes_nothing_of_a_session(tmp_path: Path) -> None:
    """Neither during the session nor after its end: its lines, coverage and report stay the same."""
    hers = uuid7(time.time_ns() // 1_000_000, b"hers567890")
    file = tmp_path / "report.txt"
    # Eve is no operator. Nobody connects, and reading a session may take longer than a bot waits for its user.
    async with (
        ready(tmp_path, CORDBOARD_INTERFACE_OPERATORS="Boss", CORDBOARD_USER_ABSENT_S="600") as up,
        people(up, "Ada", "Eve", "") as (ada, eve, nobody),
    ):
        await ada.ask("POST", "/api/logs", data=a_line(hers, 1, boot="ada00001"))
        body = {"sessionId": hers, "room": "webrtc:hers"}
        assert (await ada.ask("POST", "/api/sessions", json=body))[0] == 202
        await until(lambda: "bot.started" in up.events(hers))
        before = await settled(up, hers, file)
        assert before[1]
        await attack(up, eve, nobody, hers)
        free = uuid7(time.time_ns() // 1_000_000, b"eves567890")
        status, told, _ = await eve.ask(
            "POST", "/api/sessions", json={"sessionId": free, "room": "webrtc:hers"}
        )
        assert (status, told.get("yours"), hers in json.dumps(told)) == (200, False, False), told
        assert same(before, await settled(up, hers, file))
        assert (await ada.ask("POST", f"/api/sessions/{hers}/leave"))[0] in {200, 202}
        await until(lambda: "session.ended" in up.events(hers))
        before = await settled(up, hers, file)
        await attack(up, eve, nobody, hers)
        assert same(before, await settled(up, hers, file))
        status, record, _ = await ada.ask("GET", f"/api/sessions/{hers}")
        assert (status, record["status"]) == (200, "ended")


METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS")


def a_request(dice: random.Random, hers: str) -> tuple[str, str, dict[str, Any]]:
    """Return a random request that has another's id somewhere, or nowhere."""
    pick = dice.choice
    path = pick(
        ["/", "/login", f"/rooms/{hers}", "/rooms/hers", "/static/room.js", "/api/sessions",
         f"/api/sessions/{hers}", f"/api/sessions/{hers}/offer", f"/api/sessions/{hers}/leave",
         f"/api/sessions/{hers}/events", "/api/logs", f"/{hers}", f"/api/sessions?x={hers}"]
    )  # fmt: skip
    claims = {
        "X-Session-Id": hers, "x-session-id": hers.upper(), "X-User-Id": "u-boss", "X-User-Name": "Boss",
        "X-Session-Epoch": "7", "baggage": f"session.id={hers}", "Accept": "text/html",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Forwarded-For": "203.0.113.7",
    }  # fmt: skip
    headers = {name: claims[name] for name in dice.sample(sorted(claims), dice.randint(0, 5))}
    seq = dice.randint(1, 10**6)
    said = {"event": pick(["page.opened", "join.clicked", "session.ended"]), "epoch": 7}
    bodies: list[Any] = [
        {"json": {"sessionId": hers, "room": pick(["webrtc:hers", "webrtc:another"])}},
        {"data": a_line(hers, seq, **said)},
        {"data": {"name": hers, "room": "hers"}},
        {},
    ]
    return pick(METHODS), path, {"headers": headers, **pick(bodies)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ended", [False, True])
async def test_no_sequence_of_requests_writes_into_a_session(
    site: Site, seed: int, ended: bool
) -> None:
    """Whatever a stranger sends, no component writes a line of the session, and its record stays."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    hers = an_id("hers")
    await ada.join("hers", "webrtc:hers")
    await site.run("hers")
    if ended:
        await site.store.finish(hers, 1, "left", None)
    before = await site.store.session(hers)
    dice = random.Random(seed)
    with emit.capture() as records:
        for _ in range(60):
            method, path, more = a_request(dice, hers)
            await dice.choice([eve, site.browser()]).ask(method, path, **more)
    assert len(records) > 20
    assert [record for record in records if record["sessionId"] == hers] == []
    assert await site.store.session(hers) == before
