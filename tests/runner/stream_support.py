"""A runner whose bots have streams and routes of their own, and what reaches them."""

import asyncio
import contextlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cordboard.contract.credential import bot_credential
from cordboard.contract.launch import Launch
from plane_support import SECRET, Processes
from runner.runner_support import Runner, processes, write_bot

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
    print("storage", type(args.file_storage).__name__)
    is_stream = isinstance(args, WebSocketRunnerArguments)
    print("entered with a stream:", is_stream, getattr(args, "transport_type", "-"))
    if is_stream:
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


def streams_plane(directory: Path, redis_url: str, *options: str) -> Iterator[Processes]:
    """Yield the processes of a module, with one runner."""
    for made in processes(directory, redis_url):
        made.over |= {"FILES": str(directory / "files"), "CORDBOARD_OFFER_TIMEOUT_S": "2"}
        made.over |= {"CORDBOARD_USER_ABSENT_S": "1"}
        made.spawn("runner", "--bot", write_bot(directory, BOT), "--capacity", "40", *options)
        yield made


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


def descriptors(runner: Runner) -> Counter[str]:
    """Return how many sockets and files of each kind the runner has open, without connections to others."""
    pid = runner.part.pid
    places = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        places[f"socket:[{words[9]}]"] = f"port {int(words[1].partition(':')[2], 16)}"
    port = f"port {urlsplit(runner.part.url).port}"
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(entry.readlink())
            place = places.get(name, name.partition(":[")[0])
            # Those to Redis come and go.
            kinds[place] += place == port or not place.startswith("port ")
    return kinds


def head(launch: Launch, path: str = "hello/x", method: str = "GET", **over: str) -> bytes:
    lines = [f"{method} /sessions/{launch.session_id}/bot/{path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers_of(launch, **over).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# The kernel's buffers of a connection have some 6 MiB each. In 1.5 s a peer that nobody stops sends hundreds.
BUFFERED_MIB = 40


async def mib_sent(send: Callable[[bytes], Awaitable[None]]) -> float:
    """Send for 1.5 s, or until nobody takes more; return how much was sent."""
    sent = 0

    async def send_for_ever() -> None:
        nonlocal sent
        while True:
            await send(bytes(512 * 1024))
            sent += 1

    sending = asyncio.create_task(send_for_ever())
    await asyncio.wait({sending}, timeout=1.5)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    return sent / 2


def read_bytes(pid: int) -> int:
    """Return how many bytes a process has read so far."""
    found = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    assert found
    return int(found[1])
