"""Calls whose bot is lost: the edge keeps the carrier's stream, and gives it to the next bot."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cordboard.edge.streams.limits import StreamLimits
from edge.carrier_double import STARTS, Call, media
from edge.streams_support import StreamEdge, stream_edge
from edge.test_edge_streams import closed, events
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

CALL = "call-1"
CARRIERS = tuple(STARTS)
# As the carriers document them.
CLEARS = {
    "twilio": {"event": "clear", "streamSid": "MZ1"},
    "telnyx": {"event": "clear"},
    "plivo": {"event": "clearAudio", "streamId": "MZ1"},
    "exotel": {"event": "clear", "stream_sid": "MZ1"},
}


@dataclass
class Bots:
    """The bots of a call, one after the other, each in a process that dies.

    Attributes:
        edge: The edge.
        got: What each bot got.
        current: The WebSocket of the present one.
    """

    edge: StreamEdge
    got: list[list[dict[str, Any]]] = field(default_factory=list)
    current: web.WebSocketResponse | None = None

    async def serve(self, websocket: web.WebSocketResponse) -> None:
        """Say which one it is, and note what it gets."""
        self.got.append([])
        self.current = websocket
        mine = self.got[-1]
        async for message in websocket:
            mine.append(json.loads(message.data))
            if mine[-1]["event"] == "media" and "start" not in str(mine[:1]) + str(mine[1:2]):
                raise AssertionError("audio came before the start")
            if mine[-1]["event"] == "start":
                await websocket.send_str(json.dumps({"event": "media", "bot": len(self.got)}))

    async def die(self, how: str = "killed") -> None:
        """Let the present bot die, and the session run with the next epoch; then the edge has its successor."""
        count, websocket = len(self.got), self.current
        assert websocket is not None
        self.edge.gateway.set("queued", epoch=self.edge.gateway.epoch + 1)
        self.edge.runner.epoch += 1
        if how == "killed":
            websocket.get_extra_info("socket").shutdown(2)
        else:
            await websocket.close(code=1012)
        await asyncio.sleep(0.02)
        self.edge.gateway.set("running")
        await until(lambda: len(self.got) > count)


def carrier_call(carrier: str) -> Call:
    client: Any = None
    return Call(carrier, CALL, [], client, stream_id="MZ1")


async def send(websocket: aiohttp.ClientWebSocketResponse, messages: list[dict[str, Any]]) -> None:
    for message in messages:
        await websocket.send_json(message)


async def hears(websocket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next message at the carrier."""
    message: dict[str, Any] = await asyncio.wait_for(websocket.receive_json(), 10)
    return message


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_next_bot_gets_the_call_from_its_start(
    monkeypatch: Any, lines: Lines, carrier: str
) -> None:
    """The carrier's stream stays open, and drops what the bot before had sent ahead; the events tell of both."""
    call = carrier_call(carrier)
    starts = STARTS[carrier](call)
    async with stream_edge(monkeypatch) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL, carrier)
        await send(websocket, [*starts, media(call, b"ab", 1)])
        assert (await hears(websocket))["bot"] == 1
        await until(lambda: len(bots.got[0]) > len(starts))
        await bots.die()
        assert await hears(websocket) == CLEARS[carrier]
        assert (await hears(websocket))["bot"] == 2
        await send(websocket, [media(call, b"cd", 2)])
        await until(lambda: len(bots.got[1]) > len(starts))
        assert bots.got[1] == [*starts, media(call, b"cd", 2)]
        assert edge.gateway.suspects == [CALL]
        await websocket.close()
        await until(lambda: events(lines, "stream.closed"))
    [lost], [resumed] = events(lines, "stream.lost"), events(lines, "stream.resumed")
    assert lost["meta"] == {"by": "bot", "code": 1012, "epoch": 1, "died": "runner"}
    assert resumed["meta"].pop("silence_ms") >= resumed["meta"].pop("gap_ms") >= 20
    assert resumed["meta"] == {"epoch": 2, "died": "runner", "dropped": 0}
    assert (lost["sessionId"], lost["epoch"], resumed["epoch"]) == (CALL, 1, 2)


async def _before_the_start(bots: Bots, websocket: Any, call: Call) -> None:
    await until(lambda: bots.got)
    await bots.die()
    await send(websocket, STARTS[call.carrier](call))


