"""The stream of a bot: what its peer sends and gets, and how it ends."""

import asyncio
import io
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from cordboard.contract.launch import Launch
from cordboard.store import RedisStore
from plane_support import HEADERS, SECRET, Processes, ready
from runner.runner_support import Runner, client, write_bot
from runner.stream_support import (
    BOT,
    BUFFERED_MIB,
    descriptors,
    head,
    headers_of,
    mib_sent,
    read_bytes,
    session,
    stream,
    streams_plane,
    url_of,
)
from tests_support import until
from tls_support import authority

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("streams")
    yield from streams_plane(folder, redis_url, "--grace", "3")


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


class TestStream:
    async def test_bot_gets_a_websocket_and_messages_keep_their_kind(self, runner: Runner) -> None:
        """Text stays text, binary stays binary; the end of the stream is the end of the bot."""
        launch = await session(runner, "echo")
        async with stream(runner, launch) as websocket:
            await websocket.send_str("text \u00e9")
            assert (await websocket.receive()).data == "text \u00e9"
            await websocket.send_bytes(b"\x00\xff")
            assert (await websocket.receive()).data == b"\x00\xff"
        record = await runner.end(launch)
        assert (record.state, record.reason) == ("ended", "bot_finished")
        output = str([line["message"] for line in runner.lines(launch) if line.get("raw")])
        assert "entered with a stream: True websocket" in output
        assert "disconnected 1000" in output

    async def test_stream_of_a_phone_call_is_detected_by_pipecat(self, runner: Runner) -> None:
        """No type of transport is set in the room of a phone call, and any id of a carrier works."""
        launch = await session(runner, "finish", "phone:telnyx:v3:a~B@c", "v3:a~B@c")
        async with stream(runner, launch) as websocket:
            assert (await websocket.receive()).data == "bye"
        await runner.end(launch)
        assert "entered with a stream: True None" in str(runner.lines(launch))

    async def test_bot_that_ends_first_closes_the_stream(self, runner: Runner) -> None:
        """With the code of a normal end."""
        launch = await session(runner, "finish")
        async with stream(runner, launch) as websocket:
            await websocket.receive()
            assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert websocket.close_code == 1000
        assert (await runner.end(launch)).reason == "bot_finished"

    async def test_bot_that_crashes_closes_the_stream(self, runner: Runner) -> None:
        """With the code of an internal error."""
        launch = await session(runner, "crash")
        async with stream(runner, launch) as websocket:
            await websocket.receive()
            assert websocket.close_code == 1011
        assert (await runner.end(launch)).reason == "bot_crashed"

    async def test_session_that_is_stopped_closes_the_stream(self, runner: Runner) -> None:
        """With the code of a server that goes away."""
        launch = await session(runner, "ignore")
        async with stream(runner, launch) as websocket:
            leaving = asyncio.create_task(runner.leave(launch))
            await websocket.receive()
            assert websocket.close_code == 1001
        assert (await leaving)[0] == 200

    async def test_newer_stream_replaces_the_older_and_the_bot_goes_on(
        self, runner: Runner
    ) -> None:
        """The older one is closed with 4409; the bot's WebSocket stays the same."""
        launch = await session(runner, "echo")
        async with stream(runner, launch) as older:
            await older.send_str("1")
            assert (await older.receive()).data == "1"
            async with stream(runner, launch) as newer:
                assert (await older.receive()).type is aiohttp.WSMsgType.CLOSE
                assert older.close_code == 4409
                await newer.send_str("2")
                assert (await newer.receive()).data == "2"
        assert (await runner.end(launch)).reason == "bot_finished"

    async def test_stream_that_never_comes_ends_the_session(self, runner: Runner) -> None:
        """As in a room of WebRTC."""
        launch = await session(runner, "echo")
        assert (await runner.end(launch)).reason == "user_absent"

    async def test_bot_that_ignores_the_end_of_its_stream_is_stopped(self, runner: Runner) -> None:
        """After the time for which a room may have no user."""
        launch = await session(runner, "ignore")
        async with stream(runner, launch):
            pass
        assert (await runner.end(launch)).reason == "user_absent"

    async def test_killed_bot_resets_the_stream(self, runner: Runner) -> None:
        """The peer sees at once that its bot is dead."""
        launch = await session(runner, "ignore")
        async with stream(runner, launch) as websocket:
            os.kill(await runner.pid(launch), 9)
            message = await asyncio.wait_for(websocket.receive(), 5)
            assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        assert (await runner.end(launch)).recovery == "bot_died"

    async def test_message_over_the_limit_closes_the_stream(self, runner: Runner) -> None:
        """With the code for it; smaller ones pass."""
        launch = await session(runner, "echo")
        async with stream(runner, launch) as websocket:
            await websocket.send_bytes(bytes(1024 * 1024))
            assert len((await websocket.receive()).data) == 1024 * 1024
            await websocket.send_bytes(bytes(1024 * 1024 + 1))
            await websocket.receive()
            assert websocket.close_code == 1009

    async def test_text_that_is_not_utf8_closes_the_stream(self, runner: Runner) -> None:
        """With the code for it."""
        launch = await session(runner, "echo")
        async with stream(runner, launch) as websocket:
            await websocket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
            await websocket.receive()
            assert websocket.close_code == 1007
        await runner.end(launch)

    async def test_no_byte_of_a_flood_passes_the_runner(self, runner: Runner) -> None:
        """10,000 messages reach the bot; the runner reads none of them."""
        launch = await session(runner, "count")
        async with stream(runner, launch) as websocket:
            before = read_bytes(runner.part.pid)
            for _ in range(10_000):
                await websocket.send_bytes(bytes(160))
            await websocket.send_str("how many")
            assert (await websocket.receive()).data == "10001"
            # Its own work in the meantime: renewals and lines of log.
            assert read_bytes(runner.part.pid) - before < 200_000
        await runner.leave(launch)

    async def test_slow_reader_blocks_its_own_bot_only(self, runner: Runner) -> None:
        """The bot's sends wait, and memory stays bounded."""
        launch = await session(runner, "flood")
        place = urlsplit(runner.part.url)
        connection = socket.create_connection((place.hostname, place.port))
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        connection.sendall(head(launch, "stream")[:-2] + upgrade.encode())
        await until(lambda: "blocked after" in str(runner.lines(launch)))
        assert (await runner.client.get(f"{runner.part.url}/healthz")).status == 200
        connection.close()
        await runner.leave(launch)

    async def test_bot_that_never_reads_blocks_its_peer_only(self, runner: Runner) -> None:
        """What it does not read waits at the sender."""
        launch = await session(runner, "ignore")
        async with stream(runner, launch) as websocket:
            assert await mib_sent(websocket.send_bytes) < BUFFERED_MIB
            assert (await runner.leave(launch))[0] == 200


