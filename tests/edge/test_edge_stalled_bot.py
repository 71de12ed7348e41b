"""Bots that do not read: their calls are kept, and other streams of the edge notice nothing."""

import asyncio
import itertools
import json
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cordboard.edge.streams.bot_connection import BotConnection, BotConnector
from cordboard.edge.streams.client_feed import ClientFeed
from cordboard.edge.streams.limits import StreamLimits
from edge.carrier_double import STARTS, Call, media
from edge.streams_support import StreamEdge, echo, stream_edge
from edge.test_edge_streams import CALL, closed, events
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

BUFFER_BYTES = 4096
KEY = {"event": "dtmf", "dtmf": {"digit": "7"}}


class FreezingBots:
    """The bots of a call. The first one stops to read, as a process does that is frozen.

    Args:
        edge: The edge.
    """

    def __init__(self, edge: StreamEdge) -> None:
        self.got: list[list[dict[str, Any]]] = []
        self.thawed = asyncio.Event()
        edge.runner.bot = self.serve

    async def serve(self, websocket: web.WebSocketResponse) -> None:
        websocket.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES
        )
        mine: list[dict[str, Any]] = []
        self.got.append(mine)
        number = len(self.got)
        async for message in websocket:
            mine.append(json.loads(message.data))
            if mine[-1]["event"] == "start":
                await websocket.send_str(json.dumps({"event": "media", "bot": number}))
                if number == 1:
                    transport = transport_of(websocket)
                    transport.pause_reading()
                    await self.thawed.wait()
                    transport.resume_reading()


def transport_of(websocket: web.WebSocketResponse) -> asyncio.ReadTransport:
    """Return the transport, which aiohttp itself does not read while a bot is frozen."""
    transport: Any = websocket._req.transport if websocket._req is not None else None
    assert transport is not None
    return transport  # type: ignore[no-any-return]


