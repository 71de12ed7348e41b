"""The npm package from its tarball: in the example of Next.js, in Chromium, against `cordboard up`.

Installing and building the example takes minutes, so it is not part of every run:
`make test ARGS="tests/clients -m nextjs"`.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from yarl import URL

from browser.browser_support import HEARD, KEEP_PEERS, chromium, chromium_path, spoken
from clients.clients_support import AUTOPLAY
from clients.nextjs_example import (
    MissingError,
    Server,
    built,
    built_for_edge,
    served_example,
)
from cordboard.emit.forwarding import schema_error
from tests_support import until
from up_support import Up, processes_of, ready

BOT = Path(__file__).with_name("clients_bot.py")
SERVICES = {"browser", "web", "edge", "gateway", "operator", "runner", "bot"}

pytestmark = [
    pytest.mark.nextjs,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chromium_path()
    try:
        return built(tmp_path_factory.mktemp("nextjs"))
    except MissingError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(example: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    state = tmp_path_factory.mktemp("state")
    async with ready(state, "--bot", str(BOT)) as running:
        yield running
    assert processes_of(state) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(example: Path, up: Up) -> AsyncIterator[Server]:
    (folder,) = up.state.rglob("gateway.jsonl")
    log = folder.with_name("web.jsonl")
    async with served_example(
        example, log, BOT_START_URL=f"{up.addresses['edge']}/start"
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(spoken(tmp_path_factory.mktemp("sound")), AUTOPLAY) as opened:
        yield opened


async def open_page(browser: Browser, url: str, script: str = "") -> Page:
    context = await browser.new_context(permissions=["microphone"])
    page = await context.new_page()
    await page.add_init_script(KEEP_PEERS + script)
    await page.goto(url)
    await page.wait_for_selector("#join:enabled")
    return page


def lines_of(server: Server, session_id: str) -> list[dict[str, Any]]:
    return [record for record in server.records if record.get("sessionId") == session_id]


def events_of(server: Server, session_id: str) -> set[str]:
    return {record["event"] for record in lines_of(server, session_id) if "event" in record}


async def test_one_id_from_the_click_to_the_bot(server: Server, up: Up, browser: Browser) -> None:
    """The id that the page made is that of every service's lines; the next call has another one."""
    page = await open_page(browser, server.url)
    session_id = await page.inner_text("#session")
    await page.click("#join")

    async def is_heard() -> bool:
        return float(await page.evaluate(HEARD)) > 0

    await until(is_heard, 60)
    # The microphone is looked for once a second.
    await until(lambda: {"media.stats", "device.changed"} <= events_of(server, session_id), 60)
    await page.click("#leave")
    await page.wait_for_function(
        "(id) => document.querySelector('#session').textContent !== id", arg=session_id
    )
    await until(lambda: "session.ended" in up.events(session_id), 60)
    mine = lines_of(server, session_id)
    assert [error for record in mine if (error := schema_error(record))] == []
    assert {"page.opened", "join.clicked", "device.changed"} <= events_of(server, session_id)
    web = [record["message"] for record in mine if record["service"] == "web"]
    assert web[:2] == ["A bot is requested", "The edge has answered"]
    done = up.cordboard("logs", "--local", "--session", session_id, "-o", "json")
    found = {service for service in SERVICES if f'"service":"{service}"' in done.stdout}
    assert found == SERVICES, done.stderr


async def test_lines_have_consecutive_numbers(server: Server, browser: Browser) -> None:
    """In one process of the server, and in each load of the page: no line was lost or written twice."""
    page = await open_page(browser, server.url)
    await page.reload()
    await page.wait_for_selector("#join:enabled")
    session_id = await page.inner_text("#session")
    await until(lambda: lines_of(server, session_id))
    by_boot: dict[str, list[int]] = {}
    for record in server.records:
        by_boot.setdefault(record["boot"], []).append(record["seq"])
    for numbers in by_boot.values():
        assert sorted(numbers) == [*range(1, len(numbers) + 1)]
    assert len(by_boot) >= 3  # the server, and two loads


async def test_clock_of_a_browser_does_not_move_its_lines(server: Server, browser: Browser) -> None:
    """Lines of a browser whose clock is a day off have the server's time, and its own in meta."""
    shifted = "const now = Date.now; const D = Date; D.now = () => now() + 864e5;"
    shifted += "globalThis.Date = class extends D { constructor(...w) { super(...(w.length ? w : [D.now()])); } };"
    page = await open_page(browser, server.url, shifted)
    session_id = await page.inner_text("#session")
    await until(lambda: lines_of(server, session_id))
    (first, *_) = lines_of(server, session_id)
    assert first["meta"]["browser_time"][:10] > first["timestamp"][:10]


