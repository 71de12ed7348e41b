"""The web pages whose scripts may call the edge."""

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import Scope

from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.settings import Settings
from cordboard.web.host_check import is_loopback_host
from cordboard.web.origin import Origin, parse_origin, public_address

ANY: Final = "*"
# The names and addresses that `is_loopback_host` accepts and that browsers send as an origin.
_LOOPBACK: Final = (
    r"https?://(localhost|[a-z0-9.-]+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?"
)


class ForeignOriginError(CordboardError):
    """A page whose origin is not allowed sent this request."""

    status = 403
    code = "foreign_origin"
    title = "Origin not allowed"


class AllowedOrigins:
    """The origins of ``allowed_origins``, and the edge's own.

    Args:
        settings: The setting, and the edge's public address.
        local: Whether the edge listens on loopback; then pages of this machine are allowed by default.

    Raises:
        SettingsError: An entry is not an origin.
    """

    def __init__(self, settings: Settings, *, local: bool) -> None:
        names = settings.allowed_origins
        self._any = ANY in names
        self._origins = {_configured_origin(name) for name in names if name != ANY}
        self._loopback = local and not names
        self._public = public_address(settings.public_url, "public_url")[0]

    def check(self, scope: Scope) -> None:
        """Refuse the request of a page that is not allowed.

        Browsers send ``Origin`` with each request of a page that changes something. Other programs send
        none, and prove themselves by a key. CORS alone is not enough: it keeps a page from reading the
        answer, not from sending a simple request.

        Args:
            scope: The ASGI scope of the request.

        Raises:
            ForeignOriginError: The page's origin is not allowed.
        """
        text = Headers(scope=scope).get("origin")
        if text is None or self._any or self._permits(parse_origin(text), scope):
            return
        raise ForeignOriginError(
            "Scripts of this page's origin may not call the edge.",
            hint="Add the origin to CORDBOARD_ALLOWED_ORIGINS.",
        )

    def cors_options(self) -> dict[str, Any]:
        """Return the arguments of Starlette's ``CORSMiddleware``."""
        return {
            "allow_origins": [ANY] if self._any else [str(origin) for origin in self._origins],
            "allow_origin_regex": _LOOPBACK if self._loopback else None,
            "allow_methods": ["*"],
            # Clients send further headers, such as those of a login at their own server.
            "allow_headers": ["*"],
            "expose_headers": [HEADER_SESSION_ID, "Retry-After"],
            # Chrome sends a preflight before a page of the internet may call a server in a private network.
            "allow_private_network": True,
        }

    def _permits(self, origin: Origin | None, scope: Scope) -> bool:
        if origin is None:  # "null": a file, or a page in a sandbox
            return False
        if origin in self._origins or origin == self._public:
            return True
        if self._loopback and is_loopback_host(origin.host):
            return True
        # The edge's own page, such as /client/. The scheme is not compared: a proxy may end TLS. On
        # loopback a foreign name has been refused before (DNS rebinding).
        return origin == parse_origin(f"{origin.scheme}://{Headers(scope=scope).get('host', '')}")


def _configured_origin(text: str) -> Origin:
    origin = parse_origin(text)
    if origin is None or str(origin) != text.lower().rstrip("/"):
        raise SettingsError(
            f"allowed_origins: {text[:80]!a} is not an origin.",
            hint="Write https://HOST or https://HOST:PORT, without a path, or * for all.",
        )
    return origin