class TestRoutes:
    async def test_bots_own_routes_run_in_its_process(self, runner: Runner) -> None:
        """Those of Pipecat Cloud's module and those of Pipecat's runner."""
        launch = await session(runner, "wait", "https://rooms.example/routes")
        async with runner.client.get(
            url_of(runner, launch, "hello/Ada"), headers=headers_of(launch)
        ) as answer:
            assert await answer.json() == {"pid": await runner.pid(launch), "name": "Ada"}
        url = url_of(runner, launch, "headers?a=b")
        async with runner.client.post(url, data=b"body", headers=headers_of(launch)) as answer:
            seen = await answer.json()
        assert (seen["path"], seen["query"], seen["body"]) == ("/headers", "a=b", "body")
        assert SECRET not in str(seen)
        for path in ("docs", "redoc", "openapi.json"):
            url = url_of(runner, launch, path)
            async with runner.client.get(url, headers=headers_of(launch)) as answer:
                assert answer.status == 404
        async with runner.client.ws_connect(
            url_of(runner, launch, "own"), headers=headers_of(launch)
        ) as websocket:
            assert (await websocket.receive()).data == "own"
        await runner.leave(launch)

    async def test_file_reaches_the_storage_of_the_bot(
        self, runner: Runner, plane: Processes
    ) -> None:
        """That of ``create_file_storage``, which the bot gets as well; it is empty after the session."""
        launch = await session(runner, "echo")
        async with stream(runner, launch) as websocket:
            data = aiohttp.FormData({"file": io.BytesIO(b"content")})
            async with runner.client.post(
                url_of(runner, launch, "files"), data=data, headers=headers_of(launch)
            ) as answer:
                body = await answer.json()
            assert body["source"]["url"].startswith("pipecat:")
            await websocket.send_str("text")
        await runner.end(launch)
        assert "storage LocalFileStorage" in str(runner.lines(launch))
        assert not uploads(plane)


