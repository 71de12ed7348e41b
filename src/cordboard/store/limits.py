"""Limits on the live sessions of one caller: of a user, a tenant and an address.

A session is a member of one Redis set for each of them, from its join to its end. The names of the sets
contain hashes, so that no user id or address appears in a key.

Each shard counts its own sessions. A sharded store reads the counts of the other shards before a join and
passes them on, so several joins at the same moment through different gateways may exceed a limit, each
gateway by one session.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cordboard.contract.launch import Launch


@dataclass(frozen=True, slots=True)
class JoinLimits:
    """The limits for one join; 0 means no limit.

    Attributes:
        per_user: Live sessions of one user of one tenant.
        per_tenant: Live sessions of one tenant.
        per_address: Live sessions of one address.
        address: The hash of the caller's address; empty if the address is not known.
    """

    per_user: int = 0
    per_tenant: int = 0
    per_address: int = 0
    address: str = ""


UNLIMITED: Final = JoinLimits()


@dataclass(frozen=True, slots=True)
class LimitSet:
    """A set of live sessions that has a limit.

    Attributes:
        name: The name of the set in its Redis key.
        max: Maximum number of live sessions; 0 means no limit.
        elsewhere: The number of its live sessions in other shards.
    """

    name: str
    max: int
    elsewhere: int = 0


def limit_sets(launch: Launch, limits: JoinLimits = UNLIMITED) -> Iterator[LimitSet]:
    """Yield the sets in which the session of ``launch`` counts, with their ``limits``."""
    # The order is that of the checks in `accept`: the narrowest limit is reported first.
    tenant, user = launch.tenant_id or "", launch.user_id or ""
    if user:
        # The length separates the two ids: tenant "a" with user "bc" is not tenant "ab" with user "c".
        yield LimitSet(f"user:{_hash(f'{len(tenant)}:{tenant}{user}')}", limits.per_user)
    if tenant:
        yield LimitSet(f"tenant:{_hash(tenant)}", limits.per_tenant)
    if limits.address:
        yield LimitSet(f"address:{limits.address}", limits.per_address)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=10).hexdigest()
