"""Calls of a caller who can reach nothing but a TURN server: by `cordboard call`, and by the page in Chromium."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from browser.browser_support import Room, chromium, enter, spoken
from cordboard.call import CallOptions, CallResult, CallTimeouts, place_call
from cordboard.call.timeline import CallStage
from cordboard.contract.ice import ice_config, parse_ice_servers
from cordboard.environment import CONTROL_SECRET
from ice.ice_support import (
    HIDDEN_ADDRESS,
    SECRET,
    TURN_ADDRESS,
    Network,
    Turn,
    find_turnserver,
    inside,
    network,
)
from tests_support import until
from up_support import Up, ready

pytestmark = [
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]
CONTROL = "the-control-secret-of-these-tests"
UDP_PORT, TCP_PORT = 3478, 3479
SERVERS = f"turn:{TURN_ADDRESS}:{UDP_PORT},turn:{TURN_ADDRESS}:{TCP_PORT}?transport=tcp"
# The built-in bot, with a greeting of half a second.
BRIEF_PARROT = """
from cordboard.bots import parrot
for rate, audio in parrot.GREETINGS.items():
    parrot.GREETINGS[rate] = audio[:rate]
bot = parrot.bot
"""


@dataclass
class Place:
    """`cordboard up` in one network, and a caller in another one.

    Attributes:
        net: The networks.
        up: What runs.
        folder: A directory for files of servers.
    """

    net: Network
    up: Up
    folder: Path

    def udp(self, **options: Any) -> contextlib.AbstractAsyncContextManager[Turn]:
        """Run a TURN server over UDP."""
        return self.net.turnserver(self.folder, UDP_PORT, "--no-tls", "--no-tcp", **options)

    def tcp(self, **options: Any) -> contextlib.AbstractAsyncContextManager[Turn]:
        """Run a TURN server over TCP."""
        return self.net.turnserver(self.folder, TCP_PORT, "--no-tls", "--no-udp", **options)

    async def call(
        self,
        session_id: str,
        seconds: float | None = None,
        on_stage: Callable[[CallStage], None] = lambda _stage: None,
    ) -> CallResult:
        """Call as `cordboard call` does, from the caller's network, with less patience."""
        options = CallOptions(
            room=f"webrtc:{session_id.partition(':')[0]}",
            gateway_url=self.up.addresses["gateway"],
            control_secret=CONTROL,
            session_id=session_id,
            seconds=seconds,
            timeouts=CallTimeouts(connected=4),
        )

        def place() -> CallResult:
            with inside(self.net.caller):
                return asyncio.run(place_call(options, on_stage))

        return await asyncio.to_thread(place)

    def warnings(self, session_id: str) -> list[dict[str, Any]]:
        """The warnings and errors of a session so far."""
        return [
            record
            for record in self.up.records
            if record["sessionId"] == session_id and record["level"] in {"warn", "error"}
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """Everything, in networks of its own."""
    find_turnserver()
    folder = tmp_path_factory.mktemp("ice")
    bot = folder / "brief_parrot.py"
    bot.write_text(BRIEF_PARROT)
    with network() as net:
        async with contextlib.AsyncExitStack() as stack:
            with inside(net.bot):
                over = {
                    CONTROL_SECRET: CONTROL,
                    "CORDBOARD_TURN_SECRET": SECRET,
                    "CORDBOARD_ICE_SERVERS": SERVERS,
                }
                up = await stack.enter_async_context(ready(folder, "--bot", str(bot), **over))  # type: ignore[arg-type]
            await stack.enter_async_context(
                net.tunnel(up.addresses["gateway"], up.addresses["interface"])
            )
            yield Place(net, up, folder)


async def test_command_calls_over_udp(place: Place) -> None:
    """`cordboard call` reaches every stage, and the audio passes through the server, under the session's id."""
    async with place.udp() as turn:
        done = await place.net.cordboard(place.up, "call", "webrtc:udp", "--session", "udp:1")
        assert done.returncode == 0, done.stderr
        assert "first_audio" in done.stdout
        await until(lambda: has_relayed(turn, "udp:1"))
        assert SECRET not in done.stdout + done.stderr


async def test_call_over_tcp(place: Place) -> None:
    """A network that permits TCP only: the second server of the list is used."""
    async with place.tcp() as turn:
        result = await place.call("tcp:1")
        assert result.ok, result
        await until(lambda: has_relayed(turn, "tcp:1"))


async def test_bot_behind_address_translation_uses_the_server_as_well(place: Place) -> None:
    """The server's relays cannot reach the bot: the media go from one relay of the server to another."""
    async with place.tcp(relay=HIDDEN_ADDRESS) as turn:
        result = await place.call("hidden:1")
        assert result.ok, result
        await until(lambda: has_relayed(turn, "hidden:1"))


async def test_without_a_turn_server_there_is_no_path(place: Place) -> None:
    """The call fails where media would flow; the hint and the bot's lines name each server."""
    result = await place.call("none:1")
    assert (result.failed, result.reason) == ("connected", "No path for media was found in time.")
    assert f"turn:{TURN_ADDRESS}: no answer within" in result.hint
    assert f"turn:{TURN_ADDRESS}:{TCP_PORT}?transport=tcp: cannot be reached" in result.hint
    faults = [line["meta"]["fault"] for line in place.warnings("none:1") if "fault" in line["meta"]]
    assert len(faults) == 2


async def test_wrong_secret_is_named(place: Place) -> None:
    """A server with another secret refuses both sides, and both say so."""
    async with place.udp(secret="another-secret-of-that-server"):
        result = await place.call("wrong:1")
    assert result.failed == "connected"
    assert f"turn:{TURN_ADDRESS}: the server rejected the credentials (401)." in result.hint
    assert "CORDBOARD_TURN_SECRET" in result.hint
    assert "rejected the credentials" in str(place.warnings("wrong:1"))


@pytest.mark.faults_full  # tests/call covers it with a path that brings nothing any more
async def test_call_whose_address_changes_keeps_its_bot(place: Place) -> None:
    """There is no ICE restart in aiortc: another connection to the same bot, under the same epoch."""

    def move(stage: CallStage) -> None:
        if stage.name == "first_audio":
            place.net.move_caller()

    with place.net.link():
        result = await place.call("moved:1", 2.0, move)
    assert result.ok, result
    (only,) = result.interruptions
    assert (only.sign, only.epoch, only.new_epoch) == ("silence", 1, 1)


# The candidates of the page's own connection.
_RELAY_CANDIDATES = """async (iceConfig) => {
  const { Peer } = await import("/static/peer.js");
  const context = new AudioContext();
  const { stream } = context.createMediaStreamDestination();
  const handlers = { onState() {}, onStream() {}, onBotClosed() {}, onBotError() {} };
  const peer = new Peer(stream, handlers, iceConfig);
  const connection = window.peers.at(-1);
  while (connection.iceGatheringState !== "complete") await new Promise((resolve) => setTimeout(resolve, 20));
  const lines = connection.localDescription.sdp.split("\\n").filter((line) => line.startsWith("a=candidate"));
  peer.close();
  return lines;
}"""


@pytest.mark.browser
async def test_page_calls_through_the_server(place: Place, tmp_path: Path) -> None:
    """The bot is heard in Chromium in the caller's network, over UDP and over TCP; nothing shows the credentials."""
    async with contextlib.AsyncExitStack() as stack:
        with inside(place.net.caller):
            browser = await stack.enter_async_context(chromium(spoken(tmp_path)))
        room = await enter(browser, place.up.addresses["interface"])
        shown = await room.page.content()
        credentials = set()
        for server in (place.udp(), place.tcp()):
            async with server as turn:
                session_id = await room.call()
                assert await room.energy() > 0
                config = await ice_config_of(room, session_id)
                credentials |= {entry["credential"] for entry in config["iceServers"]}
                await room.leave()
                await until(functools.partial(has_relayed, turn, session_id))
        shown += await room.page.content() + "".join(place.up.lines)
    assert (
        len(credentials) == 2
    )  # both servers have the same secret, each session its own credentials
    assert not [credential for credential in credentials if credential in shown]


@pytest.mark.browser
async def test_page_whose_address_changes_keeps_its_bot(place: Place, tmp_path: Path) -> None:
    """An ICE restart finds the new path: same session, same epoch, same connection of the bot."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(place.net.link())
        with inside(place.net.caller):
            browser = await stack.enter_async_context(chromium(spoken(tmp_path)))
        room = await enter(browser, place.up.addresses["interface"])
        session_id = await room.call()
        place.net.move_caller()
        await until(lambda: event(place.up, session_id, "call.resumed"), 30)
        resumed = event(place.up, session_id, "call.resumed")
        interrupted = event(place.up, session_id, "call.interrupted")
        assert resumed["meta"]["epoch"] == interrupted["meta"]["epoch"]
        assert resumed["meta"]["silence_ms"] > 1000
        assert await room.state() == "connected"
        assert await room.page.evaluate(OPEN_PEERS) == [0]
        await room.leave()


# The peer connections that are open, by their numbers. The second one was made for a bot that did not come.
OPEN_PEERS = """() =>
  peers.flatMap((peer, number) => (peer.connectionState === "connected" ? [number] : []))"""


def event(up: Up, session_id: str, name: str) -> dict[str, Any]:
    """Return the first line of a session with an event, empty before there is one."""
    found = (r for r in up.records if r["sessionId"] == session_id and r.get("event") == name)
    return next(found, {})


def has_relayed(turn: Turn, session_id: str) -> bool:
    """Return whether a server has relayed more than the checks of a connection."""
    return turn.relayed_bytes(session_id) > 5000


async def ice_config_of(room: Room, session_id: str) -> dict[str, Any]:
    """Return the ICE servers that the page gets when it reconnects."""
    config: dict[str, Any] = await room.page.evaluate(
        "async (id) => (await fetch(`/api/sessions/${id}/ice`)).json()", session_id
    )
    return config


@pytest.mark.browser
async def test_page_with_the_policy_relay_offers_relays_only(place: Place) -> None:
    """The page's own connection, with the policy in its ICE servers, has no address of the caller."""
    async with place.udp(), contextlib.AsyncExitStack() as stack:
        with inside(place.net.caller):
            browser = await stack.enter_async_context(chromium())
        room = await enter(browser, place.up.addresses["interface"])
        servers = parse_ice_servers(SERVERS)
        config = ice_config(
            servers, "page:1", expires_at=int(time.time()) + 60, secret=SECRET, policy="relay"
        )
        candidates = await room.page.evaluate(_RELAY_CANDIDATES, config)
    assert candidates
    assert all(" typ relay " in line for line in candidates)
