"""What a server of Redis can do for a plane: whether it takes writes, keeps them, and permits all."""

from typing import Any

from cordboard.contract.errors import StoreForbiddenError
from cordboard.contract.urls import redacted_url
from cordboard.store.connection import Shard
from cordboard.store.keys import WRITE_CHECK_KEPT_S


class Checks(Shard):
    """Questions about the server; none of them changes what a plane holds."""

    async def ping(self) -> None:
        """Ask for a sign of life."""
        with self._errors():
            await self._now_ms()

    async def check_writable(self) -> None:
        """Write one small key: a Redis may answer and take no writes.

        Raises:
            StoreUnavailableError: It does not answer, or takes no writes; the message says why.
        """
        key, kept_ms = self.keys.write_check, WRITE_CHECK_KEPT_S * 1000
        await self._ask("check_writable", "SET", key, "1", "PX", kept_ms)

    async def check_permitted(self) -> None:
        """Try every command and every kind of key that the plane needs, on keys that nothing has.

        Raises:
            StoreForbiddenError: The server's user lacks some; the message names them.
        """
        names = self.keys.samples()
        missing: list[str] = await self._run("permitted", self.keys.write_check, *names)
        if missing:
            raise StoreForbiddenError(
                f"Redis at {redacted_url(self.url)} does not permit its user: {', '.join(missing)}.",
                hint="Give that user these commands and keys (ACL SETUSER); docs/operations.md lists "
                "all.",
            )

    async def eviction_policy(self) -> str | None:
        """Return the policy with which the server evicts keys when its memory is full.

        None where it gives none away, or does not tell.
        """
        with self._errors():
            try:
                memory = await self._info("memory")
            except StoreForbiddenError:
                return None
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        return None if policy == "noeviction" or not memory.get("maxmemory") else policy

    async def _info(self, section: str) -> dict[str, Any]:
        where = await self._of(self.keys.leases)
        found: dict[str, Any] = await self._client.execute_command("INFO", section, **where)
        return found
