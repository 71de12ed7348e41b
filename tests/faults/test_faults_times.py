"""The times of the contract, in real time: a dead runner, and one that nobody can ask.

Long, so only with ``-m faults_full``. Killed: the next bot speaks within 20 s. Frozen, bots and all: within
95 s, and never while the first one could.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faults.faults_support import Plane, now, plane_of
from plane_support import Part, Processes, ready
from tests_support import until

pytestmark = [pytest.mark.timeout(240), pytest.mark.faults_full]
BUSY_S = 3.0  # what a machine that is shared with others may need more


@pytest.fixture
async def plane(tmp_path: Path, redis_url: str) -> AsyncIterator[Plane]:
    processes = Processes(tmp_path, f"{redis_url.removesuffix('/0')}/6")
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
async def test_runs_elsewhere(plane: Plane, frozen: bool, within_s: float) -> None:
    """The session runs elsewhere within the time of the contract, and no two bots meet."""
    seconds = await second_bot(plane, frozen=frozen)
    assert seconds <= within_s + BUSY_S
    assert plane.verdict("t", recovery_s=within_s + BUSY_S) == []
