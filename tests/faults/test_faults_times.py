"""The times of the contract, in real time: a dead runner, and one that nobody can ask.

Long, so only with ``-m faults_full``. Killed: the next bot speaks within 20 s. Frozen, bots and all: within
95 s, and never while the first one could. And a Redis that is away for a minute.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cordboard.up.embedded import EmbeddedServer
from faults.faults_support import Plane, now, plane_of
from plane_support import Part, Processes, own_database, ready
from tests_support import until

pytestmark = [pytest.mark.timeout(240), pytest.mark.faults_full]
BUSY_S = 3.0  # what a machine that is shared with others may need more


@pytest.fixture
async def plane(tmp_path: Path, redis_url: str) -> AsyncIterator[Plane]:
    processes = Processes(tmp_path, own_database(redis_url))
    try:
        async with plane_of(processes) as opened:
            await opened.have("gateway", "operator", "runner")
            yield opened
    finally:
        processes.stop()


async def second_bot(plane: Plane, *, frozen: bool) -> float:
    """Lose a runner; return how long the room had no bot that a caller could hear."""
    lost = plane.spawn("runner", "--capacity", "20")
    await ready(lost)
    room = "https://rooms.example/t"
    await plane.join({"room_url": room, "sessionId": "t", "body": {"seconds": 130}})
    await until(lambda: plane.entered("t") == 1, 40)
    await asyncio.sleep(6)
    pid = (await plane.store.session("t")).pid or 0
    lost_at = now()
    if frozen:
        for victim in (pid, lost.pid):
            os.kill(victim, signal.SIGSTOP)
    else:
        lost.kill()
    await until(lambda: plane.entered("t") == 2, 120)
    seconds = now() - lost_at
    await _thaw(plane, lost, pid, frozen=frozen)
    await plane.leave("t")
    await plane.end("t")
    return seconds


async def _thaw(plane: Plane, lost: Part, pid: int, *, frozen: bool) -> None:
    if frozen:
        for victim in (pid, lost.pid):
            os.kill(victim, signal.SIGCONT)
        await asyncio.sleep(2)
    assert plane.entered("t") == 2


@pytest.mark.parametrize(("frozen", "within_s"), [(False, 20.0), (True, 95.0)])
async def test_session_of_a_lost_runner_runs_elsewhere_in_time(
    plane: Plane, frozen: bool, within_s: float
) -> None:
    """The session runs elsewhere within the promised time, and no two bots meet."""
    seconds = await second_bot(plane, frozen=frozen)
    assert seconds <= within_s + BUSY_S
    assert plane.verdict("t", recovery_s=within_s + BUSY_S) == []


OUTAGE_S = 60.0


async def test_redis_outage_of_a_minute_ends_no_call(tmp_path: Path) -> None:
    """Redis is dead for 60 s: no live call ends, joins get 503, then everything converges."""
    server = EmbeddedServer()
    server.start()
    processes = Processes(tmp_path, server.url)
    try:
        async with plane_of(processes) as plane:
            await plane.have("gateway", "operator", "runner")
            await _outlives(plane, server)
    finally:
        processes.stop()
        server.stop()


async def _outlives(plane: Plane, server: EmbeddedServer) -> None:
    seconds = {"short": 20.0, "long": OUTAGE_S + 25, "longer": OUTAGE_S + 40}
    for sid, lasts_s in seconds.items():
        room = f"https://rooms.example/{sid}"
        await plane.join({"room_url": room, "sessionId": sid, "body": {"seconds": lasts_s}})
    await until(lambda: plane.entered(*seconds) == len(seconds), 40)
    await asyncio.sleep(2)  # the server writes its changes down every second
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    back_at = now() + OUTAGE_S
    while now() < back_at:
        body = {"room_url": "https://rooms.example/away"}
        async with plane.client.post(f"{plane.gateways[0]}/join", json=body) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        await asyncio.sleep(2)
    server.start()
    await plane.call("after", body={"seconds": 0.5})
    for sid in seconds:
        await plane.end(sid, 90)
    assert plane.verdict(*seconds, "after") == []
    ends = {(e["reason"], e["attempt"], e["epoch"]) for e in plane.events if e["kind"] == "end"}
    assert ends == {("bot_finished", 1, 1)}
