"""A plane over a Redis that lives and refuses: calls go on, each part says so once, nothing is spelt out."""

import asyncio
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cordboard.contract.lease import Periods
from faults.faults_support import LEASE_S, Plane, plane_of
from plane_support import Part, Processes
from server_support import Server, name_of, programs, serving
from tests_support import until

pytestmark = pytest.mark.timeout(150)
_numbers = itertools.count()
_parts: dict[str, Any] = {}


@pytest.fixture(scope="module", params=programs()[:1], ids=name_of)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Processes]:
    made = Processes(tmp_path_factory.mktemp("refusing"), server.url)
    made.over["CORDBOARD_LEASE_S"] = str(LEASE_S)
    yield made
    made.stop()


@pytest.fixture
async def plane(processes: Processes, server: Server) -> AsyncIterator[Plane]:
    async with plane_of(processes) as opened:
        opened.parts = _parts
        await opened.have("gateway", "operator", "runner")
        for part in processes.parts:
            part.records.clear()
        yield opened
    server.ask("CONFIG", "SET", "maxmemory", 0)
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)


async def calls(plane: Plane, count: int, seconds: float) -> "dict[str, asyncio.Task[None]]":
    """Start calls, and wait until all their bots speak."""
    names = [f"f{next(_numbers)}" for _ in range(count)]
    works = {
        name: plane.call(name, body={"seconds": seconds}, deadlineSeconds=60) for name in names
    }
    tasks = {name: asyncio.create_task(work) for name, work in works.items()}
    await until(lambda: all(f'"{name}"' in plane.file.read_text() for name in names), 40)
    return tasks


async def status(plane: Plane, method: str, path: str, body: Any = None) -> int:
    async with plane.client.request(method, f"{plane.gateways[0]}{path}", json=body) as answer:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status


def said_of_redis(part: Part) -> list[str]:
    return [
        record["message"]
        for record in list(part.records)
        if record["message"].startswith("Redis is") and record["sessionId"].startswith("server:")
    ]


def is_over(part: Part) -> bool:
    return said_of_redis(part)[-1:] in ([], ["Redis is available again"])


async def test_redis_that_refuses_writes_ends_no_call(plane: Plane, server: Server) -> None:
    """Too few replicas for longer than a lease: joins and readiness 503; the calls go on, once each."""
    tasks = await calls(plane, 3, LEASE_S * 4.0)
    leaves = await calls(plane, 1, 60)
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    joined = {"room_url": "https://rooms.example/refused"}
    assert await status(plane, "POST", "/join", joined) == 503
    assert await status(plane, "GET", "/readyz") == 503
    await asyncio.sleep(LEASE_S * 2.5)
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    for part in plane.processes.parts:
        await until(functools.partial(is_over, part))
    for name in leaves:
        await plane.leave(name)
    await asyncio.gather(*tasks.values(), *leaves.values())
    assert plane.verdict(*tasks) == []
    for name in tasks:
        record = await plane.store.session(name)
        assert (record.state, record.reason, record.attempt) == ("ended", "bot_finished", 1)
    for part in plane.processes.parts:
        assert said_of_redis(part) in (
            [],
            ["Redis is unavailable; " + _meanwhile(part), "Redis is available again"],
        )
        assert "Traceback" not in str(part.records) + str(part.other)
        told = Counter((record["sessionId"], record.get("event")) for record in list(part.records))
        assert all(told[name, "lease.expired"] <= 1 for name in tasks)
    assert await status(plane, "GET", "/readyz") == 200


def _meanwhile(part: Part) -> str:
    return {
        "runner": "running bots continue",
        "operator": "retrying",
        "gateway": "refusing joins",
    }[part.name]


async def test_redis_with_full_memory_ends_no_call(plane: Plane, server: Server) -> None:
    """A memory that is full for longer than a holder goes on without renewals ends no call."""
    tolerance_s = Periods(LEASE_S).tolerance_s
    tasks = await calls(plane, 2, tolerance_s + LEASE_S * 2)
    leaves = await calls(plane, 1, 120)
    server.ask("CONFIG", "SET", "maxmemory", 1)
    assert await status(plane, "POST", "/join", {"room_url": "https://rooms.example/full"}) == 503
    assert await status(plane, "GET", "/readyz") == 503
    await asyncio.sleep(tolerance_s + LEASE_S)
    for name in leaves:
        await plane.leave(name)
    await asyncio.gather(*leaves.values())
    assert (await plane.store.session(*leaves)).reason == "left"
    await asyncio.gather(*tasks.values())
    for name in tasks:
        record = await plane.store.session(name)
        assert (record.state, record.reason, record.attempt) == ("ended", "bot_finished", 1)
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert await status(plane, "GET", "/readyz") == 200
    again = await calls(plane, 1, 0.2)
    await asyncio.gather(*again.values())
    for part in plane.processes.parts:
        assert said_of_redis(part) == []
        assert "Traceback" not in str(part.records) + str(part.other)
