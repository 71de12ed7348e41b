"""A rolling update of gateways: the real command answers open requests after SIGTERM."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from cordboard.store import Holder, RedisStore, Registration
from plane_support import HEADERS, Part, Processes, ask, own_database, ready
from tests_support import StandIn, until

pytestmark = pytest.mark.timeout(90)


@dataclass
class Draining:
    """A gateway process, its store and a client."""

    part: Part
    store: RedisStore
    client: aiohttp.ClientSession

    async def run(self, session_id: str, url: str) -> None:
        """Bring a joined session to running, as an operator and a runner would."""
        await self.store.register(Registration("r1", url, capacity=9))
        await self.store.placement.assign(session_id, 1)
        await self.store.confirm_running(session_id, 1, Holder("r1", url, "warm", 42))

    async def join(self, session_id: str, wait: float = 0) -> tuple[int, dict[str, object]]:
        body = {"room_url": f"https://rooms.example/{session_id}", "sessionId": session_id}
        return await ask(self.client, "POST", f"{self.part.url}/join?wait={wait}", body)

    async def accepted(self, session_id: str) -> None:
        """Wait until a join is accepted."""
        await until(lambda: "join.accepted" in self.part.events(session_id))

    async def accepts_no_connection(self) -> None:
        """Wait until new connections are refused."""

        async def refused() -> bool:
            try:
                async with self.client.get(f"{self.part.url}/healthz"):
                    return False
            except aiohttp.ClientConnectionError:
                return True

        await until(refused)


@pytest.fixture
def lame_duck() -> str:
    """The seconds for which the gateway accepts connections after SIGTERM."""
    return "0"


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str, lame_duck: str) -> AsyncIterator[Draining]:
    processes = Processes(tmp_path, own_database(redis_url))
    part = processes.spawn("gateway", "--lame-duck", lame_duck)
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        await ready(part)
        async with (
            RedisStore(processes.redis_url) as store,
            aiohttp.ClientSession(headers=HEADERS, connector=connector) as client,
        ):
            await store.connection.client.flushdb()
            yield Draining(part, store, client)
    finally:
        processes.stop()


async def test_open_requests_are_completed_before_the_gateway_stops(
    gateway: Draining, stand_in: StandIn
) -> None:
    """A waiting join, a waiting leave and an event stream complete, and the exit status is 0.

    Repeated SIGTERM changes nothing.
    """
    await gateway.join("left")
    await gateway.run("left", stand_in.url)
    stand_in.answers["/leave"] = (200, {})
    leaving = asyncio.create_task(
        ask(gateway.client, "POST", f"{gateway.part.url}/leave", {"sessionId": "left"})
    )
    await until(lambda: stand_in.asked)
    joining = asyncio.create_task(gateway.join("joined", wait=60))
    await gateway.accepted("joined")
    url = f"{gateway.part.url}/sessions/joined/events"
    async with gateway.client.get(url) as stream:
        first = await stream.content.readuntil(b"\n\n")
        stopping = asyncio.create_task(asyncio.to_thread(gateway.part.stop))
        assert await stream.content.read() == b""  # it ends properly, without a connection error
    await gateway.accepts_no_connection()
    for _ in range(3):
        gateway.part.signal(signal.SIGTERM)  # as kubelets and supervisors do
    assert json.loads(first.partition(b"data: ")[2])["status"] == "queued"
    assert not any(task.done() for task in (leaving, joining, stopping))
    await gateway.run("joined", stand_in.url)
    await gateway.store.finish("left", 1, "left")
    status, answer = await joining
    assert (status, answer["status"]) == (202, "running")
    status, answer = await leaving
    assert (status, answer["status"]) == (200, "ended")
    assert await stopping == 0


async def test_join_that_waits_longer_than_the_grace_period_is_answered(gateway: Draining) -> None:
    """The response has the session's state at that time."""
    joining = asyncio.create_task(gateway.join("long", wait=60))
    await gateway.accepted("long")
    assert await asyncio.to_thread(gateway.part.stop) == 0
    status, answer = await joining
    assert (status, answer["status"], answer["reused"]) == (202, "queued", False)
    assert (await gateway.store.session("long")).state == "queued"


@pytest.mark.parametrize("lame_duck", ["600"])
async def test_gateway_accepts_joins_in_the_lame_duck_period(gateway: Draining) -> None:
    """Load balancers still send to it; /readyz tells them not to. A second SIGINT ends it at once."""
    for _ in range(3):
        gateway.part.signal(signal.SIGTERM)

    async def stops() -> bool:
        async with gateway.client.get(f"{gateway.part.url}/readyz") as answer:
            return answer.status == 503

    await until(stops)
    status, answer = await gateway.join("late")
    assert (status, answer["status"]) == (202, "queued")
    waiting = asyncio.create_task(gateway.join("waits", wait=60))
    await gateway.accepted("waits")
    for _ in range(2):
        assert gateway.part.alive
        gateway.part.signal(signal.SIGINT)
        await asyncio.sleep(0.1)
    assert await asyncio.to_thread(gateway.part.ended) == 0
    await asyncio.wait({waiting})
