"""A rollout of runners under live calls, by the real commands."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faults.faults_support import LEASE_S, Plane, plane_of
from plane_support import Processes, own_database, ready
from tests_support import until

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
async def plane(tmp_path: Path, redis_url: str) -> AsyncIterator[Plane]:
    processes = Processes(tmp_path, own_database(redis_url))
    processes.over["CORDBOARD_LEASE_S"] = str(LEASE_S)
    try:
        async with plane_of(processes) as opened:
            await opened.store.shards[0].connection.client.flushdb()
            yield opened
    finally:
        await asyncio.to_thread(processes.stop)


async def test_rollout_of_a_runner_ends_no_call(plane: Plane) -> None:
    """The old runner's call ends by itself within the grace period; new joins go to the new runner."""
    await plane.have("gateway", "operator")
    old = plane.spawn("runner", "--capacity", "4", "--grace", "60")
    await ready(old)
    # Longer than a busy machine needs to start the new runner.
    before = asyncio.create_task(plane.call("before", body={"seconds": 20.0}))
    await until(lambda: plane.entered("before") == 1, 40)
    new = plane.spawn("runner", "--capacity", "4")
    await ready(new)
    stopping = asyncio.create_task(asyncio.to_thread(old.stop))
    await until(lambda: [r for r in old.records if r["message"] == "Draining"])
    meanwhile = [f"meanwhile-{i}" for i in range(4)]
    calls = [asyncio.create_task(plane.call(sid, body={"seconds": 1.0})) for sid in meanwhile]
    await until(lambda: plane.entered(*meanwhile) == 4, 40)
    assert old.alive
    await asyncio.gather(before, *calls)
    assert await stopping == 0
    for sid in meanwhile:
        assert "bot.started" not in old.events(sid)
        assert "bot.started" in new.events(sid)
    assert plane.verdict("before", *meanwhile) == []
    ends = {(e["reason"], e["attempt"]) for e in plane.events if e["kind"] == "end"}
    assert ends == {("bot_finished", 1)}
