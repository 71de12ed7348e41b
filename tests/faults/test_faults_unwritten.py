"""What one runner alone knows: ends that Redis did not take, and bots that its fork server took down."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from cordboard.contract.launch import Launch
from cordboard.store import RedisStore
from cordboard.store.keys import Keys
from cordboard.up.embedded import EmbeddedServer
from plane_support import Part, Processes, parent_of, ready
from runner.runner_support import write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)

LEASE_S = 2
CALLS = [f"call-{number}" for number in range(6)]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    started = EmbeddedServer()
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def runner(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Part]:
    processes = Processes(tmp_path, server.url, {"CORDBOARD_LEASE_S": str(LEASE_S)})
    runner = processes.spawn("runner", "--bot", write_bot(tmp_path), "--capacity", "9")
    operator = processes.spawn("operator", "--launcher", "none")
    await ready(runner, operator)
    yield runner
    processes.stop()


async def refuse_writes(server: EmbeddedServer, refused: bool) -> None:
    """Make the server refuse writes, as one that has lost its replicas does."""
    async with redis.Redis.from_url(server.url) as client:
        await client.config_set("min-replicas-to-write", int(refused))


async def run_calls(store: RedisStore, seconds: float = 2) -> None:
    for sid in CALLS:
        body = {"do": "wait", "seconds": seconds}
        await store.accept(
            Launch(sid, f"https://rooms.example/{sid}", epoch=1, body=body), queue_max=99
        )

    async def run() -> bool:
        return all([(await store.session(sid)).state == "running" for sid in CALLS])

    await until(run)


def count(part: Part, event: str) -> int:
    return sum(part.events(sid).count(event) for sid in CALLS)


async def test_call_that_ended_during_an_outage_runs_once(
    server: EmbeddedServer, runner: Part
) -> None:
    """Calls that end while Redis refuses writes are written as ended when it accepts them again."""
    async with RedisStore(server.url, Keys(lease_s=LEASE_S)) as store:
        await run_calls(store)
        await refuse_writes(server, True)
        await until(lambda: count(runner, "bot.finished") == len(CALLS))
        await asyncio.sleep(LEASE_S)  # every lease runs out
        await refuse_writes(server, False)

        async def over() -> bool:
            return not any([(await store.session(sid)).live for sid in CALLS])

        await until(over)
        await asyncio.sleep(LEASE_S)  # for what would be started again
        records = [await store.session(sid) for sid in CALLS]
        assert {(r.state, r.reason, r.attempt) for r in records} == {("ended", "bot_finished", 1)}
        assert count(runner, "bot.started") == len(CALLS)


async def test_sessions_of_a_killed_fork_server_run_again(
    server: EmbeddedServer, runner: Part
) -> None:
    """Sessions whose fork server was killed run again, on a runner with a new fork server."""
    async with RedisStore(server.url, Keys(lease_s=LEASE_S)) as store:
        await run_calls(store, 600)
        os.kill(parent_of((await store.session(CALLS[0])).pid or 0), signal.SIGKILL)

        async def again() -> bool:
            records = [await store.session(sid) for sid in CALLS]
            return {(r.state, r.attempt) for r in records} == {("running", 2)}

        await until(again, 40)
        assert "are loaded again" in str(runner.records)
