"""A rollout of gateways: what is under way on SIGTERM is answered in full, by the real command."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from cordboard.store import Holder, RedisStore, Registration, open_store
from plane_support import HEADERS, Part, Processes, ask, ready
from tests_support import StandIn, until

pytestmark = pytest.mark.timeout(90)


@dataclass
class Draining:
    """A gateway's process, and what talks to it."""

    part: Part
    store: RedisStore
    client: aiohttp.ClientSession

    async def run(self, session_id: str, url: str) -> None:
        """Bring a joined session to running, as an operator and a runner would."""
        await self.store.register(Registration("r1", url, capacity=9))
        await self.store.assign(session_id, 1)
        await self.store.confirm_running(session_id, 1, Holder("r1", url, "warm", 42))

    async def join(self, session_id: str, wait: float = 0) -> tuple[int, dict[str, object]]:
        body = {"room_url": f"https://rooms.example/{session_id}", "sessionId": session_id}
        return await ask(self.client, "POST", f"{self.part.url}/join?wait={wait}", body)

    async def known(self, session_id: str) -> None:
        """Wait until a join is accepted."""
        await until(lambda: "join.accepted" in self.part.events(session_id))

    async def takes_no_more(self) -> None:
        """Wait until new connections are refused."""

        async def refused() -> bool:
            try:
                async with self.client.get(f"{self.part.url}/healthz"):
                    return False
            except aiohttp.ClientConnectionError:
                return True

        await until(refused)


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Draining]:
    processes = Processes(tmp_path, f"{redis_url.removesuffix('/0')}/7")
    part = processes.spawn("gateway")
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        await ready(part)
        async with (
            open_store(processes.redis_url) as store,
            aiohttp.ClientSession(headers=HEADERS, connector=connector) as client,
        ):
            await store._client.flushdb()
            yield Draining(part, store, client)
    finally:
        processes.stop()


async def test_requests_are_finished(gateway: Draining, stand_in: StandIn) -> None:
    """A join that waits, a leave that waits, and a stream: all are answered, then it exits 0.

    SIGTERM again and again changes nothing.
    """
    await gateway.join("left")
    await gateway.run("left", stand_in.url)
    stand_in.answers["/leave"] = (200, {})
    leaving = asyncio.create_task(
        ask(gateway.client, "POST", f"{gateway.part.url}/leave", {"sessionId": "left"})
    )
    await until(lambda: stand_in.asked)
    joining = asyncio.create_task(gateway.join("joined", wait=60))
    await gateway.known("joined")
    url = f"{gateway.part.url}/sessions/joined/events"
    async with gateway.client.get(url) as stream:
        first = await stream.content.readuntil(b"\n\n")
        stopping = asyncio.create_task(asyncio.to_thread(gateway.part.stop))
        assert await stream.content.read() == b""  # ends, and is not cut off
    await gateway.takes_no_more()
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


async def test_waits_are_bounded(gateway: Draining) -> None:
    """A join that would wait for longer than the grace is answered with what is there by then."""
    joining = asyncio.create_task(gateway.join("long", wait=60))
    await gateway.known("long")
    assert await asyncio.to_thread(gateway.part.stop) == 0
    status, answer = await joining
    assert (status, answer["status"], answer["reused"]) == (202, "queued", False)
    assert (await gateway.store.session("long")).state == "queued"
