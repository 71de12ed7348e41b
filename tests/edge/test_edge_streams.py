"""Public WebSockets and the bots to which the edge connects them."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cordboard.edge.streams.limits import StreamLimits
from edge.streams_support import connections_to, echo, stream_edge
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

CALL = "CA0123456789abcdef0123456789abcdef"
CONNECTED = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
START = json.dumps(
    {
        "event": "start",
        "start": {"streamSid": "MZ1", "callSid": CALL, "customParameters": {}},
        "streamSid": "MZ1",
    }
)
MEDIA = json.dumps({"event": "media", "media": {"payload": "AAAA"}})
Messages = aiohttp.WSMsgType


async def closed(websocket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """Return the code and the reason with which the edge closes a WebSocket, after any messages."""
    while True:
        message = await websocket.receive(10)
        if message.type is Messages.CLOSE:
            return message.data, message.extra or ""
        if message.type in {Messages.CLOSED, Messages.ERROR}:
            return websocket.close_code, ""


def events(lines: Lines, name: str) -> list[dict[str, Any]]:
    """Return the log lines of an event."""
    return [line for line in lines() if line.get("event") == name]


async def test_text_stays_text_and_binary_stays_binary(monkeypatch: Any) -> None:
    """The edge passes each message as it is, in both directions."""
    async with stream_edge(monkeypatch) as edge:
        async with await edge.open(f"/ws-client/{edge.token()}") as websocket:
            await websocket.send_str("héllo")
            assert await websocket.receive_str() == "héllo"
            await websocket.send_bytes(b"\x00\xff")
            assert await websocket.receive_bytes() == b"\x00\xff"
            await websocket.send_str("")
            assert await websocket.receive_str() == ""
        assert edge.runner.sessions == ["call-1"]
        assert edge.runner.queries == [""]


@pytest.mark.parametrize("path", ["/ws", "/phone/stream"])
async def test_bot_detects_the_carrier_on_telephony_paths(monkeypatch: Any, path: str) -> None:
    """The path decides it, as with Pipecat's own runner."""
    async with stream_edge(monkeypatch) as edge:
        async with await edge.open(f"{path}/{edge.token()}") as websocket:
            await websocket.send_str("a")
            await websocket.receive_str()
        assert edge.runner.queries == ["detect=true"]


