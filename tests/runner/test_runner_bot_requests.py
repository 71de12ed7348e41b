"""Requests to a bot process through its runner: which are accepted, and what bad input does.

Runner and bot process are one process here; the socket pair between them is the real one.
"""

import asyncio
import importlib
import io
import json
import os
import resource
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pipecat.utils.file_storage import LocalFileStorage
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cordboard.contract.credential import bot_credential, runner_credential
from cordboard.contract.errors import NotFoundError, NotReadyError, SettingsError
from cordboard.contract.http_api import HEADER_FROM_RUNNER
from cordboard.contract.launch import Launch
from cordboard.runner.bot_access import BotAccess
from cordboard.runner.bot_app import BotApp
from cordboard.runner.bot_files import FILE_MAX_BYTES, BotFiles
from cordboard.runner.bot_request import is_bot_request, read_bot_request
from cordboard.runner.bot_server import BotServer
from cordboard.runner.bot_stream import BotStream
from cordboard.runner.passed_sockets import send_connection
from cordboard.runner.pipecatcloud_system import provide_system_module
from cordboard.runner.registry import Registry
from cordboard.runner.runner_protocol import RunnerProtocol
from cordboard.runner.tls_relay import TlsRelay
from cordboard.web.http_protocol import ConnectionLimits
from cordboard.web.tls import Certificate
from runner.stream_support import BUFFERED_MIB, mib_sent
from tests_support import served, until
from tls_support import authority

pytestmark = pytest.mark.timeout(60)

SECRET, OLD = "the-control-secret-of-the-tests", "the-secret-before-it"
SESSION, EPOCH = "call:7@x", 3
LIMITS = ConnectionLimits(connections=2000)


@dataclass
class Bot:
    """A session and its bot process, as the runner sees them."""

    server: BotServer
    ends: tuple[socket.socket, socket.socket]
    stream: BotStream
    launch: Launch = field(default_factory=lambda: Launch(SESSION, "ws:x", EPOCH))
    status: str = "running"
    pid: int = 1
    passed: int = 0

    @property
    def connections(self) -> socket.socket:
        self.passed += 1
        return self.ends[0]


@dataclass
class Sessions:
    """The registry of the runner."""

    bot: Bot

    def get(self, session_id: str) -> Bot:
        if session_id != SESSION:
            raise NotFoundError(f"This runner has no session {session_id}.")
        return self.bot


@dataclass
class RunnerWithBot:
    """A runner's server with one bot."""

    url: str
    bot: Bot
    files: BotFiles
    client: aiohttp.ClientSession

    def path(self, path: str, session_id: str = SESSION) -> str:
        return f"{self.url}/sessions/{quote(session_id, safe='')}/bot/{path}"

    async def ask(
        self, path: str = "hello", method: str = "GET", data: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        async with self.client.request(
            method, self.path(path), data=data, headers=headers or proof()
        ) as answer:
            return answer.status, await answer.json(), dict(answer.headers)

    async def raw(self, *pieces: bytes) -> bytes:
        """Send pieces, one packet each; return all that comes until the server closes."""
        place = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()


def proof(secret: str = SECRET, session_id: str = SESSION, epoch: int = EPOCH) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {bot_credential(secret, session_id, epoch)}",
        "X-Session-Epoch": str(epoch),
    }


