"""What every answer to a browser carries, and which requests of a browser are let in.

Pure ASGI, as all our middleware: what they bind and refuse holds for every route and every file.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.interface.origin import Origin, host_of, parse
from cordboard.web.auth import OPEN_PATHS, ControlSecretMiddleware, Secrets
from cordboard.web.host_check import UnknownHostError
from cordboard.web.problems import problem
from cordboard.web.rate_limits import Sampler

# Probes and Prometheus request these at a pod's address; metrics need the control secret.
_BY_ADDRESS: Final = frozenset({*OPEN_PATHS, "/metrics"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Scripts and styles from our own files alone: text that came from outside can never become code.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # what older browsers have instead of frame-ancestors
    # Not no-referrer: with that a browser sends `Origin: null` from our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A year, as is usual. Not includeSubDomains: that would decide for other hosts of the domain.
_ONLY_TLS: Final = {"Strict-Transport-Security": "max-age=31536000"}

log = get_logger("guard")


class ForeignRequestError(CordboardError):
    """Another site's page sent this request."""

    status = 403
    code = "foreign_request"
    title = "Not from this site"


class SecurityHeadersMiddleware:
    """Adds the headers that isolate a page from other sites.

    Args:
        app: The application behind it.
        only_tls: Whether browsers must use TLS for this host (HSTS).
    """

    def __init__(self, app: ASGIApp, *, only_tls: bool = False) -> None:
        self._app = app
        self._headers = _HEADERS | (_ONLY_TLS if only_tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                # Pages and answers are one person's; files are asked for again by their ETag.
                static = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class SameOriginMiddleware:
    """Accepts a request that changes something only if a page of this interface sent it.

    A browser sends the login's cookie with every request that a page of another site makes it
    send (CSRF). ``SameSite=Lax`` stops most of these; this stops all of them, without a token in each
    form: browsers say with ``Sec-Fetch-Site``, or before that existed and without https with
    ``Origin``, whose page asks, and no script can change either. A request without both is from
    no known browser, and is refused as well.

    Args:
        app: The application behind it.
        origin: The public address, if one is set.
    """

    def __init__(self, app: ASGIApp, origin: Origin | None = None) -> None:
        self._app = app
        self._origin = origin
        self._refused = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        safe = scope["type"] != "http" or scope["method"] in _SAFE_METHODS
        if safe or _is_ours(scope, self._origin):
            await self._app(scope, receive, send)
            return
        error = ForeignRequestError(
            "This request did not come from a page of this site.",
            hint="Open the site itself and try again there; a program must send its Origin.",
        )
        held = self._refused.admit()
        if held is not None:
            log.warning(
                "A request from another site was refused", path=scope["path"], not_told=held
            )
        await problem(error)(scope, receive, send)


def _is_ours(scope: Scope, public: Origin | None) -> bool:
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    said = parse(headers.get("origin", ""))
    if said is None:
        return False
    if public is not None and host_of(scope) == public.host:
        return said == public
    # The scheme is not compared: a proxy that ends TLS before us changes it.
    return said == parse(f"{said.scheme}://{headers.get('host', '')}")


class PublicHostsMiddleware:
    """Accepts, beyond loopback, only the host names that are set.

    A page or a cache that reached the interface by another name could store its answers under it.

    Args:
        app: The application behind it.
        hosts: The names.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._refused = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        known = scope["type"] != "http" or scope["path"] in _BY_ADDRESS
        if known or host_of(scope) in self._hosts:
            await self._app(scope, receive, send)
            return
        error = UnknownHostError(
            "This server has another name.",
            hint="For its operator: set the host in CORDBOARD_INTERFACE_URL, or a further one in "
            "CORDBOARD_INTERFACE_HOSTS; let the proxy hand the Host header on.",
        )
        held = self._refused.admit()
        if held is not None:
            log.warning(
                "A request for an unknown host was refused", path=scope["path"], not_told=held
            )
        await problem(error)(scope, receive, send)


class MetricsGuard:
    """Requires the control secret for metrics, because everybody can reach a server for browsers.

    Args:
        app: The application behind it.
        secrets: Gives the secrets as they are now.
        required: Whether a secret is needed, as decided at the start.
    """

    def __init__(self, app: ASGIApp, secrets: Secrets, *, required: bool) -> None:
        self._app = app
        self._guarded = ControlSecretMiddleware(app, secrets, required=required)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        metrics = scope["type"] == "http" and scope["path"].startswith("/metrics")
        await (self._guarded if metrics else self._app)(scope, receive, send)
