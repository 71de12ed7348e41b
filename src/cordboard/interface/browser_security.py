"""Security headers for browsers, and checks of the requests that browsers send.

Pure ASGI middleware, so that the headers and checks hold for every route and every file.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.web.auth import OPEN_PATHS
from cordboard.web.host_check import UnknownHostError
from cordboard.web.origin import Origin, host_of, parse_origin
from cordboard.web.problems import problem
from cordboard.web.rate_limits import Sampler

# Probes and Prometheus request these at the address of a pod. The metrics need the control secret.
_HOST_FREE_PATHS: Final = frozenset({*OPEN_PATHS, "/metrics"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Scripts and styles only from our own files, so that text from outside can never become code.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for older browsers, which do not know frame-ancestors
    # Not no-referrer: browsers would then send `Origin: null` from our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A year, as is usual. Without includeSubDomains, which would decide for other hosts of the domain.
_HSTS: Final = {"Strict-Transport-Security": "max-age=31536000"}

log = get_logger("guard")


class ForeignRequestError(CordboardError):
    """A page of another site sent this request."""

    status = 403
    code = "foreign_request"
    title = "Not from this site"


class SecurityHeadersMiddleware:
    """Adds the headers that isolate the pages from other sites.

    Args:
        app: The wrapped application.
        only_tls: Whether browsers must use TLS for this host (HSTS).
    """

    def __init__(self, app: ASGIApp, *, only_tls: bool = False) -> None:
        self._app = app
        self._headers = _HEADERS | (_HSTS if only_tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                # A page belongs to one person, so it is never stored. A file is stored, but browsers
                # ask by its ETag whether it has changed, so that a new release is used at once.
                is_file = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if is_file else "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class SameOriginMiddleware:
    """Accepts a request that changes something only from a page of this interface.

    A page of another site can make a browser send requests with our login cookie (CSRF). ``SameSite=Lax``
    stops most of them; this stops all of them, without a token in each form. Browsers state whose page
    sends a request in ``Sec-Fetch-Site``; older ones, and those without https, in ``Origin``. No script can
    change either. A request with neither comes from no known browser and is refused as well.

    Args:
        app: The wrapped application.
        origin: The public address, if one is set.
    """

    def __init__(self, app: ASGIApp, origin: Origin | None = None) -> None:
        self._app = app
        self._origin = origin
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_safe = scope["type"] != "http" or scope["method"] in _SAFE_METHODS
        if is_safe or _is_from_own_page(scope, self._origin):
            await self._app(scope, receive, send)
            return
        error = ForeignRequestError(
            "This request did not come from a page of this site.",
            hint="Open the site itself and try again there. A program must send its Origin.",
        )
        suppressed = self._sampler.admit()
        if suppressed is not None:
            log.warning(
                "A request from another site was refused",
                path=scope["path"],
                suppressed=suppressed,
            )
        await problem(error)(scope, receive, send)


def _is_from_own_page(scope: Scope, public: Origin | None) -> bool:
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = parse_origin(headers.get("origin", ""))
    if origin is None:
        return False
    if public is not None and host_of(scope) == public.host:
        return origin == public
    # The scheme is not compared: a proxy that ends TLS in front of this server changes it.
    return origin == parse_origin(f"{origin.scheme}://{headers.get('host', '')}")


class PublicHostsMiddleware:
    """Accepts, beyond loopback, only the host names in the settings.

    A page or a cache that reaches the interface under another name could store its responses there.

    Args:
        app: The wrapped application.
        hosts: The host names.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_exempt = scope["type"] != "http" or scope["path"] in _HOST_FREE_PATHS
        if is_exempt or host_of(scope) in self._hosts:
            await self._app(scope, receive, send)
            return
        error = UnknownHostError(
            "This site has another address.",
            hint="If you operate it, set the host in CORDBOARD_INTERFACE_URL, or an additional one in "
            "CORDBOARD_INTERFACE_HOSTS, and let the proxy forward the Host header.",
        )
        suppressed = self._sampler.admit()
        if suppressed is not None:
            log.warning(
                "A request for an unknown host was refused",
                path=scope["path"],
                suppressed=suppressed,
            )
        await problem(error)(scope, receive, send)