def head(path: str = "hello", method: str = "GET", more: str = "") -> bytes:
    lines = [f"{method} /sessions/{quote(SESSION, safe='')}/bot/{path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in proof().items()]
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def serve_here(_request: Request) -> JSONResponse:
    return JSONResponse({"served_by": "runner"})


@asynccontextmanager
async def runner_with_bot(
    folder: Path,
    *,
    limits: ConnectionLimits = LIMITS,
    bot_limits: ConnectionLimits = LIMITS,
    secrets: Any = lambda: (SECRET, OLD),
    required: bool = True,
    certificate: Certificate | None = None,
    ca: str | None = None,
    start: bool = True,
    stream: BotStream | None = None,
) -> AsyncIterator[RunnerWithBot]:
    """Serve a runner's connections, and those of its bot."""
    ends = socket.socketpair()
    ends[0].setblocking(False)
    stream, files = stream or BotStream(), BotFiles(LocalFileStorage(str(folder / "files")))
    server = BotServer(ends[1], lambda: BotApp(SESSION, stream, files), bot_limits)
    bot = Bot(server, ends, stream)
    access = BotAccess(
        cast("Registry", Sessions(bot)), secrets, required=required, local_hosts=frozenset({"x.y"})
    )
    context = ssl.create_default_context(cafile=ca) if ca else False
    own = Starlette(routes=[Route("/{path:path}", serve_here)])
    async with AsyncExitStack() as stack:
        if start:
            server.start()
            stack.callback(server.stop)
        protocol = RunnerProtocol.with_access(access)
        url = await stack.enter_async_context(served(own, limits, protocol, certificate))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield RunnerWithBot(url, bot, files, client)
        await server.wait_until_closed(5)
    for end in ends:
        end.close()


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """Each test ends with as many open descriptors as it began with."""
    before = descriptors()
    yield
    await until(lambda: descriptors() <= before)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[RunnerWithBot]:
    async with runner_with_bot(tmp_path) as made:
        yield made


@pytest.fixture
def routes() -> Iterator[Any]:
    """The application of Pipecat Cloud's module, with routes of a bot."""
    provide_system_module()
    app: FastAPI = importlib.import_module("pipecatcloud_system").app

    @app.api_route("/hello", methods=["GET", "POST"])
    async def hello(request: Request) -> dict[str, Any]:
        body = await request.body()
        return {"path": request.url.path, "headers": dict(request.headers), "size": len(body)}

    yield app
    del sys.modules["pipecatcloud_system"]


class TestAccess:
    async def test_wrong_proof_is_refused(self, at: RunnerWithBot) -> None:
        """401, and the process does not learn of it."""
        wrong = [
            {"X-Session-Epoch": str(EPOCH)},
            {"Authorization": proof()["Authorization"]},
            {**proof(), "X-Session-Epoch": "3.0"},
            {**proof(), "X-Session-Epoch": "-3"},
            {**proof(), "X-Session-Epoch": "9" * 400},
            {**proof(), "Authorization": f"Bearer {SECRET}"},
            {**proof(), "Authorization": f"Bearer {runner_credential(SECRET, 'http://x')}"},
            {**proof(), "Authorization": f"Basic {bot_credential(SECRET, SESSION, EPOCH)}"},
            {**proof(), "Authorization": "Bearer \u00e9"},
            {**proof(), "X-Bot-Secret": SECRET},
            proof("another secret"),
            proof(session_id="another"),
            {**proof(epoch=EPOCH + 1), "X-Session-Epoch": str(EPOCH)},
        ]
        for headers in wrong:
            status, body, answered = await at.ask(**headers)
            assert (status, body["code"]) == (401, "unauthorized"), headers
            assert answered["Content-Type"] == "application/problem+json"
        assert not at.bot.passed

    async def test_repeated_header_is_refused(self, at: RunnerWithBot) -> None:
        """Two parsers could take two different values."""
        answer = await at.raw(head(more="X-Session-Epoch: 4\r\n"))
        assert status_of(answer) == 401

    @pytest.mark.parametrize("secret", [SECRET, OLD])
    async def test_current_and_previous_secret_are_accepted(
        self, at: RunnerWithBot, routes: Any, secret: str
    ) -> None:
        """As for every other request."""
        assert (await at.ask(**proof(secret)))[0] == 200

    async def test_old_epoch_with_its_own_credential_is_stale(self, at: RunnerWithBot) -> None:
        """409."""
        status, body, headers = await at.ask(**proof(epoch=EPOCH - 1))
        assert (status, body["code"]) == (409, "stale_epoch")
        assert headers[HEADER_FROM_RUNNER] == "true"  # which tells it from a bot's own refusal

    @pytest.mark.parametrize("session_id", ["unknown", "a b", "...", "\u00e9"])
    async def test_unknown_session_is_not_found(self, at: RunnerWithBot, session_id: str) -> None:
        """404, also for what is no session id."""
        spelt = session_id.encode().decode("latin-1")  # as it stands on the wire
        headers = proof(session_id=spelt)
        async with at.client.get(at.path("x", session_id), headers=headers) as answer:
            assert answer.status == 404

    @pytest.mark.parametrize("status", ["stopping", "ended"])
    async def test_bot_that_does_not_run_is_a_conflict(
        self, at: RunnerWithBot, status: str
    ) -> None:
        """409, with the session's id."""
        at.bot.status = status
        code, body, _ = await at.ask()
        assert (code, body["code"], body["sessionId"]) == (409, "conflict", SESSION)

    async def test_bot_that_is_about_to_run_gets_the_connection(
        self, at: RunnerWithBot, routes: Any
    ) -> None:
        """The store may have published that it runs before the runner noted it."""
        at.bot.status = "starting"
        assert (await at.ask())[0] == 200

    async def test_lost_secret_refuses_everybody(self, tmp_path: Path) -> None:
        """503: a runner that started with a secret never serves without one."""

        def lost() -> tuple[str, ...]:
            raise SettingsError("the file is gone")

        async with runner_with_bot(tmp_path, secrets=lost) as at:
            assert (await at.ask())[0] == 503

    async def test_no_secret_on_loopback_needs_the_epoch_and_a_local_host(
        self, tmp_path: Path, routes: Any
    ) -> None:
        """A page of another site can set neither for a WebSocket."""
        async with runner_with_bot(tmp_path, secrets=tuple, required=False) as at:
            assert (await at.ask(**{"X-Session-Epoch": str(EPOCH)}))[0] == 200
            assert (await at.ask(**{"X-Other": "1"}))[0] == 401
            assert (await at.ask(**proof(), Host="evil.example"))[0] == 421
            assert (await at.ask(**proof(), Host="x.y:7861"))[0] == 200


class TestRequests:
    async def test_bot_sees_its_own_path_and_no_credential(
        self, at: RunnerWithBot, routes: Any
    ) -> None:
        """The rest of the request is as it was sent; the connection is not kept for another session."""
        status, body, answered = await at.ask(**proof(), Cookie="a=b")
        assert (status, body["path"]) == (200, "/hello")
        assert body["headers"]["cookie"] == "a=b"
        assert "authorization" not in body["headers"]
        assert answered["Connection"] == "close"

    async def test_path_that_the_bot_does_not_have_is_not_found(self, at: RunnerWithBot) -> None:
        """404, also for a WebSocket."""
        status, body, _ = await at.ask("nowhere")
        assert (status, body["code"]) == (404, "not_found")
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await at.client.ws_connect(at.path("nowhere"), headers=proof())
        assert caught.value.status == 404

    async def test_large_body_behind_the_head_is_complete(
        self, at: RunnerWithBot, routes: Any
    ) -> None:
        """What the runner has read of the body goes with the connection."""
        size = 300_000
        request = head(method="POST", more=f"Content-Length: {size}\r\n") + bytes(size)
        answer = await at.raw(request)
        assert json.loads(answer.split(b"\r\n\r\n")[1])["size"] == size

    async def test_request_on_a_kept_connection_reaches_the_bot(
        self, at: RunnerWithBot, routes: Any
    ) -> None:
        """After requests that the runner has served itself."""
        own = b"GET /sessions HTTP/1.1\r\nHost: localhost\r\n\r\n"
        place = urlsplit(at.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for _ in range(2):
            writer.write(own)
            assert b"runner" in await reader.readuntil(b"}")
        writer.write(head())
        assert b"/hello" in await reader.read()
        writer.close()

    async def test_pipelined_requests_behind_one_for_the_bot_are_dropped(
        self, at: RunnerWithBot, routes: Any
    ) -> None:
        """Their proof has not been checked; the bot's response ends the connection."""
        answer = await at.raw(head() + head() + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"/hello" in answer

    async def test_pipelined_request_for_the_bot_stays_at_the_runner(
        self, at: RunnerWithBot
    ) -> None:
        """Behind another in one packet it is served by the runner, which has no such route."""
        last = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await at.raw(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" + head() + last)
        assert answer.count(b"served_by") == 3
        assert not at.bot.passed

    async def test_head_in_single_bytes_is_passed(self, at: RunnerWithBot, routes: Any) -> None:
        """Each byte in a packet of its own."""
        answer = await at.raw(*(bytes([byte]) for byte in head()))
        assert status_of(answer) == 200

    async def test_head_over_the_limit_is_refused(self, at: RunnerWithBot) -> None:
        """431, whatever its proof."""
        answer = await at.raw(head(more="X: " + "y" * 40_000 + "\r\n"))
        assert status_of(answer) == 431
        assert not at.bot.passed

    @pytest.mark.parametrize("start", [b"GET /sessions/", head()[:-2], head()[:60]])
    async def test_head_that_never_ends_is_refused(self, tmp_path: Path, start: bytes) -> None:
        """408 after the time for a head."""
        limits = ConnectionLimits(head_s=0.3)
        async with runner_with_bot(tmp_path, limits=limits) as at:
            assert status_of(await at.raw(start)) == 408

    async def test_head_that_never_ends_on_a_kept_connection_is_refused(
        self, tmp_path: Path
    ) -> None:
        """408, as on a new one."""
        async with runner_with_bot(tmp_path, limits=ConnectionLimits(head_s=0.3)) as at:
            place = urlsplit(at.url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"}")
            writer.write(head()[:-2])
            assert status_of(await reader.read()) == 408
            writer.close()

    async def test_silent_connections_do_not_hinder_others(
        self, tmp_path: Path, routes: Any
    ) -> None:
        """A thousand of them are closed after the time for a head."""
        limits = ConnectionLimits(head_s=1.5, connections=2000)
        async with runner_with_bot(tmp_path, limits=limits) as at:
            place = urlsplit(at.url)
            silent = [
                await asyncio.open_connection(place.hostname, place.port) for _ in range(1000)
            ]
            assert (await at.ask())[0] == 200
            assert await asyncio.gather(*(reader.read() for reader, _ in silent)) == [b""] * 1000
            for _, writer in silent:
                writer.close()

    async def test_bot_process_that_takes_nothing_is_not_ready(self, tmp_path: Path) -> None:
        """503 once the buffer is full; the connections in it are closed with the process."""
        async with runner_with_bot(tmp_path, start=False) as at:
            place = urlsplit(at.url)
            waiting = []
            for _ in range(600):
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
                writer.write(head())
                waiting.append((reader, writer))
                if len(waiting) > at.bot.passed + 5:
                    break
            answer = await waiting[-1][0].read()
            assert status_of(answer) == 503
            at.bot.ends[1].close()
            await asyncio.gather(*(reader.read() for reader, _ in waiting), return_exceptions=True)
            for _, writer in waiting:
                writer.close()

    @pytest.mark.parametrize(("path", "secret", "status"), [("x", SECRET, 404), ("x", "no", 401)])
    async def test_refusal_reaches_a_peer_that_still_sends(
        self, at: RunnerWithBot, path: str, secret: str, status: int
    ) -> None:
        """Of the bot process and of the runner: a reset would overtake it."""
        size = 4_000_000
        request = head(path, "POST", more=f"Content-Length: {size}\r\n")
        right, sent = (proof(one)["Authorization"].encode() for one in (SECRET, secret))
        request = request.replace(right, sent)
        assert status_of(await at.raw(request, bytes(size))) == status

    async def test_runner_without_descriptors_is_not_ready(self, at: RunnerWithBot) -> None:
        """503, instead of an error within the event loop, after which the connection has no answer."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(NotReadyError):
                send_connection(at.bot.ends[0], 0, b"")
            with pytest.raises(NotReadyError):
                await TlsRelay.to_bot(cast("Any", None), cast("Any", at.bot), b"")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    async def test_dead_bot_process_is_a_conflict(self, tmp_path: Path) -> None:
        """409 before the runner has noticed its end."""
        async with runner_with_bot(tmp_path, start=False) as at:
            at.bot.ends[1].close()
            assert (await at.ask())[0] == 409

    async def test_peer_that_vanishes_leaves_nothing(self, at: RunnerWithBot, routes: Any) -> None:
        """Reset before, within and behind the head."""
        place = urlsplit(at.url)
        for request in (b"", head()[:50], head(), head("stream")):
            connection = socket.create_connection((place.hostname, place.port))
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(request)
            connection.close()
        assert (await at.ask())[0] == 200


class TestFiles:
    async def test_file_is_stored_and_deleted_with_the_session(self, at: RunnerWithBot) -> None:
        """In the form that Pipecat's clients know."""
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("file", b"content", filename="../a.txt", content_type="text/x")
        status, body, _ = await at.ask("files", "POST", form)
        assert (status, body["name"], body["format"]) == (200, "a.txt", "text/plain")
        assert body["source"]["type"] == "url"
        storage = at.files.storage
        assert storage is not None
        assert await storage.load(body["source"]["url"]) == b"content"
        await at.files.delete_all()
        with pytest.raises(FileNotFoundError):
            await storage.load(body["source"]["url"])

    async def test_bot_without_a_storage_takes_no_files(self, at: RunnerWithBot) -> None:
        """404, with the way to take some."""
        at.files.storage = None
        status, body, _ = await at.ask("files", "POST", b"")
        assert (status, "create_file_storage" in body["hint"]) == (404, True)

    async def test_own_route_for_files_is_that_of_a_bot_without_a_storage(
        self, at: RunnerWithBot, routes: FastAPI
    ) -> None:
        """Ours has precedence only where it can serve."""
        at.files.storage = None

        @routes.post("/files")
        async def own() -> dict[str, str]:
            return {"served_by": "bot"}

        assert (await at.ask("files", "POST", b""))[1] == {"served_by": "bot"}

    async def test_storage_that_hangs_does_not_hinder_the_end(
        self, at: RunnerWithBot, tmp_path: Path
    ) -> None:
        """The end of a session waits for it for a limited time only."""

        class Hanging(LocalFileStorage):  # type: ignore[misc]
            async def delete(self, file_url: str) -> None:
                await asyncio.sleep(600)

        at.files.storage = Hanging(str(tmp_path))
        form = aiohttp.FormData({"file": io.BytesIO(b"x")})
        assert (await at.ask("files", "POST", form))[0] == 200
        async with asyncio.timeout(30):
            await at.files.delete_all()

    @pytest.mark.parametrize(
        ("data", "kind", "status"),
        [
            (b"", "text/plain", 422),
            (b"junk", "multipart/form-data; boundary=x", 422),
            (b"junk", "multipart/form-data", 422),
            (b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\ntext\r\n--x--\r\n",
             "multipart/form-data; boundary=x", 422),
            *((b"--x\r\nContent-Disposition: form-data; name=file; filename=+2AA-\r\n\r\n\r\n--x--\r\n",
               f"multipart/form-data; boundary=x; charset={charset}", 422)
              for charset in ("utf-7", "undefined", "raw_unicode_escape")),
        ],
    )  # fmt: skip
    async def test_malformed_form_is_refused(
        self, at: RunnerWithBot, data: bytes, kind: str, status: int
    ) -> None:
        """With a problem, not with an error of the server."""
        given_headers = {**proof(), "Content-Type": kind}
        assert (await at.ask("files", "POST", data, **given_headers))[0] == status

    async def test_file_over_the_limit_is_refused(self, at: RunnerWithBot) -> None:
        """413."""
        form = aiohttp.FormData()
        form.add_field("file", bytes(FILE_MAX_BYTES + 1), filename="large")
        status, _, _ = await at.ask("files", "POST", form)
        assert status == 413


class TestStream:
    async def test_stream_outlives_the_limits_of_a_head(self, tmp_path: Path) -> None:
        """A WebSocket has no time limit."""
        async with (
            runner_with_bot(tmp_path, bot_limits=ConnectionLimits(head_s=0.2, body_s=0.2)) as at,
            at.client.ws_connect(at.path("stream"), headers=proof()) as peer,
        ):
            websocket = await asyncio.wait_for(at.bot.stream.opened, 5)
            await asyncio.sleep(0.8)
            await websocket.send_text("still here")
            assert (await peer.receive()).data == "still here"

    async def test_stream_that_the_bot_has_seen_end_takes_no_newer_one(
        self, at: RunnerWithBot
    ) -> None:
        """409: the bot is about to end."""
        async with at.client.ws_connect(at.path("stream"), headers=proof()):
            websocket = await asyncio.wait_for(at.bot.stream.opened, 5)
        assert (await websocket.receive())["type"] == "websocket.disconnect"
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await at.client.ws_connect(at.path("stream"), headers=proof())
        assert caught.value.status == 409


class TestTls:
    async def test_stream_over_tls(self, tmp_path: Path) -> None:
        """The runner decrypts; the bot gets the same messages, and each side's end reaches the other."""
        files = authority(tmp_path / "authority")
        certificate = Certificate(files.cert, files.key)
        async with runner_with_bot(tmp_path, certificate=certificate, ca=files.ca) as at:
            async with at.client.ws_connect(at.path("stream"), headers=proof()) as peer:
                websocket = await asyncio.wait_for(at.bot.stream.opened, 5)
                for size in (0, 1, 70_000, 900_000):
                    await peer.send_bytes(os.urandom(size))
                    data = await websocket.receive_bytes()
                    await websocket.send_bytes(data)
                    assert (await peer.receive()).data == data
                assert len(data) == 900_000
            assert (await websocket.receive())["type"] == "websocket.disconnect"
            await until(lambda: not at.bot.stream.is_connected)

    async def test_refusal_over_tls(self, tmp_path: Path) -> None:
        """The same problems."""
        files = authority(tmp_path / "authority")
        certificate = Certificate(files.cert, files.key)
        async with runner_with_bot(
            tmp_path, certificate=certificate, ca=files.ca, start=False
        ) as at:
            assert (await at.ask(**proof("wrong")))[0] == 401
            at.bot.ends[1].close()
            assert (await at.ask())[0] == 409

    async def test_side_that_does_not_read_blocks_the_other(self, tmp_path: Path) -> None:
        """No more than the buffers on the way is sent, in either direction."""
        files = authority(tmp_path / "authority")
        certificate = Certificate(files.cert, files.key)
        async with runner_with_bot(tmp_path, certificate=certificate, ca=files.ca) as at:
            peer = await at.client.ws_connect(at.path("stream"), headers=proof())
            websocket = await asyncio.wait_for(at.bot.stream.opened, 5)
            for send in (peer.send_bytes, websocket.send_bytes):
                assert await mib_sent(send) < BUFFERED_MIB
            # Not closed: the client would wait until what it has written is sent.
            peer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await until(lambda: not at.bot.stream.is_connected)
            await peer.close()


class TestHeads:
    @given(st.binary(max_size=60), st.integers(0, 200))
    def test_decision_does_not_depend_on_the_packets(self, rest: bytes, cut: int) -> None:
        """What a part decides is what the whole decides, for requests of every kind."""
        for start in (head(), b"GET /sessions/a", b"POST /start HTTP/1.1\r\n", b"", b"\r\n"):
            whole = start + rest
            part = is_bot_request(whole[:cut])
            assert part is None or part is is_bot_request(whole)

    @given(st.binary(max_size=200))
    def test_every_head_is_read(self, data: bytes) -> None:
        """No bytes raise an exception."""
        request = read_bot_request(b"GET /sessions/x/bot/ HTTP/1.1\r\n" + data)
        assert request.session_id == "x"

    @pytest.mark.parametrize(
        ("start", "decision"),
        [
            (b"GET /sessions/x/bot/", True), (b"PATCH /sessions/a%3Ab/bot/a/b?c", True),
            (b"", None), (b"G", None), (b"GET /sess", None), (b"GET /sessions/x/bo", None),
            (b"GET /sessions/x HTTP/1.1", False), (b"GET /sessions/x/offer", False), (b"\x16\x03", False),
            (b"GET  /sessions/x/bot/", False), (b"A" * 18, False), (b"GET /sessions/" + b"x" * 385, False),
            (b"GET /sessions?x/bot/", False), (b"GET /sessions/x/bots/", False),
        ],
    )  # fmt: skip
    def test_decision_of_each_start(self, start: bytes, decision: bool | None) -> None:
        """Only the path of a bot process is one."""
        assert is_bot_request(start) is decision
