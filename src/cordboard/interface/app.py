"""The interface's application: its resources, its middleware, its pages."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.interface import api, browser_security, pages
from cordboard.interface.browser_log import BrowserLog, BrowserLogLimits
from cordboard.interface.gateway import GatewayProxy
from cordboard.interface.identity import IdentityMiddleware, identity_of
from cordboard.interface.login import LoginCookies, Person
from cordboard.interface.origin import Origin, public
from cordboard.interface.request_limits import RequestLimits
from cordboard.interface.services import InterfaceServices
from cordboard.interface.session_owners import SessionOwners
from cordboard.settings import Settings
from cordboard.web import SessionMiddleware, health, problems
from cordboard.web.body_limit import BodyLimitMiddleware
from cordboard.web.host_check import LocalHostsMiddleware
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.proxies import ForwardedMiddleware, TrustedProxies
from cordboard.web.session_middleware import SILENT_PATHS

_ANOTHER_HOST: Final = (
    "Open it as http://localhost or http://127.0.0.1 with its port; behind a proxy or a tunnel, name "
    "the host in CORDBOARD_INTERFACE_HOSTS."
)

log = get_logger("interface")


def create_app(settings: Settings, *, local: bool = True) -> FastAPI:
    """Return the interface.

    Args:
        settings: Where the gateway is, and the secrets.
        local: Whether it listens on loopback, and so answers to names of this machine alone.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Each open page keeps a stream of events: a bound on connections would be one on calls.
        async with open_connections(settings.tls_ca, limit=0) as connections:
            app.state.services = _services(settings, connections, app.state.request_limits)
            yield

    app = FastAPI(
        title="Cordboard",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # it would repeat the Host header, which anybody can choose
    )
    app.state.origin = public(settings.interface_url)
    app.state.login = LoginCookies(_session_secrets(settings))
    app.state.identity = identity_of(settings, app.state.login, app.state.origin)
    app.state.request_limits = RequestLimits(settings)
    app.include_router(pages.router)
    app.include_router(api.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    health.add_health_routes(app, _ready)
    problems.add_problem_handlers(app)
    _tell_people_in_pages(app)
    _add_middleware(app, settings, local=local)
    return app


def _services(
    settings: Settings, connections: aiohttp.ClientSession, limits: RequestLimits
) -> InterfaceServices:
    gateway = GatewayProxy(
        HttpClient(connections), settings.gateway_url, lambda: settings.control_secrets
    )
    owners = SessionOwners(gateway.record, settings.record_kept_s)
    return InterfaceServices(
        gateway=gateway,
        owners=owners,
        browser_log=BrowserLog(owners),
        browser_log_limits=BrowserLogLimits(settings),
        request_limits=limits,
        max_duration_s=settings.interface_max_duration_s,
    )


def _add_middleware(app: FastAPI, settings: Settings, *, local: bool) -> None:
    """Add from the innermost to the outermost."""
    origin: Origin | None = app.state.origin
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(
        browser_security.MetricsGuard,
        secrets=lambda: settings.control_secrets,
        required=bool(settings.control_secrets) or not local,
    )
    app.add_middleware(browser_security.SameOriginMiddleware, origin=origin)
    hosts = (*settings.interface_hosts, *([origin.host] if origin else []))
    if local:
        app.add_middleware(LocalHostsMiddleware, more=hosts, hint=_ANOTHER_HOST)
    elif origin is not None:
        app.add_middleware(browser_security.PublicHostsMiddleware, hosts=hosts)
    app.add_middleware(SessionMiddleware, silent_paths=_silent_paths())

    async def may_bind(session_id: str, person: Person) -> bool:
        owners: SessionOwners = app.state.services.owners
        return await owners.may_speak(session_id, person) is not None

    app.add_middleware(IdentityMiddleware, identity=app.state.identity, may_bind=may_bind)
    app.add_middleware(ForwardedMiddleware, proxies=TrustedProxies(settings.trusted_proxies))
    app.add_middleware(
        browser_security.SecurityHeadersMiddleware, only_tls=origin is not None and origin.secure
    )


async def stop(app: FastAPI) -> None:
    """End the streams of events: an open page must not hold up the end of the server."""
    app.state.services.stopping.set()


async def _ready() -> None:
    """Be ready as soon as we serve.

    Without a gateway a person is better off with our page, which says so, than with the bare error
    of a load balancer that has found nobody ready.
    """


def _session_secrets(settings: Settings) -> Callable[[], tuple[str, ...]]:
    """Return a function that gives the secrets of the logins, at least one: the first one signs.

    This function decides once whether there is a secret.
    """
    if settings.session_secret:
        first = settings.session_secrets
        return lambda: settings.session_secrets or first
    log.warning("CORDBOARD_SESSION_SECRET is not set: logins end when this process does")
    own = (secrets.token_urlsafe(32),)
    return lambda: own


def _silent_paths() -> frozenset[str]:
    """A page's dozen files, and batches of log lines, are worth no access line each."""
    static = {f"/static/{file.name}" for file in pages.STATIC.iterdir()}
    return SILENT_PATHS | static | {"/api/logs", "/favicon.ico"}


def _tell_people_in_pages(app: FastAPI) -> None:
    """Answer who looks at a page with a page, and programs with problem+json as everywhere."""
    for kind in (CordboardError, RequestValidationError, HTTPException, Exception):
        as_json: Any = app.exception_handlers[kind]

        async def told(request: Request, error: Exception, as_json: Any = as_json) -> Response:
            answer: Response = await as_json(request, error)
            if request.scope["path"].startswith("/api/") or not _wants_page(request):
                return answer
            message, hint = _words(error)
            page = pages.error_page(answer.status_code, message, hint)
            if "Retry-After" in answer.headers:
                page.headers["Retry-After"] = answer.headers["Retry-After"]
            return page

        app.add_exception_handler(kind, told)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _words(error: Exception) -> tuple[str, str]:
    if isinstance(error, CordboardError):
        return error.message, error.hint
    if isinstance(error, HTTPException):
        return "There is nothing at this address.", "Go to the first page."
    if isinstance(error, RequestValidationError):
        return "What was sent does not fit.", "Go back and try again."
    return "Something went wrong on our side.", "Try again in a moment; the log says what it was."
