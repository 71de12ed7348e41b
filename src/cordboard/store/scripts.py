"""The Lua scripts of one shard: each decision of the store is one script."""

import functools
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec
from redis.exceptions import NoScriptError

from cordboard import faults
from cordboard.store.connection import Connection
from cordboard.store.keys import Keys

SCRIPTS: Final = (
    "accept",
    "adopt",
    "agree",
    "assign",
    "expire",
    "finish",
    "forget",
    "keep_context",
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
    "suspect",
    "tidy",
)


_encode: Final = msgspec.msgpack.Encoder().encode  # None becomes nil, an absent argument


class Scripts:
    """The Lua scripts of one shard, each with the shared part before it.

    A script takes one key, which selects the node of a cluster, and its arguments by name, as one
    MessagePack map. The head of each Lua file lists them.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.

    Attributes:
        sources: The text of each script by name.
        digests: The SHA-1 digest of each script by name, as ``EVALSHA`` takes it.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        in_cluster = f"local IN_CLUSTER = {str(connection.is_cluster).lower()}\n"
        shared = keys.lua_tables() + in_cluster + _read("_shared")
        self.sources = {name: shared + _read(name) for name in SCRIPTS}
        self.digests = {name: _digest(source) for name, source in self.sources.items()}
        self._connection = connection

    async def run(self, name: str, key: str, arguments: Mapping[str, Any]) -> Any:
        """Run a script and return its reply.

        Args:
            name: The script.
            key: The key that the script declares.
            arguments: The script's arguments by name. None stands for an absent argument.

        Raises:
            StoreUnavailableError: Redis is unreachable or refuses the command.
        """
        encoded = _encode(arguments)
        with self._connection.errors():
            faults.point(f"{name}.before")
            async with self._connection.turns:
                reply = await self._evaluate(name, key, encoded)
            faults.point(f"{name}.after")
        return reply

    async def run_many(self, name: str, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> Any:
        """Run a script several times in one round trip and return the replies in order.

        Args:
            name: The script.
            calls: The key and the arguments of each call; at least one.

        Raises:
            StoreUnavailableError: Redis is unreachable or refuses a command.
        """
        encoded = [(key, _encode(arguments)) for key, arguments in calls]
        with self._connection.errors():
            faults.point(f"{name}.before")
            try:
                replies = await self._evaluate_in_pipeline(name, encoded)
            except NoScriptError:
                await self._evaluate(name, *encoded[0])  # loads the script
                replies = await self._evaluate_in_pipeline(name, encoded)
            faults.point(f"{name}.after")
        return replies

    async def _evaluate(self, name: str, key: str, arguments: bytes) -> Any:
        """Run a script by its digest, or by its text if the server does not have it yet.

        The ``register_script`` of redis-py would load it into every primary of a cluster, and fail if one
        of them is away.
        """
        client = self._connection.client
        try:
            return await client.evalsha(self.digests[name], 1, key, arguments)
        except NoScriptError:
            return await client.eval(self.sources[name], 1, key, arguments)

    async def _evaluate_in_pipeline(self, name: str, calls: Sequence[tuple[str, bytes]]) -> Any:
        async with self._connection.client.pipeline(transaction=False) as pipe:
            for key, arguments in calls:
                # The pipeline of a cluster has no evalsha method, but it accepts the command.
                pipe.execute_command("EVALSHA", self.digests[name], 1, key, arguments)
            return await pipe.execute()


def new_token() -> str:
    """Return a random token for one call of a script.

    The client may send a script twice. A script that has already decided for a token repeats its answer.
    """
    return secrets.token_hex(8)


def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


@functools.cache
def _read(name: str) -> str:
    path = files("cordboard.store").joinpath("scripts", f"{name}.lua")
    return path.read_text(encoding="utf-8")
