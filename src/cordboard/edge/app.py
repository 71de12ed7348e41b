"""The edge's application: its resources, its middleware, its routes."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from cordboard import __version__
from cordboard.contract.errors import NotReadyError
from cordboard.edge import bot_routes, client_page, offers, session_routes, start
from cordboard.edge.access import EdgeAccess
from cordboard.edge.middleware import BotPathMiddleware, CountingMiddleware, UnboundMiddleware
from cordboard.edge.phone import routes as phone_routes
from cordboard.edge.phone.carriers import CARRIERS, Carrier
from cordboard.edge.phone.desk import check_settings
from cordboard.edge.phone.handshakes import handshake_proof
from cordboard.edge.phone.services import PhoneServices
from cordboard.edge.public_address import is_private
from cordboard.edge.rooms import webhooks
from cordboard.edge.services import DEFAULT_WAITS, EdgeServices, Waits
from cordboard.edge.sessions import EdgeSessions
from cordboard.edge.streams import routes as stream_routes
from cordboard.edge.streams.bot_connection import BotConnector
from cordboard.edge.streams.entrance import StreamEntrance, StreamPolicy
from cordboard.edge.streams.limits import DEFAULT_STREAM_LIMITS, StreamLimits
from cordboard.edge.streams.relay import StreamRelay
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings
from cordboard.web import SessionMiddleware, health, problems
from cordboard.web.body_limit import BodyLimitMiddleware
from cordboard.web.gateway_proxy import GatewayProxy
from cordboard.web.host_check import LocalHostsMiddleware
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.origin import public_address
from cordboard.web.protection import MetricsSecretMiddleware
from cordboard.web.proxies import ForwardedMiddleware, TrustedProxies
from cordboard.web.root_path import RootPathMiddleware, refuse_own_paths

BODY_MAX_BYTES: Final = 1_000_000
"""The largest body: Pipecat Cloud accepts 1 MB at /start. Gateway and runner accept more, for what the edge
and the gateway add."""

OWN_PATHS: Final = frozenset(
    {"api", "client", "daily-dialin-webhook", "healthz", "livekit", "metrics", "openapi.json"}
    | {"phone", "readyz", "sessions", "start", "status", "v1", "ws", "ws-client"}
)
"""The first segments of the edge's paths."""


def create_app(
    settings: Settings,
    *,
    local: bool = True,
    stream_limits: StreamLimits = DEFAULT_STREAM_LIMITS,
    carriers: Mapping[str, Carrier] = CARRIERS,
    waits: Waits = DEFAULT_WAITS,
) -> FastAPI:
    """Return the edge.

    Args:
        settings: The gateway's URL, the secrets and the limits.
        local: Whether the server listens on loopback.
        stream_limits: The limits of streams.
        carriers: The tables of telephone carriers, by name.
        waits: How long requests of clients wait for a session.

    Raises:
        SettingsError: ``[phone]`` is invalid, or a key or an origin is malformed.
    """
    check_settings(settings, carriers)
    access = EdgeAccess(settings, local=local)
    _, root_path = public_address(settings.public_url, "public_url")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Each call keeps a stream, so a limit on connections would be a limit on calls.
        async with open_connections(settings.tls_ca, limit=0) as connections:
            services = _make_services(
                settings, connections, access, stream_limits, carriers, local=local
            )
            app.state.services = replace(services, waits=waits)
            yield
            await services.phone.calls.close()

    app = FastAPI(
        title="Cordboard edge",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from another site
        redoc_url=None,
        servers=[{"url": root_path}] if root_path else None,
        redirect_slashes=False,  # a redirect would repeat the Host header, which anybody can choose
    )
    app.state.access = access
    app.state.root_path = root_path
    _add_routes(app)
    refuse_own_paths(root_path, OWN_PATHS, "public_url")
    problems.add_problem_handlers(app)
    _add_middleware(app, settings, local=local)
    return app


