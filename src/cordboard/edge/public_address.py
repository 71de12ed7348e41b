"""The address under which carriers and clients reach the edge."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from cordboard.settings import Settings
from cordboard.web.host_check import is_loopback_host

_WEBSOCKET_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def websocket_address(settings: Settings, scope: Scope) -> str:
    """Return the base URL of the edge's WebSockets.

    Args:
        settings: The public address, if one is set.
        scope: The ASGI scope of a request, whose own address is used otherwise.
    """
    if settings.public_url is not None:
        scheme, _, rest = settings.public_url.partition("://")
        return f"{_WEBSOCKET_SCHEMES[scheme.lower()]}://{rest.rstrip('/')}"
    host = Headers(scope=scope).get("host", "localhost")
    return f"{_WEBSOCKET_SCHEMES[scope['scheme']]}://{host}"


def is_private(settings: Settings, *, local: bool) -> bool:
    """Return whether only this machine reaches the edge.

    A tunnel, or a proxy on the same machine, makes an edge on loopback public, and may do so under any ``Host``.

    Args:
        settings: The public address, if one is set.
        local: Whether the edge listens on loopback.
    """
    public_host = urlsplit(settings.public_url or "http://localhost").hostname or ""
    return local and is_loopback_host(public_host)
