"""The address under which others reach a server that listens on every address of this machine."""

import ipaddress
import socket
from typing import Final

from cordboard.contract.errors import UsageError

# Of networks for documentation (RFC 5737, RFC 3849): connecting a datagram socket sends nothing, and
# the kernel chooses the address of this machine from which it would go there, by the default route.
_ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_EVERYWHERE: Final = {
    "0.0.0.0": (socket.AF_INET,),  # noqa: S104 - compared, not bound
    "::": (socket.AF_INET6, socket.AF_INET),  # it takes IPv4 too
}


def reachable_url(host: str, port: int, *, tls: bool = False) -> str:
    """Return the URL of a server, for others.

    Raises:
        UsageError: It listens on all addresses, and this machine has none that others could use.
    """
    address = _reachable(host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def _reachable(host: str) -> str:
    if host not in _EVERYWHERE:
        return host
    families = _EVERYWHERE[host]
    for look in (_by_route, _by_name):
        for family in families:
            address = look(family)
            if address and _is_of_others_use(address):
                return address
    raise UsageError(
        f"--host {host}: this machine has no default route, so its address for others is not known.",
        hint="Set the address at which they reach it: --url http://ADDRESS:PORT",
    )


def _by_route(family: socket.AddressFamily) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _by_name(family: socket.AddressFamily) -> str | None:
    """Look up this machine's name: in a network without a default route it may have an address."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, family)
    except OSError:
        return None
    addresses = [str(entry[4][0]) for entry in found]
    return next(filter(_is_of_others_use, addresses), None)


def _is_of_others_use(text: str) -> bool:
    """Return whether it is none that stands for the own machine, or needs an interface's name."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)
