"""One shard's connection to Redis, and its scripts, which are loaded from files."""

import asyncio
import functools
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any, Final

from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cordboard import faults
from cordboard.contract.lease import Periods
from cordboard.contract.urls import redacted_url
from cordboard.store.errors import mapped_errors
from cordboard.store.keys import Keys
from cordboard.store.redis_url import (
    ANSWER_TIMEOUT_S,
    CONNECTIONS_MAX,
    connect,
    is_cluster,
    node_client,
)

SCRIPTS: Final = (
    "accept",
    "adopt",
    "agree",
    "assign",
    "expire",
    "finish",
    "forget",
    "leave",
    "move",
    "permitted",
    "recover",
    "register",
    "release",
    "renew",
    "retire",
    "running",
    "share",
    "tidy",
)


class Scripts:
    """The Lua scripts of one shard, each with the shared part before it.

    Args:
        client: The connection.
        keys: The shard's names.
        in_cluster: Whether the server is one of a cluster.
    """

    def __init__(self, client: Any, keys: Keys, *, in_cluster: bool) -> None:
        where = f"local IN_CLUSTER = {str(in_cluster).lower()}\n"
        shared = keys.lua_names() + where + _source("_shared")
        self._sources = {name: shared + _source(name) for name in SCRIPTS}
        self._shas = {name: _sha(source) for name, source in self._sources.items()}
        self._client = client
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)

    async def run(self, name: str, key: str, *args: str | float) -> Any:
        """Run one script on one routing key."""
        faults.point(f"{name}.before")
        async with self._turns:
            answer = await self._run(name, key, *args)
        faults.point(f"{name}.after")
        return answer

    async def ask(self, name: str, *command: str | int) -> Any:
        """Send one plain command, as a step that has a name."""
        faults.point(f"{name}.before")
        async with self._turns:
            answer = await self._client.execute_command(*command)
        faults.point(f"{name}.after")
        return answer

    async def run_many(
        self, name: str, calls: Sequence[tuple[str, tuple[str | float, ...]]]
    ) -> Any:
        """Run one script for many keys in one round trip."""
        faults.point(f"{name}.before")
        try:
            answers = await self._run_pipe(name, calls)
        except NoScriptError:
            key, args = calls[0]
            await self._run(name, key, *args)
            answers = await self._run_pipe(name, calls)
        faults.point(f"{name}.after")
        return answers

    async def _run(self, name: str, key: str, *args: str | float) -> Any:
        """Run a script by its digest; by its text where the key's server does not know it yet.

        redis-py's own way would load it into all primaries of a cluster, of which one may be away.
        """
        try:
            return await self._client.evalsha(self._shas[name], 1, key, *args)
        except NoScriptError:
            return await self._client.eval(self._sources[name], 1, key, *args)

    async def _run_pipe(
        self, name: str, calls: Sequence[tuple[str, tuple[str | float, ...]]]
    ) -> Any:
        async with self._client.pipeline(transaction=False) as pipe:
            for key, args in calls:
                # By its name: a cluster's pipeline has no method for it, but takes the command.
                pipe.execute_command("EVALSHA", self._shas[name], 1, key, *args)
            return await pipe.execute()


def _sha(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


@functools.cache
def _source(name: str) -> str:
    path = files("cordboard.store").joinpath("scripts", f"{name}.lua")
    return path.read_text(encoding="utf-8")


class Shard:
    """What all parts of the store share: one connection, one set of names, the scripts.

    Args:
        url: Where Redis is.
        keys: The shard's key names.
    """

    def __init__(self, url: str, keys: Keys) -> None:
        self.url = url
        self.keys = keys
        self.periods = Periods(keys.lease_s)
        # redis-py types each answer for its synchronous and its asynchronous client at once.
        self._client: Any = connect(url)
        self._is_cluster = is_cluster(url)
        self._scripts = Scripts(self._client, keys, in_cluster=self._is_cluster)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redacted_url(self.url)})"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        pool = getattr(self._client, "connection_pool", None)
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with mapped_errors(self.url):
            yield

    async def _run(self, script: str, key: str, *args: str | float) -> Any:
        with self._errors():
            return await self._scripts.run(script, key, *args)

    async def _ask(self, name: str, *command: str | int) -> Any:
        with self._errors():
            return await self._scripts.ask(name, *command)

    async def _of(self, key: str) -> dict[str, Any]:
        """Name a key's primary for commands of which redis-py would ask another one where it is."""
        if not self._is_cluster:
            return {}
        await self._client.initialize()
        return {"target_nodes": self._client.get_node_from_key(key)}

    @asynccontextmanager
    async def _subscribed(self, channel: str) -> AsyncIterator[Any]:
        """Listen to a channel of this shard, on a connection of its own."""
        if not self._is_cluster:
            async with self._client.pubsub() as pubsub:
                await _subscribe(pubsub, "subscribe", channel)
                yield pubsub
            return
        await self._now_ms()  # finds the shard's primary, wherever it is by now
        node = self._client.get_node_from_key(channel)
        async with node_client(self.url, node.host, node.port) as client:
            how = "ssubscribe" if await _has_sharded_channels(client) else "subscribe"
            async with client.pubsub() as pubsub:
                await _subscribe(pubsub, how, channel)
                yield pubsub

    async def _now_ms(self) -> int:
        if self._is_cluster:  # of this shard's primary, not of any
            time = "return redis.call('TIME')"
            seconds, micros = await self._client.eval(time, 1, self.keys.leases)
        else:
            seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000


async def _subscribe(pubsub: Any, how: str, channel: str) -> None:
    """Subscribe, and wait until the server has said so: from then on nothing is missed."""
    await getattr(pubsub, how)(channel)
    if await pubsub.get_message(timeout=ANSWER_TIMEOUT_S) is None:
        raise RedisTimeoutError("no answer to a subscription")


async def _has_sharded_channels(client: Any) -> bool:
    """Ask as the scripts do, so that both decide alike."""
    return bool(await client.eval("return redis.REDIS_VERSION_NUM and 1 or 0", 0))


def new_token() -> str:
    """Return a token of one call: a script that is sent twice answers the same to the same token."""
    return secrets.token_hex(8)
