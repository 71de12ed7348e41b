"""Pipecat's own browser client, whose TURN credentials expire while it calls: the additions of docs/ keep it connected.

The pages are the client of docs/javascript.md with the additions of the pages, as they stand, in Chromium in the
network of a caller who reaches the TURN server only.
"""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from browser.browser_support import HEARD, KEEP_PEERS, chromium, spoken
from clients.clients_support import AUTOPLAY, needs_clients
from clients.documented_code import at_edge, bundle, code_blocks, serve_code
from cordboard.contract.errors import CordboardError
from cordboard.ice_client import check_server, targets_of
from ice.ice_support import SECRET, TURN_ADDRESS, Network, find_turnserver, inside, network
from tests_support import until
from up_support import Up, ready

pytestmark = [
    pytest.mark.media,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]
BOT = Path(__file__).parents[1] / "clients" / "clients_bot.py"
PORT = 3478
# A client allocates its relay half a second after its credentials were made; longer on a busy machine.
VALID_S = 8
INTERVAL = "60 * 60 * 1000"
KEEP = """
window.client = client;
client.on("botStarted", (answer) => { window.answer = answer; });
"""
# What the transport notices some seconds after a change of networks: that its newest connection has failed.
FAIL = """() => {
  const peer = window.peers.at(-1);
  Object.defineProperty(peer, "iceConnectionState", { value: "failed" });
  peer.dispatchEvent(new Event("iceconnectionstatechange"));
}"""
RECONNECTED = """() =>
  window.peers.length > 1 && window.peers.at(-1).connectionState === "connected" """
# After a reconnection the transport (1.10.8) does not report its track.
PLAY_NEWEST = """() => {
  window.newest = new Audio();
  window.newest.autoplay = true;
  window.newest.srcObject = new MediaStream([window.peers.at(-1).getReceivers()[0].track]);
}"""
SAY = "() => { if (client.state === 'ready') client.sendClientMessage('say'); }"
SAY_AGAIN_S = 3  # a message that is sent before the data channel is open is lost


@dataclass
class Place:
    """`cordboard up` with a TURN server, and a caller in another network with a browser."""

    net: Network
    up: Up
    browser: Browser

    @contextlib.asynccontextmanager
    async def page(self, *parts: str) -> AsyncIterator[Page]:
        """Serve a page with a script of parts in the caller's network for a block; open it."""
        code = "".join(
            at_edge(part, self.up.addresses["edge"]) if "//localhost:7860" in part else part
            for part in (*parts, KEEP)
        )
        script = await bundle(code, "js")
        async with contextlib.AsyncExitStack() as stack:
            with inside(self.net.caller):
                url = await stack.enter_async_context(serve_code(script))
            context = await self.browser.new_context(permissions=["microphone"])
            stack.push_async_callback(context.close)
            page = await context.new_page()
            await page.add_init_script(KEEP_PEERS)
            await page.goto(url)
            yield page

    async def refuses(self, servers: list[dict[str, Any]]) -> bool:
        """Return whether the TURN server refuses the credentials of a client."""
        with inside(self.net.caller):
            try:
                await check_server(targets_of({"iceServers": servers})[0])
            except CordboardError as error:
                return "rejected the credentials" in error.message
        return False

    def bot_of(self, session_id: str) -> int:
        """Return the process of a session's bot."""
        (pid,) = (
            record["meta"]["pid"]
            for record in self.up.records
            if record.get("event") == "bot.started" and record["sessionId"] == session_id
        )
        return int(pid)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """Everything, with credentials that are valid for some seconds."""
    find_turnserver()
    needs_clients()
    folder = tmp_path_factory.mktemp("stock")
    over = {
        "CORDBOARD_TURN_SECRET": SECRET,
        "CORDBOARD_ICE_SERVERS": f"turn:{TURN_ADDRESS}:{PORT}",
        "CORDBOARD_TURN_CREDENTIALS_S": str(VALID_S),
        "CORDBOARD_ICE_TRANSPORT_POLICY": "relay",
    }
    async with contextlib.AsyncExitStack() as stack:
        net = stack.enter_context(network())
        await stack.enter_async_context(net.turnserver(folder, PORT, "--no-tls", "--no-tcp"))
        with inside(net.bot):
            up = await stack.enter_async_context(ready(folder, "--bot", str(BOT), **over))  # type: ignore[arg-type]
        await stack.enter_async_context(net.tunnel(up.addresses["edge"]))
        with inside(net.caller):
            opened = chromium(spoken(folder), AUTOPLAY)
            browser = await stack.enter_async_context(opened)
        yield Place(net, up, browser)


async def is_heard(page: Page) -> bool:
    """Return whether the bot was heard on the page's newest connection."""
    return float(await page.evaluate(HEARD)) > 0


async def hears_again(page: Page) -> None:
    """Ask the bot to speak until it is heard on a further connection."""
    await page.wait_for_function(RECONNECTED)
    heard = asyncio.ensure_future(until(functools.partial(is_heard, page), 30))
    while not heard.done():
        await page.evaluate(SAY)
        await asyncio.wait({heard}, timeout=SAY_AGAIN_S)
    await heard


async def test_client_reconnects_after_its_credentials_have_expired(place: Place) -> None:
    """To the same bot after a change of networks, and to the next one, always through the TURN server."""
    client, _, _, follow = code_blocks("javascript.md", "js")[:4]
    renew, relay_only = code_blocks("turn.md", "js")
    assert INTERVAL in renew
    async with (
        place.page(relay_only, client, renew.replace(INTERVAL, "1000")) as renewing,
        place.page(relay_only, client, follow) as following,
    ):
        first = []
        for page in (renewing, following):
            await page.click("#join")
            await until(functools.partial(is_heard, page), 30)
            first.append(await page.evaluate("() => window.answer"))
            policy = "() => window.peers.at(-1).getConfiguration().iceTransportPolicy"
            assert await page.evaluate(policy) == "relay"
        for answer in first:
            servers = answer["iceConfig"]["iceServers"]
            await until(functools.partial(place.refuses, servers))
        await renewing.evaluate(FAIL)
        await renewing.wait_for_function(RECONNECTED)
        await renewing.evaluate(PLAY_NEWEST)
        await hears_again(renewing)
        os.kill(place.bot_of(first[1]["sessionId"]), signal.SIGKILL)
        await hears_again(following)
