"""The edge's application: its resources, its middleware, its routes."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI

from cordboard import __version__
from cordboard.edge.rooms import webhooks
from cordboard.edge.services import EdgeServices
from cordboard.edge.sessions import EdgeSessions
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings
from cordboard.web import SessionMiddleware, health, problems
from cordboard.web.body_limit import BodyLimitMiddleware
from cordboard.web.gateway_proxy import GatewayProxy
from cordboard.web.host_check import LocalHostsMiddleware
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.protection import MetricsSecretMiddleware
from cordboard.web.proxies import ForwardedMiddleware, TrustedProxies

# Pipecat Cloud accepts bodies of this size at /start.
BODY_MAX_BYTES: Final = 1024 * 1024


def create_app(settings: Settings, *, local: bool = True) -> FastAPI:
    """Return the edge.

    Args:
        settings: The gateway's URL, the secrets and the limits.
        local: Whether the server listens on loopback.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Each call keeps a stream, so a limit on connections would be a limit on calls.
        async with open_connections(settings.tls_ca, limit=0) as connections:
            gateway = GatewayProxy(
                HttpClient(connections),
                settings.gateway_url,
                lambda: settings.control_secrets,
                component="edge",
            )
            app.state.services = EdgeServices(
                settings=settings,
                local=local,
                gateway=gateway,
                sessions=EdgeSessions(gateway),
                tokens=StreamTokens(lambda: settings.control_secrets),
                connections=connections,
            )
            yield

    app = FastAPI(
        title="Cordboard edge",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from another site
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the Host header, which anybody can choose
    )
    app.include_router(webhooks.router)
    health.add_health_routes(app, _check_ready)
    problems.add_problem_handlers(app)
    _add_middleware(app, settings, local=local)
    return app


def _add_middleware(app: FastAPI, settings: Settings, *, local: bool) -> None:
    """Add the middleware, from the innermost to the outermost."""
    app.add_middleware(BodyLimitMiddleware, limit_bytes=BODY_MAX_BYTES)
    app.add_middleware(
        MetricsSecretMiddleware,
        secrets=lambda: settings.control_secrets,
        required=bool(settings.control_secrets) or not local,
    )
    if local:
        app.add_middleware(LocalHostsMiddleware, more=_local_hosts(settings))
    # Clients reach the edge directly, so nothing that a header claims of a user is trusted.
    app.add_middleware(SessionMiddleware, trust_identity=False)
    app.add_middleware(ForwardedMiddleware, proxies=TrustedProxies(settings.trusted_proxies))


def _local_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the host names that an edge on loopback accepts: a tunnel forwards those of ``public_url``."""
    public_host = urlsplit(settings.public_url or "").hostname
    return (*settings.local_hosts, *([public_host] if public_host else []))


async def stop(app: FastAPI) -> None:
    """Let no new stream of `app` begin."""
    services: EdgeServices | None = getattr(app.state, "services", None)
    if services is not None:  # None if the signal came before the application had started
        services.stopping.set()


async def _check_ready() -> None:
    """Be ready as soon as the server serves: each door answers for itself."""
