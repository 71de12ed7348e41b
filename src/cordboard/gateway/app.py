"""The gateway's application: its resources, its middleware, its pages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI

from cordboard import __version__
from cordboard.gateway.hub import DRAIN_S, Hub
from cordboard.gateway.limits import Bounds
from cordboard.gateway.relay import Relay
from cordboard.gateway.routes import router
from cordboard.gateway.streams import Streams
from cordboard.settings import Settings
from cordboard.store import Agreement, Store
from cordboard.web import agreement, guard, health, problems, serve
from cordboard.web.runners import RunnerClient, runner_session

GRACE_S: Final = round(DRAIN_S) + 2  # of requests under way; a leave is confirmed within it

_DESCRIPTION = """\
Accepts joins, and tells of sessions. Every accepted join ends in exactly one state.

Authenticate with `Authorization: Bearer SECRET` or `X-Bot-Secret: SECRET`.
Errors are `application/problem+json` (RFC 9457).
"""


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes work with."""

    settings: Settings
    store: Store
    hub: Hub
    relay: Relay
    agreed: Agreement
    bounds: Bounds
    streams: Streams


def create_app(settings: Settings, store: Store, *, local: bool = True) -> FastAPI:
    """Return the gateway over a store, which it closes when it stops.

    Args:
        settings: The secrets and bounds.
        store: Where the sessions are.
        local: Whether it listens on loopback.
    """
    agreed = agreement.of(store, "gateway")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with store, agreed, runner_session(settings.tls_ca) as client:
            hub = Hub(store)
            relay = Relay(RunnerClient(client, lambda: settings.control_secrets))
            bounds, streams = Bounds(settings, store), Streams(settings)
            app.state.services = Services(settings, store, hub, relay, agreed, bounds, streams)
            listening = asyncio.create_task(hub.run(), name="hub")
            yield
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    app = FastAPI(
        title="Cordboard gateway",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would repeat whatever Host was sent
        docs_url=None,  # FastAPI's pages load their scripts from another site
        redoc_url=None,
    )
    app.include_router(router)

    async def ready() -> None:
        agreed.check()
        await store.check_writable()

    health.install(app, ready)
    problems.install(app)
    guard.protect(app, settings, local=local)
    return app


def drain(app: FastAPI) -> serve.Drain:
    """Return what lets a gateway's requests finish: streams end, and waits become short."""

    async def begin() -> None:
        found: Services | None = getattr(app.state, "services", None)
        if found is not None:
            found.hub.drain()

    return begin