async def _within_the_start(bots: Bots, websocket: Any, call: Call) -> None:
    connected, start = STARTS[call.carrier](call)
    await send(websocket, [connected])
    await until(lambda: bots.got and bots.got[0])
    await bots.die()
    await send(websocket, [start])


async def _before_the_first_audio(bots: Bots, websocket: Any, call: Call) -> None:
    await send(websocket, STARTS[call.carrier](call))
    await until(lambda: bots.got and len(bots.got[0]) == 2)
    await bots.die()


async def _twice(bots: Bots, websocket: Any, call: Call) -> None:
    await _before_the_first_audio(bots, websocket, call)
    await bots.die()


async def _in_a_hand_over(bots: Bots, websocket: Any, call: Call) -> None:
    await send(websocket, STARTS[call.carrier](call))
    await until(lambda: bots.got and len(bots.got[0]) == 2)
    await bots.die("handed over")


@pytest.mark.parametrize(
    "point",
    [_before_the_start, _within_the_start, _before_the_first_audio, _twice, _in_a_hand_over],
    ids=lambda point: point.__name__.strip("_"),
)
async def test_call_goes_on_wherever_its_bot_dies(
    monkeypatch: Any, point: Callable[[Bots, Any, Call], Awaitable[None]]
) -> None:
    """The last bot has the whole start and the present audio, no bot has a message twice, and no socket is left."""
    call = carrier_call("twilio")
    async with stream_edge(monkeypatch) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await point(bots, websocket, call)
        await send(websocket, [media(call, b"x", 9)])
        expected = [*STARTS["twilio"](call), media(call, b"x", 9)]
        await until(lambda: bots.got[-1] == expected)
        await websocket.close()


async def test_old_audio_is_dropped_while_there_is_no_bot(monkeypatch: Any, lines: Lines) -> None:
    """The next bot hears the present; a key that was pressed meanwhile is not lost."""
    call = carrier_call("twilio")
    async with stream_edge(monkeypatch, StreamLimits(held_audio_s=0, close_s=0.5)) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](call))
        await hears(websocket)
        edge.gateway.set("queued", epoch=2)
        assert bots.current is not None
        bots.current.get_extra_info("socket").shutdown(2)
        await until(lambda: events(lines, "stream.lost"))
        pressed = {"event": "dtmf", "dtmf": {"digit": "1"}}
        await send(websocket, [media(call, b"x", n) for n in range(4)])
        await send(websocket, [pressed])
        await asyncio.sleep(0.1)
        edge.runner.epoch = 2
        edge.gateway.set("running")
        await until(
            lambda: len(bots.got) == 2 and bots.got[1][2:] == [media(call, b"x", 3), pressed]
        )
        await until(lambda: events(lines, "stream.resumed"))
        await websocket.close()
    assert events(lines, "stream.resumed")[0]["meta"]["dropped"] == 3


async def test_broken_connection_to_a_living_bot_is_opened_again(
    monkeypatch: Any, lines: Lines
) -> None:
    """No death: the same bot goes on, and the carrier plays what it has."""
    call = carrier_call("twilio")
    async with stream_edge(monkeypatch) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](call))
        assert (await hears(websocket))["bot"] == 1
        edge.runner.silence_ms = 5
        assert bots.current is not None
        bots.current.get_extra_info("socket").shutdown(2)
        assert (await hears(websocket))["bot"] == 2  # without a clear before it
        await websocket.close()
    [resumed] = events(lines, "stream.resumed")
    assert (resumed["meta"]["died"], resumed["meta"]["epoch"]) == ("connection", 1)


async def test_call_of_another_edge_is_resumed(monkeypatch: Any, lines: Lines) -> None:
    """The bot's process knows for how long it was silent; this edge adds its own part."""
    call = carrier_call("twilio")
    async with stream_edge(monkeypatch) as edge:
        edge.runner.bot, edge.runner.silence_ms = Bots(edge).serve, 700
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](call))
        await hears(websocket)
        await websocket.close()
    [resumed] = events(lines, "stream.resumed")
    assert resumed["meta"].pop("silence_ms") >= 700
    assert resumed["meta"] == {"epoch": 1, "died": "edge", "gap_ms": None, "dropped": 0}
    assert events(lines, "stream.lost") == []


