"""The client address and the scheme of a request that came through a proxy.

Anybody can send ``X-Forwarded-For`` and ``X-Forwarded-Proto``. Cordboard trusts them only from the
addresses in ``trusted_proxies``, and never reads ``X-Forwarded-Host``, ``X-Forwarded-Prefix`` or ``Forwarded``.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.contract.errors import SettingsError
from cordboard.emit import get_logger

UNKNOWN: Final = "unknown"
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_FORWARDED_FOR: Final = b"x-forwarded-for"
_FORWARDED_PROTO: Final = b"x-forwarded-proto"
_FORWARDED_HEADERS: Final = (_FORWARDED_FOR, _FORWARDED_PROTO)
# Providers assign an IPv6 customer a /64 network, so all its addresses count as one client.
_IPV6_CLIENT_BITS: Final = 64

FROM_TRUSTED_PROXY: Final = "cordboard.from_trusted_proxy"
"""Key of an ASGI scope: whether a trusted proxy sent the request."""

FORWARDED: Final = "cordboard.forwarded"
"""Key of an ASGI scope: whether a proxy sent the request, trusted or not, by the headers that were removed."""

log = get_logger("http")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The addresses of the proxies whose headers are trusted.

    Args:
        names: Addresses and networks; none means loopback.

    Raises:
        SettingsError: A name is neither an address nor a network.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._networks = [_network(name) for name in tuple(names) or _LOOPBACK]

    def is_trusted(self, address: str) -> bool:
        """Return whether a trusted proxy has this `address`."""
        parsed = _parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """Return the client's address: the last one in the chain that is not a trusted proxy.

        Args:
            peer: The address that connected to this server.
            forwarded: The values of ``X-Forwarded-For``, in their order. Each proxy appends the address
                that connected to it, so the client may have invented everything to the left of the
                first address that is not trusted.
        """
        client = peer
        for text in reversed([part for value in forwarded for part in value.split(",")]):
            if not self.is_trusted(client):
                break
            address = _parse_address(text.strip())
            if address is None:
                break
            client = str(address)
        return client


class ForwardedMiddleware:
    """Puts the client's address and scheme, as reported by a trusted proxy, into the scope.

    Removes the headers themselves, so that no later code reads them by mistake.

    Args:
        app: The wrapped application.
        proxies: The trusted proxies.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in {"http", "websocket"}:
            scope = self._with_client(scope)
        await self._app(scope, receive, send)

    def _with_client(self, scope: Scope) -> Scope:
        peer = (scope.get("client") or ("", 0))[0]
        forwarded = [pair for pair in scope["headers"] if pair[0] in _FORWARDED_HEADERS]
        others = [pair for pair in scope["headers"] if pair[0] not in _FORWARDED_HEADERS]
        trusted = self._proxies.is_trusted(peer)
        scope = {
            **scope,
            "headers": others,
            FROM_TRUSTED_PROXY: trusted,
            FORWARDED: bool(forwarded),
        }
        if forwarded and not trusted:
            self._warn_once(peer)
        elif forwarded:
            self._apply(scope, forwarded, peer)
        return scope

    def _apply(self, scope: Scope, forwarded: list[tuple[bytes, bytes]], peer: str) -> None:
        schemes = [value.strip() for name, value in forwarded if name == _FORWARDED_PROTO]
        # Several values would leave open which proxy wrote which; the connection's scheme stays then.
        if schemes in ([b"http"], [b"https"]):
            scope["scheme"] = schemes[0].decode()
        chain = [value.decode("latin-1") for name, value in forwarded if name == _FORWARDED_FOR]
        scope["client"] = (self._proxies.client(peer, chain), 0)

    def _warn_once(self, peer: str) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        log.warning(
            "X-Forwarded-For or X-Forwarded-Proto was ignored: the sender is not a trusted proxy",
            peer=peer,
            hint="If it is your proxy, add its address or network to CORDBOARD_TRUSTED_PROXIES.",
        )


def is_loopback_peer(scope: Scope) -> bool:
    """Return whether this machine has opened the connection of `scope`, which no proxy header has changed yet."""
    address = _parse_address((scope.get("client") or ("", 0))[0])
    return address is not None and address.is_loopback


def client_address(scope: Scope) -> str:
    """Return the address under which the client of `scope` is counted; for IPv6, its /64 network."""
    address = _parse_address((scope.get("client") or ("", 0))[0])
    if address is None:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_CLIENT_BITS), strict=False).network_address)


def _parse_address(text: str) -> _Address | None:
    # Some proxies append the port: 192.0.2.1:4711, [2001:db8::1]:4711.
    for candidate in (text, text.rpartition(":")[0].strip("[]")):
        try:
            address = ipaddress.ip_address(candidate.partition("%")[0])
        except ValueError:
            continue
        # A dual-stack socket reports IPv4 clients as ::ffff:192.0.2.1, which no IPv4 network contains.
        mapped: ipaddress.IPv4Address | None = getattr(address, "ipv4_mapped", None)
        return mapped or address
    return None


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError as error:
        raise SettingsError(
            f"trusted_proxies: expected an address or a network, got {name!r}.",
            hint="Write 10.0.0.7 or 10.0.0.0/8, separated by commas in the environment variable.",
        ) from error
