"""Decide which of a caller's ICE candidates a bot may send packets to.

A candidate is an address that a stranger sends and that the bot then sends packets to. Addresses of this
machine and of its link, including the cloud's metadata service, are dropped, and the number of candidates is
limited.
"""

import ipaddress
from collections.abc import Callable
from typing import Final

# Candidates of one connection. A browser with several networks and two TURN servers names about 20. More
# would let a caller aim the bot's connectivity checks at many addresses.
CANDIDATES_MAX: Final = 32

_AWS_METADATA: Final = ipaddress.ip_address(
    "fd00:ec2::254"
)  # other clouds use link-local addresses
_PREFIX: Final = "a=candidate:"
_ADDRESS_FIELD: Final = 4  # of a candidate: foundation component protocol priority ADDRESS


def is_permitted_address(address: str, *, local: bool) -> bool:
    """Return whether a bot may send to the address of a candidate.

    Args:
        address: An IP address, or an mDNS name, which the caller's network resolves.
        local: Whether the runner listens on loopback, where callers are then as well.
    """
    try:
        ip_address = ipaddress.ip_address(address.partition("%")[0])  # without an IPv6 zone
    except ValueError:
        return address.endswith(".local")
    if isinstance(ip_address, ipaddress.IPv6Address) and ip_address.ipv4_mapped is not None:
        ip_address = ip_address.ipv4_mapped
    if ip_address.is_loopback or ip_address.is_link_local or ip_address == _AWS_METADATA:
        return local
    return not (ip_address.is_multicast or ip_address.is_unspecified or ip_address.is_reserved)


def candidate_address(candidate: str) -> str:
    """Return the address in the line `candidate`, or an empty text if the line is malformed."""
    fields = candidate.split()
    return fields[_ADDRESS_FIELD] if len(fields) > _ADDRESS_FIELD else ""


def filter_candidates(sdp: str, is_accepted: Callable[[str], bool]) -> str:
    """Return a session description without the candidates that are not accepted.

    Args:
        sdp: The session description.
        is_accepted: Called with each candidate's line.
    """
    lines = sdp.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not line.startswith(_PREFIX) or is_accepted(line.removeprefix("a="))
    )
