"""A check of the host name that a request asks for, on servers that listen on loopback."""

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import EMPTY, bound_context
from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.web.auth import OPEN_PATHS, refuse
from cordboard.web.rate_limits import Sampler
from cordboard.web.session_middleware import logged_path

HINT: Final = (
    "Use http://localhost or http://127.0.0.1 with the port. Behind a proxy or a tunnel, add the host "
    "name to CORDBOARD_LOCAL_HOSTS."
)

log = get_logger("guard")


class UnknownHostError(CordboardError):
    """The Host header of a request does not name this server."""

    status = 421
    code = "unknown_host"
    title = "Not this host"


class LocalHostsMiddleware:
    """Accepts, on loopback, only host names of this machine.

    A page of another site can let its own name resolve to 127.0.0.1 (DNS rebinding). To the browser
    this server then has the origin of that page, but the request still names the foreign host.

    Args:
        app: The wrapped application.
        more: Additional host names, of a proxy or a tunnel that forwards its own name.
        hint: What to do, for the error.
    """

    def __init__(self, app: ASGIApp, more: Collection[str] = (), hint: str = HINT) -> None:
        self._app = app
        self._more = frozenset(name.lower() for name in more)
        self._hint = hint
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # Health checks are exempt: probes send the address of the pod as the host.
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        error = UnknownHostError(
            "This server listens on loopback only and does not have the host name of this request.",
            hint=self._hint,
        )
        suppressed = self._sampler.admit()
        if suppressed is not None:
            with bound_context(EMPTY):
                log.warning(
                    "A request for an unknown host was refused",
                    path=logged_path(scope),
                    suppressed=suppressed,
                )
        await refuse(error, scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        return is_known_host(Headers(scope=scope).get("host", ""), self._more)


def is_known_host(header: str, more: Collection[str] = ()) -> bool:
    """Return whether the ``Host`` header of a request names this machine.

    Args:
        header: The value of the header.
        more: Additional names, in lower case.
    """
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:  # for example "["
        return False
    return host in more or is_loopback_host(host)


def is_loopback_host(host: str) -> bool:
    """Return whether `host` is a name or an address of the loopback interface."""
    # RFC 6761: every name below .localhost resolves to loopback.
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
