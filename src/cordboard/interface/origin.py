"""The address under which people open the interface, from its setting."""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import Scope

from cordboard.contract.errors import SettingsError

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a page, which browsers compare to separate sites.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Its host, in lower case, an IPv6 address without brackets.
        port: Its port.
    """

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        """Whether it is reached over TLS only."""
        return self.scheme == "https"


def parse(url: str) -> Origin | None:
    """Return the origin of a URL; None if the text has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # "http://[", for one
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def public(url: str | None) -> Origin | None:
    """Return the public address that is set; None if none is set.

    Raises:
        SettingsError: It is not the address of a whole host.
    """
    if url is None:
        return None
    found = parse(url)
    if found is None or urlsplit(url)[2:] not in {("", "", ""), ("/", "", "")} or "@" in url:
        raise SettingsError(
            "interface_url is not the address of a host.",
            hint="Write https://HOST or https://HOST:PORT, without a path.",
        )
    return found


def host_of(scope: Scope) -> str | None:
    """Return the host of a request, without its port; None if it is malformed."""
    named = [value for name, value in scope["headers"] if name == b"host"]
    if len(named) != 1:
        return None
    found = parse(f"http://{named[0].decode('latin-1')}")
    return found.host if found else None


def is_this_machine(host: str) -> bool:
    """Return whether a host is a name or an address of loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_secure(scope: Scope, origin: Origin | None) -> bool:
    """Return whether the person's browser came over TLS."""
    scheme: Any = origin.scheme if origin else scope.get("scheme")
    return scheme in {"https", "wss"}
