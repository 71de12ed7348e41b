"""The middleware in front of the routes of every component except the interface."""

from collections.abc import Collection

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.settings import Settings
from cordboard.web.auth import METRICS_PATH, ControlSecretMiddleware, Secrets
from cordboard.web.body_limit import BODY_MAX_BYTES, BodyLimitMiddleware
from cordboard.web.host_check import LocalHostsMiddleware
from cordboard.web.proxies import ForwardedMiddleware, TrustedProxies
from cordboard.web.session_middleware import SessionMiddleware


def add_protection(
    app: FastAPI,
    settings: Settings,
    *,
    local: bool,
    secrets: Secrets | None = None,
    hosts: Collection[str] = (),
    body_max_bytes: int = BODY_MAX_BYTES,
) -> None:
    """Add the middleware, from the innermost to the outermost.

    Args:
        app: The application.
        settings: The secrets and limits.
        local: Whether the server listens on loopback; then it accepts host names of this machine only.
        secrets: Returns the secrets that authenticate callers; by default the control secrets.
        hosts: Host names that it accepts on loopback, in addition to those of the settings.
        body_max_bytes: The largest request body, in bytes.
    """
    required = bool(settings.control_secrets) or not local
    # Each middleware wraps those above it: the client's address is known first, the session second, so
    # that the access line of every refusal has both; the body is read only after the caller is known.
    app.add_middleware(BodyLimitMiddleware, limit_bytes=body_max_bytes)
    app.add_middleware(
        ControlSecretMiddleware,
        secrets=secrets or (lambda: settings.control_secrets),
        required=required,
        scrape_secrets=lambda: settings.scrape_secrets,
        wrong_per_minute=settings.wrong_secrets_per_minute,
    )
    if local:
        app.add_middleware(LocalHostsMiddleware, more=(*settings.local_hosts, *hosts))
    app.add_middleware(SessionMiddleware, trust_identity=required)
    app.add_middleware(ForwardedMiddleware, proxies=TrustedProxies(settings.trusted_proxies))


class MetricsSecretMiddleware:
    """Requires a secret for metrics, because everybody can reach a server for browsers.

    Args:
        app: The wrapped application.
        settings: The settings, with the control secret and the scrape secret.
        required: Whether a secret is needed, as decided at the start.
    """

    def __init__(self, app: ASGIApp, settings: Settings, *, required: bool) -> None:
        self._app = app
        self._protected = ControlSecretMiddleware(
            app,
            lambda: settings.control_secrets,
            required=required,
            scrape_secrets=lambda: settings.scrape_secrets,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # startswith: a path such as /metrics/ must not reach the route without the check.
        is_metrics = scope["type"] == "http" and scope["path"].startswith(METRICS_PATH)
        await (self._protected if is_metrics else self._app)(scope, receive, send)
