"""How many live sessions the caller of a join may have.

Persons and addresses are limited if a join comes through a public entrance. This (the interface)
sends the client's address in a header, with the control secret. A caller with the secret and without
that header is trusted, and limited by its tenant only.
"""

import asyncio
import hashlib
import ipaddress
import time
from dataclasses import dataclass
from typing import Final

from cordboard.settings import Settings
from cordboard.store import JoinLimits, RedisStore

ADDRESS_HEADER: Final = "X-Client-Address"
SLOTS_KNOWN_S: Final = 1.0  # as old as that: one look a second, however many join
IPV6_PERSON: Final = 64  # bits: a network that one subscriber has to itself


@dataclass(slots=True)
class SessionLimits:
    """The limits of one gateway."""

    settings: Settings
    store: RedisStore
    _slots: int = 0
    _looked_at: float = float("-inf")
    _looking: asyncio.Task[int] | None = None

    async def of(self, address: str | None) -> JoinLimits:
        """Return the limits of a join.

        Args:
            address: The address of a public entrance's client; None for a trusted caller.
        """
        settings = self.settings
        per_tenant = settings.sessions_per_tenant
        if not address:
            return JoinLimits(per_tenant=per_tenant)
        slots = await self._count_slots()
        return JoinLimits(
            per_user=share(settings.sessions_per_user, slots),
            per_tenant=per_tenant,
            per_address=share(settings.sessions_per_address, slots),
            address=hashed(address, self.settings.control_secrets),
        )

    async def _count_slots(self) -> int:
        """Return the slots. Joins that come during a look share its answer, and its failure."""
        if self._looking is None:
            if time.monotonic() - self._looked_at < SLOTS_KNOWN_S:
                return self._slots
            self._looking = asyncio.create_task(self._look(), name="slots")
        return await asyncio.shield(self._looking)

    async def _look(self) -> int:
        try:
            self._slots = await self.store.warm_slots() + await self.store.cold_slots()
            self._looked_at = time.monotonic()
            return self._slots
        finally:
            self._looking = None


def share(most: int, slots: int) -> int:
    """Return how many sessions one caller may have, of so many slots: one is left for others.

    Args:
        most: The setting; 0 means no limit.
        slots: All slots of warm runners, and all cold runners that may run at once; 0 if unknown.
    """
    return min(most, max(slots - 1, 1)) if slots else most


def hashed(address: str, secrets: tuple[str, ...]) -> str:
    """Return the name of an address in Redis.

    The hash is keyed with the control secret, as all addresses could be tried. When it changes, sessions of
    before count apart from those of after.
    """
    key = hashlib.sha256(secrets[0].encode("utf-8", "surrogateescape")).digest() if secrets else b""
    return hashlib.blake2b(
        _network(address).encode("utf-8", "replace"), key=key, digest_size=10
    ).hexdigest()


def _network(address: str) -> str:
    """Return what one subscriber has: an IPv4 address, or a network of IPv6."""
    try:
        found = ipaddress.ip_address(address.strip().partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, IPV6_PERSON), strict=False))
        return str(found.ipv4_mapped)
    return str(found)
