"""The checks of ``cordboard doctor`` on STUN and TURN servers."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from cordboard.contract.errors import CordboardError
from cordboard.contract.ice import IceUrl
from cordboard.ice_client import IceTarget, check_server, targets_of
from cordboard.settings import Settings

# Longer than a call waits: a slow server is better diagnosed than not found.
ANSWER_S: Final = 5.0
# The user of the checks in the log of a TURN server.
_SESSION_ID: Final = "doctor"


class IceResult(NamedTuple):
    """What came of one server.

    Attributes:
        kind: ``stun`` or ``turn``.
        ok: Whether it is of use.
        message: The result.
        hint: What to do about it; empty if nothing.
    """

    kind: str
    ok: bool
    message: str
    hint: str = ""


def check_ice_servers(settings: Settings, *, timeout_s: float = ANSWER_S) -> Iterator[IceResult]:
    """Ask each STUN server for an address, let each TURN server allocate a relay; yield the results.

    Args:
        settings: The settings, with the secret of the TURN servers.
        timeout_s: Seconds within which a server must answer.

    Raises:
        SettingsError: A TURN server has no credentials.
    """
    targets = targets_of(settings.ice_config(_SESSION_ID, time.time()))

    async def check() -> list[IceResult]:
        return await asyncio.gather(*(_check(target, timeout_s) for target in targets))

    yield from asyncio.run(check())


async def _check(target: IceTarget, timeout_s: float) -> IceResult:
    url = target.url
    kind = "turn" if url.is_turn else "stun"
    if not target.is_checkable:
        return IceResult(kind, True, f"{url}: not checked, because only browsers can use it")
    began_at = time.monotonic()
    try:
        address = await check_server(target, timeout_s=timeout_s)
        took = f"in {(time.monotonic() - began_at) * 1000:.0f} ms"
        if not url.is_turn:
            return IceResult(kind, True, f"{url}: this machine's address is {address}, {took}")
        note = relay_note(url, address, await _addresses_of(url.host))
        return IceResult(kind, True, f"{url}: allocated the relay {address} {took}{note}")
    except CordboardError as error:
        return IceResult(kind, False, error.message, error.hint)


async def _addresses_of(host: str) -> list[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(
        host.strip("[]"), None, type=socket.SOCK_DGRAM
    )
    return [str(info[4][0]) for info in infos]


def relay_note(url: IceUrl, relay: str, server_addresses: Sequence[str]) -> str:
    """Return a note about a relay whose address is private; empty if it is public.

    Args:
        url: The URL of the server.
        relay: The relay's address, with its port.
        server_addresses: The addresses of the server.

    Raises:
        CordboardError: The server is reachable from networks from which its relay is not.
    """
    relay_ip = ipaddress.ip_address(relay.rpartition(":")[0].strip("[]"))
    server_ips = [ipaddress.ip_address(address) for address in server_addresses]
    if relay_ip.is_global:
        return ""
    is_mismatch = any(ip.is_global for ip in server_ips) or (
        relay_ip.is_loopback and not all(ip.is_loopback for ip in server_ips)
    )
    if is_mismatch:
        raise CordboardError(
            f"{url}: the server is at {server_ips[0]}, but its relays are at {relay_ip}, which no other machine can reach.",
            hint=f"Write external-ip=PUBLIC-ADDRESS/{relay_ip} into its turnserver.conf.",
        )
    return "; its address is private, so the bots must be in the same network"
