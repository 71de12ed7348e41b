"""The store as its users see it: rooms, launches and standby runners over one connection."""

from types import TracebackType
from typing import Self

from cordboard.contract.errors import SettingsError
from cordboard.contract.lease import LEASE_S
from cordboard.store.keys import RECORD_KEPT_S, Keys, shard_tags
from cordboard.store.queue import Launches
from cordboard.store.rooms import Rooms
from cordboard.store.runners import Standby
from cordboard.store.server_checks import Checks
from cordboard.store.sharding.index import Index


class RedisStore(Rooms, Launches, Standby, Index, Checks):
    """One shard of the session plane in Redis; an asynchronous context manager.

    Every method raises ``StoreUnavailableError`` while Redis is away.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def shards(self) -> tuple["RedisStore", ...]:
        """The shards, each by itself; most planes have this one alone."""
        return (self,)

    async def needs_rebalancing(self, runner_id: str) -> bool:  # noqa: ARG002 - for a sharded store
        """Say whether a runner's slots are in one shard while joins wait in another."""
        return False


def open_store(
    url: str, *, shards: int = 1, lease_s: float = LEASE_S, record_kept_s: float = RECORD_KEPT_S
) -> RedisStore:
    """Return the store at ``url``; it connects when it is first used.

    Args:
        url: Where Redis is.
        shards: How many shards the rooms are spread over; the same for all who open it.
        lease_s: Seconds that a lease lasts; the same for all who open it.
        record_kept_s: Seconds for which a session's record is kept after its end; the same for all.

    Raises:
        SettingsError: The URL is none that this release reads, or there are no shards.
    """
    if shards < 1:
        raise SettingsError(f"CORDBOARD_SHARDS is {shards}: at least 1 is needed.")
    if shards == 1:
        return RedisStore(url, Keys(shard_tags(1)[0], lease_s, record_kept_s))
    from cordboard.store.sharding.store import ShardedStore

    return ShardedStore(url, shards, lease_s, record_kept_s)
