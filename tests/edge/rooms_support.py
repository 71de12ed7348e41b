"""Doubles of Daily's REST API and of a gateway, and an edge that uses both."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiohttp import web

from cordboard.edge.app import create_app
from cordboard.settings import Settings

API_KEY = "daily-key"
SECRET = "control-secret-of-tests"


@dataclass
class DailyDouble:
    """Daily's REST API as documented: it refuses what the real one refuses.

    Attributes:
        rooms: The rooms by name.
        tokens: The properties of each meeting token.
        refusal: The status and the body of every answer; None to serve.
    """

    rooms: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    refusal: tuple[int, bytes] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return web.json_response({"error": "authentication-error"}, status=401)
        if self.refusal is not None:
            status, body = self.refusal
            return web.Response(status=status, body=body, content_type="application/json")
        name = request.match_info.get("name")
        if name is not None and name not in self.rooms:
            return web.json_response(
                {"error": "not-found", "info": f"room {name} not found"}, status=404
            )
        if request.method == "DELETE":
            del self.rooms[str(name)]
            return web.json_response({"deleted": True, "name": name})
        if name is not None:
            return web.json_response(self.rooms[name])
        body = await request.json()
        return self._room(body) if request.path.endswith("/rooms") else self._token(body)

    def _room(self, body: dict[str, Any]) -> web.Response:
        name, properties = body["name"], body["properties"]
        if name in self.rooms:
            info = f"a room named {name} already exists"
            return web.json_response({"error": "invalid-request-error", "info": info}, status=400)
        if not isinstance(properties.get("exp"), int):
            info = "property 'exp' was expected to be a unix timestamp"
            return web.json_response({"error": "invalid-request-error", "info": info}, status=400)
        self.rooms[name] = {
            "id": "987b5eb5-d116-4a4e-8e2c-14fcb5710966",
            "name": name,
            "url": f"https://acme.daily.co/{name}",
            "api_created": True,
            "created_at": "2026-11-30T03:56:44.000Z",
            "privacy": "public",
            "config": properties,
        }
        return web.json_response(self.rooms[name])

    def _token(self, body: dict[str, Any]) -> web.Response:
        properties = body["properties"]
        if properties.get("room_name") not in self.rooms:
            return web.json_response(
                {"error": "invalid-request-error", "info": "no such room"}, status=400
            )
        self.tokens.append(properties)
        return web.json_response({"token": f"token-{len(self.tokens)}"})


@dataclass
class GatewayDouble:
    """A gateway that accepts every join, or refuses each.

    Attributes:
        joins: The bodies of the joins.
        refusal: The status and the body of a refusal; None to accept.
        ended: Whether the sessions that were joined have ended.
    """

    joins: list[dict[str, Any]] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    ended: bool = False

    async def record(self, request: web.Request) -> web.Response:
        """Return the record of a session that was joined."""
        session_id = request.match_info["id"]
        joins = [join for join in self.joins if join["sessionId"] == session_id]
        if not joins:
            return web.json_response({"code": "not_found"}, status=404)
        record = {"status": "running", "epoch": 1, "createdAt": "2026-11-30T03:56:44.000Z"}
        if self.ended:
            record |= {"status": "ended", "reason": "bot_finished"}
        return web.json_response(joins[-1] | record)

    async def join(self, request: web.Request) -> web.Response:
        """Answer a join."""
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        body = await request.json()
        self.joins.append(body)
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        answer = {"sessionId": body["sessionId"], "status": "queued", "epoch": 1, "reused": False}
        return web.json_response(answer, status=202)


@dataclass
class Edge:
    """An edge in this process.

    Attributes:
        client: Sends requests to it.
        daily: The double of Daily.
        gateway: The double of the gateway.
        services: The edge's services.
    """

    client: httpx.AsyncClient
    daily: DailyDouble
    gateway: GatewayDouble
    services: Any


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on loopback; yield its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def running_edge(monkeypatch: Any, **settings: Any) -> AsyncIterator[Edge]:
    """Run an edge with an account at Daily and a LiveKit server."""
    daily, gateway = DailyDouble(), GatewayDouble()
    daily_app, gateway_app = web.Application(), web.Application()
    for path in ("/v1/rooms", "/v1/meeting-tokens"):
        daily_app.router.add_post(path, daily.handle)
    daily_app.router.add_route("*", "/v1/rooms/{name}", daily.handle)
    gateway_app.router.add_post("/join", gateway.join)
    gateway_app.router.add_get("/sessions/{id}", gateway.record)
    monkeypatch.setenv("BOT_CONTROL_SHARED_SECRET", SECRET)
    async with served(daily_app) as daily_url, served(gateway_app) as gateway_url:
        monkeypatch.setenv("DAILY_API_URL", f"{daily_url}/v1")
        app = create_app(Settings(gateway_url=gateway_url, **settings))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            yield Edge(client, daily, gateway, app.state.services)


def encoded(body: object) -> bytes:
    """Return a body as JSON."""
    return json.dumps(body).encode()
