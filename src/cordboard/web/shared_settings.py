"""Settings that all parts of a plane share, compared before one of them serves."""

import asyncio

from cordboard.contract.errors import StoreForbiddenError, StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.settings import Settings
from cordboard.store import RedisStore, SharedSettings, open_store

log = get_logger("settings")


def agreement_of(store: RedisStore, part: str) -> SharedSettings:
    """Return what keeps a part's agreement with the others while it runs."""
    keys = store.shards[0].keys
    return SharedSettings(
        store.url,
        part,
        shards=len(store.shards),
        lease_s=keys.lease_s,
        record_kept_s=keys.record_kept_s,
    )


def open_shared_store(settings: Settings) -> RedisStore:
    """Return the store with the settings that all parts share."""
    return open_store(
        settings.redis_url_or_default,
        shards=settings.shards,
        lease_s=settings.lease_s,
        record_kept_s=settings.record_kept_s,
    )


def compare_before_serving(settings: Settings, part: str) -> None:
    """Compare before the part serves; if Redis is unreachable, compare when it is back.

    Raises:
        DifferingError: Other parts run with other settings, and do not end.
        StoreForbiddenError: Redis refuses the login, or does not permit a command that this part needs.
    """
    try:
        asyncio.run(_compare(settings, part))
    except StoreForbiddenError:
        raise
    except StoreUnavailableError:
        pass


async def _compare(settings: Settings, part: str) -> None:
    async with open_shared_store(settings) as store:
        await store.check_permitted()
        policy = await store.eviction_policy()
    if policy is not None:
        log.warning("Redis evicts keys when its memory is full, which ends live calls",
                    maxmemory_policy=policy, wanted="noeviction")  # fmt: skip
    found = agreement_of(store, part)
    try:
        await found.reach()
    finally:
        await found.leave()
