"""Origins of pages, the public address of a component from its setting, and the address of a request."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import Scope

from cordboard.contract.errors import SettingsError
from cordboard.contract.urls import ROOT_PATH

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a page, by which browsers separate sites.

    Attributes:
        scheme: ``http`` or ``https``.
        host: The host name in lower case; an IPv6 address has no brackets.
        port: The port.
    """

    scheme: str
    host: str
    port: int

    @property
    def is_secure(self) -> bool:
        """Whether it is reached over TLS only."""
        return self.scheme == "https"

    def __str__(self) -> str:
        """Return the origin as browsers send it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_origin(url: str) -> Origin | None:
    """Return the origin of `url`; None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # for example "http://["
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def public_origin(url: str | None, setting: str = "interface_url") -> Origin | None:
    """Return the public address of a component.

    Args:
        url: The value of the setting; None if it is not set.
        setting: The name of the setting, for the message.

    Raises:
        SettingsError: `url` is not the address of a whole host.
    """
    origin, path = public_address(url, setting)
    if path:
        raise SettingsError(
            f"Invalid {setting}: expected the address of a host, without a path.",
            hint=f"Write {origin} here, and the path into root_path.",
        )
    return origin


def public_address(url: str | None, setting: str) -> tuple[Origin | None, str]:
    """Return the public address of a component, and the path prefix in it.

    Args:
        url: The value of the setting; None if it is not set.
        setting: The name of the setting, for the message.

    Raises:
        SettingsError: `url` is not the address of a host, with or without a prefix.
    """
    if url is None:
        return None, ""
    origin = parse_origin(url)
    # A slash at the end of an address means nothing, as in https://voice.example.com/.
    path = urlsplit(url).path.removesuffix("/") if origin else ""
    is_plain = not {*"@?#"} & {*url} and re.search(ROOT_PATH, path)
    if origin is None or not is_plain:
        raise SettingsError(
            f"Invalid {setting}: expected the address of a host.",
            hint="Write https://HOST or https://HOST:PORT, and behind it the path prefix of the proxy, if any, "
            "such as /voice.",
        )
    return origin, path


def is_loopback_name(host: str) -> bool:
    """Return whether `host` is this machine for everybody who resolves it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def host_of(scope: Scope) -> str | None:
    """Return the host of the request in `scope`, without its port; None if it is malformed."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    # With two Host headers, a proxy and this server might each use another one.
    if len(hosts) != 1:
        return None
    origin = parse_origin(f"http://{hosts[0].decode('latin-1')}")
    return origin.host if origin else None


def is_secure(scope: Scope, origin: Origin | None) -> bool:
    """Return whether the person's browser used TLS.

    Args:
        scope: The ASGI scope of the request.
        origin: The public address, if one is set; its scheme counts then, because a proxy may end TLS.
    """
    scheme: Any = origin.scheme if origin else scope.get("scheme")
    return scheme in {"https", "wss"}
