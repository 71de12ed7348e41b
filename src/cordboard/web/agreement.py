"""Settings that all parts of a plane share, compared before one of them serves."""

import asyncio
from contextlib import suppress

from cordboard.contract.errors import StoreUnavailableError
from cordboard.settings import Settings
from cordboard.store import Agreement, Store


def of(store: Store, part: str) -> Agreement:
    """Return what keeps a part's agreement with the others while it runs."""
    return Agreement(store.url, part, shards=len(store.shards), lease_s=store.periods.lease_s)


def reach(settings: Settings, part: str) -> None:
    """Compare before the part serves; where Redis is away it is done once it is back.

    Raises:
        DifferingError: Other parts run by other settings, and go on to.
    """
    with suppress(StoreUnavailableError):
        asyncio.run(_reach(settings, part))


async def _reach(settings: Settings, part: str) -> None:
    url = settings.redis_url_or_default
    found = Agreement(url, part, shards=settings.shards, lease_s=settings.lease_s)
    try:
        await found.reach()
    finally:
        await found.leave()
