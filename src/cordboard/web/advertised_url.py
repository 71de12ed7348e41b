"""The URL under which other machines reach a server that listens on all addresses of this one."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Final

from cordboard.contract.errors import UsageError

# Addresses from the networks for documentation (RFC 5737, RFC 3849). Connecting a datagram socket sends
# nothing; the kernel only chooses the local address of the route there, which is the default route.
_REMOTE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_ALL_ADDRESSES: Final = {
    str(ipaddress.IPv4Address(0)): (socket.AF_INET,),
    str(ipaddress.IPv6Address(0)): (socket.AF_INET6, socket.AF_INET),  # it accepts IPv4, too
}

Lookup = Callable[[socket.AddressFamily], str | None]
"""A function that returns an address of this machine in a family; None if it finds none."""


def address_by_route(family: socket.AddressFamily) -> str | None:
    """Return the local address of the default route for `family`; None without such a route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_REMOTE[family], 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def address_by_name(family: socket.AddressFamily) -> str | None:
    """Return the address in `family` to which this machine's host name resolves; None without one."""
    try:
        entries = socket.getaddrinfo(socket.gethostname(), None, family)
    except OSError:
        return None
    addresses = [str(entry[4][0]) for entry in entries]
    return next(filter(_is_usable_by_others, addresses), None)


# The name second: a network without a default route may still have an address for it.
LOOKUPS: Final[tuple[Lookup, ...]] = (address_by_route, address_by_name)


def advertised_url(
    host: str, port: int, *, tls: bool = False, lookups: Sequence[Lookup] = LOOKUPS
) -> str:
    """Return the URL of a server for callers on other machines.

    Args:
        host: The address on which the server listens.
        port: Its port.
        tls: Whether it serves https.
        lookups: How to find an address of this machine, in this order, if `host` means all addresses.

    Raises:
        UsageError: `host` means all addresses, and this machine has none that others can use.
    """
    address = _usable_address(host, lookups)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def _usable_address(host: str, lookups: Sequence[Lookup]) -> str:
    if host not in _ALL_ADDRESSES:
        return host
    for lookup in lookups:
        for family in _ALL_ADDRESSES[host]:
            address = lookup(family)
            if address and _is_usable_by_others(address):
                return address
    raise UsageError(
        f"--host {host}: cannot find an address of this machine that others can reach.",
        hint="Give the address at which they reach it: --url http://ADDRESS:PORT",
    )


def _is_usable_by_others(text: str) -> bool:
    # A link-local address is only valid together with the name of a network interface.
    address = ipaddress.ip_address(text.partition("%")[0])
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)
