"""The code of the documentation's pages for web pages, run as it stands against `cordboard up`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from browser.browser_support import HEARD, KEEP_PEERS, chromium, spoken
from clients.clients_support import AUTOPLAY, BUNDLE, Person, needs_clients
from clients.documented_code import (
    REACT_HTML,
    ROOT,
    at_edge,
    bundle,
    code_blocks,
    serve_code,
    serve_routes,
)
from cordboard.emit.forwarding import schema_error
from tests_support import output_of, until
from up_support import Up, pid_of, processes_of, ready

BOT = Path(__file__).with_name("clients_bot.py")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """Everything, open, as a developer starts it."""
    state = tmp_path_factory.mktemp("state")
    async with ready(state, "--bot", str(BOT)) as running:
        yield running
    assert processes_of(state) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    needs_clients()
    async with chromium(spoken(tmp_path_factory.mktemp("sound")), AUTOPLAY) as opened:
        yield opened


async def open_page(browser: Browser, url: str) -> Page:
    """Open a page in a new profile that may use the microphone."""
    context = await browser.new_context(permissions=["microphone"])
    page = await context.new_page()
    await page.add_init_script(KEEP_PEERS)
    await page.goto(url)
    return page


async def hears_bot(page: Page) -> None:
    """Wait until the bot is heard on the page's peer connection."""

    async def is_heard() -> bool:
        return float(await page.evaluate(HEARD)) > 0

    await until(is_heard, 30)


async def test_client_of_the_javascript_page_hears_the_bot(up: Up, browser: Browser) -> None:
    code = at_edge(code_blocks("javascript.md", "js")[0], up.addresses["edge"])
    async with serve_code(await bundle(code, "js")) as url:
        page = await open_page(browser, url)
        await page.click("#join")
        await hears_bot(page)
        assert await page.inner_text("#state") == "ready"
        await page.click("#leave")
        await page.wait_for_selector("#state:text('disconnected')")


# What the transport notices some seconds after a death: that its newest connection has failed.
FAIL = """() => {
  const peer = window.peers.at(-1);
  Object.defineProperty(peer, "iceConnectionState", { value: "failed" });
  peer.dispatchEvent(new Event("iceconnectionstatechange"));
}"""
MICROPHONE = "() => window.peers.at(-1).getSenders()[0].track.readyState"


@pytest.mark.parametrize("lost", ["bot", pytest.param("runner", marks=pytest.mark.faults_full)])
async def test_clients_come_over_to_the_successor_of_a_lost_bot(
    up: Up, browser: Browser, lost: str
) -> None:
    """Unchanged, because the edge holds the offer; and with the page's addition, which keeps the microphone."""
    known = bots(up)
    client, _, _, addition = (
        at_edge(code, up.addresses["edge"]) if "//localhost:7860" in code else code
        for code in code_blocks("javascript.md", "js")[:4]
    )
    async with (
        serve_code(await bundle(client, "js")) as plain,
        serve_code(await bundle(client + addition, "js")) as following,
    ):
        pages = [await open_page(browser, url) for url in (plain, following)]
        for page in pages:
            await page.click("#join")
            await hears_bot(page)
        ours = bots(up) - known
        for pid in ours if lost == "bot" else [pid_of(up, "runner")]:
            os.kill(pid, signal.SIGKILL)
        await pages[0].evaluate(FAIL)
        for page in pages:
            await page.wait_for_function(CONNECTED_AGAIN)
        await hears_bot(pages[1])
        # The track of the unchanged client is not reported, so nobody plays it: what comes counts.
        await pages[0].wait_for_function(RECEIVES)
        assert [await page.evaluate(MICROPHONE) for page in pages] == ["ended", "live"]
        assert await pages[1].inner_text("#state") == "ready"
        assert len(ours) == 2
        for page in pages:
            await page.click("#leave")


RECEIVES = """async () => {
  for (const item of (await window.peers.at(-1).getStats()).values())
    if (item.type === "inbound-rtp" && item.packetsReceived > 0) return true;
  return false;
}"""
CONNECTED_AGAIN = """() =>
  window.peers.length > 1 && window.peers.at(-1).connectionState === "connected" """


def bots(up: Up) -> set[int]:
    """Return the bots' processes so far."""
    return {r["meta"]["pid"] for r in up.records if r.get("event") == "bot.started"}


async def test_websocket_client_of_the_javascript_page_gets_audio(up: Up, browser: Browser) -> None:
    code = at_edge(code_blocks("javascript.md", "js")[2], up.addresses["edge"])
    async with serve_code(await bundle(code, "js")) as url:
        page = await open_page(browser, url)
        async with page.expect_websocket() as opened:
            await page.click("#join")
        stream = await opened.value
        async with asyncio.timeout(30):
            while len(await stream.wait_for_event("framereceived")) < 640:
                pass
        await page.click("#leave")


async def test_components_of_the_react_page_play_the_bot(up: Up, browser: Browser) -> None:
    code = at_edge(code_blocks("react.md", "jsx")[0], up.addresses["edge"])
    async with serve_code(await bundle(code, "jsx"), REACT_HTML) as url:
        page = await open_page(browser, url)
        await page.click("#join")
        await hears_bot(page)
        await page.wait_for_selector("#state:text('ready')")
        await page.click("#leave")


