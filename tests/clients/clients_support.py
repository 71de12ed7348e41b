"""Pipecat's own browser clients in real Chromium, on a page of another origin than the edge.

async with chromium(microphone) as browser, serve_page() as origin:
    person = await ClientPages(browser, origin).enter("webrtc")
    times = await person.call(f"{edge}/start", {})
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route

from browser.browser_support import find_chromium
from tests_support import served

BUNDLE = Path(__file__).parents[2] / ".make" / "clients" / "page.js"
HTML = '<!doctype html><meta charset="utf-8"><title>A page of a user</title><script src="/page.js"></script>'
CALL_S = 30
REPEAT_S = 3
SILENCE_S = 0.8  # longer than a pause between two words
# A visitor clicks before a bot speaks; these pages call by themselves.
AUTOPLAY = "--autoplay-policy=no-user-gesture-required"


def missing_parts() -> str:
    """Return what this machine lacks for these tests, or an empty string."""
    if not find_chromium():
        return "no Chromium: set CHROMIUM, or install it (apt-get install chromium)"
    if not BUNDLE.exists():
        return (
            "no browser clients of Pipecat: scripts/clients.sh installs them where the npm registry can be reached; "
            "client-js over webrtc and over a websocket, CORS and reconnection were left out"
        )
    return ""


def needs_clients() -> None:
    """Skip the test where Chromium or the npm packages are missing."""
    if missing := missing_parts():
        pytest.skip(missing)


@dataclass
class Person:
    """A visitor of the page, with one client."""

    page: Page
    console: list[str] = field(default_factory=list)

    async def do(self, script: str, *values: Any) -> Any:
        """Run a function of the page with `values`."""
        async with asyncio.timeout(CALL_S):
            return await self.page.evaluate(script, list(values))

    async def call(self, endpoint: str, body: Any = None, key: str = "") -> dict[str, float]:
        """Start a bot and connect to it; return the milliseconds until it was ready, and heard."""
        times: dict[str, float] = await self.do(
            "([endpoint, body, key]) => person.call(endpoint, body, key)", endpoint, body, key
        )
        return times

    async def attempt(self, endpoint: str, body: Any = None, key: str = "") -> str:
        """Try to call; return the error that the client gives its page."""
        return str(
            await self.do(
                "([endpoint, body, key]) => person.attempt(endpoint, body, key)",
                endpoint,
                body,
                key,
            )
        )

    async def hears_more(self) -> None:
        """Wait until the bot is heard from now on."""
        await self.do("async () => person.hear(await person.energy())")

    async def hears_the_end(self) -> None:
        """Wait until the bot has stopped to speak."""
        energy = -1.0
        while (newest := float(await self.do("() => person.energy()"))) != energy:
            energy = newest
            await asyncio.sleep(SILENCE_S)

    async def hears_again(self, request: str) -> None:
        """Ask the bot to speak, with the function `request`, until it is heard on the newest connection.

        A message that is sent while the connection changes is lost.
        """
        heard = asyncio.ensure_future(self.do("() => person.hear(0)"))
        while not heard.done():
            await self.do(request)
            await asyncio.wait({heard}, timeout=REPEAT_S)
        await heard

    async def seen(self, name: str) -> Any:
        """Return what the page has collected: states, messages, errors, answers or botReady."""
        return await self.do("([name]) => person[name]", name)

    async def session_id(self) -> str:
        """Return the session id of the newest answer of `/start`."""
        return str(await self.do("() => person.answers.at(-1).sessionId"))


@dataclass
class ClientPages:
    """A site of a user's, and the browser that visits it."""

    browser: Browser
    origin: str

    async def enter(self, transport: str) -> Person:
        """Open the page in a new profile, with a client over ``webrtc`` or ``websocket``."""
        context = await self.browser.new_context(permissions=["microphone"])
        person = Person(await context.new_page())
        person.page.on("console", lambda line: person.console.append(line.text))
        person.page.on("pageerror", lambda error: person.console.append(str(error)))
        await self.visit(person, transport)
        return person

    async def visit(self, person: Person, transport: str) -> None:
        """Open the page, or load it again."""
        await person.page.goto(self.origin)
        await person.do("([transport]) => enter(transport)", transport)


@contextlib.asynccontextmanager
async def serve_page() -> AsyncIterator[str]:
    """Serve the page on an origin of its own for a block; return the origin."""

    async def page(_request: Request) -> HTMLResponse:
        return HTMLResponse(HTML)

    async def script(_request: Request) -> FileResponse:
        return FileResponse(BUNDLE)

    site = Starlette(routes=[Route("/", page), Route("/page.js", script)])
    async with served(site) as url:
        yield url