@pytest.mark.parametrize(
    ("stopped", "code"), [(False, 1012), (True, 1001)], ids=["lost", "stopped"]
)
async def test_lost_carrier_may_open_its_stream_again(
    monkeypatch: Any, stopped: bool, code: int
) -> None:
    """The bot's process keeps its side then; not after the carrier's stop."""
    call = carrier_call("twilio")
    async with stream_edge(monkeypatch) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](call) + [{"event": "stop"}] * stopped)
        await until(lambda: bots.got and len(bots.got[0]) == 2 + stopped)
        websocket.get_extra_info("socket").shutdown(2)
        await until(lambda: edge.runner.codes)
        assert edge.runner.codes == [code]
        await websocket.close()


async def test_caller_who_hangs_up_while_there_is_no_bot_ends_the_session(
    monkeypatch: Any,
) -> None:
    """The next bot would wait for a stream that does not come."""
    async with stream_edge(monkeypatch) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](carrier_call("twilio")))
        await hears(websocket)
        edge.gateway.set("queued", epoch=2)
        assert bots.current is not None
        bots.current.get_extra_info("socket").shutdown(2)
        await until(lambda: edge.gateway.suspects)
        await send(websocket, [{"event": "stop"}])
        await websocket.close()
        await until(lambda: edge.gateway.leaves)
        assert edge.gateway.leaves == [CALL]


async def test_call_ends_with_its_session(monkeypatch: Any) -> None:
    """A session that has had its last attempt, or whose bot must not be restarted."""
    async with stream_edge(monkeypatch) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](carrier_call("twilio")))
        await hears(websocket)
        assert bots.current is not None
        edge.gateway.set("failed", "bot_crashed")
        bots.current.get_extra_info("socket").shutdown(2)
        assert await closed(websocket) == (4404, "The session has ended: bot_crashed.")


async def test_death_that_nobody_confirms_is_waited_for_until_the_limit(monkeypatch: Any) -> None:
    """Until then the session counts as running; then the carrier goes on with its document."""
    limits = StreamLimits(connect_s=0, unconfirmed_s=0.3, close_s=0.5)
    async with stream_edge(monkeypatch, StreamLimits(close_s=0.5)) as edge:
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL)
        await send(websocket, STARTS["twilio"](carrier_call("twilio")))
        await hears(websocket)
        edge.services.streams._connector._limits = limits
        edge.runner.refusals = [409] * 1000
        assert bots.current is not None
        bots.current.get_extra_info("socket").shutdown(2)
        assert (await closed(websocket))[0] == 1013


async def test_old_token_of_a_call_that_is_handed_over_is_good(monkeypatch: Any) -> None:
    """A hand-over is no attempt, and the token of a long call has expired."""
    call = carrier_call("twilio")
    async with stream_edge(monkeypatch) as edge:
        edge.gateway.created_at = "2020-11-30T03:56:44.000Z"
        bots = Bots(edge)
        edge.runner.bot = bots.serve
        websocket = await edge.open_phone(CALL, age_s=3600)
        await send(websocket, STARTS["twilio"](call))
        await hears(websocket)
        await bots.die("handed over")
        assert (await hears(websocket))["event"] == "clear"
        await websocket.close()


@pytest.mark.parametrize("room", ["phone:other:1", "ws:call-1"])
async def test_stream_of_another_protocol_is_closed_with_1012(monkeypatch: Any, room: str) -> None:
    """Nobody knows what its next bot would have to be told; nor one whose start no carrier sends."""
    async with stream_edge(monkeypatch) as edge:

        async def die(websocket: web.WebSocketResponse) -> None:
            await websocket.receive()
            websocket.get_extra_info("socket").shutdown(2)

        edge.runner.bot = die
        websocket = await edge.open(f"/phone/stream/{edge.token(CALL, room)}")
        await websocket.send_str("hello")
        assert (await closed(websocket))[0] == 1012


async def test_call_with_an_unknown_start_is_closed_with_1012(monkeypatch: Any) -> None:
    """Two messages, none of which is a start; both reach the bot."""
    texts = [json.dumps({"event": name}) for name in "abc"]
    async with stream_edge(monkeypatch) as edge:

        async def die(websocket: web.WebSocketResponse) -> None:
            assert [await websocket.receive_str() for _ in range(3)] == texts
            websocket.get_extra_info("socket").shutdown(2)

        edge.runner.bot = die
        websocket = await edge.open_phone(CALL)
        for text in texts:
            await websocket.send_str(text)
        assert (await closed(websocket))[0] == 1012
