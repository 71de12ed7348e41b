"""The gateway's application: its resources, its middleware, its routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI

from cordboard import __version__
from cordboard.gateway import suspicions
from cordboard.gateway.hub import DRAIN_S, Hub
from cordboard.gateway.refusals import add_refusals
from cordboard.gateway.relay import Relay
from cordboard.gateway.routes import router
from cordboard.gateway.services import LEAVE_TIMEOUT_S, GatewayServices
from cordboard.gateway.session_events import StreamCounter
from cordboard.gateway.session_limits import SessionLimits
from cordboard.settings import Settings
from cordboard.store import SessionStore, SharedSettings
from cordboard.web import health, problems, protection, settings_check
from cordboard.web.api_page import add_api_page
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient

GRACE_S: Final = round(DRAIN_S) + 2
"""How long open requests may take after a signal. It exceeds the drain, so that a leave can complete."""

BODY_MAX_BYTES: Final = 1_024_000
"""The size of a request body. Pipecat's clients send up to 1 MB for the bot, and an edge adds to it; a runner
accepts 1 MiB, which leaves room for what gateway and operator add."""

_DESCRIPTION = """\
Accepts joins, and reports on sessions. Every accepted join ends in exactly one final state.

Authenticate with `Authorization: Bearer SECRET` or `X-Bot-Secret: SECRET`.
Errors are `application/problem+json` (RFC 9457).
"""


def create_app(
    settings: Settings,
    store: SessionStore,
    *,
    local: bool = True,
    leave_timeout_s: float = LEAVE_TIMEOUT_S,
) -> FastAPI:
    """Return the gateway over a session store, which it closes when it stops.

    Args:
        settings: The secrets and limits.
        store: The session store.
        local: Whether the server listens on loopback.
        leave_timeout_s: How long a leave may take, in seconds.
    """
    shared_settings = settings_check.shared_settings_of(store, "gateway")
    app = FastAPI(
        title="Cordboard gateway",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=_GatewayLifespan(settings, store, shared_settings, leave_timeout_s),
        redirect_slashes=False,  # a redirect would repeat the Host header, which anybody can choose
        docs_url=None,  # FastAPI's pages load their scripts from another site: see web.api_page
        redoc_url=None,
    )
    app.include_router(router)
    app.include_router(suspicions.router)

    async def check_ready() -> None:
        shared_settings.check()
        await store.check_writable()

    health.add_health_routes(app, check_ready)
    add_api_page(app)
    problems.add_problem_handlers(app)
    add_refusals(app)
    protection.add_protection(app, settings, local=local, body_max_bytes=BODY_MAX_BYTES)
    return app


@dataclass(frozen=True, slots=True)
class _GatewayLifespan:
    """The resources of the gateway, from its start to its stop."""

    settings: Settings
    store: SessionStore
    shared_settings: SharedSettings
    leave_timeout_s: float

    @contextlib.asynccontextmanager
    async def __call__(self, app: FastAPI) -> AsyncIterator[None]:
        settings, store = self.settings, self.store
        async with store, self.shared_settings, open_connections(settings.tls_ca) as connections:
            hub = Hub(store)
            runners = RunnerClient(HttpClient(connections), lambda: settings.control_secrets)
            app.state.services = GatewayServices(
                settings=settings,
                store=store,
                hub=hub,
                relay=Relay(runners),
                shared_settings=self.shared_settings,
                session_limits=SessionLimits(settings, store),
                streams=StreamCounter(settings),
                leave_timeout_s=self.leave_timeout_s,
            )
            listening = asyncio.create_task(hub.run(), name="hub")
            yield
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def drain(app: FastAPI) -> None:
    """Let the requests of `app` finish: end the event streams and limit how long requests wait."""
    services: GatewayServices | None = getattr(app.state, "services", None)
    if services is not None:  # None if the signal came before the application had started
        services.hub.drain()
