"""The interface's application: its resources, its middleware, its routes."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from cordboard.contract.extras import require
from cordboard.emit import get_logger
from cordboard.interface import (
    api,
    browser_security,
    error_pages,
    health_page,
    pages,
    rendering,
    rooms_page,
    session_page,
    session_stream,
    sessions_page,
)
from cordboard.interface.browser_log import BrowserLog, BrowserLogLimits
from cordboard.interface.identity import IdentityMiddleware, identity_of, login_kind
from cordboard.interface.local_user import LocalOperators
from cordboard.interface.log_readings import LogReadings
from cordboard.interface.log_sources import LogEnvironment, check_environment
from cordboard.interface.login import LoginCookies
from cordboard.interface.own_machine import OwnMachineMiddleware
from cordboard.interface.people import Person, Roles
from cordboard.interface.request_limits import RequestLimits
from cordboard.interface.services import InterfaceServices
from cordboard.interface.session_owners import SessionOwners
from cordboard.interface.source_checks import SourceChecks
from cordboard.settings import Settings
from cordboard.web import SessionMiddleware, health, problems
from cordboard.web.body_limit import BodyLimitMiddleware
from cordboard.web.gateway_proxy import GatewayProxy
from cordboard.web.host_check import LocalHostsMiddleware
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.origin import Origin, public_origin
from cordboard.web.protection import MetricsSecretMiddleware
from cordboard.web.proxies import ForwardedMiddleware, TrustedProxies
from cordboard.web.rate_limits import Sampler
from cordboard.web.root_path import RootPathMiddleware, refuse_own_paths
from cordboard.web.session_middleware import SILENT_PATHS

_LOCAL_HOSTS_HINT: Final = (
    "Open it as http://localhost or http://127.0.0.1 with its port. Behind a proxy or a tunnel, add the "
    "host name to CORDBOARD_INTERFACE_HOSTS."
)

OWN_PATHS: Final = frozenset(
    {
        "api",
        "favicon.ico",
        "health",
        "healthz",
        "login",
        "logout",
        "metrics",
        "readyz",
        "rooms",
        "sessions",
        "static",
    }
)
"""The first segments of the interface's paths."""

_ROUTES: Final = (
    pages,
    rooms_page,
    sessions_page,
    session_page,
    session_stream,
    health_page,
    api,
)

log = get_logger("interface")


