"""The gateway's application: its resources, its middleware, its pages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI

from cordboard import __version__
from cordboard.gateway.hub import DRAIN_S, Hub
from cordboard.gateway.relay import Relay
from cordboard.gateway.routes import router
from cordboard.gateway.services import GatewayServices
from cordboard.gateway.session_events import StreamCounter
from cordboard.gateway.session_limits import SessionLimits
from cordboard.settings import Settings
from cordboard.store import RedisStore
from cordboard.web import health, problems, protection, shared_settings
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient

GRACE_S: Final = round(DRAIN_S) + 2  # of requests under way; a leave is confirmed within it

_DESCRIPTION = """\
Accepts joins, and tells of sessions. Every accepted join ends in exactly one state.

Authenticate with `Authorization: Bearer SECRET` or `X-Bot-Secret: SECRET`.
Errors are `application/problem+json` (RFC 9457).
"""


def create_app(settings: Settings, store: RedisStore, *, local: bool = True) -> FastAPI:
    """Return the gateway over a store, which it closes when it stops.

    Args:
        settings: The secrets and bounds.
        store: Where the sessions are.
        local: Whether it listens on loopback.
    """
    agreement = shared_settings.agreement_of(store, "gateway")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with store, agreement, open_connections(settings.tls_ca) as connections:
            hub = Hub(store)
            relay = Relay(RunnerClient(HttpClient(connections), lambda: settings.control_secrets))
            app.state.services = GatewayServices(
                settings=settings,
                store=store,
                hub=hub,
                relay=relay,
                agreement=agreement,
                session_limits=SessionLimits(settings, store),
                streams=StreamCounter(settings),
            )
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
        agreement.check()
        await store.check_writable()

    health.add_health_routes(app, ready)
    problems.add_problem_handlers(app)
    protection.add_protection(app, settings, local=local)
    return app


async def drain(app: FastAPI) -> None:
    """Let the requests of `app` finish: end the event streams and limit how long requests wait."""
    services: GatewayServices | None = getattr(app.state, "services", None)
    if services is not None:  # None if the signal came before the application had started
        services.hub.drain()
