"""Checks of the Redis server: whether it answers, accepts writes, keeps data and permits the commands."""

from cordboard.contract.errors import StoreForbiddenError
from cordboard.contract.urls import redacted_url
from cordboard.store.connection import Connection
from cordboard.store.keys import WRITE_CHECK_KEPT_S, Keys
from cordboard.store.scripts import Scripts


class ServerChecks:
    """Checks of the server of one shard; none of them changes data of the plane.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.
        scripts: The scripts of the shard.
    """

    def __init__(self, connection: Connection, keys: Keys, scripts: Scripts) -> None:
        self._connection = connection
        self._keys = keys
        self._scripts = scripts

    async def ping(self) -> None:
        """Check that the server answers."""
        with self._connection.errors():
            await self._connection.now_ms()

    async def check_writable(self) -> None:
        """Write one small key: a server may answer and refuse writes.

        Raises:
            StoreUnavailableError: The server does not answer or refuses writes; the message says why.
        """
        key, kept_ms = self._keys.write_check, WRITE_CHECK_KEPT_S * 1000
        await self._connection.execute("check_writable", "SET", key, "1", "PX", kept_ms)

    async def check_permitted(self) -> None:
        """Try each command and each kind of key that the plane needs, on keys that hold nothing.

        Raises:
            StoreForbiddenError: The user lacks permissions; the message lists them.
        """
        missing: list[str] = await self._scripts.run(
            "permitted", self._keys.write_check, {"keys": self._keys.sample_keys()}
        )
        if missing:
            url = redacted_url(self._connection.url)
            raise StoreForbiddenError(
                f"Redis at {url} does not permit its user: {', '.join(missing)}.",
                hint="Grant that user these commands and keys (ACL SETUSER); docs/operations.md "
                "lists all.",
            )

    async def eviction_policy(self) -> str | None:
        """Return the policy by which the server evicts keys when its memory is full.

        Returns:
            None if it evicts none, has no memory limit, or does not permit ``INFO``.
        """
        try:
            with self._connection.errors():
                memory = await self._connection.client.execute_command(
                    "INFO", "memory", **await self._connection.target()
                )
        except StoreForbiddenError:
            return None
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        return None if policy == "noeviction" or not memory.get("maxmemory") else policy
