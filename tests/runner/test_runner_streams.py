"""Streams and requests that reach a bot process through a runner."""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from cordboard.contract.credential import bot_credential
from cordboard.contract.launch import Launch
from cordboard.store import RedisStore
from plane_support import SECRET, Processes, ready
from runner.runner_support import Runner, client, processes, write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)

BOT = '''
"""Calls the function that runner_args.body["do"] names, with its stream."""
import asyncio, json, os, time
from pathlib import Path

from pipecat.runner.run import app as runner_app
from pipecat.runner.types import WebSocketRunnerArguments
from pipecat.utils.file_storage import LocalFileStorage
from pipecatcloud_system import app
from starlette.websockets import WebSocket

received = []

@app.get("/hello/{name}")
async def hello(name: str):
    return {"pid": os.getpid(), "name": name}

@runner_app.api_route("/headers", methods=["GET", "POST"])
async def headers(request: __import__("fastapi").Request):
    return {"headers": dict(request.headers), "path": request.url.path, "raw": request.scope["raw_path"].decode(),
            "body": (await request.body()).decode(), "query": request.url.query}

@app.websocket("/own")
async def own(websocket: WebSocket):
    await websocket.accept()
    await websocket.send_text("own")
    await websocket.close()

def create_file_storage():
    return LocalFileStorage(os.environ["FILES"])

async def bot(args):
    print("entered", type(args).__name__, getattr(args, "transport_type", "-"))
    if isinstance(args, WebSocketRunnerArguments):
        assert isinstance(args.websocket, WebSocket)
    await globals()[args.body["do"]](args)

async def echo(args):
    """Sends each message back, until the stream ends."""
    websocket = args.websocket
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            print("disconnected", message.get("code"))
            return
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])

async def count(args):
    """Counts messages, and says how many on request."""
    websocket, number = args.websocket, 0
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        number += 1
        if message.get("text") == "how many":
            await websocket.send_text(str(number))

async def flood(args):
    """Sends more than any buffer takes, and says when it is blocked."""
    sent = 0
    while True:
        try:
            async with asyncio.timeout(0.5):
                await args.websocket.send_bytes(bytes(64 * 1024))
        except TimeoutError:
            print("blocked after", sent)
            break
        sent += 1
    await asyncio.sleep(600)

async def ignore(args):
    """Never reads its stream."""
    await asyncio.sleep(600)

async def block(args):
    """Blocks its event loop."""
    time.sleep(600)

async def finish(args):
    """Ends first."""
    await args.websocket.send_text("bye")

async def crash(args):
    raise ValueError("expected error")

async def wait(args):
    await asyncio.sleep(600)
'''


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("streams")
    for made in processes(directory, redis_url, 15):
        made.over |= {"FILES": str(directory / "files"), "CORDBOARD_OFFER_TIMEOUT_S": "2"}
        made.over |= {"CORDBOARD_USER_ABSENT_S": "1"}
        made.spawn("runner", "--bot", write_bot(directory, BOT), "--capacity", "40")
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


def url_of(runner: Runner, launch: Launch, path: str = "stream") -> str:
    return f"{runner.part.url}/sessions/{quote(launch.session_id, safe='')}/bot/{path}"


def headers_of(launch: Launch, **over: str) -> dict[str, str]:
    credential = bot_credential(SECRET, launch.session_id, launch.epoch)
    headers = {"Authorization": f"Bearer {credential}", "X-Session-Epoch": str(launch.epoch)}
    return headers | over


@contextlib.asynccontextmanager
async def stream(runner: Runner, launch: Launch, **over: str) -> AsyncIterator[Any]:
    """Open the stream of a session."""
    async with runner.client.ws_connect(
        url_of(runner, launch), headers=headers_of(launch, **over), max_msg_size=0
    ) as websocket:
        yield websocket


async def session(runner: Runner, do: str, room: str = "", session_id: str | None = None) -> Launch:
    """Start a session in a room of its own."""
    launch = await runner.grant(session_id, room or f"ws:{os.urandom(6).hex()}")
    status, answer = await runner.start(launch, body={"do": do})
    assert status == 200, answer
    return launch


def descriptors(runner: Runner) -> list[str]:
    """Return what the open sockets of the runner are, without those of its pool of Redis connections."""
    folder = Path(f"/proc/{runner.part.pid}/fd")
    names = []
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            names.append(str(entry.readlink()))
    return [name for name in names if name.startswith("socket:")]


async def raw(runner: Runner, data: bytes, *, pieces: int = 0) -> bytes:
    """Send bytes on a connection, in pieces of a size; return the whole answer."""
    place = urlsplit(runner.part.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for start in range(0, len(data), pieces or len(data) or 1):
        writer.write(data[start : start + (pieces or len(data))])
        await writer.drain()
        if pieces:
            await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    return answer


def head(launch: Launch, path: str = "hello/x", method: str = "GET", **over: str) -> bytes:
    lines = [f"{method} /sessions/{launch.session_id}/bot/{path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers_of(launch, **over).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


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
        assert "entered WebSocketRunnerArguments websocket" in output
        assert "disconnected 1000" in output

    async def test_stream_of_a_phone_call_is_detected_by_pipecat(self, runner: Runner) -> None:
        """No type of transport is set in the room of a phone call, and any id of a carrier works."""
        launch = await session(runner, "finish", "phone:telnyx:v3:a~B@c", "v3:a~B@c")
        async with stream(runner, launch) as websocket:
            assert (await websocket.receive()).data == "bye"
        await runner.end(launch)
        assert "entered WebSocketRunnerArguments None" in str(runner.lines(launch))

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
        assert (await runner.end(launch)).reason == "bot_crashed"

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
            sending = asyncio.create_task(send_for_ever(websocket))
            _, blocked = await asyncio.wait({sending}, timeout=2)
            assert blocked
            sending.cancel()
            assert (await runner.leave(launch))[0] == 200


async def send_for_ever(websocket: Any) -> None:
    """Send until nobody takes more."""
    while True:
        await websocket.send_bytes(bytes(64 * 1024))


def read_bytes(pid: int) -> int:
    """Return how many bytes a process has read so far."""
    found = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    assert found
    return int(found[1])
