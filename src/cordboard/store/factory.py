"""Opening a store: one shard, or several."""

from cordboard.contract.errors import SettingsError
from cordboard.contract.lease import LEASE_S
from cordboard.store.keys import RECORD_KEPT_S, Keys, shard_tags
from cordboard.store.protocol import SessionStore
from cordboard.store.redis_store import RedisStore


def open_store(
    url: str, *, shards: int = 1, lease_s: float = LEASE_S, record_kept_s: float = RECORD_KEPT_S
) -> SessionStore:
    """Return the store at ``url``; it connects when it is first used.

    Every process of a plane must open it with the same arguments.

    Args:
        url: The URL of Redis.
        shards: The number of shards over which the rooms are spread.
        lease_s: Seconds that a lease lasts.
        record_kept_s: Seconds for which a session record is kept after the end.

    Raises:
        SettingsError: The URL is not supported, or ``shards`` is less than 1.
    """
    if shards < 1:
        raise SettingsError(f"CORDBOARD_SHARDS is {shards}; expected at least 1.")
    stores = tuple(RedisStore(url, Keys(tag, lease_s, record_kept_s)) for tag in shard_tags(shards))
    if shards == 1:
        return stores[0]
    # Imported here so that a plane with one shard does not load the code of sharding.
    from cordboard.store.sharding.store import ShardedStore

    return ShardedStore(stores)
