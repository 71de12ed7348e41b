"""The store as its users see it: rooms, launches and standby runners over one connection."""

from types import TracebackType
from typing import Self

from cordboard.contract.lease import LEASE_S
from cordboard.store.keys import Keys
from cordboard.store.launches import Launches
from cordboard.store.rooms import Rooms
from cordboard.store.standby import Standby


class Store(Rooms, Launches, Standby):
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

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ping(self) -> None:
        """Ask for a sign of life."""
        with self._errors():
            await self._client.ping()


def open_store(url: str, *, tag: str = "cb0", lease_s: float = LEASE_S) -> Store:
    """Return the store at ``url``; it connects when it is first used.

    Args:
        url: Where Redis is.
        tag: The hash tag of its keys.
        lease_s: Seconds that a lease lasts; the same for all who open it.

    Raises:
        SettingsError: The URL is none that this release reads.
    """
    return Store(url, Keys(tag, lease_s))
