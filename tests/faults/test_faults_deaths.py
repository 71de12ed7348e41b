"""Deaths that are confirmed: the sessions go on long before their leases, of a minute, would run out."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from faults.faults_support import Plane, plane_of
from plane_support import Part, Processes, own_database, ready
from tests_support import until

pytestmark = pytest.mark.timeout(120)
_numbers = itertools.count()
_parts: dict[str, Any] = {}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    made = Processes(tmp_path_factory.mktemp("deaths"), own_database(redis_url))
    made.over["CORDBOARD_LEASE_S"] = "60"
    yield made
    made.stop()


@pytest.fixture
async def plane(processes: Processes) -> AsyncIterator[Plane]:
    async with plane_of(processes) as opened:
        opened.parts = _parts
        await opened.have("gateway", "operator", "runner")
        yield opened


class Calls:
    """Sessions on a runner that is about to die; the plane's own runner is there to take them."""

    def __init__(self, plane: Plane, victim: Part, count: int = 2) -> None:
        self.plane, self.victim = plane, victim
        number = next(_numbers)
        self.names = [f"d{number}-{one}" for one in range(count)]
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start as many calls as it takes until each name's bot is on the runner that dies."""
        for name in self.names:
            body = {"seconds": 30.0}
            self.tasks.append(asyncio.create_task(self.plane.call(name, body=body)))
            await self.bots(1, name)

    async def bots(self, count: int, *names: str) -> None:
        """Wait until so many bots have entered the rooms of these sessions."""
        await until(lambda: self.plane.entered(*names) >= count, 40)

    async def end(self, bots: int) -> set[tuple[str, int]]:
        """Wait until so many bots have been in the rooms, leave, and return the ends; nothing may be broken."""
        await self.bots(bots, *self.names)
        await asyncio.gather(*(self.plane.leave(name) for name in self.names))
        await asyncio.gather(*self.tasks)
        assert self.plane.verdict(*self.names) == []
        assert self.plane.entered(*self.names) == bots
        return {
            (event["reason"], event["attempt"])
            for event in self.plane.events
            if event["kind"] == "end" and event["sid"] in self.names
        }


async def doomed(plane: Plane, *words: str, faults: str = "") -> Part:
    """Start the runner that gets the calls: it has most free slots."""
    victim = plane.spawn("runner", "--capacity", "20", *words, faults=faults)
    await ready(victim)
    return victim


async def test_killed_runner_is_replaced(plane: Plane) -> None:
    """Its sessions go on under the same id, as the next attempt."""
    victim = await doomed(plane)
    calls = Calls(plane, victim)
    await calls.start()
    victim.kill()
    assert await calls.end(4) == {("left", 2)}


async def test_two_runners_die_in_a_row(plane: Plane) -> None:
    """The sessions go on twice."""
    first, second = await doomed(plane), await doomed(plane)
    calls = Calls(plane, first, 1)
    await calls.start()
    for bots in (2, 3):
        record = await plane.store.session(calls.names[0])
        holder = next(part for part in (first, second) if part.url == record.runner_url)
        holder.kill()
        await calls.bots(bots, *calls.names)
    assert await calls.end(3) == {("left", 3)}


async def test_killed_bot_process_is_replaced(plane: Plane) -> None:
    """By its runner, which lives."""
    victim = await doomed(plane)
    calls = Calls(plane, victim)
    await calls.start()
    for name in calls.names:
        os.kill((await plane.store.session(name)).pid or 0, signal.SIGKILL)
    assert await calls.end(4) == {("left", 2)}
    victim.kill()


async def test_runner_that_stops_hands_over(plane: Plane) -> None:
    """After its grace period, however often SIGTERM comes; that is no attempt."""
    victim = await doomed(plane, "--grace", "0.5")
    calls = Calls(plane, victim)
    await calls.start()
    for _ in range(3):
        victim.signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
    assert await calls.end(4) == {("left", 1)}
    assert await asyncio.to_thread(victim.ended) == 0
    for name in calls.names:
        assert victim.events(name).count("session.recovered") == 1


@pytest.mark.parametrize("point", ["runner.hand_over.before", "runner.hand_over.after"])
async def test_runner_dies_during_the_hand_over(plane: Plane, point: str) -> None:
    """Before or after the write: one bot follows each."""
    victim = await doomed(plane, "--grace", "0", faults=f"{point}=kill")
    calls = Calls(plane, victim, 1)
    await calls.start()
    victim.signal(signal.SIGTERM)
    attempt = 2 if point.endswith("before") else 1
    assert await calls.end(2) == {("left", attempt)}


async def test_next_operator_watches_the_runners_of_a_dead_one(plane: Plane) -> None:
    """The death of the operator that assigned the sessions costs them nothing."""
    victim = await doomed(plane)
    calls = Calls(plane, victim)
    await calls.start()
    plane.parts.pop("operator").kill()
    await plane.have("gateway", "operator", "runner")
    victim.kill()
    assert await calls.end(4) == {("left", 2)}


async def test_hint_about_a_bot_that_lives_changes_nothing(plane: Plane) -> None:
    """However often it comes."""
    calls = Calls(plane, plane.parts["runner"], 1)
    await calls.start()
    (name,) = calls.names
    for _ in range(3):
        url = f"{plane.gateways[0]}/sessions/{name}/suspect"
        async with plane.client.post(url) as answer:
            assert (answer.status, (await answer.json())["status"]) == (202, "running")
        await asyncio.sleep(0.1)
    assert await calls.end(1) == {("left", 1)}


async def test_killed_cold_runner_is_replaced(plane: Plane) -> None:
    """Its launcher notices the end of the process at once."""
    words = ("--launcher", "process", "--bot", "cold=writing.py")
    operator = plane.spawn("operator", *words)
    await ready(operator)
    name = f"d{next(_numbers)}-cold"
    call = asyncio.create_task(plane.call(name, bot="cold", body={"seconds": 30.0}))
    await until(lambda: plane.entered(name) == 1, 40)
    runner_id = (await plane.store.session(name)).runner_id or ""
    os.kill(int(runner_id.split("-")[-2]), signal.SIGKILL)
    await until(lambda: plane.entered(name) == 2, 60)
    record = await plane.store.session(name)
    assert (record.state, record.attempt, record.recovery) == ("running", 2, "confirmed")
    await plane.leave(name)
    await call
    assert plane.verdict(name) == []
    operator.kill()