@pytest.fixture
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel keep little of what the edge has sent, so that a test need not send megabytes."""
    opened = BotConnector._open

    async def shrunk(self: BotConnector, *given: Any, **more: Any) -> BotConnection:
        connection = await opened(self, *given, **more)
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        return connection

    monkeypatch.setattr(BotConnector, "_open", shrunk)


def call_of() -> Call:
    client: Any = None
    return Call("twilio", CALL, [], client, stream_id="MZ1")


async def speak(websocket: aiohttp.ClientWebSocketResponse, *messages: dict[str, Any]) -> None:
    for message in messages:
        await websocket.send_json(message)


def sound(number: int) -> dict[str, Any]:
    return media(call_of(), b"\xff" * 3000, number)


async def talk(websocket: aiohttp.ClientWebSocketResponse) -> None:
    """Send audio without end, in their order."""
    for number in itertools.count():
        await speak(websocket, sound(number))
        await asyncio.sleep(0.001)


def feed_of(edge: StreamEdge) -> ClientFeed:
    """Return what the edge does with the messages of its one client."""
    [stream] = edge.services.streams._streams
    return stream._feed


@pytest.mark.usefixtures("_small_buffers")
async def test_call_of_a_bot_that_is_frozen_goes_on_with_the_next_one(
    monkeypatch: Any, lines: Lines
) -> None:
    """The carrier is read on; the next bot gets the start, the keys that were pressed, and the present audio."""
    limits = StreamLimits(stall_s=0.2, held_audio_s=0, close_s=0.5)
    async with stream_edge(monkeypatch, limits) as edge:
        bots = FreezingBots(edge)
        websocket = await edge.open_phone(CALL)
        starts = STARTS["twilio"](call_of())
        await speak(websocket, *starts)
        assert (await websocket.receive_json())["bot"] == 1
        talking = asyncio.create_task(talk(websocket))
        edge.gateway.set("queued", epoch=2)
        await until(lambda: events(lines, "stream.lost"))
        await speak(websocket, KEY)
        edge.runner.epoch = 2
        edge.gateway.set("running")
        assert (await websocket.receive_json())["event"] == "clear"
        assert (await websocket.receive_json())["bot"] == 2
        assert edge.gateway.suspects == [CALL]
        assert bots.got[1][: len(starts)] == starts
        await until(lambda: KEY in bots.got[1] and bots.got[1][-1]["event"] == "media")
        heard = [int(m["media"]["chunk"]) for m in bots.got[1] if m["event"] == "media"]
        assert heard == sorted(heard)
        assert heard[0] > 0
        talking.cancel()
        bots.thawed.set()
        await websocket.close()


@pytest.mark.usefixtures("_small_buffers")
async def test_bot_that_reads_again_hears_the_present(monkeypatch: Any, lines: Lines) -> None:
    """Of what was said meanwhile it misses the old audio, and no key."""
    limits = StreamLimits(held_audio_s=0, close_s=0.5)
    async with stream_edge(monkeypatch, limits) as edge:
        bots = FreezingBots(edge)
        websocket = await edge.open_phone(CALL)
        await speak(websocket, *STARTS["twilio"](call_of()))
        await websocket.receive_json()
        talking = asyncio.create_task(talk(websocket))
        await until(lambda: feed_of(edge).held.dropped)
        talking.cancel()
        await speak(websocket, KEY, sound(0))
        bots.thawed.set()
        await until(lambda: bots.got[0][-2:] == [KEY, sound(0)])
        await speak(websocket, sound(7))
        await until(lambda: bots.got[0][-1] == sound(7))
        await websocket.close()
        await until(lambda: events(lines, "stream.closed"))
    assert not events(lines, "stream.lost")
    assert events(lines, "stream.closed")[0]["meta"]["dropped"] > 0


@pytest.mark.usefixtures("_small_buffers")
async def test_stream_of_another_client_ends_with_a_bot_that_reads_nothing(
    monkeypatch: Any,
) -> None:
    """It may lose no message, so it is not read meanwhile."""
    async with stream_edge(monkeypatch, StreamLimits(stall_s=0.2, close_s=0.5)) as edge:
        gone = asyncio.Event()

        async def stuck(websocket: web.WebSocketResponse) -> None:
            transport_of(websocket).pause_reading()
            await gone.wait()
            transport_of(websocket).resume_reading()

        edge.runner.bot = stuck
        websocket = await edge.open(f"/ws-client/{edge.token()}")
        sending = asyncio.create_task(flood(websocket, 64))
        assert await closed(websocket) == (1011, "The bot does not read.")
        gone.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def flood(websocket: aiohttp.ClientWebSocketResponse, count: int) -> None:
    for _ in range(count):
        await websocket.send_bytes(bytes(512 * 1024))


class StuckBot:
    """A connection whose bot takes nothing."""

    is_behind = False
    is_closing = False

    async def send(self, _message: str | bytes) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("is_behind", [False, True])
async def test_nothing_waits_for_a_bot_that_is_gone(is_behind: bool) -> None:
    """Else the next bot would be given up for the messages that the one before has not read."""
    feed = ClientFeed(f"phone:twilio:{CALL}", StreamLimits())
    bot: Any = StuckBot()
    bot.is_behind = is_behind
    feed.hold(json.dumps(sound(1)))
    feed.attach(bot)
    await until(lambda: feed.blocked_since is not None)
    feed.detach()
    await until(lambda: feed.blocked_since is None)


async def test_flood_of_one_stream_leaves_the_others_their_time(
    monkeypatch: Any, lines: Lines
) -> None:
    """Its client has to wait, and no message of a neighbour is lost."""
    many, burst = 5000, 200
    limits = StreamLimits(messages_per_s=1, burst_s=burst, close_s=0.5)
    async with stream_edge(monkeypatch, limits, stream_grace_s=0) as edge:
        got: dict[str, int] = {"flood": 0}

        async def bot(websocket: web.WebSocketResponse) -> None:
            if edge.runner.sessions[-1] != "flood":
                await echo(websocket)
                return
            async for _ in websocket:
                got["flood"] += 1

        edge.runner.bot = bot
        noisy = await edge.open(f"/ws-client/{edge.token('flood')}")
        await until(lambda: edge.runner.sessions == ["flood"])
        neighbour = await edge.open_phone(CALL)

        async def send() -> None:
            for _ in range(many):
                await noisy.send_str("x")

        sending = asyncio.create_task(send())
        messages = [*STARTS["twilio"](call_of()), *(sound(number) for number in range(100))]
        for message in messages:
            await neighbour.send_json(message)
            assert await neighbour.receive_json() == message
        await until(lambda: got["flood"] >= burst)
        await until(lambda: any("too fast" in line["message"] for line in lines()))
        assert got["flood"] < many
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await edge.stop()  # a client that is slowed is read too slowly to close its stream
    slowed = [line for line in lines() if "too fast" in line["message"]]
    assert [(line["sessionId"], line["meta"]) for line in slowed] == [
        ("flood", {"sender": "client"})
    ]