def _add_routes(app: FastAPI) -> None:
    health.add_health_routes(app, functools.partial(_check_ready, app))
    # The bot's own routes are last, because the edge's calls of a session have precedence.
    for part in (client_page, start, offers, session_routes, webhooks, stream_routes, phone_routes):
        app.include_router(part.router)
    app.include_router(bot_routes.router)
    client_page.add_client_page(app)


def _make_services(
    settings: Settings,
    connections: aiohttp.ClientSession,
    access: EdgeAccess,
    limits: StreamLimits,
    carriers: Mapping[str, Carrier],
    *,
    local: bool,
) -> EdgeServices:
    """Return what the routes share."""

    def secrets() -> tuple[str, ...]:
        return settings.control_secrets

    gateway = GatewayProxy(HttpClient(connections), settings.gateway_url, secrets, component="edge")
    sessions = EdgeSessions(gateway, settings.cell)
    tokens = StreamTokens(secrets)
    streams = StreamRelay(sessions, BotConnector(connections, sessions, secrets, limits), limits)
    stopping = asyncio.Event()
    phone = PhoneServices.make(settings, sessions, tokens, connections, carriers)
    policy = StreamPolicy(
        is_open=is_private(settings, local=local) or settings.open_websockets,
        check_origin=access.origins.check,
        signed_by_carrier=handshake_proof(phone.desk, time.time),
    )
    return EdgeServices(
        settings=settings,
        local=local,
        gateway=gateway,
        sessions=sessions,
        tokens=tokens,
        streams=streams,
        stream_entrance=StreamEntrance(streams, sessions, tokens, policy, stopping),
        phone=phone,
        connections=connections,
        stopping=stopping,
    )


def _add_middleware(app: FastAPI, settings: Settings, *, local: bool) -> None:
    """Add the middleware, from the innermost to the outermost."""
    access: EdgeAccess = app.state.access
    app.add_middleware(BodyLimitMiddleware, limit_bytes=BODY_MAX_BYTES, limit_of=_body_limit)
    app.add_middleware(
        MetricsSecretMiddleware,
        settings=settings,
        required=bool(settings.control_secrets) or not is_private(settings, local=local),
    )
    if local:
        app.add_middleware(LocalHostsMiddleware, more=_local_hosts(settings))
    # Outside of all that refuses, so that a page can read why. Preflights carry no proof.
    app.add_middleware(CORSMiddleware, **access.origins.cors_options())
    app.add_middleware(CountingMiddleware)
    app.add_middleware(BotPathMiddleware)
    app.add_middleware(UnboundMiddleware)
    # Clients reach the edge directly, so nothing that a header claims of a user is trusted.
    app.add_middleware(
        SessionMiddleware, trust_identity=False, secret_prefixes=stream_routes.TOKEN_PREFIXES
    )
    app.add_middleware(ForwardedMiddleware, proxies=TrustedProxies(settings.trusted_proxies))
    app.add_middleware(RootPathMiddleware, root_path=app.state.root_path)


def _body_limit(scope: Scope) -> int:
    """Return the size of the largest body: uploads of files for a bot are larger than others."""
    path: str = scope["path"]
    is_upload = path.startswith("/sessions/") and path.endswith("/files")
    return bot_routes.FILES_MAX_BYTES if is_upload else BODY_MAX_BYTES


def _local_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the host names that an edge on loopback accepts: a tunnel forwards those of ``public_url``."""
    public_host = urlsplit(settings.public_url or "").hostname
    return (*settings.local_hosts, *([public_host] if public_host else []))


async def stop(app: FastAPI) -> None:
    """Let no new stream of `app` begin, and wait for the end of the others; after the grace, close them."""
    services: EdgeServices | None = getattr(app.state, "services", None)
    if services is not None:  # None if the signal came before the application had started
        services.stopping.set()
        await services.streams.drain(services.settings.stream_grace_s)


async def _check_ready(app: FastAPI) -> None:
    """Be ready until `app` stops. Each request has its own checks of other services.

    Raises:
        NotReadyError: It stops, so a load balancer should send nothing more.
    """
    services: EdgeServices | None = getattr(app.state, "services", None)
    if services is not None and services.stopping.is_set():
        raise NotReadyError("This edge stops.", retry_after_s=1)
