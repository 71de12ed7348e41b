"""WebSockets of peers that read nothing, or answer nothing."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from cordboard.web import serve
from cordboard.web.websocket_protocol import BoundedWebSocketProtocol
from tests_support import served, until


class _Impatient(BoundedWebSocketProtocol):
    abort_s = 0.2


class _Known(BoundedWebSocketProtocol):
    made: ClassVar[list["_Known"]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made.append(self)


class Application:
    """Sends messages until its peer has gone, or a number of them.

    Attributes:
        sent: The number of messages that were sent.
        ended: Whether the application has returned.
    """

    def __init__(self, count: int, size: int) -> None:
        self.sent = 0
        self.ended = False
        self._count = count
        self._size = size

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while self.sent < self._count:
                await send({"type": "websocket.send", "bytes": bytes(self._size)})
                self.sent += 1
        finally:
            self.ended = True


@asynccontextmanager
async def silent_peer(app: Any, *, ping_s: float) -> AsyncIterator[uvicorn.Server]:
    """Serve an application to a peer that opens a WebSocket and then reads nothing."""
    listener = serve.bind("127.0.0.1", 0)
    config = serve.uvicorn_config(app, websockets=True)
    config.ws, config.lifespan = _Impatient, "off"
    config.ws_ping_interval = config.ws_ping_timeout = ping_s
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve(sockets=[listener]))  # without signals
    await until(lambda: server.started)
    reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1024)
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    yield server
    writer.transport.abort()
    server.should_exit = True
    await running


async def test_connection_of_a_peer_that_reads_nothing_ends_after_its_application() -> None:
    """The event loop alone would keep the socket until the peer has read what was written."""
    app = Application(count=1000, size=64 * 1024)
    async with silent_peer(app, ping_s=0.2) as server:
        await until(lambda: app.ended)
        await until(lambda: not server.server_state.connections)
        assert app.sent < 1000


async def test_connection_with_data_that_nobody_reads_is_aborted() -> None:
    """Also if the application has ended in order, and nothing is sent any more."""
    app = Application(count=1, size=32 * 1024 * 1024)
    async with silent_peer(app, ping_s=600) as server:
        await until(lambda: app.ended)
        await until(lambda: not server.server_state.connections, 5)


@pytest.mark.parametrize(
    ("count", "size", "is_read_on"), [(8, 200, True), (9, 200, False), (1, 5000, False)]
)
async def test_connection_is_read_on_while_little_waits_for_the_application(
    monkeypatch: pytest.MonkeyPatch, count: int, size: int, is_read_on: bool
) -> None:
    """A few small messages, as those of a phone call; with more, the peer has to wait, and nothing is lost."""
    takes, received = asyncio.Event(), []

    async def take(websocket: WebSocket) -> None:
        await websocket.accept()
        await takes.wait()
        async for text in websocket.iter_text():
            received.append(text)  # noqa: PERF401 - `extend` would keep them until the end

    app = Starlette(routes=[WebSocketRoute("/", take)])
    monkeypatch.setattr(serve, "BoundedWebSocketProtocol", _Known)
    async with (
        served(app, websockets=True) as url,
        aiohttp.ClientSession() as client,
        client.ws_connect(url) as websocket,
    ):
        sent = [f"{number:0{size}}" for number in range(count)]
        for text in sent:
            await websocket.send_str(text)
        connection = _Known.made[-1]
        await until(lambda: connection.queue.qsize() == count)
        assert connection.transport.is_reading() == is_read_on
        takes.set()
        await websocket.send_str("last")
        await until(lambda: len(received) > count)
        assert received == [*sent, "last"]
        assert connection.transport.is_reading()


@pytest.mark.parametrize("start", ["GET", "POST"])
async def test_handshake_with_a_body_is_refused(start: str) -> None:
    """The server uvicorn alone would keep its connection without an answer."""
    async with served(Starlette(), websockets=True) as url:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(
            f"{start} / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Content-Length: 2\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n{{}}".encode()
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
