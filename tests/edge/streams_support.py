"""Doubles of a gateway and of a runner, and an edge with its public WebSockets on a real server."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from cordboard.contract.credential import bot_credential
from cordboard.contract.http_api import HEADER_STREAM_SILENCE
from cordboard.edge.app import create_app, stop
from cordboard.edge.services import EdgeServices
from cordboard.edge.streams.limits import StreamLimits
from cordboard.settings import Settings
from edge.rooms_support import SECRET
from edge.rooms_support import served as served_double
from tests_support import served

Bot = Callable[[web.WebSocketResponse], Awaitable[None]]
_numbers = itertools.count(1)


async def echo(websocket: web.WebSocketResponse) -> None:
    """Send each message back in its own type."""
    async for message in websocket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await websocket.send_str(message.data)
        else:
            await websocket.send_bytes(message.data)


@dataclass
class RunnerDouble:
    """A runner that passes streams: it admits to one session and epoch, by the documented headers only.

    Attributes:
        bot: What the bot does with its stream.
        secret: Its control secret.
        epoch: The epoch that it accepts.
        refusals: The statuses of the next answers, before it accepts.
        silence_ms: What it says in its handshake of an earlier stream; None if there was none.
        sessions: The session of each accepted stream.
        queries: The query of each accepted stream.
        codes: The close code of each stream that has ended.
        open: How many streams are open.
    """

    bot: Bot = echo
    secret: str = SECRET
    epoch: int = 1
    refusals: list[int] = field(default_factory=list)
    silence_ms: int | None = None
    sessions: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    open: int = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""
        session_id = request.match_info["id"]
        epoch = int(request.headers["X-Session-Epoch"])
        credential = bot_credential(self.secret, session_id, epoch)
        if request.headers.get("Authorization") != f"Bearer {credential}":
            return web.json_response({"code": "unauthorized"}, status=401)
        if epoch != self.epoch:
            return web.json_response({"code": "stale_epoch"}, status=409)
        assert request.headers["X-Session-Id"] == session_id
        if self.refusals:
            return web.json_response({"code": "conflict"}, status=self.refusals.pop(0))
        websocket = web.WebSocketResponse(max_msg_size=4 * 1024 * 1024)
        if self.silence_ms is not None:
            websocket.headers[HEADER_STREAM_SILENCE] = str(self.silence_ms)
        await websocket.prepare(request)
        self.sessions.append(session_id)
        self.queries.append(request.query_string)
        self.open += 1
        try:
            await self.bot(websocket)
        finally:
            await websocket.close()
            self.open -= 1
            self.codes.append(websocket.close_code)
        return websocket


@dataclass
class Gateway:
    """A gateway with one session at a time, whose state a test sets.

    Attributes:
        runner_url: The address of the runner.
        status: The state of every session.
        reason: Why it has ended.
        created_at: When it was created.
        joins: The bodies of the joins.
        leaves: The sessions that were ended.
        rooms: The room of each session that was joined or prepared.
        refusal: The status of the next answers to joins; None to accept.
        failures: How many requests it fails before it answers.
        epoch: The epoch of every session.
        reads: How many records it was asked for.
        suspects: The sessions whose bot was reported as lost.
        changed: Set when the state changes.
    """

    runner_url: str = ""
    status: str = "running"
    reason: str | None = None
    created_at: str = "2026-11-30T03:56:44.000Z"
    joins: list[dict[str, Any]] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)
    rooms: dict[str, str] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    failures: int = 0
    epoch: int = 1
    reads: int = 0
    suspects: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, status: str, reason: str | None = None, *, epoch: int | None = None) -> None:
        """Change the state of the sessions."""
        self.status, self.reason, self.epoch = status, reason, epoch or self.epoch
        self.changed.set()

    async def join(self, request: web.Request) -> web.Response:
        """Accept a join."""
        body = await request.json()
        self.joins.append({**body, "address": request.headers.get("X-Client-Address")})
        if self.refusal is not None:
            status, code = self.refusal
            problem = {"code": code, "detail": f"Refused: {code}."}
            return web.json_response(problem, status=status)
        reused = body["sessionId"] in self.rooms
        self.rooms[body["sessionId"]] = body["room_url"]
        answer = {"sessionId": body["sessionId"], "status": "queued", "epoch": 1, "reused": reused}
        return web.json_response(answer, status=200 if reused else 202)

    async def leave(self, request: web.Request) -> web.Response:
        """End a session."""
        session_id = (await request.json())["sessionId"]
        self.leaves.append(session_id)
        return web.json_response({"sessionId": session_id, "status": "ended"})

    async def suspect(self, request: web.Request) -> web.Response:
        """Note that a bot may be dead."""
        self.suspects.append(request.match_info["id"])
        return web.json_response({"status": self.status}, status=202)

    async def record(self, request: web.Request) -> web.Response:
        """Return the record of a session."""
        self.reads += 1
        if self.failures:
            self.failures -= 1
            return web.json_response({"code": "store_unavailable"}, status=503)
        session_id = request.match_info["id"]
        if session_id not in self.rooms:
            return web.json_response({"code": "not_found"}, status=404)
        assert request.query.get("runner") == "true"
        return web.json_response(self._state(session_id))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send the state, and again when it changes."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            self.changed.clear()
            data = web.json_response(self._state(request.match_info["id"])).text
            await response.write(f"event: state\ndata: {data}\n\n".encode())
            if self.status not in {"queued", "starting", "running"}:
                return response
            while not self.changed.is_set():
                await asyncio.sleep(0.01)
                if request.transport is None:  # the edge has gone
                    return response

    def _state(self, session_id: str) -> dict[str, Any]:
        state = {
            "sessionId": session_id,
            "room_url": self.rooms[session_id],
            "bot": "default",
            "status": self.status,
            "epoch": self.epoch,
            "attempt": self.epoch,
            "createdAt": self.created_at,
        }
        if self.reason is not None:
            state["reason"] = self.reason
        if self.status == "running":
            state["runnerUrl"] = self.runner_url
        return state


@dataclass
class StreamEdge:
    """An edge whose gateway and runner are doubles.

    Attributes:
        url: Its address, for websockets.
        app: Its application.
        gateway: The double of the gateway.
        runner: The double of the runner.
        client: Connections of a client.
    """

    url: str
    app: Any
    gateway: Gateway
    runner: RunnerDouble
    client: aiohttp.ClientSession

    @property
    def services(self) -> EdgeServices:
        """The edge's services."""
        services: EdgeServices = self.app.state.services
        return services

    def token(self, session_id: str = "call-1", room: str = "", age_s: float = 0) -> str:
        """Return a token for a session that the gateway knows from now on."""
        room = room or f"ws:{session_id}"
        self.gateway.rooms[session_id] = room
        return self.services.tokens.issue(session_id, room, self.services.streams.clock() - age_s)

    async def open(self, path: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket."""
        websocket: aiohttp.ClientWebSocketResponse = await self.client.ws_connect(
            f"{self.url}{path}", max_msg_size=0, **options
        )
        return websocket

    async def open_phone(
        self, session_id: str, carrier: str = "twilio", age_s: float = 0
    ) -> aiohttp.ClientWebSocketResponse:
        """Open the stream of a phone call."""
        token = self.token(session_id, f"phone:{carrier}:{session_id}", age_s)
        return await self.open(f"/phone/stream/{token}")

    async def stop(self) -> None:
        """Stop the edge as SIGTERM does."""
        await stop(self.app)


@contextlib.asynccontextmanager
async def stream_edge(
    monkeypatch: Any, limits: StreamLimits | None = None, *, local: bool = True, **settings: Any
) -> AsyncIterator[StreamEdge]:
    """Run an edge, and check at its end that no socket is left."""
    monkeypatch.setenv("BOT_CONTROL_SHARED_SECRET", SECRET)
    gateway, runner = Gateway(), RunnerDouble()
    gateway_app, runner_app = web.Application(), web.Application()
    gateway_app.router.add_post("/join", gateway.join)
    gateway_app.router.add_post("/leave", gateway.leave)
    gateway_app.router.add_get("/sessions/{id}", gateway.record)
    gateway_app.router.add_post("/sessions/{id}/suspect", gateway.suspect)
    gateway_app.router.add_get("/sessions/{id}/events", gateway.events)
    runner_app.router.add_get("/sessions/{id}/bot/stream", runner.serve)
    before = sockets()
    async with (
        served_double(gateway_app) as gateway_url,
        served_double(runner_app) as gateway.runner_url,
    ):
        app = create_app(
            Settings(gateway_url=gateway_url, **settings),
            local=local,
            stream_limits=limits or StreamLimits(close_s=0.5),
        )
        async with (
            served(app, websockets=True) as url,
            aiohttp.ClientSession() as client,
        ):
            yield StreamEdge(url.replace("http", "ws", 1), app, gateway, runner, client)
    await asyncio.sleep(0.02)  # aiohttp closes sockets in the next iterations of the loop
    assert sockets() <= before, "a socket was left open"
    assert runner.open == 0, "a stream of a bot was left open"


def sockets() -> int:
    """Return how many sockets this process has open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists the directory is closed already
            found += str(link.readlink()).startswith("socket:")
    return found


def connections_to(url: str) -> int:
    """Return how many sockets this machine has open that are connected to a server on loopback."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    # The remote address, and the inode, which is 0 for a socket that the kernel alone still has.
    return sum(found[2].endswith(port) and found[9] != "0" for found in fields)
