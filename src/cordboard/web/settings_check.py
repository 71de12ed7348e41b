"""Settings that all components share, compared with the other components before one serves."""

import asyncio

from cordboard.contract.errors import StoreForbiddenError, StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.settings import Settings
from cordboard.store import SessionStore, SharedSettings, open_store

log = get_logger("settings")


def shared_settings_of(store: SessionStore, component: str) -> SharedSettings:
    """Return the shared settings of a component, which compares them with those of the others.

    Args:
        store: The session store, which was opened with these settings.
        component: The name under which the component registers its settings in Redis.
    """
    keys = store.shards[0].keys
    return SharedSettings(
        store.url,
        component,
        shards=len(store.shards),
        lease_s=keys.lease_s,
        record_kept_s=keys.record_kept_s,
    )


def open_shared_store(settings: Settings) -> SessionStore:
    """Return the session store, opened with the shared values of `settings`."""
    return open_store(
        settings.redis_url_or_default,
        shards=settings.shards,
        lease_s=settings.lease_s,
        record_kept_s=settings.record_kept_s,
    )


def check_ice(settings: Settings) -> None:
    """Check that credentials can be derived for each TURN server that needs them.

    Args:
        settings: The settings of this process.

    Raises:
        SettingsError: They cannot, or callers may use TURN only and there is no TURN server.
    """
    settings.ice_config("check", 0)


def compare_before_serving(settings: Settings, component: str) -> None:
    """Compare the shared settings with those of the running components.

    If Redis is unreachable, nothing is compared here: a Redis outage must not keep a component from
    starting. The running component compares the settings as soon as Redis is back.

    Args:
        settings: The settings of this process.
        component: The component's name.

    Raises:
        DifferingError: Other components run with other settings and do not stop.
        StoreForbiddenError: Redis refuses the login or a command that the component needs.
    """
    try:
        asyncio.run(_compare(settings, component))
    except StoreForbiddenError:
        raise
    except StoreUnavailableError:
        pass


async def _compare(settings: Settings, component: str) -> None:
    async with open_shared_store(settings) as store:
        await store.check_permitted()
        policy = await store.eviction_policy()
    if policy is not None:
        log.warning("Redis evicts keys when its memory is full, which ends live calls",
                    maxmemory_policy=policy, expected="noeviction")  # fmt: skip
    # Registered only for the comparison; the application registers again when it serves.
    shared_settings = shared_settings_of(store, component)
    try:
        await shared_settings.reach()
    finally:
        await shared_settings.leave()
