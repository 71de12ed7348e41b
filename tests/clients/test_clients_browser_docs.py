"""The code of the documentation's pages for web pages, run as it stands against `cordboard up`."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from browser.browser_support import HEARD, KEEP_PEERS, chromium, spoken
from clients.clients_support import AUTOPLAY, BUNDLE, Person, needs_clients
from clients.documented_code import (
    REACT_HTML,
    at_edge,
    bundle,
    code_blocks,
    serve_code,
    serve_routes,
)
from tests_support import until
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
        for code in code_blocks("javascript.md", "js")
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


async def test_routes_of_the_nextjs_page_pass_a_call_on(
    up: Up, browser: Browser, tmp_path: Path
) -> None:
    """With the two environment variables, the browser calls its own server alone."""
    edge = up.addresses["edge"]
    start, sessions = (at_edge(code, edge) for code in code_blocks("nextjs.md", "ts"))
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
        assert hosts == {url.removeprefix("http://")}
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
    done = subprocess.run(
        command,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
