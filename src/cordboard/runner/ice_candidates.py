"""Which of a caller's ICE candidates a bot may send to: pure functions.

A candidate is an address that a stranger sends and that the bot sends packets to. Those of this machine
and of its link, including the cloud's metadata service, are dropped; their number is limited.
"""

import ipaddress
from collections.abc import Callable
from typing import Final

CANDIDATES_MAX: Final = 32
"""Of one connection. A browser with several networks and two TURN servers names about 20."""

_METADATA: Final = ipaddress.ip_address("fd00:ec2::254")  # of AWS; the others are link-local
_PREFIX: Final = "a=candidate:"
_HOST: Final = 4  # its place in a candidate's line: foundation component protocol priority HOST


def is_fit(host: str, *, local: bool) -> bool:
    """Return whether a bot may send to a candidate's address.

    Args:
        host: An address, or a name of mDNS, which the caller's network resolves.
        local: Whether the runner is on loopback itself, where callers are, too.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.endswith(".local")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_link_local or address == _METADATA:
        return local
    return not (address.is_multicast or address.is_unspecified or address.is_reserved)


def host_of(candidate: str) -> str:
    """Return the address of a candidate's line; empty where it has none."""
    words = candidate.split()
    return words[_HOST] if len(words) > _HOST else ""


def take_candidates(sdp: str, take: Callable[[str], bool]) -> str:
    """Return a description without the candidates that are not accepted.

    Args:
        sdp: The session description.
        take: Returns for each candidate's line whether it stays.
    """
    lines = sdp.splitlines(keepends=True)
    return "".join(
        line for line in lines if not line.startswith(_PREFIX) or take(line.removeprefix("a="))
    )
