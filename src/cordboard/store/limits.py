"""How many live sessions one caller may have: by user, by tenant and by address.

A session counts in a set for each, from its join to its end; the names of the sets hold hashes. Each
shard counts its own sessions: what the others have is read before a join and handed in. So joins at
the same time through several gateways may exceed a bound, by one each at most.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from cordboard.contract.launch import Launch


@dataclass(frozen=True, slots=True)
class JoinLimits:
    """The limits for one join; 0 means no limit.

    Attributes:
        per_user: Live sessions of one user of one tenant.
        per_tenant: Live sessions of one tenant.
        per_address: Live sessions of one address.
        address: The caller's address, hashed; empty where it is not known.
    """

    per_user: int = 0
    per_tenant: int = 0
    per_address: int = 0
    address: str = ""


UNLIMITED = JoinLimits()


@dataclass(frozen=True, slots=True)
class Count:
    """A set in which a session counts.

    Attributes:
        name: What the set is called.
        most: Live sessions that may be in it; 0 for any number.
        elsewhere: How many other shards have.
    """

    name: str
    most: int
    elsewhere: int = 0


def counts(launch: Launch, limits: JoinLimits = UNLIMITED) -> Iterator[Count]:
    """Yield the sets in which a launch counts."""
    tenant, user = launch.tenant_id or "", launch.user_id or ""
    if user:
        yield Count(f"user:{_hash(f'{len(tenant)}:{tenant}{user}')}", limits.per_user)
    if tenant:
        yield Count(f"tenant:{_hash(tenant)}", limits.per_tenant)
    if limits.address:
        yield Count(f"address:{limits.address}", limits.per_address)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=10).hexdigest()