async def test_end_of_the_bot_reaches_the_client(monkeypatch: Any) -> None:
    """Its close code and reason are passed on; a bot that is replaced closes the older stream with 4409."""

    async def replaced(websocket: web.WebSocketResponse) -> None:
        await websocket.close(code=4409, message=b"a newer one")

    async def finished(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str("bye")

    async with stream_edge(monkeypatch) as edge:
        edge.runner.bot = replaced
        assert await closed(await edge.open(f"/ws/{edge.token()}")) == (4409, "a newer one")
        edge.runner.bot = finished
        assert await closed(await edge.open(f"/ws/{edge.token()}")) == (1000, "")


@pytest.mark.parametrize(("code", "passed"), [(1000, 1000), (1001, 1001), (4001, 4001)])
async def test_end_of_the_client_reaches_the_bot(monkeypatch: Any, code: int, passed: int) -> None:
    """The bot sees the code with which its client left."""
    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open(f"/ws-client/{edge.token()}")
        await websocket.send_str("a")
        await websocket.receive_str()
        await websocket.close(code=code)
        await until(lambda: edge.runner.codes)
        assert edge.runner.codes == [passed]


async def test_lost_client_closes_the_stream_of_the_bot(monkeypatch: Any, lines: Lines) -> None:
    """A carrier whose connection breaks is gone; the bot learns it, and the log says which side was lost."""
    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open(f"/ws-client/{edge.token()}")
        await websocket.send_str("a")
        await websocket.receive_str()
        transport = websocket.get_extra_info("socket")
        transport.shutdown(2)
        await until(lambda: edge.runner.codes)
        assert edge.runner.codes == [1001]
        await websocket.close()
    assert [line["meta"]["by"] for line in events(lines, "stream.lost")] == ["client"]


async def test_lost_bot_closes_the_stream_with_1012(monkeypatch: Any, lines: Lines) -> None:
    """The client should connect again: the session may go on at another runner."""

    async def die(websocket: web.WebSocketResponse) -> None:
        websocket.get_extra_info("socket").shutdown(2)

    async with stream_edge(monkeypatch) as edge:
        edge.runner.bot = die
        code, _ = await closed(await edge.open(f"/ws-client/{edge.token()}"))
        assert code == 1012
    assert [line["meta"]["by"] for line in events(lines, "stream.lost")] == ["bot"]


async def test_events_of_a_stream_belong_to_its_session(monkeypatch: Any, lines: Lines) -> None:
    """From the first line on; the last one counts what was copied, and no line has the token."""
    async with stream_edge(monkeypatch) as edge:
        token = edge.token(CALL, f"phone:twilio:{CALL}")
        async with await edge.open(f"/phone/stream/{token}") as websocket:
            for text in (CONNECTED, START, MEDIA, MEDIA):
                await websocket.send_str(text)
            for _ in range(4):
                await websocket.receive_str()
            await websocket.close()
        await until(lambda: events(lines, "stream.closed"))
        await until(lambda: any(line["message"] == "Request served" for line in lines()))
    written = [line for line in lines() if str(line.get("event")).startswith("stream.")]
    assert {line["sessionId"] for line in written} == {CALL}
    assert [(line["event"], line["meta"].get("sender")) for line in written] == [
        ("stream.opened", None),
        ("stream.first_media", "client"),
        ("stream.first_media", "bot"),
        ("stream.closed", None),
    ]
    assert written[0]["meta"] == {"transport": "twilio"}
    size = len(CONNECTED) + len(START) + 2 * len(MEDIA)
    meta = written[-1]["meta"]
    assert (meta["by"], meta["code"], meta["dropped"]) == ("client", 1000, 0)
    assert (meta["messages_in"], meta["bytes_in"]) == (4, size)
    assert (meta["messages_out"], meta["bytes_out"]) == (4, size)
    [access] = [line for line in lines() if line["message"] == "Request served"]
    assert access["sessionId"] == CALL
    assert access["meta"]["path"] == "/phone/stream/[redacted]"
    assert token not in json.dumps(lines())


@pytest.mark.parametrize("path", ["/ws", "/ws-client", "/phone/stream"])
async def test_wrong_token_is_refused_before_the_handshake(
    monkeypatch: Any, lines: Lines, path: str
) -> None:
    """403, one sampled line without the token, and no session is bound to it."""
    async with stream_edge(monkeypatch) as edge:
        token = edge.token()
        wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await edge.open(f"{path}/{wrong}")
        assert refused.value.status == 403
    refusals = events(lines, "auth.refused")
    assert [line["sessionId"].startswith("server:") for line in refusals] == [True]
    assert wrong not in json.dumps(lines())
    assert token.partition(".")[0] not in json.dumps(lines())


async def test_token_of_a_session_that_has_ended_is_closed_with_4404(monkeypatch: Any) -> None:
    """So is one of a session that does not exist, and one of an earlier session with the same id."""
    async with stream_edge(monkeypatch) as edge:
        token = edge.token()
        edge.gateway.set("ended", "bot_finished")
        code, reason = await closed(await edge.open(f"/ws/{token}"))
        assert (code, reason) == (4404, "The session has ended: bot_finished.")
        edge.gateway.set("running")
        edge.gateway.created_at = "2126-11-30T03:56:44.000Z"
        assert (await closed(await edge.open(f"/ws/{token}")))[0] == 4404
        edge.gateway.rooms.clear()
        assert (await closed(await edge.open(f"/ws/{token}")))[0] == 4404
        assert edge.runner.sessions == []


async def test_expired_token_admits_to_a_running_session_only(monkeypatch: Any) -> None:
    """The first connection has to come in time; later ones may come as long as the session lives."""
    async with stream_edge(monkeypatch) as edge:
        token = edge.token(age_s=3600)
        edge.gateway.created_at = "2020-11-30T03:56:44.000Z"
        edge.gateway.set("queued")
        assert (await closed(await edge.open(f"/ws/{token}")))[0] == 1008
        edge.gateway.set("running")
        async with await edge.open(f"/ws/{token}") as websocket:
            await websocket.send_str("again")
            assert await websocket.receive_str() == "again"


async def test_messages_wait_until_the_bot_runs(monkeypatch: Any) -> None:
    """A cold start loses no message, keeps their order, and fills no memory: the client has to wait, too."""
    # Messages for which the buffers of a socket are too small, so that the bot cannot get them all at once.
    count, size = 160, 256 * 1024
    limits = StreamLimits(held_bytes=16 * 1024 * 1024, close_s=0.5)
    async with stream_edge(monkeypatch, limits) as edge:
        edge.gateway.set("starting")
        edge.runner.refusals = [409, 404, 503]
        websocket = await edge.open(f"/ws-client/{edge.token()}")
        sent = 0

        async def send() -> None:
            nonlocal sent
            for sent in range(1, count + 1):
                await websocket.send_bytes(sent.to_bytes(2) + bytes(size))

        sending = asyncio.create_task(send())
        before = -1
        while before != sent:  # until it has to wait
            before = sent
            await asyncio.sleep(0.2)
        assert sent < count
        edge.gateway.set("running")
        received = [int.from_bytes((await websocket.receive_bytes())[:2]) for _ in range(count)]
        assert received == list(range(1, count + 1))
        await sending
        await websocket.close()


async def test_old_audio_of_a_phone_call_is_dropped_while_it_waits(
    monkeypatch: Any, lines: Lines
) -> None:
    """The bot hears the present; what is no audio stays."""
    limits = StreamLimits(held_audio_s=0, close_s=0.5)
    async with stream_edge(monkeypatch, limits) as edge:
        edge.gateway.set("starting")
        websocket = await edge.open_phone(CALL)
        for text in (CONNECTED, START, MEDIA, MEDIA, MEDIA, '{"event":"dtmf"}'):
            await websocket.send_str(text)
        await asyncio.sleep(0.1)
        edge.gateway.set("running")
        received = [await websocket.receive_str() for _ in range(4)]
        assert received == [CONNECTED, START, MEDIA, '{"event":"dtmf"}']
        await websocket.close()
        await until(lambda: events(lines, "stream.closed"))
    assert events(lines, "stream.closed")[0]["meta"]["dropped"] == 2


async def test_session_that_fails_while_the_stream_waits_closes_it(monkeypatch: Any) -> None:
    """The reason of the session's end is in the close frame."""
    async with stream_edge(monkeypatch) as edge:
        edge.gateway.set("queued")
        websocket = await edge.open(f"/ws/{edge.token()}")
        await asyncio.sleep(0.05)
        edge.gateway.set("failed", "launch_failed")
        assert await closed(websocket) == (4404, "The session has ended: launch_failed.")


async def test_gateway_that_restarts_loses_no_stream(monkeypatch: Any) -> None:
    """Requests to it are repeated; streams that are connected do not need it."""
    async with stream_edge(monkeypatch) as edge:
        edge.gateway.failures = 3
        async with await edge.open(f"/ws/{edge.token()}") as websocket:
            await websocket.send_str("a")
            assert await websocket.receive_str() == "a"
            edge.gateway.failures = 1000
            await websocket.send_str("b")
            assert await websocket.receive_str() == "b"


async def test_stream_that_is_expected_needs_no_gateway(monkeypatch: Any) -> None:
    """Its session was read ahead; one that was handed over meanwhile is read again."""
    async with stream_edge(monkeypatch) as edge:
        gateway, token = edge.gateway, edge.token()
        for epoch, reads in ((1, 1), (2, 2)):
            gateway.reads = 0
            edge.services.sessions.expect_stream("call-1")
            await until(lambda: gateway.reads == 1)
            edge.runner.epoch = gateway.epoch = epoch
            async with await edge.open(f"/ws/{token}") as websocket:
                await websocket.send_str("a")
                assert await websocket.receive_str() == "a"
            assert gateway.reads == reads


async def test_stream_without_a_bot_in_time_is_closed_with_1013(monkeypatch: Any) -> None:
    """The gateway is away, or the runner refuses for too long."""
    async with stream_edge(monkeypatch, StreamLimits(connect_s=0.2, close_s=0.5)) as edge:
        edge.gateway.failures = 1000
        assert (await closed(await edge.open(f"/ws/{edge.token()}")))[0] == 1013
        edge.gateway.failures, edge.runner.refusals = 0, [503] * 1000
        assert (await closed(await edge.open(f"/ws/{edge.token()}")))[0] == 1013


async def test_runner_with_another_secret_closes_the_stream_with_1011(monkeypatch: Any) -> None:
    """Nobody waits for what does not change."""
    async with stream_edge(monkeypatch) as edge:
        edge.runner.secret = "another"
        code, reason = await closed(await edge.open(f"/ws/{edge.token()}"))
        assert (code, reason) == (1011, "The runner refused the stream.")


async def test_message_over_the_limit_closes_the_stream_with_1009(monkeypatch: Any) -> None:
    """One MiB passes in both directions, more does not."""
    size = 1024 * 1024

    async def too_much(websocket: web.WebSocketResponse) -> None:
        await websocket.send_bytes(bytes(size + 1))
        await websocket.receive()

    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open(f"/ws-client/{edge.token()}")
        await websocket.send_bytes(bytes(size))
        assert len(await websocket.receive_bytes()) == size
        await websocket.send_bytes(bytes(size + 1))
        assert (await closed(websocket))[0] == 1009
        edge.runner.bot = too_much
        assert (await closed(await edge.open(f"/ws-client/{edge.token()}")))[0] == 1009


async def test_flood_of_messages_arrives_in_order(monkeypatch: Any) -> None:
    """Ten thousand messages at once reach the bot, and its answers the client."""
    count = 10_000
    limits = StreamLimits(messages_per_s=count, close_s=0.5)
    async with stream_edge(monkeypatch, limits) as edge:
        async with await edge.open(f"/ws-client/{edge.token()}") as websocket:

            async def send() -> None:
                for number in range(count):
                    await websocket.send_bytes(number.to_bytes(4))

            sending = asyncio.create_task(send())
            received = [int.from_bytes(await websocket.receive_bytes()) for _ in range(count)]
            await sending
        assert received == list(range(count))


async def test_bot_that_sends_more_than_its_client_reads_has_to_wait(monkeypatch: Any) -> None:
    """What is on its way is bounded by the buffers of the sockets, not by memory."""
    sent = 0

    async def flood(websocket: web.WebSocketResponse) -> None:
        nonlocal sent
        while True:
            await websocket.send_bytes(bytes(64 * 1024))
            sent += 1

    async with stream_edge(monkeypatch) as edge:
        edge.runner.bot = flood
        reader, writer = await open_raw(edge.url, f"/ws-client/{edge.token()}")
        await until(lambda: sent > 1)
        before = -1
        while before != sent:  # until it has stopped
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 500  # 32 MB; the buffers of three connections have some megabytes
        await reader.readexactly(16 * 1024 * 1024)
        await until(lambda: sent > before)
        writer.transport.abort()
        await until(lambda: edge.runner.codes)


async def test_client_that_sends_more_than_its_bot_reads_has_to_wait(monkeypatch: Any) -> None:
    """If the bot still reads nothing, the stream ends."""
    reading = asyncio.Event()

    async def slow(websocket: web.WebSocketResponse) -> None:
        await reading.wait()
        await echo(websocket)

    async with stream_edge(monkeypatch, StreamLimits(stall_s=1, close_s=0.2)) as edge:
        edge.runner.bot = slow
        websocket = await edge.open(f"/ws-client/{edge.token()}")
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await websocket.send_bytes(bytes(64 * 1024))
                sent += 1

        sending = asyncio.create_task(send())
        assert await closed(websocket) == (1011, "The bot does not read.")
        sending.cancel()
        assert sent < 500
        await until(lambda: edge.services.streams.open_streams == 0)
        try:  # the edge has closed its socket, although the bot has not read what was written
            await until(lambda: connections_to(edge.gateway.runner_url) == 0, 5)
        finally:
            reading.set()


async def test_silent_carrier_ends_its_session(monkeypatch: Any, lines: Lines) -> None:
    """A carrier that forgets to close the stream leaves no session behind."""
    async with stream_edge(monkeypatch, StreamLimits(idle_s=1.0, close_s=0.5)) as edge:
        websocket = await edge.open_phone(CALL)
        for _ in range(12):
            await websocket.send_str(MEDIA)
            await asyncio.sleep(0.1)
        assert edge.gateway.leaves == []
        assert await closed(websocket) == (4408, "The carrier sends nothing.")
        await until(lambda: edge.gateway.leaves)
        assert edge.gateway.leaves == [CALL]


async def test_silent_client_stays(monkeypatch: Any) -> None:
    """Only carriers always send: another client may listen."""
    async with (
        stream_edge(monkeypatch, StreamLimits(idle_s=0.1, close_s=0.5)) as edge,
        await edge.open(f"/ws-client/{edge.token()}") as websocket,
    ):
        await asyncio.sleep(0.4)
        await websocket.send_str("still here")
        assert await websocket.receive_str() == "still here"


async def test_edge_that_stops_keeps_its_streams_for_the_grace(monkeypatch: Any) -> None:
    """No new stream begins; the others go on, and are closed with 1012 when the grace is over."""
    async with stream_edge(monkeypatch, stream_grace_s=1) as edge:
        token = edge.token()
        websocket = await edge.open(f"/ws/{token}")
        stopping = asyncio.create_task(edge.stop())
        await asyncio.sleep(0.05)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await edge.open(f"/ws/{token}")
        assert refused.value.status == 503
        async with edge.client.get(f"{edge.url.replace('ws', 'http', 1)}/readyz") as response:
            assert response.status == 503  # load balancers turn to others
        await websocket.send_str("a")
        assert await websocket.receive_str() == "a"
        assert await closed(websocket) == (1012, "The edge restarts.")
        await stopping


async def test_edge_without_streams_stops_at_once(monkeypatch: Any) -> None:
    """So does one whose last stream ends within the grace."""
    async with stream_edge(monkeypatch, stream_grace_s=600) as edge:
        websocket = await edge.open(f"/ws/{edge.token()}")
        await websocket.send_str("a")
        await websocket.receive_str()
        stopping = asyncio.create_task(edge.stop())
        await websocket.close()
        await asyncio.wait_for(stopping, 10)
        await asyncio.wait_for(edge.stop(), 10)


async def open_raw(url: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket of which only the test reads, without a library's buffer."""
    host, port = url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer
