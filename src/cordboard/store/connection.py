"""The connection to Redis, alone, behind Sentinel or as a Cluster; its scripts are loaded from files."""

import asyncio
import functools
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterError,
    InvalidResponse,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from cordboard import faults
from cordboard.contract.errors import SettingsError, StoreUnavailableError
from cordboard.contract.lease import Periods
from cordboard.store.keys import Keys

CONNECTIONS_MAX: Final = 64  # of one process; Redis works on one command at a time
CONNECTION_WAIT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 4.0  # not tried again: a caller is to hear soon that Redis is away
RETRY_AFTER_S: Final = 2
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
    "recover",
    "register",
    "release",
    "renew",
    "retire",
    "running",
    "share",
)
CLUSTER: Final = "redis+cluster"
SENTINEL: Final = "redis+sentinel"
SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379
_SCHEMES: Final = ("redis", "rediss", "unix", SENTINEL, CLUSTER)


def connect(url: str) -> Any:
    """Return a client for ``url``; it connects when it is first used.

    One retry at once heals connections that a restarted server has closed; every script answers
    the same when it is sent twice, so a retry is never a second decision.

    Raises:
        SettingsError: The URL is none that this release reads.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise SettingsError(
            f"REDIS_URL {shown(url)}: its scheme is none of {', '.join(_SCHEMES)}.",
            hint="For example redis://127.0.0.1:6379/0 or redis+sentinel://HOST:26379/MASTER/0.",
        )
    try:
        if scheme == CLUSTER:
            return _cluster(urlsplit(url))
        if scheme == SENTINEL:
            return _behind_sentinel(urlsplit(url))
        # In a burst callers wait for a connection: hundreds of new ones at once would only be late.
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=CONNECTION_WAIT_S,
            decode_responses=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            health_check_interval=30,
            retry=_retry(),
        )
        return redis.Redis.from_pool(pool)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL {shown(url)}: {error}.") from error


def _cluster(parts: SplitResult) -> RedisCluster:
    """A client of a cluster; any of the hosts is enough to learn of all."""
    if parts.path.strip("/") not in {"", "0"}:
        raise ValueError("a cluster has no database but 0")
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in _hosts(parts, REDIS_PORT)],
        require_full_coverage=False,  # one primary that is away is no reason not to ask the others
        max_connections=CONNECTIONS_MAX * 16,  # beyond it redis-py refuses; Scripts waits before
        retry=_retry(),
        **_options(parts),
    )


def _behind_sentinel(parts: SplitResult) -> redis.Redis:
    """A client of whoever Sentinel says is the master, asked anew for each new connection."""
    master, _, db = parts.path.strip("/").partition("/")
    if not master or (db and not db.isdigit()):
        raise ValueError("its path is not /MASTER or /MASTER/DB")
    timeouts: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": CONNECT_TIMEOUT_S,
        "retry": _retry(),
    }
    make: Any = Sentinel  # it has no types
    sentinel = make(_hosts(parts, SENTINEL_PORT), sentinel_kwargs=timeouts)
    client: redis.Redis = sentinel.master_for(
        unquote(master), db=int(db or 0), retry=_retry(), **_options(parts)
    )
    return client


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    """Return the hosts of a URL that names several, separated by commas."""
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{text}")
        if not one.hostname:
            raise ValueError("a host is missing")
        found.append((one.hostname, one.port or port))
    return found


def _options(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "health_check_interval": 30,
    }


def _retry() -> Retry:
    return Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,))


def shown(url: str) -> str:
    """Return a Redis URL as it may be shown: without its password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"…@{host}" if "@" in parts.netloc else host).geturl()


@contextmanager
def our_errors(url: str) -> Iterator[None]:
    """Turn Redis being away into ``StoreUnavailableError``."""
    try:
        yield
    except AuthenticationError as error:
        raise StoreUnavailableError(
            f"Redis at {shown(url)} refuses us: {error}.", hint="Check the password in REDIS_URL."
        ) from error
    except (
        RedisConnectionError,
        RedisTimeoutError,
        BusyLoadingError,
        ReadOnlyError,
        InvalidResponse,  # something else listens there
        ClusterError,
        RedisClusterException,
        MovedError,
        OSError,
    ) as error:
        raise StoreUnavailableError(
            f"Redis at {shown(url)} does not answer: {_cause(error)}.",
            hint="Check that it runs and that REDIS_URL is right.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except RuntimeError as error:
        if not str(error).endswith(_CLOSED):
            raise
        raise StoreUnavailableError(
            f"Redis at {shown(url)} has closed the connection.", retry_after_s=RETRY_AFTER_S
        ) from error
    except ResponseError as error:
        if not _is_passing(error):
            raise
        raise StoreUnavailableError(
            f"Redis at {shown(url)} takes no writes: {_cause(error)}.",
            hint="See its log, its memory and its replicas.",
            retry_after_s=RETRY_AFTER_S,
        ) from error


# What uvloop says of a connection that was closed meanwhile; asyncio's own loop raises an OSError.
_CLOSED: Final = "the handler is closed"

# What a server says that lives, but cannot decide anything now: full, failing over, not in sync.
_PASSING: Final = ("OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ")


def _is_passing(error: ResponseError) -> bool:
    words = str(error)
    return isinstance(error, OutOfMemoryError) or words.startswith(_PASSING)


def _cause(error: BaseException) -> str:
    if isinstance(error, MasterNotFoundError):  # what follows is a client of each sentinel, in full
        return str(error).partition(" : ")[0]
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


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


def is_missing_group(error: BaseException) -> bool:
    """Say whether a stream or its consumer group does not exist (yet, or any more)."""
    return isinstance(error, ResponseError) and "NOGROUP" in str(error)


def is_existing_group(error: BaseException) -> bool:
    """Say whether a consumer group could not be made because it is there."""
    return isinstance(error, ResponseError) and "BUSYGROUP" in str(error)


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
        self._is_cluster = urlsplit(url).scheme == CLUSTER
        self._scripts = Scripts(self._client, keys, in_cluster=self._is_cluster)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.url)})"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        pool = getattr(self._client, "connection_pool", None)
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with our_errors(self.url):
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
        options = _options(urlsplit(self.url))
        async with redis.Redis(host=node.host, port=node.port, **options) as client:
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


def token() -> str:
    """Return a token of one call: a script that is sent twice answers the same to the same token."""
    return secrets.token_hex(8)
