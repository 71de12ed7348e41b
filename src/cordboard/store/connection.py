"""One connection of the store to Redis: a server, a server behind Sentinel, or a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import TimeoutError as RedisTimeoutError

from cordboard import faults
from cordboard.contract.urls import redacted_url
from cordboard.store.errors import mapped_errors
from cordboard.store.redis_url import (
    CONNECTIONS_MAX,
    REPLY_TIMEOUT_S,
    connect,
    is_cluster,
    node_client,
)


class Connection:
    """A client of Redis for the keys of one shard; it connects when it is first used.

    Args:
        url: The URL of Redis.
        routing_key: A key of the shard. In a cluster its primary receives the commands without a key.

    Attributes:
        url: The URL of Redis.
        client: The client of redis-py, for commands that are no script. Its methods raise the errors of
            redis-py: use it inside ``errors()``.
        is_cluster: Whether the URL names a cluster.
        turns: Limits the commands in progress to the number of connections.
    """

    def __init__(self, url: str, routing_key: str) -> None:
        self.url = url
        # The types of redis-py describe the synchronous and the asynchronous client at once.
        self.client: Any = connect(url)
        self.is_cluster = is_cluster(url)
        self.turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._routing_key = routing_key

    def __repr__(self) -> str:
        return f"Connection({redacted_url(self.url)})"

    def errors(self) -> AbstractContextManager[None]:
        """Return a context manager that raises the errors of redis-py as ``StoreUnavailableError``."""
        return mapped_errors(self.url)

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
        pool = getattr(self.client, "connection_pool", None)
        if isinstance(
            pool, SentinelConnectionPool
        ):  # it does not close its clients of the sentinels
            await pool.sentinel_manager.aclose()

    async def execute(self, step: str, *command: str | int) -> Any:
        """Send one command as a named step.

        Args:
            step: The name of the step, for fault injection.
            command: The command and its arguments.

        Raises:
            StoreUnavailableError: Redis is unreachable or refuses the command.
        """
        with self.errors():
            faults.point(f"{step}.before")
            async with self.turns:
                reply = await self.client.execute_command(*command)
            faults.point(f"{step}.after")
        return reply

    async def target(self, key: str | None = None) -> dict[str, Any]:
        """Return the keyword argument that sends a command to the primary of ``key``.

        redis-py sends some commands, such as ``XREADGROUP`` and ``INFO``, to any node of a cluster unless
        it is told which. By default ``key`` is the routing key.
        """
        if not self.is_cluster:
            return {}
        await self.client.initialize()
        return {"target_nodes": self.client.get_node_from_key(key or self._routing_key)}

    async def now_ms(self) -> int:
        """Return the time of Redis in milliseconds since the Unix epoch."""
        if self.is_cluster:  # TIME has no key, so redis-py would ask any node
            script = "return redis.call('TIME')"
            seconds, micros = await self.client.eval(script, 1, self._routing_key)
        else:
            seconds, micros = await self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    @asynccontextmanager
    async def subscription(self, channel: str) -> AsyncIterator[Any]:
        """Subscribe to ``channel`` of the shard on a separate connection, for the length of a block."""
        if not self.is_cluster:
            async with self.client.pubsub() as pubsub:
                await _subscribe(pubsub, "subscribe", channel)
                yield pubsub
            return
        await self.now_ms()  # follows a redirection, so that the client knows the current primary
        node = self.client.get_node_from_key(channel)
        async with node_client(self.url, node.host, node.port) as client:
            command = "ssubscribe" if await _has_sharded_channels(client) else "subscribe"
            async with client.pubsub() as pubsub:
                await _subscribe(pubsub, command, channel)
                yield pubsub


async def _subscribe(pubsub: Any, command: str, channel: str) -> None:
    """Subscribe and wait for the confirmation: from then on no message is missed."""
    await getattr(pubsub, command)(channel)
    if await pubsub.get_message(timeout=REPLY_TIMEOUT_S) is None:
        raise RedisTimeoutError("no reply to the subscription")


async def _has_sharded_channels(client: Any) -> bool:
    """Return whether the server has ``SPUBLISH``, by the test that the scripts use too."""
    return bool(await client.eval("return redis.REDIS_VERSION_NUM and 1 or 0", 0))
