"""The user of this machine who runs the interface, recognized by the connection of the browser.

On loopback, the kernel knows which user has opened the other end of a connection. A request of the user
who runs the interface, sent without a proxy in between, may do what that user can do anyway: read the log
files, and end the bots. No header or cookie can claim it.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from sys import byteorder
from typing import Any, Final

from starlette.types import Scope

from cordboard.interface.identity import Identity
from cordboard.interface.people import Person
from cordboard.web.proxies import FORWARDED

SOCKETS: Final = Path("/proc/net/tcp")
_ROOT: Final = 0
# A proxy or a tunnel of this user sends the requests of others. Each known one adds one of these.
_FORWARDING: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-user",
        b"x-real-ip",
    }
)


class LocalOperators:
    """Makes the user of this machine an operator; everybody else is as another way to identify people says.

    Args:
        identity: The other way.
        sockets: The kernel's table of connections.
    """

    def __init__(self, identity: Identity, sockets: Path = SOCKETS) -> None:
        self.has_login_page = identity.has_login_page
        self.stream_s = identity.stream_s
        self._identity = identity
        self._sockets = sockets

    def __getattr__(self, name: str) -> Any:
        """Return what else the other way to identify people has."""
        return getattr(self._identity, name)

    def person(self, scope: Scope) -> Person | None:
        """Return the sender of the request in `scope`; None if unknown."""
        return self._raised(self._identity.person(scope), scope)

    def person_of_stream(self, scope: Scope, *, needs_fresh: bool) -> Person | None:
        """Return the sender of a request that is still being answered; None if no longer signed in."""
        person = self._identity.person_of_stream(scope, needs_fresh=needs_fresh)
        return self._raised(person, scope)

    def _raised(self, person: Person | None, scope: Scope) -> Person | None:
        if person is None or person.is_operator or not self._is_local_user(scope):
            return person
        return replace(person, role="operator")

    def _is_local_user(self, scope: Scope) -> bool:
        if is_forwarded(scope):
            return False
        client, server = _address(scope.get("client")), _address(scope.get("server"))
        if client is None or server is None:
            return False
        # The socket of the browser: its own end is our client.
        return any(
            own == client and other == server and user in {os.getuid(), _ROOT}
            for own, other, user in self._connections()
        )

    def _connections(self) -> Iterator[tuple[str, str, int]]:
        """Yield both ends of each connection of this machine, and the user who opened the first one."""
        try:
            lines = self._sockets.read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ValueError):  # not Linux, or hidden from this process
            return
        for line in lines:
            fields = line.split()
            yield fields[1], fields[2], int(fields[7])


def is_forwarded(scope: Scope) -> bool:
    """Return whether a proxy or a tunnel has marked the request in `scope` as that of somebody else."""
    return bool(scope.get(FORWARDED)) or any(name in _FORWARDING for name, _ in scope["headers"])


def _address(end: Any) -> str | None:
    """Return an end of a connection on loopback as the kernel writes it; None for any other."""
    match end:
        case (host, _port):
            pass
        case _:
            return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if not isinstance(address, IPv4Address) or not address.is_loopback:
        return None
    # The bytes of the address are a number in the order of this machine; ports are in that of the network.
    number = int.from_bytes(address.packed, byteorder)
    return f"{number:08X}:{int(end[1]):04X}"
