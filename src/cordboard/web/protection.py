"""The checks before every part's routes: the caller, the host name and the size of a request."""

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import EMPTY, bound_context
from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.settings import Settings
from cordboard.web.auth import (
    BODY_MAX_BYTES,
    OPEN_PATHS,
    BodyLimitMiddleware,
    ControlSecretMiddleware,
    Secrets,
    refuse,
)
from cordboard.web.proxies import ForwardedMiddleware, TrustedProxies
from cordboard.web.rate_limits import Sampler
from cordboard.web.session_middleware import SessionMiddleware

HINT: Final = (
    "Use http://localhost or http://127.0.0.1 with its port; behind a proxy or a tunnel, name the "
    "host in CORDBOARD_LOCAL_HOSTS."
)

log = get_logger("guard")


class UnknownHostError(CordboardError):
    """This server was asked under a name that is not its own."""

    status = 421
    code = "unknown_host"
    title = "Not this host"


class LocalHostsMiddleware:
    """Accepts, on loopback, only host names of this machine.

    A page of another site can have its own name resolve to 127.0.0.1 (DNS rebinding), and then be
    of the same origin as we are. The name that the browser asks for gives it away.

    Args:
        app: The application behind it.
        more: Further names, of a proxy or a tunnel that forwards its own name.
        hint: What to do about it.
    """

    def __init__(self, app: ASGIApp, more: Collection[str] = (), hint: str = HINT) -> None:
        self._app = app
        self._more = frozenset(name.lower() for name in more)
        self._hint = hint
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._known(scope):
            await self._app(scope, receive, send)
            return
        error = UnknownHostError(
            "This server listens on its own machine only, and was asked under another name.",
            hint=self._hint,
        )
        held = self._sampler.admit()
        if held is not None:
            with bound_context(EMPTY):
                log.warning(
                    "A request for an unknown host was refused", path=scope["path"], not_told=held
                )
        await refuse(error, scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        try:
            host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
        except ValueError:  # "[", for one
            return False
        if host in self._more or host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def add_protection(
    app: FastAPI,
    settings: Settings,
    *,
    local: bool,
    secrets: Secrets | None = None,
    hosts: Collection[str] = (),
    body_max_bytes: int = BODY_MAX_BYTES,
) -> None:
    """Add the middleware that every part except the interface needs, the innermost first.

    Args:
        app: The application.
        settings: The secrets and bounds.
        local: Whether it listens on loopback, and so answers to names of this machine alone.
        secrets: Gives what lets a caller in; by default the control secrets.
        hosts: Names under which it answers on loopback, beside those of the settings.
        body_max_bytes: The most that is read of a body.
    """
    required = bool(settings.control_secrets) or not local
    app.add_middleware(BodyLimitMiddleware, limit_bytes=body_max_bytes)
    app.add_middleware(
        ControlSecretMiddleware,
        secrets=secrets or (lambda: settings.control_secrets),
        required=required,
        wrong_per_minute=settings.wrong_secrets_per_minute,
    )
    if local:
        app.add_middleware(LocalHostsMiddleware, more=(*settings.local_hosts, *hosts))
    app.add_middleware(SessionMiddleware, trust_identity=required)
    app.add_middleware(ForwardedMiddleware, proxies=TrustedProxies(settings.trusted_proxies))