async def test_route_takes_lines_of_its_own_pages_alone(server: Server) -> None:
    """Another site's page is refused, an invalid line is counted, and a false identity is not written."""
    line = (
        '{"timestamp":"2026-11-23T10:00:00.000000Z","level":"info","message":"Hello","service":"gateway","tag":"x",'
        '"sessionId":"forged-1","userId":"root","userName":"Root","room":"webrtc:x","event":"join.accepted",'
        '"meta":{"password":"hunter2"},"boot":"12345678","seq":1}'
    )
    headers = {"Origin": server.url}
    async with aiohttp.ClientSession() as client:
        url = f"{server.url}/api/logs"
        async with client.post(
            url, data=line, headers={"Origin": "https://evil.example"}
        ) as answer:
            assert answer.status == 403
        async with client.post(url, data=endless(), headers=headers) as answer:
            assert answer.status == 413
        for body in (line, line, "{}\nno json"):
            async with client.post(url, data=body, headers=headers) as answer:
                assert answer.status == 204
        async with client.post(url, data="\n".join([line] * 501), headers=headers) as answer:
            assert answer.status == 413
    await until(
        lambda: any(r["message"] == "Lines of a browser were refused" for r in server.records)
    )
    assert lines_of(server, "forged-1") == []  # to know an id is not enough
    (record,) = (
        r for r in server.records if r.get("meta", {}).get("claimed_session") == "forged-1"
    )
    assert (record["service"], record["userId"], record["userName"]) == ("browser", None, None)
    assert record["meta"]["claimed_event"] == "join.accepted"
    assert record["meta"]["password"] == "[redacted]"
    assert "event" not in record
    assert record["timestamp"] > "2026-11-23T11"


async def endless() -> AsyncIterator[bytes]:
    """A body without a stated length, longer than the route takes."""
    for _ in range(64):
        yield b" " * 8192


async def test_routes_pass_on_neither_other_paths_nor_endless_bodies(server: Server) -> None:
    """The server's key may permit more than the page may do."""
    async with aiohttp.ClientSession() as client:
        for path in ("x/..%2F..%2Fhealthz", "..%2Fhealthz%3F/x", "x/leave", "a%2Fb/ice"):
            url = URL(f"{server.url}/api/sessions/{path}", encoded=True)
            async with client.get(url) as answer:
                assert answer.status == 404, path
        for path in ("start", "sessions/x/api/offer"):
            async with client.post(f"{server.url}/api/{path}", data=endless()) as answer:
                assert answer.status == 413, path


async def test_middleware_removes_what_a_browser_must_not_claim(server: Server) -> None:
    """A malformed id is not passed on; a well-formed one is answered, and user headers have no effect."""
    await check_middleware(server, "middle-1")


async def test_middleware_runs_in_the_edge_runtime(example: Path, up: Up, tmp_path: Path) -> None:
    """It does the same there, where a line cannot be written to stdout directly."""
    edge = built_for_edge(example, tmp_path)
    start = f"{up.addresses['edge']}/start"
    async with served_example(edge, tmp_path / "log", BOT_START_URL=start) as running:
        await check_middleware(running, "middle-2")


async def check_middleware(server: Server, session_id: str) -> None:
    """Ask with a good id and a false user, and with a malformed id."""
    headers = {"Origin": server.url, "X-User-Id": "root", "X-Session-Id": session_id}
    async with aiohttp.ClientSession() as client:
        async with client.post(f"{server.url}/api/start", headers=headers) as answer:
            assert answer.headers["X-Session-Id"] == session_id
        headers["X-Session-Id"] = "not an id"
        async with client.post(f"{server.url}/api/logs", headers=headers) as answer:
            assert (answer.status, "X-Session-Id" in answer.headers) == (204, False)
    await until(lambda: lines_of(server, session_id))
    assert {record["userId"] for record in lines_of(server, session_id)} == {None}

    def warned() -> list[dict[str, Any]]:
        return [r for r in server.records if r["message"] == "Malformed headers were ignored"]

    await until(warned)
    assert [r["meta"]["headers"] for r in warned()] == [["X-Session-Id"]]
    assert schema_error(warned()[0]) is None
