"""Limits on the live sessions of the caller of a join.

Users and addresses are limited if a join comes through a public entrance, such as the interface, which
sends its client's address in a header, with the control secret. A caller that has the secret and sends no
such header is trusted; only its tenant is limited.
"""

import asyncio
import hashlib
import ipaddress
import time
from typing import Final

from cordboard.settings import Settings
from cordboard.store import JoinLimits, SessionStore

ADDRESS_HEADER: Final = "X-Client-Address"
# Age of the known number of slots. One read a second is nothing to Redis, however many joins arrive; a
# slot that appears or disappears changes the limits at most a second later.
SLOTS_KNOWN_S: Final = 1.0
# Providers assign an IPv6 customer a /64 network, so all its addresses count as one.
IPV6_CLIENT_BITS: Final = 64


class SessionLimits:
    """The limits of one gateway.

    Args:
        settings: The limits by user, address and tenant.
        store: The session store, which knows the number of slots.
    """

    def __init__(self, settings: Settings, store: SessionStore) -> None:
        self._settings = settings
        self._store = store
        self._slots = 0
        self._counted_at = float("-inf")
        self._counting: asyncio.Task[int] | None = None

    async def of(self, address: str | None) -> JoinLimits:
        """Return the limits of a join.

        Args:
            address: The address of a public entrance's client; None for a trusted caller.
        """
        settings = self._settings
        per_tenant = settings.sessions_per_tenant
        if not address:
            return JoinLimits(per_tenant=per_tenant)
        slots = await self._count_slots()
        return JoinLimits(
            per_user=share(settings.sessions_per_user, slots),
            per_tenant=per_tenant,
            per_address=share(settings.sessions_per_address, slots),
            address=hash_address(address, settings.control_secrets),
        )

    async def _count_slots(self) -> int:
        """Return the number of slots; joins that arrive during a read share its result or failure."""
        if self._counting is None:
            if time.monotonic() - self._counted_at < SLOTS_KNOWN_S:
                return self._slots
            self._counting = asyncio.create_task(self._read_slots(), name="slots")
        # Shielded: a caller that disconnects must not cancel the read for the others.
        return await asyncio.shield(self._counting)

    async def _read_slots(self) -> int:
        try:
            self._slots = await self._store.warm_slots() + await self._store.cold_slots()
            self._counted_at = time.monotonic()
            return self._slots
        finally:
            self._counting = None


def share(limit: int, slots: int) -> int:
    """Return how many live sessions one caller may have, so that one slot is left for others.

    Args:
        limit: The limit from the settings; 0 for none.
        slots: The slots of all warm runners and the cold runners that may run at once; 0 if unknown.
    """
    return min(limit, max(slots - 1, 1)) if slots else limit


def hash_address(address: str, secrets: tuple[str, ...]) -> str:
    """Return the name of an address in Redis.

    The hash is keyed, because somebody who can read Redis could otherwise try all addresses. After a
    change of the control secret, older sessions of an address are counted apart from newer ones.

    Args:
        address: The client's address.
        secrets: The control secrets; the first one is the key.
    """
    key = hashlib.sha256(secrets[0].encode("utf-8", "surrogateescape")).digest() if secrets else b""
    return hashlib.blake2b(
        _network(address).encode("utf-8", "replace"), key=key, digest_size=10
    ).hexdigest()


def _network(address: str) -> str:
    """Return what one customer has: an IPv4 address, or an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address.strip().partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, IPV6_CLIENT_BITS), strict=False))
        return str(parsed.ipv4_mapped)
    return str(parsed)
