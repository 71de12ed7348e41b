"""The address under which carriers and clients reach the edge."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from cordboard.settings import Settings

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
