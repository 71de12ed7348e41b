"""The proxies in front of a server: the client and the scheme of a request that came through one.

``X-Forwarded-For`` and ``X-Forwarded-Proto`` are headers that anybody can send. They are trusted from
the addresses in ``trusted_proxies`` only. ``X-Forwarded-Host`` and ``Forwarded`` are never read.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.contract.errors import SettingsError
from cordboard.emit import get_logger

UNKNOWN: Final = "unknown"
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_READ: Final = (_FOR, _PROTO)
_V6_PREFIX: Final = 64  # what one customer gets: all its addresses are one client

PROXIED: Final = "cordboard.proxied"
"""Key of a scope: whether one of the trusted proxies sent the request."""

log = get_logger("http")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The addresses whose headers are trusted.

    Args:
        names: Addresses and networks; none means loopback.

    Raises:
        SettingsError: One is neither an address nor a network.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._networks = [_network(name) for name in tuple(names) or _LOOPBACK]

    def trusts(self, address: str) -> bool:
        """Return whether a proxy has this address."""
        found = _address(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """Return the client: the last address that is not a trusted proxy.

        Args:
            peer: Who connected to us.
            forwarded: The values of X-Forwarded-For, as they came. Each proxy appends the address
                that connected to it, so anybody can have sent what is left of the first foreign address.
        """
        found = peer
        for text in reversed([part for value in forwarded for part in value.split(",")]):
            if not self.trusts(found):
                break
            address = _address(text.strip())
            if address is None:
                break
            found = str(address)
        return found


class ForwardedMiddleware:
    """Puts the client's address and scheme, as a trusted proxy tells them, into the scope.

    The headers themselves are removed, so that nothing after this reads them by mistake.

    Args:
        app: The application behind it.
        proxies: The trusted proxies.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in {"http", "websocket"}:
            scope = self._told(scope)
        await self._app(scope, receive, send)

    def _told(self, scope: Scope) -> Scope:
        peer = (scope.get("client") or ("", 0))[0]
        sent = [pair for pair in scope["headers"] if pair[0] in _READ]
        kept = [pair for pair in scope["headers"] if pair[0] not in _READ]
        trusted = self._proxies.trusts(peer)
        scope = {**scope, "headers": kept, PROXIED: trusted}
        if sent and not trusted:
            self._warn(peer)
        elif sent:
            self._believe(scope, sent, peer)
        return scope

    def _believe(self, scope: Scope, sent: list[tuple[bytes, bytes]], peer: str) -> None:
        schemes = [value.strip() for name, value in sent if name == _PROTO]
        if schemes in ([b"http"], [b"https"]):
            scope["scheme"] = schemes[0].decode()
        values = [value.decode("latin-1") for name, value in sent if name == _FOR]
        scope["client"] = (self._proxies.client(peer, values), 0)

    def _warn(self, peer: str) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning(
            "X-Forwarded-For or -Proto was ignored: the sender is not a trusted proxy",
            peer=peer,
            hint="If it is your proxy, add its address or network to CORDBOARD_TRUSTED_PROXIES.",
        )


def client_address(scope: Scope) -> str:
    """Return the address by which a client is counted; of IPv6 its network of 64 bits."""
    found = _address((scope.get("client") or ("", 0))[0])
    if found is None:
        return UNKNOWN
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(ipaddress.ip_network((found, _V6_PREFIX), strict=False).network_address)


def _address(text: str) -> _Address | None:
    for candidate in (text, text.rpartition(":")[0].strip("[]")):  # with a port, as some have it
        try:
            found = ipaddress.ip_address(candidate.partition("%")[0])
        except ValueError:
            continue
        mapped: ipaddress.IPv4Address | None = getattr(found, "ipv4_mapped", None)
        return mapped or found
    return None


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError as error:
        raise SettingsError(
            f"trusted_proxies: {name!r} is neither an address nor a network.",
            hint="Write 10.0.0.7, or 10.0.0.0/8; separated by commas in the environment.",
        ) from error
