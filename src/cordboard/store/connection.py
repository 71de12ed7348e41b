"""The connection to Redis: its errors become ours, its scripts are loaded from files."""

import functools
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
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
    "assign",
    "expire",
    "finish",
    "leave",
    "recover",
    "register",
    "renew",
    "running",
)
_SCHEMES: Final = ("redis", "rediss", "unix")


def connect(url: str) -> "redis.Redis":
    """Return a client for ``url``; it connects when it is first used.

    One retry at once heals connections that a restarted server has closed; every script answers
    the same when it is sent twice, so a retry is never a second decision.

    Raises:
        SettingsError: The URL is none that this release reads.
    """
    if urlsplit(url).scheme not in _SCHEMES:
        raise SettingsError(
            f"REDIS_URL {shown(url)}: its scheme is none of {', '.join(_SCHEMES)}.",
            hint="For example redis://127.0.0.1:6379/0 or unix:///run/valkey/valkey.sock.",
        )
    try:
        # In a burst callers wait for a connection: hundreds of new ones at once would only be late.
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=CONNECTION_WAIT_S,
            decode_responses=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            health_check_interval=30,
            retry=Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,)),
        )
        return redis.Redis.from_pool(pool)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL {shown(url)}: {error}.") from error


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
        OSError,
    ) as error:
        raise StoreUnavailableError(
            f"Redis at {shown(url)} does not answer: {_cause(error)}.",
            hint="Check that it runs and that REDIS_URL is right.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except ResponseError as error:
        if not _is_passing(error):
            raise
        raise StoreUnavailableError(
            f"Redis at {shown(url)} takes no writes: {_cause(error)}.",
            hint="See its log, its memory and its replicas.",
            retry_after_s=RETRY_AFTER_S,
        ) from error


# What a server says that lives, but cannot decide anything now: full, failing over, not in sync.
_PASSING: Final = ("OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ")


def _is_passing(error: ResponseError) -> bool:
    words = str(error)
    return isinstance(error, OutOfMemoryError) or words.startswith(_PASSING)


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


class Scripts:
    """The Lua scripts of one shard, each with the shared part before it.

    Args:
        client: The connection.
        keys: The shard's names.
    """

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        shared = keys.lua_names() + _source("_shared")
        self._scripts = {name: client.register_script(shared + _source(name)) for name in SCRIPTS}
        self._client = client

    async def run(self, name: str, key: str, *args: str | float) -> Any:
        """Run one script on one routing key."""
        faults.point(f"{name}.before")
        answer = await self._scripts[name](keys=[key], args=list(args))
        faults.point(f"{name}.after")
        return answer

    async def run_many(
        self, name: str, calls: Sequence[tuple[str, tuple[str | float, ...]]]
    ) -> Any:
        """Run one script for many keys in one round trip."""
        script = self._scripts[name]
        async with self._client.pipeline(transaction=False) as pipe:
            for key, args in calls:
                await script(keys=[key], args=list(args), client=pipe)
            faults.point(f"{name}.before")
            answers = await pipe.execute()
            faults.point(f"{name}.after")
            return answers


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
        self._scripts = Scripts(self._client, keys)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.url)})"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with our_errors(self.url):
            yield

    async def _run(self, script: str, key: str, *args: str | float) -> Any:
        with self._errors():
            return await self._scripts.run(script, key, *args)

    async def _now_ms(self) -> int:
        seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000


def token() -> str:
    """Return a token of one call: a script that is sent twice answers the same to the same token."""
    return secrets.token_hex(8)