class TestEnd:
    async def test_nothing_stays_open_in_the_runner(self, runner: Runner) -> None:
        """After sessions with streams, refused requests and a killed bot."""
        await open_and_kill(runner)  # what the first session opens for good is open now
        before = descriptors(runner)
        for _ in range(3):
            await open_and_kill(runner)
        await until(lambda: descriptors(runner) <= before)

    async def test_bot_that_blocks_its_loop_hinders_nobody(self, runner: Runner) -> None:
        """Requests to it wait at it, and the runner answers others."""
        launch = await session(runner, "block", "https://rooms.example/blocks")
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(
                runner.client.get(url_of(runner, launch, "hello/x"), headers=headers_of(launch))
            )
            assert (await runner.client.get(f"{runner.part.url}/healthz")).status == 200
        await runner.leave(launch)
        await asyncio.gather(waiting, return_exceptions=True)

    async def test_sigterm_lets_a_stream_go_on_within_the_grace_period(
        self, runner: Runner, plane: Processes
    ) -> None:
        """The stream goes on; then it is closed with the code of a server that restarts. Ends the runner."""
        launch = await session(runner, "echo")
        async with stream(runner, launch) as websocket:
            runner.part.signal(signal.SIGTERM)
            await until(lambda: [r for r in runner.part.records if r["message"] == "Draining"])
            await websocket.send_str("still here")
            assert (await websocket.receive()).data == "still here"
            await websocket.receive()
            assert websocket.close_code == 1012
        assert await asyncio.to_thread(runner.part.ended, 30) == 0
        assert (await runner.end(launch)).recovery == "draining"
        plane.parts.remove(runner.part)

    async def test_runner_with_tls_relays_a_stream_and_its_death_ends_it(
        self, plane: Processes, tmp_path: Path
    ) -> None:
        """The bot dies with its runner, and with it the connection."""
        files = authority(tmp_path / "authority")
        words = ("--tls-cert", files.cert, "--tls-key", files.key)
        part = plane.spawn("runner", "--bot", write_bot(tmp_path, BOT), *words)
        await until(lambda: [r for r in part.records if r["message"] == "Listening"], 60)
        part.url = part.url.replace("http:", "https:")
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=files.ca))
        async with (
            RedisStore(plane.redis_url) as store,
            aiohttp.ClientSession(headers=HEADERS, connector=connector) as http,
        ):
            runner = Runner(part, store, http)
            launch = await session(runner, "echo")
            async with stream(runner, launch) as websocket:
                data = os.urandom(1_000_000)
                await websocket.send_bytes(data)
                assert (await websocket.receive()).data == data
                part.kill()
                message = await asyncio.wait_for(websocket.receive(), 10)
                assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}

    async def test_cold_runner_passes_a_stream(self, plane: Processes, tmp_path: Path) -> None:
        """Its server is another one than that of a warm runner."""
        async with RedisStore(plane.redis_url) as store, client() as http:
            launch = Launch("cold-stream", "ws:cold", epoch=1, body={"do": "finish"})
            accepted = await store.accept(launch, queue_max=100)
            await store.placement.assign(launch.session_id, accepted.epoch, job_name="job")
            env = {
                "BOT_SESSION_ID": launch.session_id,
                "BOT_SESSION_EPOCH": str(accepted.epoch),
                "BOT_ROOM_URL": launch.room_url,
                "CORDBOARD_OFFER_TIMEOUT_S": "30",
            }
            part = plane.spawn("runner", "--bot", write_bot(tmp_path, BOT), "--once", env=env)
            runner = Runner(part, store, http)

            async def runs() -> bool:
                return (await store.session(launch.session_id)).state == "running"

            await until(runs, 40)
            async with stream(runner, replace(launch, epoch=accepted.epoch)) as websocket:
                assert (await websocket.receive()).data == "bye"
            assert await asyncio.to_thread(part.ended, 40) == 0


def uploads(plane: Processes) -> list[Path]:
    """Return the files that the storage of the bots has kept."""
    return list(Path(plane.over["FILES"]).iterdir())


async def open_and_kill(runner: Runner) -> None:
    """Start a session, send it good and bad requests, and kill its bot."""
    launch = await session(runner, "ignore")
    url = url_of(runner, launch, "hello/x")
    async with stream(runner, launch), stream(runner, launch):
        for over in ({}, {"X-Session-Epoch": "99"}, {"Authorization": "Bearer x"}):
            async with runner.client.get(url, headers=headers_of(launch, **over)) as answer:
                await answer.read()
        os.kill(await runner.pid(launch), signal.SIGKILL)
        await runner.end(launch)