async def test_lines_of_the_javascript_page_have_the_id_of_the_bot(
    up: Up, browser: Browser
) -> None:
    """The page makes the id, `fetch` carries it to the edge of another origin, and the next call has another."""
    client, _, _, _, addition, heard = code_blocks("javascript.md", "js")
    code = at_edge(client, up.addresses["edge"]) + addition.replace(
        "localhost:7860", up.addresses["edge"].removeprefix("http://")
    )
    # esbuild does not copy the worklet.
    code += heard.replace("local.audio])", 'local.audio]), { worklet: "/heard_worklet.js" }')
    lines: list[dict[str, Any]] = []
    async with serve_code(await bundle(code, "js"), lines=lines) as url:
        page = await open_page(browser, url)
        await page.click("#join")
        await hears_bot(page)
        await until(lambda: "media.stats" in {line.get("event") for line in lines}, 30)
        await page.click("#leave")
        await page.wait_for_selector("#state:text('disconnected')")
    assert [error for line in lines if (error := schema_error(line))] == []
    (session_id,) = {line["sessionId"] for line in lines if line.get("event") == "page.opened"}
    assert session_id in {line["sessionId"] for line in lines if line.get("event") == "media.stats"}
    assert [
        line for line in lines if line["tag"] == "heard"
    ] == []  # it can measure, and there is no turn
    assert {"join.requested", "join.accepted", "bot.started"} <= {*up.events(session_id)}


async def test_provider_of_the_react_page_makes_an_id_for_each_call(
    up: Up, browser: Browser
) -> None:
    """It is there before the first click, the bot has it, and after the call there is another one."""
    first, second = code_blocks("react.md", "jsx")
    edge = up.addresses["edge"]
    code = at_edge(first, edge).partition("createRoot(document")[0]
    code += second.replace("localhost:7860", edge.removeprefix("http://"))
    lines: list[dict[str, Any]] = []
    async with serve_code(await bundle(code, "jsx"), REACT_HTML, lines) as url:
        page = await open_page(browser, url)
        session_id = await page.inner_text("#session")
        await page.click("#join")
        await hears_bot(page)
        assert await page.inner_text("#session") == session_id
        await page.click("#leave")
        await page.wait_for_function(OTHER_SESSION, arg=session_id)
        await until(lambda: session_id in {line["sessionId"] for line in lines})
    assert "bot.started" in up.events(session_id)


OTHER_SESSION = "(id) => document.querySelector('#session').textContent !== id"


async def test_parts_of_the_nextjs_page_are_those_of_the_example() -> None:
    """Each block after the two routes without the package is a file of examples/nextjs."""
    files = [*(ROOT / "examples" / "nextjs").glob("*.ts")]
    files += (ROOT / "examples" / "nextjs" / "app").rglob("*.ts")
    texts = {file.read_text(encoding="utf-8") for file in files}
    blocks = code_blocks("nextjs.md", "ts")[2:]
    assert len(blocks) == 4
    assert [block for block in blocks if block not in texts] == []


STATUS = """async ([path, body]) =>
  (await fetch(path, body === null ? {} : { method: "POST", body })).status"""


async def test_routes_of_the_nextjs_page_pass_a_call_on(
    up: Up, browser: Browser, tmp_path: Path
) -> None:
    """With the two environment variables, the browser calls its own server alone."""
    edge = up.addresses["edge"]
    start, sessions = (at_edge(code, edge) for code in code_blocks("nextjs.md", "ts")[:2])
    variables = {
        "BOT_START_URL": f"{edge}/start",
        "BOT_START_PUBLIC_API_KEY": "pk_any0123456789abc",
    }
    script = BUNDLE.read_text(encoding="utf-8")
    async with serve_routes(tmp_path, [start, sessions], script, **variables) as url:
        context = await browser.new_context(permissions=["microphone"])
        person = Person(await context.new_page())
        hosts: set[str] = set()
        person.page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        await person.page.goto(url)
        await person.do("() => enter('webrtc')")
        await person.call("/api/start", {"transport": "webrtc"})
        ice = "async ([id]) => (await fetch(`/api/sessions/${id}/ice`)).json()"
        assert await person.do(ice, await person.session_id()) == {"iceServers": []}
        assert hosts == {url.removeprefix("http://")}
        refused = [f"/api/sessions/{await person.session_id()}/leave", "/api/sessions/.../ice"]
        for path in refused:
            assert await person.do(STATUS, path, None) == 404
        for path in ("/api/start", f"/api/sessions/{await person.session_id()}/api/offer"):
            assert await person.do(STATUS, path, "x" * 70_000) == 413
        await person.do("() => person.client.disconnect()")


async def test_program_of_the_websockets_page_hears_the_bot(up: Up) -> None:
    """The program in which Pipecat's serializer reads the bot's frames."""
    (code,) = (
        code
        for code in code_blocks("websockets.md", "python")
        if "Protobuf" in code and "start()" in code
    )
    program = at_edge(code, up.addresses["edge"])
    assert "heard the bot" in await asyncio.to_thread(run, [sys.executable, "-c", program])


async def test_program_of_the_pipecat_cloud_page_runs(up: Up) -> None:
    (assignment,) = code_blocks("pipecat-cloud-sdk.md", "text")[0].splitlines()
    name, _, value = at_edge(assignment, up.addresses["edge"]).partition("=")
    (program,) = code_blocks("pipecat-cloud-sdk.md", "python")
    output = await asyncio.to_thread(run, [sys.executable, "-c", program], **{name: value})
    assert len(output.split()[-1]) >= 32


def run(command: list[str], **variables: str) -> str:
    """Run a command; return its standard output."""
    return output_of(command, env=os.environ | variables)