def create_app(settings: Settings, *, local: bool = True) -> FastAPI:
    """Return the interface.

    Args:
        settings: The gateway's URL, the secrets and the limits.
        local: Whether the server listens on loopback; then it accepts host names of this machine only.

    Raises:
        SettingsError: A setting is invalid.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Each open page keeps an event stream, so a limit on connections would be a limit on calls.
        async with (
            open_connections(settings.tls_ca, limit=0) as connections,
            opened_oidc(settings) as app.state.oidc,
        ):
            services = _services(settings, connections, app.state.request_limits)
            app.state.services = services
            try:
                yield
            finally:
                await services.source_checks.close()

    app = FastAPI(
        title="Cordboard",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would repeat the Host header, which anybody can choose
    )
    _set_state(app, settings, local=local)
    for module in _ROUTES:
        app.include_router(module.router)
    # In a checkout, static/client is a link to the sources of the npm package.
    files = rendering.PageFiles(directory=rendering.STATIC, follow_symlink=True)
    app.mount("/static", GZipMiddleware(files), name="static")
    health.add_health_routes(app, _check_ready)
    check_environment(LogEnvironment(settings.interface_logs or "", settings))
    refuse_own_paths(settings.root_path, OWN_PATHS, "root_path")
    problems.add_problem_handlers(app)
    error_pages.add_error_pages(app)
    _add_middleware(app, settings, local=local)
    return app


def _set_state(app: FastAPI, settings: Settings, *, local: bool) -> None:
    """Set what the routes read of the application: its address, its logins and its limits."""
    app.state.origin = public_origin(settings.interface_url)
    app.state.root_path = settings.root_path
    app.state.settings = settings
    session_secrets = _session_secrets(settings)
    app.state.login = _login_cookies(settings, session_secrets)
    app.state.oidc = None
    identity = identity_of(settings, app.state.login, app.state.origin)
    app.state.identity = (
        LocalOperators(identity) if local and _has_local_operator(settings) else identity
    )
    app.state.request_limits = RequestLimits(settings)
    if login_kind(settings) == "oidc":
        _add_oidc(app, session_secrets)


def _has_local_operator(settings: Settings) -> bool:
    # Where people sign in for real, or open a public address, a proxy on this machine sends their requests.
    is_private = settings.interface_url is None and login_kind(settings) == "name"
    return bool(settings.interface_local_operator) and is_private


def _login_cookies(
    settings: Settings, session_secrets: Callable[[], tuple[str, ...]]
) -> LoginCookies:
    kind = login_kind(settings)
    if kind != "oidc":
        return LoginCookies(session_secrets, kind=kind, root_path=settings.root_path)
    require("oidc", "interface_login: oidc")
    from cordboard.interface.oidc.login import checked_provider, login_limits

    issuer, client_id = checked_provider(settings)
    return LoginCookies(
        session_secrets,
        # The same user id is another person at another provider.
        kind=f"oidc {issuer} {client_id}",
        limits=login_limits(settings),
        root_path=settings.root_path,
    )


def _add_oidc(app: FastAPI, session_secrets: Callable[[], tuple[str, ...]]) -> None:
    from cordboard.interface.oidc.attempts import Attempts
    from cordboard.interface.oidc.routes import router

    app.state.attempts = Attempts(session_secrets)
    app.state.sign_in_refusals = Sampler()
    app.include_router(router)


@contextlib.asynccontextmanager
async def opened_oidc(settings: Settings) -> AsyncIterator[Any]:
    """Yield the login with OpenID Connect and its connections; None if people sign in in another way.

    Args:
        settings: The provider.
    """
    if login_kind(settings) != "oidc":
        yield None
        return
    from cordboard.interface.oidc.login import OidcLogin

    # Connections of its own: other authorities, and a slow provider takes none from calls.
    async with open_connections(settings.oidc_ca, setting="CORDBOARD_OIDC_CA") as connections:
        yield OidcLogin(settings, Roles(settings), connections)


def _services(
    settings: Settings, connections: aiohttp.ClientSession, request_limits: RequestLimits
) -> InterfaceServices:
    gateway = GatewayProxy(
        HttpClient(connections), settings.gateway_url, lambda: settings.control_secrets
    )
    log_environment = LogEnvironment(settings.interface_logs or "", settings)
    owners = SessionOwners(gateway.record, settings.record_kept_s)
    log_readings = LogReadings(log_environment, settings.interface_log_readings)
    return InterfaceServices(
        gateway=gateway,
        owners=owners,
        browser_log=BrowserLog(owners),
        browser_log_limits=BrowserLogLimits(settings),
        log_readings=log_readings,
        source_checks=SourceChecks(log_readings),
        request_limits=request_limits,
        max_duration_s=settings.interface_max_duration_s,
    )


def _add_middleware(app: FastAPI, settings: Settings, *, local: bool) -> None:
    """Add the middleware, from the innermost to the outermost."""
    origin: Origin | None = app.state.origin
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(
        MetricsSecretMiddleware,
        settings=settings,
        required=bool(settings.control_secrets) or not local,
    )
    app.add_middleware(browser_security.SameOriginMiddleware, origin=origin)
    hosts = (*settings.interface_hosts, *([origin.host] if origin else []))
    if local:
        app.add_middleware(LocalHostsMiddleware, more=hosts, hint=_LOCAL_HOSTS_HINT)
    elif origin is not None:
        app.add_middleware(browser_security.PublicHostsMiddleware, hosts=hosts)
    app.add_middleware(SessionMiddleware, silent_paths=_silent_paths())

    async def may_bind(session_id: str, person: Person) -> bool:
        # Read here, not outside: the services exist only after the application has started.
        owners: SessionOwners = app.state.services.owners
        return await owners.find_or_none(session_id, person) is not None

    # Outside the session middleware, which binds what is left of the headers.
    app.add_middleware(IdentityMiddleware, identity=app.state.identity, may_bind=may_bind)
    app.add_middleware(ForwardedMiddleware, proxies=TrustedProxies(settings.trusted_proxies))
    if not local and login_kind(settings) == "name":
        app.add_middleware(OwnMachineMiddleware)
    app.add_middleware(
        browser_security.SecurityHeadersMiddleware,
        only_tls=origin is not None and origin.is_secure,
    )
    app.add_middleware(RootPathMiddleware, root_path=settings.root_path)


async def stop(app: FastAPI) -> None:
    """End the event streams of `app`: an open page must not delay the stop of the server."""
    app.state.services.stopping.set()


async def _check_ready() -> None:
    """Be ready as soon as the server serves.

    Without a gateway a person is better off with our page, which says so, than with the bare error of a
    load balancer that found no ready server.
    """


def _session_secrets(settings: Settings) -> Callable[[], tuple[str, ...]]:
    """Return a function that returns the secrets of the login cookies, at least one.

    Whether a secret is set is decided once, at the start: a file that is emptied later must not replace
    the secret by a random one, which would end all logins.
    """
    if settings.session_secret:
        initial = settings.session_secrets
        return lambda: settings.session_secrets or initial
    log.warning("CORDBOARD_SESSION_SECRET is not set; logins end when this process stops")
    random_secret = (secrets.token_urlsafe(32),)
    return lambda: random_secret


def _silent_paths() -> frozenset[str]:
    # A page loads a dozen files and sends a batch of lines each second; access lines of these would hide
    # the others.
    return SILENT_PATHS | rendering.static_paths() | {"/api/logs", "/favicon.ico"}
