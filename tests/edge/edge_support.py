"""An edge in this process, in front of a real gateway and a real store, with a runner that a test answers for."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from cordboard.contract.credential import bot_credential
from cordboard.contract.ice import IceServer
from cordboard.edge.app import create_app, stop
from cordboard.edge.services import Waits
from cordboard.gateway.app import create_app as create_gateway
from cordboard.settings import Settings
from cordboard.store import Holder, RedisStore, Registration
from tests_support import StandIn, served, until

SECRET = "the-secret-of-gateway-and-edge"
KEY, OTHER_KEY = "pk_0123456789abcdef", "pk_support_0123456789"
KEYS = (KEY, f"support={OTHER_KEY}")
CONTROL = {"Authorization": f"Bearer {SECRET}"}
AS_CLIENT = {"Authorization": f"Bearer {KEY}"}
AS_SUPPORT = {"Authorization": f"Bearer {OTHER_KEY}"}
BRIEF = Waits(start_s=0.15, room_s=0.1, hold_s=0.5, peer_gone_s=0.6, unreached_s=0.8)
OFFER = {"sdp": "v=0\r\n", "type": "offer"}
ANSWER = {"sdp": "v=0", "type": "answer", "pc_id": "peer-1"}


@dataclass
class Site:
    """An edge and what is behind it."""

    http: httpx.AsyncClient
    app: FastAPI
    store: RedisStore
    runner: StandIn
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def start(self, body: Any = None, **more: Any) -> httpx.Response:
        """Send ``POST /start``; a session that waits is run as soon as it is there."""
        content = b"" if body is None else json.dumps(body).encode()
        return await self.http.post("/start", content=content, **more)

    async def run(self, session_id: str, url: str | None = None) -> None:
        """Bring an accepted session to running, as an operator and a runner would; `url` is the runner's."""
        url = url or self.runner.url
        await until(lambda: self._is_queued(session_id))
        await self.store.register(Registration("r1", url, capacity=9))
        epoch = (await self.store.session(session_id)).epoch
        await self.store.placement.assign(session_id, epoch)
        holder = Holder("r1", url, "warm", 42)
        await self.store.confirm_running(session_id, epoch, holder)

    async def started(self, session_id: str, body: Any = None, **more: Any) -> httpx.Response:
        """Start a session that runs at once."""
        running = asyncio.create_task(self.run(session_id))
        answer = await self.start({"sessionId": session_id, **(body or {})}, **more)
        await running
        return answer

    async def end(self, session_id: str) -> None:
        """End a running session, as its runner would."""
        record = await self.store.session(session_id)
        await self.store.finish(session_id, record.epoch, "bot_finished", None)

    async def stop(self) -> None:
        """Do what SIGTERM does first."""
        await stop(self.app)

    async def add_slots(self, count: int) -> None:
        """Register a runner with free slots: limits on callers depend on how many there are."""
        await self.store.register(Registration("r1", self.runner.url, capacity=count))

    async def _is_queued(self, session_id: str) -> bool:
        with contextlib.suppress(Exception):
            return (await self.store.session(session_id)).live
        return False


@contextlib.asynccontextmanager
async def open_site(
    store: RedisStore,
    runner: StandIn,
    *,
    local: bool = True,
    waits: Waits = BRIEF,
    queue_max: int = 50,
    address: str = "127.0.0.1",
    sessions_per_address: int = 20,
    ice_servers: tuple[IceServer, ...] = (),
    **settings: Any,
) -> AsyncIterator[Site]:
    """Serve a gateway, and an edge in front of it."""
    gateway_settings = Settings(
        queue_max=queue_max, sessions_per_address=sessions_per_address, ice_servers=ice_servers
    )
    gateway_app = create_gateway(gateway_settings, store)
    async with served(gateway_app) as gateway:
        app = create_app(Settings(gateway_url=gateway, **settings), local=local, waits=waits)
        transport = httpx.ASGITransport(app, client=(address, 4711))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as http,
        ):
            yield Site(http, app, store, runner)


def credential(session_id: str, epoch: int = 1) -> str:
    """Return the credential with which the edge comes to a bot."""
    return f"Bearer {bot_credential(SECRET, session_id, epoch)}"
