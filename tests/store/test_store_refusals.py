"""A Redis that refuses a command counts as unavailable, whatever the command and the error are."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from cordboard.contract.errors import StoreForbiddenError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.store import Holder, RedisStore, Registration, Renewal, mapped_errors
from server_support import Server, name_of, programs, serving

HOLDER = Holder("r1", "http://127.0.0.1:7861", "warm", pid=42)
RUNNER = Registration("r1", "http://127.0.0.1:7861", capacity=4)
SECRET = "the-room-s-token"
PIPELINE = "Command # 2 (EVALSHA abc 1 key {}) of pipeline caused error: ('{}',)"


def launch(number: int = 1) -> Launch:
    return Launch(f"call-{number}", f"webrtc:room-{number}", epoch=1, token=SECRET)


CALLS: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "a script": lambda store: store.accept(launch(9), queue_max=10),
    "a pipeline of scripts": lambda store: store.renew(
        [Renewal(f"call-{n}", 1, HOLDER) for n in (1, 2)]
    ),
    "a transaction": lambda store: store.unregister("r1"),
    "a stream's reader": lambda store: store.queue.read("op", count=1, block_ms=1),
    "the operator's look": lambda store: store.queue.claim_abandoned("op", idle_ms=0, count=1),
    "the readiness": lambda store: store.check_writable(),
}


@pytest.fixture(scope="module", params=programs(), ids=name_of)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    server.ask("FLUSHALL")
    async with RedisStore(server.url) as opened:
        await opened.register(RUNNER)
        for number in (1, 2):
            await opened.accept(launch(number), queue_max=10)
            await opened.placement.assign(f"call-{number}", 1)
            await opened.confirm_running(f"call-{number}", 1, HOLDER)
        yield opened


@pytest.mark.parametrize("call", CALLS)
async def test_server_without_replicas_is_unavailable(
    server: Server, store: RedisStore, call: str
) -> None:
    """A server that waits for replicas is unavailable, for scripts, pipelines, transactions and streams."""
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreUnavailableError, match=r"NOREPLICAS|replicas") as raised:
            await CALLS[call](store)
    finally:
        server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    assert SECRET not in str(raised.value)
    assert "EVALSHA" not in str(raised.value), "the command and its values are left out"
    await CALLS[call](store)


@pytest.mark.parametrize("call", CALLS)
async def test_replica_is_unavailable(server: Server, store: RedisStore, call: str) -> None:
    """A server that has become a replica is unavailable."""
    server.ask("REPLICAOF", "127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailableError):
            await CALLS[call](store)
    finally:
        server.ask("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots, but cannot."),
        ResponseError("MISCONF Errors writing to the AOF file. script: abc, on @user_script:9."),
        ResponseError("UNKILLABLE Sorry the script already executed write commands."),
        ResponseError("BUSY Redis is busy running a script."),
        ResponseError("SOMETHINGNEW of a later release"),
        # Redis 6.2, in a script.
        ResponseError(
            "ERR Error running script (call to f_0a1b): @user_script:7: @user_script: 7: "
            "-MISCONF Errors writing to the AOF file: No space left on device"
        ),
        ResponseError("Error running script (call to f_0a1b): @user_script:7: -OOM command not"),
        ResponseError(PIPELINE.format(SECRET, "NOREPLICAS Not enough good replicas to write.")),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        OutOfMemoryError(PIPELINE.format(SECRET, "command not allowed.")),
    ],
    ids=lambda error: str(error)[:40],
)
def test_refusal_is_recognized_by_its_code(error: ResponseError) -> None:
    """Whatever code the error begins with, and wherever the code stands, the server refuses."""
    with pytest.raises(StoreUnavailableError) as raised, mapped_errors("redis://:pw@host/0"):
        raise error
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError(
            "ERR user_script:3: attempt to index a nil value script: a, on @user_script:3"
        ),
        ResponseError("unknown command 'FOO'"),
        ResponseError("NOGROUP No such key"),
    ],
    ids=str,
)
def test_faulty_command_is_no_refusal(error: ResponseError) -> None:
    """An error about the command itself is no outage."""
    with pytest.raises(ResponseError), mapped_errors("redis://host/0"):
        raise error


class TestPermissions:
    async def test_usual_user_is_permitted_everything(self, store: RedisStore) -> None:
        """A usual user may do everything, and the check leaves nothing behind."""
        before = set(await store.connection.client.keys("*"))
        await store.check_permitted()
        assert set(await store.connection.client.keys("*")) == before

    @pytest.mark.parametrize(
        ("rules", "named"),
        [
            (["~*", "&*", "+@all", "-xautoclaim"], "XAUTOCLAIM"),
            (["~*", "&*", "+@all", "-hset", "-zadd"], "HSET, ZADD"),
            (["~write_check:*", "~session:*", "&*", "+@all"], r"~room_active:\*"),
            (["~*", "resetchannels", "+@all"], "PUBLISH"),
            (["~*", "&*", "+@all", "-evalsha", "-eval"], "evalsha"),
        ],
    )
    async def test_missing_permissions_are_named(
        self, server: Server, rules: list[str], named: str
    ) -> None:
        """Commands, kinds of keys and channels that the user may not use are named."""
        server.ask("ACL", "SETUSER", "part", "reset", "on", ">pw", *rules)
        async with RedisStore(f"redis://part:pw@127.0.0.1:{server.port}/0") as limited:
            with pytest.raises(StoreForbiddenError, match=named):
                await limited.check_permitted()

    async def test_call_without_permission_is_forbidden(self, server: Server) -> None:
        """In a running process, too, it is no error of the program."""
        server.ask("ACL", "SETUSER", "part", "reset", "on", ">pw", "~other:*", "&*", "+@all")
        async with RedisStore(f"redis://part:pw@127.0.0.1:{server.port}/0") as limited:
            for call in CALLS.values():
                with pytest.raises(StoreForbiddenError):
                    await call(limited)

    async def test_documented_user_is_enough(self, server: Server) -> None:
        """The user of docs/operations.md may do all that the store does."""
        rules = _documented_rules()
        server.ask("ACL", "SETUSER", "part", "reset", "on", ">pw", *rules)
        server.ask("FLUSHALL")
        async with RedisStore(f"redis://part:pw@127.0.0.1:{server.port}/0") as limited:
            await limited.check_permitted()
            await limited.accept(launch(), queue_max=10)
            for call in CALLS.values():
                await call(limited)
            async with limited.changes():
                pass


def _documented_rules() -> list[str]:
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "operations.md"
    line = next(x for x in page.read_text().splitlines() if "ACL SETUSER cordboard" in x)
    words = line.split()
    return words[words.index(">PASSWORD") + 1 :]


async def test_eviction_policy_counts_with_a_memory_limit(
    server: Server, store: RedisStore
) -> None:
    """A policy counts only if the server has a memory limit."""
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert await store.eviction_policy() is None
        server.ask("CONFIG", "SET", "maxmemory", "200mb")
        assert await store.eviction_policy() == "allkeys-lru"
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_eviction_policy_is_unknown_without_info(server: Server) -> None:
    """A user that may not use INFO gets no policy, and no error."""
    server.ask("ACL", "SETUSER", "part", "reset", "on", ">pw", "~*", "&*", "+@all", "-info")
    async with RedisStore(f"redis://part:pw@127.0.0.1:{server.port}/0") as limited:
        assert await limited.eviction_policy() is None


async def test_wrong_password_is_forbidden(server: Server) -> None:
    """A wrong password is forbidden, not unavailable: a process that starts says so and ends."""
    async with RedisStore(f"redis://nobody:pw@127.0.0.1:{server.port}/0") as refused:
        with pytest.raises(StoreForbiddenError) as raised:
            await refused.ping()
    assert "pw" not in str(raised.value).replace("password", "")
