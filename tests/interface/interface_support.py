"""An interface with a real gateway and a real store, and HTTP clients that act as browsers."""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from cordboard.contract.ids import uuid7
from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.interface import app as interface
from cordboard.settings import Settings
from cordboard.store import Holder, RedisStore, Registration
from tests_support import served

SECRET = "s3cret-of-the-gateway"


def an_id(name: str) -> str:
    """Return a session id like that of a page, the same for a name during one test run."""
    return uuid7(_BEGAN_MS, hashlib.sha256(name.encode()).digest())


_BEGAN_MS = time.time_ns() // 1_000_000


@dataclass
class Browser:
    """A person's browser: it keeps cookies and sends its origin."""

    client: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        """Return the status, the JSON or text, and the headers of a response."""
        headers = {"Origin": self.url, **more.pop("headers", {})}
        async with self.client.request(
            method, f"{self.url}{path}", headers=headers, allow_redirects=False, **more
        ) as answer:
            text = await answer.text()
            kind = answer.content_type
            return (
                answer.status,
                json.loads(text) if text and "json" in kind else text,
                answer.headers,
            )

    async def sign_in(self, name: str = "Ada") -> "Browser":
        status, _, _ = await self.ask("POST", "/login", data={"name": name})
        assert status == 303
        return self

    async def join(self, session_id: str, room: str = "webrtc:demo") -> tuple[int, Any, Any]:
        """Join a room with the id that ``an_id`` returns for a short name."""
        body = {"sessionId": an_id(session_id), "room": room}
        return await self.ask("POST", "/api/sessions", json=body)


@dataclass
class Site:
    """An interface, its gateway and the gateway's store."""

    url: str
    store: RedisStore
    app: Any
    settings: Settings
    _clients: list[aiohttp.ClientSession] = field(default_factory=list)

    def browser(self) -> Browser:
        """Return a browser in which nobody is signed in."""
        # aiohttp calls cookies of an IP address unsafe; browsers accept them.
        client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._clients.append(client)
        return Browser(client, self.url)

    async def run(
        self,
        session_id: str,
        url: str = "http://127.0.0.1:9",
        build: Mapping[str, str] | None = None,
    ) -> None:
        """Bring a joined session to running, as an operator and a runner would."""
        session_id = an_id(session_id)
        await self.store.register(Registration("r1", url, capacity=9))
        await self.store.placement.assign(session_id, 1)
        await self.store.confirm_running(
            session_id, 1, Holder("r1", url, "warm", 42, build=build or {})
        )

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@asynccontextmanager
async def open_site(
    store: RedisStore | None, settings: Settings, *, local: bool = True
) -> AsyncIterator[Site]:
    """Serve an interface."""
    app = interface.create_app(settings, local=local)
    async with served(app) as url:
        here = Site(url, store, app, settings)  # type: ignore[arg-type]  # none: no gateway
        try:
            yield here
        finally:
            await here.close()


@pytest.fixture
async def site(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """An interface with a gateway whose queue takes five joins."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with (
        served(create_gateway(Settings(queue_max=5), store)) as gateway,
        open_site(store, Settings(gateway_url=gateway)) as here,
    ):
        yield here
